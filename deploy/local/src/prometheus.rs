//! Prometheus and alertmanager beside a cluster, as an SRE would run them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::debian::{Observers, observers};
use crate::home::{Home, make_folder, remove_folder, write_private};
use crate::interrupt::Interrupt;
use crate::ports::Ports;
use crate::process::{Keeper, Kind, Start, stop_noted};
use crate::rest;
use crate::state::Description;

const READY_WITHIN: Duration = Duration::from_secs(30);
/// Whose pods these are, where Kubernetes would say its own namespace.
pub const NAMESPACE: &str = "local";

/// How a cluster is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    /// How often every pod is scraped.
    pub scrape: Duration,
    /// How often rules are evaluated, and what fires is told again.
    pub evaluate: Duration,
    /// Rule files: name and text.
    pub rules: Vec<(String, String)>,
    /// Alertmanager's configuration; without one there is no alertmanager.
    pub alertmanager: Option<String>,
}

/// A running Prometheus, perhaps with an alertmanager. Both end when this is dropped.
pub struct Prometheus {
    url: String,
    alertmanager: Option<String>,
    keeper: Option<Keeper>,
}

/// One series of an answer.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct Series {
    /// Its labels, `__name__` among them.
    #[serde(rename = "metric")]
    pub labels: BTreeMap<String, String>,
    /// Its value.
    #[serde(rename = "value", deserialize_with = "sample")]
    pub value: f64,
}

/// One series over time.
#[derive(Clone, Debug, PartialEq)]
pub struct Course {
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// Unix seconds and value.
    pub points: Vec<(f64, f64)>,
}

/// An alert of Prometheus.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Alert {
    /// Its labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// `pending` or `firing`.
    pub state: String,
}

/// An alert as alertmanager has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Its labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// `active`, or `suppressed`: inhibited or silenced.
    pub state: String,
}

impl Alert {
    /// The alert's name.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

impl Notice {
    /// The alert's name.
    pub fn name(&self) -> &str {
        self.labels.get("alertname").map_or("", String::as_str)
    }
}

impl Prometheus {
    /// Starts it in a launcher folder of its own, without what an earlier one there has seen.
    pub fn start(
        home: &Home,
        cluster: &Description,
        watch: &Watch,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let programs = observers(home, interrupt)?;
        stop_noted(home)?;
        make_folder(home.root())?;
        let mut ports = Ports::of(home)?;
        let port = ports.free("prometheus")?;
        let alertmanager = watch.alertmanager.as_ref().map(|_| ports.free("alertmanager"));
        let alertmanager = alertmanager.transpose()?;
        ports.save(home)?;
        let mut keeper = Keeper::new(home, ports, interrupt)?;
        if let (Some(config), Some(port)) = (&watch.alertmanager, alertmanager) {
            start_alertmanager(&programs, config, port, &mut keeper)?;
        }
        write_config(home, cluster, watch, alertmanager)?;
        start_prometheus(&programs, watch, port, &mut keeper)?;
        Ok(Self { url: at(port), alertmanager: alertmanager.map(at), keeper: Some(keeper) })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its alertmanager is, if it has one.
    pub fn alertmanager_url(&self) -> Option<&str> {
        self.alertmanager.as_deref()
    }

    /// What a query yields now.
    pub fn query(&self, query: &str) -> Result<Vec<Series>> {
        let data = self.ask("query", &[("query", query)])?;
        match data["resultType"].as_str() {
            Some("vector") => Ok(serde_json::from_value(data["result"].clone())?),
            kind => bail!("`{query}` yields a {kind:?} and no vector"),
        }
    }

    /// What a query yields over time: from and to as Unix seconds.
    pub fn query_range(
        &self,
        query: &str,
        (from, to): (f64, f64),
        step: Duration,
    ) -> Result<Vec<Course>> {
        let [from, to, step] = [from, to, step.as_secs_f64()].map(|it| it.to_string());
        let asked = [("query", query), ("start", &from), ("end", &to), ("step", &step)];
        let data = self.ask("query_range", &asked)?;
        let courses = data["result"].as_array().context("no matrix")?.iter().map(course);
        courses.collect()
    }

    /// What is pending and what fires.
    pub fn alerts(&self) -> Result<Vec<Alert>> {
        Ok(serde_json::from_value(self.ask("alerts", &[])?["alerts"].clone())?)
    }

    /// The rules as they were loaded: groups, each with its rules, as Prometheus describes them.
    pub fn rules(&self) -> Result<Value> {
        self.ask("rules", &[])
    }

    /// What alertmanager has been told, inhibited alerts too.
    pub fn notices(&self) -> Result<Vec<Notice>> {
        let base = self.alertmanager.as_deref().context("there is no alertmanager")?;
        let all: Vec<Value> = get(&format!("{base}/api/v2/alerts"), &[])?;
        let notice = |it: &Value| {
            let state = it["status"]["state"].as_str().context("an alert without a state")?;
            let labels = serde_json::from_value(it["labels"].clone())?;
            Ok(Notice { labels, state: state.to_owned() })
        };
        all.iter().map(notice).collect()
    }

    /// Lets it run on after this process.
    pub fn let_go(mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.let_go();
        }
    }

    fn ask(&self, what: &str, query: &[(&str, &str)]) -> Result<Value> {
        let answer: Value = get(&format!("{}/api/v1/{what}", self.url), query)?;
        if answer["status"] != "success" {
            bail!("Prometheus says: {}", answer["error"]);
        }
        Ok(answer["data"].clone())
    }
}

/// The folder of the Prometheus that goes with a cluster of `up`.
pub(crate) fn folder(home: &Home) -> Home {
    home.beside(home.file("prometheus"))
}

/// Stops the Prometheus that goes with a cluster of `up`. Says whether there was one.
pub(crate) fn stop_beside(home: &Home) -> Result<bool> {
    stop_noted(&folder(home))
}

fn get<T: DeserializeOwned>(url: &str, query: &[(&str, &str)]) -> Result<T> {
    let request = rest::agent(20).get(url).query_pairs(query.iter().copied());
    let mut answer = request.call().with_context(|| url.to_owned())?;
    let text = answer.body_mut().with_config().limit(64 << 20).read_to_string()?;
    serde_json::from_str(&text).with_context(|| format!("{url} answers {}", answer.status()))
}

fn at(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn milliseconds(duration: Duration) -> String {
    format!("{}ms", duration.as_millis())
}

/// JSON is YAML.
fn write_config(
    home: &Home,
    cluster: &Description,
    watch: &Watch,
    alertmanager: Option<u16>,
) -> Result<()> {
    let rules = home.file("rules");
    remove_folder(&rules)?;
    make_folder(&rules)?;
    for (name, text) in &watch.rules {
        write_private(&rules.join(name), text.as_bytes())?;
    }
    let job = |name: &str, pods: &[crate::state::Pod]| {
        let target = |pod: &crate::state::Pod| {
            let address = pod.admin.trim_start_matches("http://");
            let labels = json!({ "namespace": NAMESPACE, "pod": pod.name });
            json!({ "targets": [address], "labels": labels })
        };
        let targets: Vec<_> = pods.iter().map(target).collect();
        json!({ "job_name": name, "static_configs": targets })
    };
    let alertmanagers: Vec<_> = alertmanager
        .map(|port| json!({ "static_configs": [{ "targets": [format!("127.0.0.1:{port}")] }] }))
        .into_iter()
        .collect();
    let config = json!({
        "global": {
            "scrape_interval": milliseconds(watch.scrape),
            "scrape_timeout": milliseconds(watch.scrape),
            "evaluation_interval": milliseconds(watch.evaluate),
        },
        "rule_files": [rules.join("*")],
        "alerting": { "alertmanagers": alertmanagers },
        "scrape_configs": [
            job("parley-api", &cluster.api),
            job("parley-gateway", &cluster.gateway),
            job("parley-courier", &cluster.courier),
        ],
    });
    write_private(&home.file("prometheus.yml"), &serde_json::to_vec_pretty(&config)?)
}

fn start_prometheus(
    programs: &Observers,
    watch: &Watch,
    port: u16,
    keeper: &mut Keeper,
) -> Result<()> {
    let home = keeper.home().clone();
    let data = home.file("data");
    remove_folder(&data)?;
    let mut command = Command::new(&programs.prometheus);
    command.arg(option("--config.file", &home.file("prometheus.yml")));
    command.arg(option("--storage.tsdb.path", &data));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
    // It finds its alertmanager a few seconds after its start: what fires before that has to be told again soon.
    command.arg(format!("--rules.alert.resend-delay={}", milliseconds(watch.evaluate)));
    // A flag of Debian's build only.
    if let Some(unpacked) = &programs.unpacked {
        command.arg(option("--web.local-assets", &unpacked.join("usr/share/prometheus/web")));
    }
    let (name, url) = ("prometheus".to_owned(), at(port));
    let ready = format!("{url}/-/ready");
    keeper.start(Start { name, kind: Kind::Observer, url, admin: None, command })?;
    keeper.wait_ready("prometheus", READY_WITHIN, || rest::is_ok(&ready))
}

fn start_alertmanager(
    programs: &Observers,
    config: &str,
    port: u16,
    keeper: &mut Keeper,
) -> Result<()> {
    let home = keeper.home().clone();
    let (file, data) = (home.file("alertmanager.yml"), home.file("alertmanager"));
    write_private(&file, config.as_bytes())?;
    remove_folder(&data)?;
    let mut command = alertmanager(programs);
    command.arg(option("--config.file", &file)).arg(option("--storage.path", &data));
    command.arg(format!("--web.listen-address=127.0.0.1:{port}")).arg("--cluster.listen-address=");
    let (name, url) = ("alertmanager".to_owned(), at(port));
    let ready = format!("{url}/-/ready");
    keeper.start(Start { name, kind: Kind::Observer, url, admin: None, command })?;
    keeper.wait_ready("alertmanager", READY_WITHIN, || rest::is_ok(&ready))
}

/// Debian's alertmanager reads its templates from where the package would be installed: it is shown the unpacked folder
/// there, and nobody else is.
fn alertmanager(programs: &Observers) -> Command {
    let Some(unpacked) = &programs.unpacked else { return Command::new(&programs.alertmanager) };
    let mut command = Command::new("unshare");
    if !rustix::process::getuid().is_root() {
        command.arg("--map-root-user");
    }
    command.args(["--mount", "sh", "-c"]);
    command.arg(r#"mount --bind "$1" /usr/share && shift && exec "$@""#);
    command.arg("sh").arg(unpacked.join("usr/share")).arg(&programs.alertmanager);
    command
}

fn option(name: &str, path: &Path) -> std::ffi::OsString {
    let mut option = std::ffi::OsString::from(name);
    option.push("=");
    option.push(path);
    option
}

/// Prometheus writes a value as text, so that NaN and infinity have a form.
fn sample<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    let (_, value) = <(f64, String)>::deserialize(deserializer)?;
    value.parse().map_err(serde::de::Error::custom)
}

fn course(series: &Value) -> Result<Course> {
    let point = |(at, value): (f64, String)| Ok((at, value.parse()?));
    let points: Vec<(f64, String)> = serde_json::from_value(series["values"].clone())?;
    Ok(Course {
        labels: serde_json::from_value(series["metric"].clone())?,
        points: points.into_iter().map(point).collect::<Result<_>>()?,
    })
}
