//! What an api pod tells of itself. No label holds a chat or a user.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
    register_histogram_vec_with_registry as histograms,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};

/// Handles of this crate's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    requests: IntCounterVec,
    seconds: HistogramVec,
    /// Handlers that panicked.
    pub(crate) panics: IntCounter,
    /// Requests for which there was no room.
    pub(crate) shed: IntCounter,
    connections: IntGauge,
    under_way: IntGauge,
    limits: Limits,
    /// Messages committed by this pod; replays are not counted.
    pub(crate) messages: IntCounter,
    /// Changes that a sweep found untold, and told.
    pub(crate) swept: IntCounter,
    /// Uploads under way.
    pub(crate) uploads: IntGauge,
    /// Uploads for which there was no place.
    pub(crate) uploads_refused: IntCounter,
    /// Downloads under way.
    pub(crate) downloads: IntGauge,
    /// Downloads for which there was no place.
    pub(crate) downloads_refused: IntCounter,
    /// Files that the storage did not take.
    pub(crate) writes_failed: IntCounter,
    /// Files that it did not give.
    pub(crate) reads_failed: IntCounter,
    /// Objects that this pod has removed from storage.
    pub(crate) objects_removed: IntCounter,
    /// Objects that it could not remove for now.
    pub(crate) objects_left: IntCounter,
    /// 1 while Postgres answers.
    pub(crate) postgres_up: IntGauge,
    /// The hook before a message.
    pub(crate) hook: HookMetrics,
}

/// How much there may be of what is counted.
#[derive(Clone)]
pub(crate) struct Limits {
    pub(crate) requests: IntGauge,
    pub(crate) connections: IntGauge,
    pub(crate) uploads: IntGauge,
    pub(crate) downloads: IntGauge,
}

impl Limits {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            requests: gauge!(
                "parley_http_requests_limit",
                "Most requests that may be under way; more are refused.",
                registry
            )?,
            connections: gauge!(
                "parley_http_connections_limit",
                "Most connections of clients; more wait to be accepted.",
                registry
            )?,
            uploads: gauge!(
                "parley_uploads_limit",
                "Most uploads that may be under way.",
                registry
            )?,
            downloads: gauge!(
                "parley_downloads_limit",
                "Most downloads of files that may be under way.",
                registry
            )?,
        })
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let storage_failures = counters!(
            "parley_storage_failures_total",
            "Files that their storage did not take (write) or give (read).",
            &["operation"],
            registry
        )?;
        Ok(Self {
            requests: counters!(
                "parley_http_requests_total",
                "Requests answered, by route, method and status.",
                &["route", "method", "status"],
                registry
            )?,
            seconds: histograms!(
                "parley_http_request_seconds",
                "Time to answer, by route and method.",
                &["route", "method"],
                vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,],
                registry
            )?,
            panics: counter!(
                "parley_http_panics_total",
                "Requests whose handler panicked: bugs.",
                registry
            )?,
            shed: counter!(
                "parley_http_shed_total",
                "Requests that were refused because too many were under way.",
                registry
            )?,
            connections: gauge!("parley_http_connections", "Connections of clients.", registry)?,
            under_way: gauge!("parley_http_requests_under_way", "Requests under way.", registry)?,
            limits: Limits::register(registry)?,
            messages: counter!(
                "parley_messages_appended_total",
                "Messages committed by this pod.",
                registry
            )?,
            swept: counter!(
                "parley_swept_changes_total",
                "Changes that nobody had told for two seconds, and that this pod told.",
                registry
            )?,
            uploads: gauge!("parley_uploads", "Uploads under way.", registry)?,
            uploads_refused: counter!(
                "parley_uploads_refused_total",
                "Uploads that were refused because too many were under way.",
                registry
            )?,
            downloads: gauge!("parley_downloads", "Downloads of files under way.", registry)?,
            downloads_refused: counter!(
                "parley_downloads_refused_total",
                "Downloads that were refused because too many were under way.",
                registry
            )?,
            writes_failed: storage_failures.with_label_values(&["write"]),
            reads_failed: storage_failures.with_label_values(&["read"]),
            objects_removed: counter!(
                "parley_objects_removed_total",
                "Objects that this pod has removed from the storage of files.",
                registry
            )?,
            objects_left: counter!(
                "parley_objects_left_total",
                "Tries to remove an object from the storage of files that failed.",
                registry
            )?,
            postgres_up: gauge!(
                "parley_postgres_up",
                "1 while Postgres answers this pod.",
                registry
            )?,
            hook: HookMetrics::register(registry)?,
        })
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// Names what this route may fail with: of a counter that begins with its first failure, no rate shows that one.
    pub(crate) fn name(&self, route: &str, method: &str) {
        for status in ["500", "503"] {
            self.requests.with_label_values(&[route, method, status]);
        }
        self.seconds.with_label_values(&[route, method]);
    }

    /// How much there may be of what is counted.
    pub(crate) const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn connected(&self) -> Counted {
        Counted::one_of(&self.connections)
    }

    /// Counts a request until the answer is dropped.
    pub(crate) fn begun(&self) -> Counted {
        Counted::one_of(&self.under_way)
    }
}

/// How the hook before a message does.
#[derive(Clone)]
pub(crate) struct HookMetrics {
    outcomes: IntCounterVec,
    seconds: Histogram,
    calls: IntGauge,
    /// Most calls that may be under way.
    pub(crate) calls_limit: IntGauge,
}

/// What came of asking.
#[derive(Debug, Clone, Copy)]
pub(crate) enum HookOutcome {
    Allowed,
    Rewritten,
    Refused,
    /// It did not answer in time.
    Late,
    /// There was no place for the call in time.
    Full,
    /// It could not be called, or its answer could not be used.
    Failed,
}

impl HookOutcome {
    const ALL: [Self; 6] =
        [Self::Allowed, Self::Rewritten, Self::Refused, Self::Late, Self::Full, Self::Failed];

    const fn word(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Rewritten => "rewritten",
            Self::Refused => "refused",
            Self::Late => "late",
            Self::Full => "full",
            Self::Failed => "failed",
        }
    }
}

impl HookMetrics {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let outcomes = counters!(
            "parley_before_message_total",
            "Messages about which the hook before a message was asked, by outcome.",
            &["outcome"],
            registry
        )?;
        for outcome in HookOutcome::ALL {
            outcomes.with_label_values(&[outcome.word()]);
        }
        Ok(Self {
            outcomes,
            seconds: histogram!(
                "parley_before_message_seconds",
                "Time until there was a verdict, or none.",
                vec![0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0],
                registry
            )?,
            calls: gauge!(
                "parley_before_message_calls",
                "Calls of the hook before a message under way.",
                registry
            )?,
            calls_limit: gauge!(
                "parley_before_message_calls_limit",
                "Most calls of the hook before a message that may be under way; 0 without a hook.",
                registry
            )?,
        })
    }

    pub(crate) fn answered(&self, outcome: HookOutcome, took: Duration) {
        self.outcomes.with_label_values(&[outcome.word()]).inc();
        self.seconds.observe(took.as_secs_f64());
    }

    /// Counts a call until the answer is dropped.
    pub(crate) fn begun(&self) -> Counted {
        Counted::one_of(&self.calls)
    }
}

/// Something that is counted for as long as it lasts.
pub(crate) struct Counted(IntGauge);

impl Counted {
    fn one_of(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
