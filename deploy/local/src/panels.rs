//! The dashboards of `deploy/grafana` without a Grafana: their panels, asked of a real Prometheus.

mod picture;
mod recording;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::home::{shown, workspace};
use crate::prometheus::{Course, Prometheus};

pub(crate) use recording::Recording;

/// A panel of a dashboard.
#[derive(Clone, Debug)]
struct Panel {
    /// The dashboard's name.
    dashboard: String,
    /// What stands above it.
    title: String,
    /// Grafana's word for the unit.
    unit: String,
    /// What it shows when there is nothing to show. Only a panel that is empty while all is well has it.
    empty: Option<String>,
    queries: Vec<Query>,
}

#[derive(Clone, Debug)]
struct Query {
    expression: String,
    legend: String,
}

/// A span of time, in Unix seconds.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: f64,
    to: f64,
    /// Between two points.
    step: Duration,
    /// Over how much time a rate is taken.
    rate: Duration,
}

/// What a panel has shown.
#[derive(Clone, Debug)]
struct Shown {
    /// The panel.
    panel: Panel,
    /// Its lines, each with what its legend says.
    lines: Vec<(String, Course)>,
}

impl Shown {
    /// Whether there was something to be seen.
    fn has_data(&self) -> bool {
        let finite = |(_, line): &(String, Course)| line.points.iter().any(|it| it.1.is_finite());
        self.lines.iter().any(finite)
    }

    /// A panel that shows nothing and does not say that this is as it should be.
    fn is_broken(&self) -> bool {
        self.panel.empty.is_none() && !self.has_data()
    }
}

/// The dashboards' files.
pub(crate) fn dashboards() -> Result<Vec<PathBuf>> {
    let folder = workspace().join("deploy/grafana");
    let entries =
        fs::read_dir(&folder).with_context(|| format!("cannot read {}", shown(&folder)))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    if files.is_empty() {
        bail!("there are no dashboards in {}", shown(&folder));
    }
    Ok(files)
}

/// Every panel of every dashboard, but for those that only head others.
fn panels() -> Result<Vec<Panel>> {
    let mut panels = Vec::new();
    for file in dashboards()? {
        let read = of_file(&file).with_context(|| shown(&file))?;
        panels.extend(read);
    }
    Ok(panels)
}

fn of_file(file: &Path) -> Result<Vec<Panel>> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(file)?)?;
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let shown = panels.iter().filter(|panel| panel["type"] != "row");
    shown.map(|panel| of_panel(&name, panel)).collect()
}

fn of_panel(dashboard: &str, panel: &Value) -> Result<Panel> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let defaults = &panel["fieldConfig"]["defaults"];
    let title = text(&panel["title"]).context("a panel without a title")?;
    let targets = panel["targets"].as_array().filter(|targets| !targets.is_empty());
    let query = |target: &Value| {
        let expression = text(&target["expr"]).context("a target without a query")?;
        Ok(Query { expression, legend: text(&target["legendFormat"]).unwrap_or_default() })
    };
    let queries = targets.with_context(|| format!("{title} asks nothing"))?.iter().map(query);
    Ok(Panel {
        dashboard: dashboard.to_owned(),
        unit: text(&defaults["unit"]).unwrap_or_default(),
        empty: text(&defaults["noValue"]),
        queries: queries.collect::<Result<_>>()?,
        title,
    })
}

/// What every panel has shown meanwhile, of all pods.
fn show(prometheus: &Prometheus, course: &Span) -> Result<Vec<Shown>> {
    let show = |panel: Panel| {
        let mut lines = Vec::new();
        for query in &panel.queries {
            let asked = query.of_all_pods(course.rate);
            let courses = prometheus.query_range(&asked, (course.from, course.to), course.step);
            let courses =
                courses.with_context(|| format!("{} / {}", panel.dashboard, panel.title))?;
            lines.extend(courses.into_iter().map(|course| (query.legend_of(&course), course)));
        }
        Ok(Shown { panel, lines })
    };
    panels()?.into_iter().map(show).collect()
}

impl Query {
    /// As Grafana would ask it before anybody has chosen anything.
    fn of_all_pods(&self, rate: Duration) -> String {
        let expression =
            self.expression.replace("$__rate_interval", &format!("{}s", rate.as_secs()));
        expression.replace("$namespace", ".+").replace("$pod", ".+")
    }

    fn legend_of(&self, course: &Course) -> String {
        let mut legend = self.legend.clone();
        for (name, value) in &course.labels {
            legend = legend.replace(&format!("{{{{{name}}}}}"), value);
        }
        legend
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel() -> Panel {
        Panel {
            dashboard: "api".to_owned(),
            title: "Requests".to_owned(),
            unit: "reqps".to_owned(),
            empty: None,
            queries: Vec::new(),
        }
    }

    fn shown_with(points: &[f64]) -> Shown {
        let points = points.iter().map(|value| (0.0, *value)).collect();
        let course = Course { labels: std::collections::BTreeMap::new(), points };
        Shown { panel: panel(), lines: vec![("a".to_owned(), course)] }
    }

    #[test]
    fn a_line_of_no_numbers_is_no_data() {
        assert!(shown_with(&[]).is_broken());
        assert!(shown_with(&[f64::NAN, f64::NAN]).is_broken());
        assert!(!shown_with(&[f64::NAN, 0.0]).is_broken());
        let mut healthy = shown_with(&[]);
        healthy.panel.empty = Some("nothing fires".to_owned());
        assert!(!healthy.is_broken());
    }

    #[test]
    fn a_query_is_asked_of_everybody() {
        let expression = r#"rate(a{namespace=~"$namespace",pod=~"$pod"}[$__rate_interval])"#;
        let query =
            Query { expression: expression.to_owned(), legend: "{{pod}} of {{job}}".to_owned() };
        let asked = query.of_all_pods(Duration::from_secs(15));
        assert_eq!(asked, r#"rate(a{namespace=~".+",pod=~".+"}[15s])"#);
        let labels = [("pod", "api-1"), ("job", "parley-api")];
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let course = Course { labels, points: Vec::new() };
        assert_eq!(query.legend_of(&course), "api-1 of parley-api");
    }

    #[test]
    fn every_dashboard_can_be_read() {
        let panels = panels().unwrap();
        assert!(panels.len() > 80, "{}", panels.len());
    }
}
