//! What the bus tells of itself.

use std::time::Duration;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, Registry,
    register_histogram_vec_with_registry as histograms,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};

use crate::AskError;
use crate::subject::{ASK_CATCH_UP, ASKS};

/// Handles of the bus's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// 1 while connected.
    pub(crate) connected: IntGauge,
    /// Disconnects and overrun subscriptions: moments after which something may have been missed.
    pub(crate) interruptions: IntCounter,
    /// Events given to the bus.
    pub(crate) published: IntCounter,
    dropped: IntCounterVec,
    /// Events that wait to be given to the bus.
    pub(crate) queued: IntGauge,
    confirmed: Histogram,
    asks: HistogramVec,
    asks_failed: IntCounterVec,
    answers: HistogramVec,
    /// Events of rooms that arrived.
    pub(crate) received: IntCounter,
    /// Announcements that said that not all heads were kept.
    pub(crate) heads_lost: IntCounter,
    /// Events that no reader of this release understands.
    pub(crate) unreadable: IntCounter,
    /// Signals of typing that were not told.
    pub(crate) typing_dropped: IntCounter,
}

/// Why an event was not published.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Dropped {
    /// The queue before the bus was full.
    QueueFull,
    /// The bus was away.
    Disconnected,
    /// The bus did not take it in time.
    TimedOut,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Disconnected, Self::TimedOut];

    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Disconnected => "disconnected",
            Self::TimedOut => "timed_out",
        }
    }
}

/// From a round trip within a cluster to the deadline of an ask.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connected: gauge!(
                "parley_bus_connected",
                "1 while this pod is connected to NATS.",
                registry
            )?,
            interruptions: counter!(
                "parley_bus_interruptions_total",
                "Disconnects from NATS and overrun subscriptions; after each, something may have been missed.",
                registry
            )?,
            published: counter!(
                "parley_bus_published_total",
                "Room events given to NATS.",
                registry
            )?,
            dropped: counters!(
                "parley_bus_dropped_total",
                "Room events that were not published, by reason.",
                &["reason"],
                registry
            )?,
            queued: gauge!(
                "parley_bus_queued_events",
                "Room events that wait to be given to NATS; 8192 at most, and more are dropped.",
                registry
            )?,
            confirmed: histogram!(
                "parley_bus_confirm_seconds",
                "Time until NATS said that it has what was given to it.",
                SECONDS.to_vec(),
                registry
            )?,
            asks: histograms!(
                "parley_bus_ask_seconds",
                "Time of an ask of an api pod, failed ones included, by ask.",
                &["ask"],
                SECONDS.to_vec(),
                registry
            )?,
            asks_failed: counters!(
                "parley_bus_asks_failed_total",
                "Asks without an answer, by ask and reason; they are asked again.",
                &["ask", "reason"],
                registry
            )?,
            answers: histograms!(
                "parley_bus_answer_seconds",
                "Time that this pod took to answer an ask, by ask.",
                &["ask"],
                SECONDS.to_vec(),
                registry
            )?,
            received: counter!(
                "parley_bus_received_total",
                "Room events that arrived from NATS.",
                registry
            )?,
            heads_lost: counter!(
                "parley_bus_heads_lost_total",
                "Announcements of heads that had to leave some out; gateways then compare all their rooms.",
                registry
            )?,
            unreadable: counter!(
                "parley_bus_unreadable_total",
                "Room events that this release cannot read.",
                registry
            )?,
            typing_dropped: counter!(
                "parley_bus_typing_dropped_total",
                "Signals of typing that were not told, because too many waited or the bus was away; they end by themselves.",
                registry
            )?,
        };
        metrics.name_all();
        Ok(metrics)
    }

    /// Every outcome that there may be is told as 0, and not by silence.
    fn name_all(&self) {
        for reason in Dropped::ALL {
            self.dropped.with_label_values(&[reason.as_str()]);
        }
        for ask in ASKS {
            self.asks.with_label_values(&[label(ask)]);
            self.answers.with_label_values(&[label(ask)]);
            for reason in AskError::ALL {
                self.asks_failed.with_label_values(&[label(ask), reason.as_str()]);
            }
        }
    }

    pub(crate) fn dropped(&self, reason: Dropped) {
        self.dropped.with_label_values(&[reason.as_str()]).inc();
    }

    /// The server has what was given to it so long ago.
    pub(crate) fn confirmed(&self, took: Duration) {
        self.confirmed.observe(took.as_secs_f64());
    }

    pub(crate) fn asked(&self, subject: &'static str, took: Duration, failed: Option<AskError>) {
        self.asks.with_label_values(&[label(subject)]).observe(took.as_secs_f64());
        if let Some(reason) = failed {
            self.asks_failed.with_label_values(&[label(subject), reason.as_str()]).inc();
        }
    }

    pub(crate) fn answered(&self, subject: &'static str, took: Duration) {
        self.answers.with_label_values(&[label(subject)]).observe(took.as_secs_f64());
    }
}

/// An ask by its subject, as it is called elsewhere in metrics.
fn label(subject: &'static str) -> &'static str {
    match subject {
        ASK_CATCH_UP => "catch_up",
        other => other.strip_prefix("ask.").unwrap_or(other),
    }
}
