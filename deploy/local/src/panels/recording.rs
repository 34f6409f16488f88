//! A Prometheus beside a cluster under load, and what the dashboards show of it.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use super::picture::picture;
use super::{Shown, Span, show};
use crate::alerts::shipped_rules;
use crate::home::{Home, shown};
use crate::interrupt::Interrupt;
use crate::prometheus::{Prometheus, Watch};
use crate::say;
use crate::state::Description;

/// How often pods are scraped and rules evaluated: what shows is the load, and not the first minute of a day.
const SCRAPE: Duration = Duration::from_secs(1);
/// Over how much time rates are taken: several scrapes, of which one may come late.
const RATE: Duration = Duration::from_secs(8);
const SCRAPED_WITHIN: Duration = Duration::from_mins(1);
/// About how many points a line of the picture has.
const POINTS: u32 = 150;

/// What the pods say of the times that a load judges from outside: between the two lies the network, and the load itself.
const OWN_TIMES: [(&str, &str); 2] = [
    (
        "api: a send",
        r#"parley_http_request_seconds_bucket{route="/api/chat/{id}/messages",method="POST"}"#,
    ),
    ("gateway: from the commit to the socket", "parley_gateway_delivery_seconds_bucket"),
];

/// A Prometheus that watches a cluster.
pub(crate) struct Recording {
    prometheus: Prometheus,
    began: f64,
}

impl Recording {
    /// Begins, in a launcher folder of its own.
    pub(crate) fn begin(home: &Home, cluster: &Description, interrupt: &Interrupt) -> Result<Self> {
        let watch =
            Watch { scrape: SCRAPE, evaluate: SCRAPE, rules: shipped_rules()?, alertmanager: None };
        let prometheus = Prometheus::start(home, cluster, &watch, interrupt)?;
        until_scraped(&prometheus, cluster.pods().count(), interrupt)?;
        Ok(Self { prometheus, began: now()? })
    }

    /// Draws every panel into `OUTPUT-panels.svg`; false when one shows nothing that should show something.
    pub(crate) fn end(self, title: &str, output: &Path) -> Result<bool> {
        let (from, to) = (self.began, now()?);
        let step = Duration::from_secs_f64((to - from) / f64::from(POINTS)).max(SCRAPE);
        let span = Span { from, to, step, rate: RATE.max(2 * step) };
        let panels = show(&self.prometheus, &span)?;
        let file = output.with_file_name(format!("{}-panels.svg", name_of(output)));
        fs::write(&file, picture(title, &panels, &span))
            .with_context(|| format!("cannot write {}", shown(&file)))?;
        say::line(format_args!("{} panels of deploy/grafana: {}", panels.len(), shown(&file)));
        for Shown { panel, .. } in panels.iter().filter(|panel| !panel.has_data()) {
            let why = panel.empty.as_deref().unwrap_or("NO DATA");
            say::line(format_args!("  {} / {}: {why}", panel.dashboard, panel.title));
        }
        self.tell_own_times(to - from)?;
        Ok(!panels.iter().any(Shown::is_broken))
    }
}

impl Recording {
    /// The p99 of the last `seconds`, as the pods saw it.
    fn tell_own_times(&self, seconds: f64) -> Result<()> {
        for (what, buckets) in OWN_TIMES {
            let query = format!(
                "histogram_quantile(0.99, sum by (le) (increase({buckets}[{seconds:.0}s])))"
            );
            let found = self.prometheus.query(&query)?;
            // Not a number: nothing was observed.
            let p99 = found.first().map(|it| 1e3 * it.value).filter(|it| it.is_finite());
            let shown = p99.map_or_else(|| "–".to_owned(), |it| format!("p99 {it:.0} ms"));
            say::line(format_args!("  {what}: {shown}"));
        }
        Ok(())
    }
}

/// A few seconds pass before it knows of a pod, and what happened before its first look shows in no rate.
fn until_scraped(prometheus: &Prometheus, pods: usize, interrupt: &Interrupt) -> Result<()> {
    let deadline = Instant::now() + SCRAPED_WITHIN;
    while prometheus.query(r#"up{job=~"parley-.+"} == 1"#)?.len() < pods {
        interrupt.check()?;
        if Instant::now() > deadline {
            bail!("Prometheus does not reach all of the {pods} pods");
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    Ok(())
}

fn name_of(output: &Path) -> String {
    output.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn now() -> Result<f64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs_f64())
}
