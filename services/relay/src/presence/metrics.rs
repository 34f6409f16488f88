//! What presence tells of itself.

use prometheus::{IntCounter, IntGauge, Registry};

pub(super) struct Metrics {
    /// 1 while Redis keeps it.
    pub(super) up: IntGauge,
    /// Heartbeats and movements that Redis did not get.
    pub(super) away: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            up: IntGauge::new(
                "parley_presence_up",
                "1 while Redis can be asked who is online and who is typing; while it is 0, nobody is known to be.",
            )?,
            away: IntCounter::new(
                "parley_presence_untold_total",
                "Times that Redis could not be told who is connected; it is told everybody when it is back.",
            )?,
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.away.clone()))?;
        Ok(metrics)
    }
}
