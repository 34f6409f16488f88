//! What a gateway pod tells of itself. No label holds a chat or a user.

use parley_domain::event::ResyncReason;
use std::sync::Arc;

use parley_socketio::{Application, Server};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Handles of this crate's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Rooms with a subscription.
    pub(crate) rooms: IntGauge,
    /// Events handed to connections.
    pub(crate) delivered: IntCounter,
    /// Connections that left a room because their user was removed.
    pub(crate) evicted: IntCounter,
    connects: IntCounterVec,
    joins: IntCounterVec,
    resyncs: IntCounterVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec =
            |name: &str, help: &str, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        let metrics = Self {
            rooms: IntGauge::new("parley_gateway_rooms", "Rooms that this pod listens to.")?,
            delivered: IntCounter::new(
                "parley_gateway_delivered_total",
                "Events handed to connections, one for each event and connection.",
            )?,
            evicted: IntCounter::new(
                "parley_gateway_evicted_total",
                "Connections that left a room because their user was removed from the chat.",
            )?,
            connects: vec("parley_gateway_connects_total", "CONNECTs, by outcome.", "outcome")?,
            joins: vec(
                "parley_gateway_joins_total",
                "Joins and leaves that were answered, by outcome.",
                "outcome",
            )?,
            resyncs: vec(
                "parley_gateway_resyncs_total",
                "Rooms told to reload, by reason.",
                "reason",
            )?,
        };
        registry.register(Box::new(metrics.rooms.clone()))?;
        registry.register(Box::new(metrics.delivered.clone()))?;
        registry.register(Box::new(metrics.evicted.clone()))?;
        registry.register(Box::new(metrics.connects.clone()))?;
        registry.register(Box::new(metrics.joins.clone()))?;
        registry.register(Box::new(metrics.resyncs.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn connect(&self, outcome: &'static str) {
        self.connects.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn join(&self, outcome: &'static str) {
        self.joins.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn resync(&self, reason: ResyncReason) {
        self.resyncs.with_label_values(&[reason.as_str()]).inc();
    }
}

/// Adds what the Socket.IO server counts, read when it is asked for.
pub(crate) fn register_sockets<A: Application>(
    registry: &Registry,
    server: &Arc<Server<A>>,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(Sockets::new(server.clone())?))
}

/// The server's own counters as metrics. The server counts for itself because it knows no Prometheus.
struct Sockets<A> {
    server: Arc<Server<A>>,
    connections: IntGauge,
    opened: IntCounterVec,
    closed: IntCounterVec,
    refused: IntCounterVec,
    upgrades: IntCounterVec,
    bytes: IntCounterVec,
    frames: IntCounterVec,
}

impl<A: Application> Sockets<A> {
    fn new(server: Arc<Server<A>>) -> Result<Self, prometheus::Error> {
        let vec =
            |name: &str, help: &str, label| IntCounterVec::new(Opts::new(name, help), &[label]);
        Ok(Self {
            server,
            connections: IntGauge::new("parley_gateway_connections", "Open connections.")?,
            opened: vec(
                "parley_gateway_opened_total",
                "Connections opened, by first transport.",
                "transport",
            )?,
            closed: vec("parley_gateway_closed_total", "Connections closed, by reason.", "reason")?,
            refused: vec(
                "parley_gateway_refused_total",
                "Handshakes and connections refused, by reason.",
                "reason",
            )?,
            upgrades: vec(
                "parley_gateway_upgrades_total",
                "Upgrades to WebSocket, by outcome.",
                "outcome",
            )?,
            bytes: vec("parley_gateway_bytes_total", "Payload bytes, by direction.", "direction")?,
            frames: vec("parley_gateway_frames_total", "Messages, by direction.", "direction")?,
        })
    }

    fn families(&self) -> [&dyn Collector; 7] {
        [
            &self.connections,
            &self.opened,
            &self.closed,
            &self.refused,
            &self.upgrades,
            &self.bytes,
            &self.frames,
        ]
    }

    fn read(&self) {
        let stats = self.server.stats();
        let set = |family: &IntCounterVec, label: &str, value: u64| {
            let counter = family.with_label_values(&[label]);
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        self.connections.set(i64::try_from(stats.connections).unwrap_or(i64::MAX));
        set(&self.opened, "polling", stats.opened_polling);
        set(&self.opened, "websocket", stats.opened_websocket);
        set(&self.upgrades, "done", stats.upgraded);
        set(&self.upgrades, "failed", stats.upgrades_failed);
        set(&self.bytes, "in", stats.bytes_in);
        set(&self.bytes, "out", stats.bytes_out);
        set(&self.frames, "in", stats.frames_in);
        set(&self.frames, "out", stats.frames_out);
        for (reason, count) in stats.closed {
            set(&self.closed, reason.as_str(), count);
        }
        set(&self.refused, "too_many_connections", stats.connections_dropped);
        for (refusal, count) in stats.refused {
            set(&self.refused, refusal.as_str(), count);
        }
    }
}

impl<A: Application> Collector for Sockets<A> {
    fn desc(&self) -> Vec<&Desc> {
        self.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.read();
        self.families().into_iter().flat_map(Collector::collect).collect()
    }
}
