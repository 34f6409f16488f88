//! What presence tells of itself.

use prometheus::{
    IntCounter, IntGauge, Registry, register_int_counter_with_registry as counter,
    register_int_gauge_with_registry as gauge,
};

pub(super) struct Metrics {
    /// 1 while Redis keeps it.
    pub(super) up: IntGauge,
    /// Heartbeats and movements that Redis did not get.
    pub(super) away: IntCounter,
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            up: gauge!(
                "parley_presence_up",
                "1 while Redis can be asked who is online and who is typing; while it is 0, nobody is known to be.",
                registry
            )?,
            away: counter!(
                "parley_presence_untold_total",
                "Times that Redis could not be told who is connected; it is told everybody when it is back.",
                registry
            )?,
        })
    }
}
