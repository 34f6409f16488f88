//! What the appender tells of itself.

use std::sync::Arc;
use std::time::Duration;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Registry,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};
use tokio::sync::Semaphore;

/// From what a commit takes to the deadline of a send.
const SECONDS: [f64; 12] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5];

/// Handles of the appender's metrics; cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics {
    sizes: Histogram,
    seconds: Histogram,
    waits: Histogram,
    refused: IntCounterVec,
    /// Batches that were halved because of something that the database could not take: bugs.
    pub(super) halved: IntCounter,
    pub(super) one_by_one: IntCounter,
    /// Chats that wait for a lock of somebody else's.
    pub(super) lanes: IntGauge,
}

/// Why a send was refused before it was begun.
#[derive(Debug, Clone, Copy)]
pub(super) enum Refused {
    /// Too many wait, or too many bytes.
    QueueFull,
    /// Its turn did not come in time.
    Expired,
}

impl Refused {
    const ALL: [Self; 2] = [Self::QueueFull, Self::Expired];

    const fn as_str(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::Expired => "expired",
        }
    }
}

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sizes: histogram!(
                "parley_append_batch_messages",
                "Messages of one commit.",
                vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0],
                registry
            )?,
            seconds: histogram!(
                "parley_append_seconds",
                "Time of one commit of messages.",
                SECONDS.to_vec(),
                registry
            )?,
            waits: histogram!(
                "parley_append_wait_seconds",
                "Time that a message waited before its commit began.",
                SECONDS.to_vec(),
                registry
            )?,
            refused: counters!(
                "parley_append_refused_total",
                "Messages that were refused before anything was done, by reason.",
                &["reason"],
                registry
            )?,
            halved: counter!(
                "parley_append_halved_total",
                "Commits that were halved because the database could not take a message of them.",
                registry
            )?,
            one_by_one: counter!(
                "parley_append_one_by_one_total",
                "Commits whose messages were looked at one by one: something of them was no participant's first try.",
                registry
            )?,
            lanes: gauge!(
                "parley_append_lanes",
                "Chats whose messages wait for a lock that somebody else holds.",
                registry
            )?,
        };
        for reason in Refused::ALL {
            metrics.refused.with_label_values(&[reason.as_str()]);
        }
        Ok(metrics)
    }

    pub(super) fn batch(&self, messages: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most a thousand messages")]
        self.sizes.observe(messages as f64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn waited(&self, waited: Duration) {
        self.waits.observe(waited.as_secs_f64());
    }

    pub(super) fn refused(&self, reason: Refused) {
        self.refused.with_label_values(&[reason.as_str()]).inc();
    }
}

/// What waits, and how much may: read from the places when it is asked for.
pub(super) struct Queue {
    places: Arc<Semaphore>,
    most: usize,
    bytes: Arc<Semaphore>,
    most_bytes: usize,
    families: Families,
}

struct Families {
    messages: IntGauge,
    messages_limit: IntGauge,
    bytes: IntGauge,
    bytes_limit: IntGauge,
}

impl Queue {
    pub(super) fn new(
        (places, most): (Arc<Semaphore>, usize),
        (bytes, most_bytes): (Arc<Semaphore>, usize),
    ) -> Result<Self, prometheus::Error> {
        let families = Families {
            messages: IntGauge::new(
                "parley_append_queued_messages",
                "Messages that wait for their commit, or are in one.",
            )?,
            messages_limit: IntGauge::new(
                "parley_append_queued_messages_limit",
                "Most messages that may wait; more are refused.",
            )?,
            bytes: IntGauge::new(
                "parley_append_queued_bytes",
                "Bytes of the messages that wait for their commit, or are in one.",
            )?,
            bytes_limit: IntGauge::new(
                "parley_append_queued_limit_bytes",
                "Most bytes of messages that may wait; more are refused.",
            )?,
        };
        Ok(Self { places, most, bytes, most_bytes, families })
    }

    fn families(&self) -> [&dyn Collector; 4] {
        let Families { messages, messages_limit, bytes, bytes_limit } = &self.families;
        [messages, messages_limit, bytes, bytes_limit]
    }
}

impl Collector for Queue {
    fn desc(&self) -> Vec<&Desc> {
        self.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let Families { messages, messages_limit, bytes, bytes_limit } = &self.families;
        messages.set(gauge(self.most.saturating_sub(self.places.available_permits())));
        messages_limit.set(gauge(self.most));
        bytes.set(gauge(self.most_bytes.saturating_sub(self.bytes.available_permits())));
        bytes_limit.set(gauge(self.most_bytes));
        self.families().into_iter().flat_map(Collector::collect).collect()
    }
}
