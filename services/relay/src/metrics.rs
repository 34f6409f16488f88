//! What the bus tells of itself.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

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

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            connected: IntGauge::new(
                "parley_bus_connected",
                "1 while this pod is connected to NATS.",
            )?,
            interruptions: IntCounter::new(
                "parley_bus_interruptions_total",
                "Disconnects from NATS and overrun subscriptions; after each, something may have been missed.",
            )?,
            published: IntCounter::new("parley_bus_published_total", "Room events given to NATS.")?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "parley_bus_dropped_total",
                    "Room events that were not published, by reason.",
                ),
                &["reason"],
            )?,
            received: IntCounter::new(
                "parley_bus_received_total",
                "Room events that arrived from NATS.",
            )?,
            heads_lost: IntCounter::new(
                "parley_bus_heads_lost_total",
                "Announcements of heads that had to leave some out; gateways then compare all their rooms.",
            )?,
            unreadable: IntCounter::new(
                "parley_bus_unreadable_total",
                "Room events that this release cannot read.",
            )?,
            typing_dropped: IntCounter::new(
                "parley_bus_typing_dropped_total",
                "Signals of typing that were not told, because too many waited or the bus was away; they end by themselves.",
            )?,
        };
        registry.register(Box::new(metrics.connected.clone()))?;
        registry.register(Box::new(metrics.interruptions.clone()))?;
        registry.register(Box::new(metrics.published.clone()))?;
        registry.register(Box::new(metrics.dropped.clone()))?;
        registry.register(Box::new(metrics.received.clone()))?;
        registry.register(Box::new(metrics.heads_lost.clone()))?;
        registry.register(Box::new(metrics.unreadable.clone()))?;
        registry.register(Box::new(metrics.typing_dropped.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn dropped(&self, reason: Dropped) {
        let label = match reason {
            Dropped::QueueFull => "queue_full",
            Dropped::Disconnected => "disconnected",
            Dropped::TimedOut => "timed_out",
        };
        self.dropped.with_label_values(&[label]).inc();
    }
}
