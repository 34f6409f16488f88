//! What an api pod tells of itself. No label holds a chat or a user.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
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
    /// Objects that this pod has removed from storage.
    pub(crate) objects_removed: IntCounter,
    /// Objects that it could not remove for now.
    pub(crate) objects_left: IntCounter,
    postgres_up: IntGauge,
    postgres_connections: IntGauge,
    postgres_idle: IntGauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            requests: IntCounterVec::new(
                Opts::new(
                    "parley_http_requests_total",
                    "Requests answered, by route, method and status.",
                ),
                &["route", "method", "status"],
            )?,
            seconds: HistogramVec::new(
                HistogramOpts::new(
                    "parley_http_request_seconds",
                    "Time to answer, by route and method.",
                )
                .buckets(vec![
                    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
                ]),
                &["route", "method"],
            )?,
            panics: IntCounter::new(
                "parley_http_panics_total",
                "Requests whose handler panicked: bugs.",
            )?,
            shed: IntCounter::new(
                "parley_http_shed_total",
                "Requests that were refused because too many were under way.",
            )?,
            connections: IntGauge::new("parley_http_connections", "Connections of clients.")?,
            messages: IntCounter::new(
                "parley_messages_appended_total",
                "Messages committed by this pod.",
            )?,
            swept: IntCounter::new(
                "parley_swept_changes_total",
                "Changes that nobody had told for two seconds, and that this pod told.",
            )?,
            uploads: IntGauge::new("parley_uploads", "Uploads under way.")?,
            uploads_refused: IntCounter::new(
                "parley_uploads_refused_total",
                "Uploads that were refused because too many were under way.",
            )?,
            downloads: IntGauge::new("parley_downloads", "Downloads of files under way.")?,
            downloads_refused: IntCounter::new(
                "parley_downloads_refused_total",
                "Downloads that were refused because too many were under way.",
            )?,
            objects_removed: IntCounter::new(
                "parley_objects_removed_total",
                "Objects that this pod has removed from the storage of files.",
            )?,
            objects_left: IntCounter::new(
                "parley_objects_left_total",
                "Tries to remove an object from the storage of files that failed.",
            )?,
            postgres_up: IntGauge::new("parley_postgres_up", "1 while Postgres answers this pod.")?,
            postgres_connections: IntGauge::new(
                "parley_postgres_connections",
                "Connections of the pool.",
            )?,
            postgres_idle: IntGauge::new(
                "parley_postgres_idle_connections",
                "Connections without work.",
            )?,
        };
        registry.register(Box::new(metrics.requests.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.panics.clone()))?;
        registry.register(Box::new(metrics.shed.clone()))?;
        registry.register(Box::new(metrics.connections.clone()))?;
        registry.register(Box::new(metrics.messages.clone()))?;
        registry.register(Box::new(metrics.swept.clone()))?;
        registry.register(Box::new(metrics.uploads.clone()))?;
        registry.register(Box::new(metrics.uploads_refused.clone()))?;
        registry.register(Box::new(metrics.downloads.clone()))?;
        registry.register(Box::new(metrics.downloads_refused.clone()))?;
        registry.register(Box::new(metrics.objects_removed.clone()))?;
        registry.register(Box::new(metrics.objects_left.clone()))?;
        registry.register(Box::new(metrics.postgres_up.clone()))?;
        registry.register(Box::new(metrics.postgres_connections.clone()))?;
        registry.register(Box::new(metrics.postgres_idle.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn answered(&self, route: &str, method: &str, status: u16, took: Duration) {
        self.requests.with_label_values(&[route, method, &status.to_string()]).inc();
        self.seconds.with_label_values(&[route, method]).observe(took.as_secs_f64());
    }

    /// Counts a connection until the answer is dropped.
    pub(crate) fn connected(&self) -> Connected {
        self.connections.inc();
        Connected(self.connections.clone())
    }

    pub(crate) fn postgres(&self, up: bool, connections: u32, idle: usize) {
        self.postgres_up.set(i64::from(up));
        self.postgres_connections.set(i64::from(connections));
        self.postgres_idle.set(i64::try_from(idle).unwrap_or(i64::MAX));
    }
}

/// A connection that is counted.
pub(crate) struct Connected(IntGauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}
