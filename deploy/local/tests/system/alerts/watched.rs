//! A cluster under Prometheus' eyes, and what is waited for there.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use parley_local::{
    Alert, Client, Cluster, Interrupt, Pod, Prometheus, Role, Token, Watch, shipped_alertmanager,
    shipped_rules, shortened,
};

use crate::arena::Arena;
use crate::operator::eventually;

/// How many times shorter all windows are: an hour is a minute.
const FACTOR: u32 = 60;
const SECOND: Duration = Duration::from_secs(1);
/// What an alert of a dependency lasts for before it fires is a minute, here a second. Besides, pods have to notice, to be
/// scraped, and rules to be evaluated: 2 to 6 s in all, several times that on a machine that is busy with something else.
const WITHIN: Duration = Duration::from_secs(30);

/// How many events may wait for a connection.
pub(super) const OUTBOX: usize = 256;
/// Limits that a few clients reach.
const SETTINGS: [(&str, &str); 16] = [
    ("PARLEY_MESSAGE_LIMITS", "user=10000/1"),
    ("PARLEY_ATTEMPT_LIMIT", "10000/1"),
    ("PARLEY_MAX_CONNECTIONS", "10"),
    ("PARLEY_MAX_REQUESTS", "16"),
    ("PARLEY_DATABASE_CONNECTIONS", "6"),
    ("PARLEY_DATABASE_STATEMENT_MS", "2000"),
    ("PARLEY_SEND_MS", "1500"),
    ("PARLEY_MAX_UPLOADS", "1"),
    ("PARLEY_MAX_DOWNLOADS", "1"),
    ("PARLEY_JOIN_TIMEOUT_MS", "2000"),
    ("PARLEY_LOG", "info"),
    // Webhooks hear an event a second, are soon seen to fail, and are soon given up.
    ("PARLEY_WEBHOOK_CONCURRENCY", "1"),
    ("PARLEY_WEBHOOK_RATE", "1"),
    ("PARLEY_WEBHOOK_RETRY_MS", "50"),
    ("PARLEY_WEBHOOK_RETRY_CAP_MS", "500"),
    ("PARLEY_WEBHOOK_RETRY_SECONDS", "40"),
];

pub(super) struct Watched {
    arena: Arena,
    prometheus: Prometheus,
    began: Instant,
}

impl Watched {
    pub(super) fn start() -> Self {
        let outbox = OUTBOX.to_string();
        let settings = [&SETTINGS[..], &[("PARLEY_OUTBOX_FRAMES", &outbox)]].concat();
        let arena = Arena::with_couriers("alerts", (2, 2, 1), &settings);
        let shorten = |(name, rules): (String, String)| (name, shortened(&rules, FACTOR));
        let watch = Watch {
            scrape: SECOND,
            evaluate: SECOND,
            rules: shipped_rules().unwrap().into_iter().map(shorten).collect(),
            alertmanager: Some(shipped_alertmanager().unwrap()),
        };
        let home = arena.home.beside(arena.home.root().join("prometheus"));
        let cluster = arena.cluster.description();
        let prometheus = Prometheus::start(&home, cluster, &watch, &Interrupt::default()).unwrap();
        Self { arena, prometheus, began: Instant::now() }
    }

    pub(super) fn close(self) {
        drop(self.prometheus);
        self.arena.close();
    }

    pub(super) fn cluster(&self) -> &Cluster {
        &self.arena.cluster
    }

    pub(super) fn gateways(&self) -> &[Pod] {
        &self.cluster().description().gateway
    }

    /// The host application.
    pub(super) fn host(&self) -> Client {
        let cluster = self.cluster().description();
        let token = Token { role: Role::Service, ..Token::user("host") };
        Client::new(&cluster.url, Some(token.sign(&cluster.jwt.secret).unwrap()))
    }

    /// Where the bytes of files are.
    pub(super) fn files(&self) -> PathBuf {
        self.arena.home.root().join("ephemeral-files")
    }

    pub(super) fn query(&self, query: &str) -> Option<f64> {
        self.prometheus.query(query).unwrap().first().map(|series| series.value)
    }

    /// Nothing fires where nothing is wrong.
    pub(super) fn stays_quiet_for(&self, time: Duration) {
        eventually("every pod's answer", || self.query("count(up == 1)") == Some(5.0));
        let until = Instant::now() + time;
        while Instant::now() < until {
            let alerts = self.prometheus.alerts().unwrap();
            let firing: Vec<_> = alerts.iter().filter(|it| it.state == "firing").collect();
            assert!(firing.is_empty(), "nothing is wrong: {firing:?}");
            thread::sleep(SECOND / 4);
        }
    }

    /// Kills a dependency: its alert fires in time, and the symptoms fire and are suppressed.
    pub(super) fn dies(
        &self,
        process: &str,
        alert: &str,
        symptoms: &[&str],
        meanwhile: impl FnOnce(),
    ) {
        self.cluster().kill(process).unwrap();
        let died = Instant::now();
        eventually(alert, || self.fires(alert));
        let took = died.elapsed();
        assert!(took < WITHIN, "{alert} after {took:?}");
        meanwhile();
        for symptom in symptoms {
            self.fires_and_is_suppressed(symptom);
        }
        self.tell(format_args!(
            "{process} dies: {alert} after {took:.1?}, and suppresses {symptoms:?}"
        ));
    }

    /// Starts it again: its alert is over.
    pub(super) fn comes_back(&mut self, process: &str, alert: &str) {
        self.arena.cluster.restart(process).unwrap();
        let back = Instant::now();
        eventually(&format!("the end of {alert}"), || {
            !self.fires(alert)
                && self.prometheus.notices().unwrap().iter().all(|it| it.name() != alert)
        });
        self.tell(format_args!("{process} is back: {alert} is over after {:.1?}", back.elapsed()));
    }

    /// Kills it and starts it, again and again, until the alert has fired.
    pub(super) fn flaps(&mut self, process: &str, alert: &str) {
        eventually(alert, || {
            self.cluster().kill(process).unwrap();
            thread::sleep(SECOND);
            self.arena.cluster.restart(process).unwrap();
            let all = self.query("count(up == 1)");
            eventually("every pod's connection", || self.query("sum(parley_bus_connected)") == all);
            self.has_ever_fired(alert)
        });
        self.tell(format_args!("{process} flaps: {alert} has fired"));
    }

    /// The alert fires, and alertmanager tells nobody, because of something else.
    pub(super) fn fires_and_is_suppressed(&self, alert: &str) {
        eventually(alert, || self.fires(alert));
        eventually(&format!("the suppression of {alert}"), || {
            let notices = self.prometheus.notices().unwrap();
            let mut states = notices.iter().filter(|it| it.name() == alert).map(|it| &it.state);
            let all = states.clone().all(|state| state == "suppressed");
            all && states.next().is_some()
        });
    }

    fn fires(&self, alert: &str) -> bool {
        let fires = |it: &Alert| it.name() == alert && it.state == "firing";
        self.prometheus.alerts().unwrap().iter().any(fires)
    }

    /// The alert fires now, or has fired since the cluster was started.
    pub(super) fn has_fired(&self, alert: &str) {
        self.has_fired_while(alert, || thread::sleep(SECOND / 4));
    }

    /// The same while something is done again and again.
    pub(super) fn has_fired_while(&self, alert: &str, mut doing: impl FnMut()) {
        eventually(alert, || {
            doing();
            self.has_ever_fired(alert)
        });
        self.tell(format_args!("{alert} has fired"));
    }

    fn has_ever_fired(&self, alert: &str) -> bool {
        let firing = format!("ALERTS{{alertname=\"{alert}\",alertstate=\"firing\"}}");
        self.query(&format!("count_over_time({firing}[1h])")).is_some()
    }

    /// Every alert that has fired.
    pub(super) fn fired(&self) -> BTreeSet<String> {
        let query = "group by (alertname) (count_over_time(ALERTS{alertstate=\"firing\"}[1h]))";
        let series = self.prometheus.query(query).unwrap();
        series.into_iter().map(|mut it| it.labels.remove("alertname").unwrap()).collect()
    }

    pub(super) fn set(&mut self, pod: &str, setting: &str, value: &str) {
        self.arena.cluster.set(pod, setting, value).unwrap();
    }

    /// Kills a pod and starts it again, and waits until Prometheus has seen that.
    pub(super) fn restart_seen(&mut self, pod: &str) {
        let started = format!("process_start_time_seconds{{pod=\"{pod}\"}}");
        // Starts are told in whole seconds.
        eventually("another second", || self.query(&format!("time() - {started} > 2")).is_some());
        let before = self.query(&started).unwrap();
        self.cluster().kill(pod).unwrap();
        self.arena.cluster.restart(pod).unwrap();
        eventually("the next start", || self.query(&started).is_some_and(|it| it > before));
    }

    pub(super) fn kill_all(&self, kind: &str) {
        for pod in self.cluster().description().pods().filter(|pod| pod.name.starts_with(kind)) {
            self.cluster().kill(&pod.name).unwrap();
        }
    }

    /// The number that a pod tells.
    pub(super) fn metric(&self, pod: &Pod, name: &str) -> f64 {
        self.query(&format!("{name}{{pod=\"{}\"}}", pod.name)).unwrap()
    }

    #[expect(clippy::print_stderr, reason = "the story of a long test")]
    fn tell(&self, what: std::fmt::Arguments<'_>) {
        eprintln!("{:>5.1?} {what}", self.began.elapsed());
    }
}
