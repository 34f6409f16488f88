//! What a courier tells of itself. No label holds a webhook, a chat or a user.

use std::time::Duration;

use chrono::TimeDelta;
use parley_store::{Decided, WebhookStandings};
use prometheus::{
    Gauge, Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    register_gauge_with_registry as float_gauge,
    register_histogram_vec_with_registry as histograms,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_vec_with_registry as gauges,
    register_int_gauge_with_registry as gauge,
};

/// Handles of this crate's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Deliveries that rows of the outbox have become.
    pub(crate) fanned_out: IntCounter,
    attempts: HistogramVec,
    delivery: Histogram,
    /// Deliveries that were given up.
    pub(crate) dead: IntCounter,
    /// Lanes under way.
    pub(crate) lanes: IntGauge,
    /// Attempts whose outcome could not be written down.
    pub(crate) unsettled: IntCounter,
    /// Webhooks that were switched off by themselves.
    pub(crate) disabled: IntCounter,
    /// Deliveries that were removed because they are old.
    pub(crate) forgotten: IntCounter,
    notices: IntCounterVec,
    webhooks: IntGaugeVec,
    waiting: IntGaugeVec,
    outbox_age: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self::new(registry)?;
        // What has not been yet is told too.
        metrics.attempts.with_label_values(&["delivered"]);
        metrics.noticed(&Decided { told: 0, needless: 0 });
        Ok(metrics)
    }

    fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            fanned_out: counter!(
                "parley_courier_fanned_out_total",
                "Deliveries that rows of the outbox have become.",
                registry
            )?,
            attempts: histograms!(
                "parley_courier_attempt_seconds",
                "Time of an attempt at a delivery, by what came of it.",
                &["outcome"],
                vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
                registry
            )?,
            delivery: histogram!(
                "parley_courier_delivery_seconds",
                "From the commit of what happened to the answer of a webhook that has taken it.",
                vec![0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 300.0, 3600.0, 86400.0],
                registry
            )?,
            dead: counter!(
                "parley_courier_dead_total",
                "Deliveries that were given up.",
                registry
            )?,
            lanes: gauge!(
                "parley_courier_lanes",
                "Lanes, of one chat and one webhook each, that this pod delivers from.",
                registry
            )?,
            unsettled: counter!(
                "parley_courier_unsettled_total",
                "Attempts whose outcome could not be written down: what was delivered is delivered again.",
                registry
            )?,
            disabled: counter!(
                "parley_courier_disabled_total",
                "Webhooks that were switched off because they failed for too long, or said that they are gone.",
                registry
            )?,
            forgotten: counter!(
                "parley_courier_forgotten_total",
                "Deliveries that were removed from the log because they are old.",
                registry
            )?,
            notices: counters!(
                "parley_courier_notices_total",
                "Times that somebody might have had to be told of what was said, by outcome: told, or needless, since they had read it, want \
                 nothing, or are told later.",
                &["outcome"],
                registry
            )?,
            webhooks: gauges!(
                "parley_courier_webhooks",
                "Webhooks, by how they stand; every pod tells of all of them.",
                &["state"],
                registry
            )?,
            waiting: gauges!(
                "parley_courier_waiting",
                "Deliveries that wait, by how their webhook stands; every pod tells of all of them.",
                &["webhook"],
                registry
            )?,
            outbox_age: float_gauge!(
                "parley_courier_outbox_seconds",
                "How long the oldest row of the outbox has waited; every pod tells of it.",
                registry
            )?,
        })
    }

    /// An attempt was made.
    pub(crate) fn attempted(&self, word: &str, took: Duration) {
        self.attempts.with_label_values(&[word]).observe(took.as_secs_f64());
    }

    /// A webhook has taken what happened so long ago.
    pub(crate) fn delivered(&self, age: TimeDelta) {
        self.delivery.observe(age.to_std().unwrap_or_default().as_secs_f64());
    }

    /// It was decided whom to tell.
    pub(crate) fn noticed(&self, decided: &Decided) {
        self.notices.with_label_values(&["told"]).inc_by(decided.told);
        self.notices.with_label_values(&["needless"]).inc_by(decided.needless);
    }

    /// How much there is.
    pub(crate) fn stands(&self, standings: &WebhookStandings, outbox_age: Option<Duration>) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let WebhookStandings { healthy, failing, disabled, waiting, waiting_healthy } = *standings;
        for (state, count) in [("healthy", healthy), ("failing", failing), ("disabled", disabled)] {
            self.webhooks.with_label_values(&[state]).set(number(count));
        }
        let others = waiting.saturating_sub(waiting_healthy);
        for (state, count) in [("healthy", waiting_healthy), ("other", others)] {
            self.waiting.with_label_values(&[state]).set(number(count));
        }
        self.outbox_age.set(outbox_age.unwrap_or_default().as_secs_f64());
    }
}
