//! Prometheus and alertmanager beside a cluster.

use std::time::Duration;

use parley_local::{Cluster, Interrupt, NAMESPACE, Notice, Prometheus, Watch, testing};

use crate::operator::{Operator, eventually};

const RULES: &str = r#"
groups:
- name: test
  rules:
  - record: test:pods
    expr: count by (namespace) (up{job=~"parley-.*"} == 1)
  - alert: Cause
    expr: test:pods > 0
  - alert: Symptom
    expr: up{pod="api-1"} == 1
  - alert: Never
    expr: test:pods < 0
"#;

const ALERTMANAGER: &str = r#"
route: { receiver: none }
receivers: [{ name: none }]
inhibit_rules:
- source_matchers: [ alertname="Cause" ]
  target_matchers: [ alertname="Symptom" ]
  equal: [ namespace ]
"#;

#[test]
fn prometheus_scrapes_every_pod_and_alertmanager_inhibits() {
    let cluster = Cluster::of_test();
    let home = testing::home("observers").unwrap();
    let second = Duration::from_secs(1);
    let watch = Watch {
        scrape: second,
        evaluate: second,
        rules: vec![("test.yaml".to_owned(), RULES.to_owned())],
        alertmanager: Some(ALERTMANAGER.to_owned()),
    };
    let pods = cluster.description().pods().count();
    let watching =
        Prometheus::start(&home, cluster.description(), &watch, &Interrupt::default()).unwrap();

    eventually("every pod's answer", || {
        let up = watching.query("up == 1").unwrap();
        let named = |it: &parley_local::Series| {
            it.labels["job"].starts_with("parley-") && it.labels["namespace"] == NAMESPACE
        };
        up.len() == pods && up.iter().all(named)
    });
    let builds = watching.query("parley_build_info").unwrap();
    assert_eq!((builds.len(), builds[0].value), (pods, 1.0), "{builds:?}");
    eventually("the recorded rule", || {
        let recorded = watching.query("test:pods").unwrap();
        recorded.len() == 1 && recorded[0].labels["namespace"] == NAMESPACE
    });
    eventually("alerts", || watching.alerts().unwrap().len() == 2);
    let alerts = watching.alerts().unwrap();
    assert!(alerts.iter().all(|it| it.state == "firing" && it.name() != "Never"), "{alerts:?}");

    let state = |notices: &[Notice], name| {
        notices.iter().find(|it| it.name() == name).map(|it| it.state.clone())
    };
    eventually("the symptom's suppression", || {
        let notices = watching.notices().unwrap();
        state(&notices, "Cause").as_deref() == Some("active")
            && state(&notices, "Symptom").as_deref() == Some("suppressed")
    });
    let now = watching.query("time() + 0 * sum(up)").unwrap()[0].value;
    let course = watching.query_range("sum(up)", (now - 3.0, now), second).unwrap();
    assert!(course[0].points.iter().any(|(_, value)| *value > 0.0), "{course:?}");
    assert!(watching.query("no such query").is_err());
    drop(watching);
    std::fs::remove_dir_all(home.root()).unwrap();
}

#[test]
fn up_brings_prometheus_along_and_down_stops_it() {
    let operator = Operator::new("metrics");
    let said = operator.says("up --detach --no-demo --port 0 --api 1 --gateways 1 --metrics");
    let line = said.lines().find_map(|line| line.trim().strip_prefix("prometheus"));
    let url = line.unwrap_or_else(|| panic!("where is it? {said}")).trim().to_owned();
    let ready = || parley_local::Client::new(&url, None).get("/-/ready").map(|it| it.status);
    assert_eq!(ready().unwrap(), 200);
    assert_eq!(operator.says("status").lines().count(), 9);
    let watching = parley_local::Client::new(&url, None);
    let rules = watching.get("/api/v1/rules?type=alert").unwrap();
    assert!(rules.body.to_string().contains("ParleyPostgresDown"), "{}", rules.body);
    operator.says("down");
    assert!(ready().is_err());
}
