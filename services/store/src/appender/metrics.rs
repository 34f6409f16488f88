//! What the appender tells of itself.

use std::time::Duration;

use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Handles of the appender's metrics; cheap to clone.
#[derive(Clone)]
pub(super) struct Metrics {
    sizes: Histogram,
    seconds: Histogram,
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

impl Metrics {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            sizes: Histogram::with_opts(
                HistogramOpts::new("parley_append_batch_messages", "Messages of one commit.")
                    .buckets(vec![1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0]),
            )?,
            seconds: Histogram::with_opts(
                HistogramOpts::new("parley_append_seconds", "Time of one commit of messages.")
                    .buckets(vec![
                        0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
                    ]),
            )?,
            refused: IntCounterVec::new(
                Opts::new(
                    "parley_append_refused_total",
                    "Messages that were refused before anything was done, by reason.",
                ),
                &["reason"],
            )?,
            halved: IntCounter::new(
                "parley_append_halved_total",
                "Commits that were halved because the database could not take a message of them.",
            )?,
            one_by_one: IntCounter::new(
                "parley_append_one_by_one_total",
                "Commits whose messages were looked at one by one: something of them was no participant's first try.",
            )?,
            lanes: IntGauge::new(
                "parley_append_lanes",
                "Chats whose messages wait for a lock that somebody else holds.",
            )?,
        };
        registry.register(Box::new(metrics.sizes.clone()))?;
        registry.register(Box::new(metrics.seconds.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.halved.clone()))?;
        registry.register(Box::new(metrics.one_by_one.clone()))?;
        registry.register(Box::new(metrics.lanes.clone()))?;
        Ok(metrics)
    }

    pub(super) fn batch(&self, messages: usize, took: Duration) {
        #[expect(clippy::cast_precision_loss, reason = "a batch has at most a thousand messages")]
        self.sizes.observe(messages as f64);
        self.seconds.observe(took.as_secs_f64());
    }

    pub(super) fn refused(&self, reason: Refused) {
        let label = match reason {
            Refused::QueueFull => "queue_full",
            Refused::Expired => "expired",
        };
        self.refused.with_label_values(&[label]).inc();
    }
}
