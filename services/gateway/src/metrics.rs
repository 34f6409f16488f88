//! What a gateway pod tells of itself. No label holds a chat or a user.

use chrono::TimeDelta;
use parley_domain::event::ResyncReason;
use std::sync::Arc;

use parley_socketio::{Application, Server};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::heads::Doubt;
use crate::protocol::{OTHER_USER, RATE_LIMITED, TOO_MANY_CONNECTIONS, TOO_MANY_ROOMS};
use crate::room::{Cause, Lost};

/// Bounds of the time from a commit to its delivery, in seconds.
const DELIVERY: [f64; 13] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Handles of this crate's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// Rooms with a subscription.
    pub(crate) rooms: IntGauge,
    /// Events handed to connections.
    pub(crate) delivered: IntCounter,
    delivery: Histogram,
    /// Events told to connections on their way into a room.
    pub(crate) replayed: IntCounter,
    /// Connections that left a room because their user was removed.
    pub(crate) evicted: IntCounter,
    /// Events that a room could not hold while it caught up.
    pub(crate) overflowed: IntCounter,
    connects: IntCounterVec,
    refreshes: IntCounterVec,
    sent_away: IntCounterVec,
    joins: IntCounterVec,
    resyncs: IntCounterVec,
    lost: IntCounterVec,
    catch_ups: IntCounterVec,
    asks: IntCounterVec,
    asked: IntCounterVec,
    comparisons: IntCounterVec,
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
            delivery: Histogram::with_opts(
                HistogramOpts::new(
                    "parley_gateway_delivery_seconds",
                    "From a commit, by the api pod's clock, until all of a room's connections here were handed the event, by this pod's; one for each durable event and room. Only what came live: what a room or a connection caught up with has no part in it.",
                )
                .buckets(DELIVERY.to_vec()),
            )?,
            replayed: IntCounter::new(
                "parley_gateway_replayed_total",
                "Missed events told to connections on their way into a room.",
            )?,
            evicted: IntCounter::new(
                "parley_gateway_evicted_total",
                "Connections that left a room because their user was removed from the chat.",
            )?,
            overflowed: IntCounter::new(
                "parley_gateway_overflowed_total",
                "Events that a room could not hold while it caught up. Durable ones came with a page of that, receipts did not.",
            )?,
            connects: vec("parley_gateway_connects_total", "CONNECTs, by outcome.", "outcome")?,
            refreshes: vec(
                "parley_gateway_refreshes_total",
                "New tokens of open connections, by outcome.",
                "outcome",
            )?,
            sent_away: vec(
                "parley_gateway_sent_away_total",
                "Connections closed because of what they are here for, by reason.",
                "reason",
            )?,
            joins: vec(
                "parley_gateway_joins_total",
                "Joins and leaves that were answered, by outcome.",
                "outcome",
            )?,
            resyncs: vec(
                "parley_gateway_resyncs_total",
                "Connections on their way into a room that were told to reload after their ack, by reason.",
                "reason",
            )?,
            lost: vec(
                "parley_gateway_lost_total",
                "Rooms whose connections were closed because they cannot be told what they missed, by reason.",
                "reason",
            )?,
            catch_ups: vec(
                "parley_gateway_catch_ups_total",
                "Times that a room had to ask for what it did not hear, by cause; 0 while nothing is lost.",
                "cause",
            )?,
            comparisons: vec(
                "parley_gateway_comparisons_total",
                "Times that all rooms were compared with their chats, by reason.",
                "reason",
            )?,
            asks: vec(
                "parley_gateway_asks_total",
                "Asks that cost an api pod a look into its database, by kind.",
                "kind",
            )?,
            asked: vec(
                "parley_gateway_asked_together_total",
                "Joins and tokens that those asks were about, by kind.",
                "kind",
            )?,
        };
        registry.register(Box::new(metrics.rooms.clone()))?;
        registry.register(Box::new(metrics.delivered.clone()))?;
        registry.register(Box::new(metrics.delivery.clone()))?;
        registry.register(Box::new(metrics.replayed.clone()))?;
        registry.register(Box::new(metrics.evicted.clone()))?;
        registry.register(Box::new(metrics.overflowed.clone()))?;
        registry.register(Box::new(metrics.lost.clone()))?;
        registry.register(Box::new(metrics.comparisons.clone()))?;
        for code in [TOO_MANY_CONNECTIONS.code, "accepted"] {
            metrics.connects.with_label_values(&[code]);
        }
        for code in [TOO_MANY_ROOMS.code, RATE_LIMITED.code, "joined"] {
            metrics.joins.with_label_values(&[code]);
        }
        for code in [OTHER_USER.code, RATE_LIMITED.code, "accepted"] {
            metrics.refreshes.with_label_values(&[code]);
        }
        for why in SentAway::ALL {
            metrics.sent_away.with_label_values(&[why.as_str()]);
        }
        // Nothing lost is told as 0, and not by silence.
        for cause in Cause::ALL {
            metrics.catch_ups.with_label_values(&[cause.as_str()]);
        }
        registry.register(Box::new(metrics.catch_ups.clone()))?;
        registry.register(Box::new(metrics.asks.clone()))?;
        registry.register(Box::new(metrics.asked.clone()))?;
        registry.register(Box::new(metrics.connects.clone()))?;
        registry.register(Box::new(metrics.refreshes.clone()))?;
        registry.register(Box::new(metrics.sent_away.clone()))?;
        registry.register(Box::new(metrics.joins.clone()))?;
        registry.register(Box::new(metrics.resyncs.clone()))?;
        Ok(metrics)
    }

    /// An event was handed to a room's connections, so long after its commit. Two clocks may differ: what is negative was
    /// at once.
    pub(crate) fn handed_over(&self, after: TimeDelta) {
        self.delivery.observe(after.to_std().unwrap_or_default().as_secs_f64());
    }

    pub(crate) fn connect(&self, outcome: &'static str) {
        self.connects.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn refreshed(&self, outcome: &'static str) {
        self.refreshes.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn sent_away(&self, why: SentAway) {
        self.sent_away.with_label_values(&[why.as_str()]).inc();
    }

    pub(crate) fn join(&self, outcome: &'static str) {
        self.joins.with_label_values(&[outcome]).inc();
    }

    pub(crate) fn resync(&self, reason: ResyncReason) {
        self.resyncs.with_label_values(&[reason.as_str()]).inc();
    }

    pub(crate) fn catch_up(&self, cause: Cause) {
        self.catch_ups.with_label_values(&[cause.as_str()]).inc();
    }

    pub(crate) fn lost(&self, why: Lost) {
        let reason = match why {
            Lost::TooFar => "too_far",
            Lost::History => "history",
            Lost::Fell => "fell",
            Lost::Gone => "gone",
        };
        self.lost.with_label_values(&[reason]).inc();
    }

    pub(crate) fn compared(&self, why: Doubt) {
        let reason = match why {
            Doubt::Interruption => "interruption",
            Doubt::Skipped => "skipped",
            Doubt::Silence => "silence",
            Doubt::LostTrack => "lost_track",
        };
        self.comparisons.with_label_values(&[reason]).inc();
    }

    pub(crate) fn asked(&self, what: Asking) {
        self.asks.with_label_values(&[what.as_str()]).inc();
    }

    /// One ask about so many.
    pub(crate) fn asked_together(&self, what: Asking, number: usize) {
        self.asked(what);
        self.asked.with_label_values(&[what.as_str()]).inc_by(number as u64);
    }
}

/// Why a connection is closed that did nothing wrong to the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SentAway {
    /// Its token has ended.
    TokenExpired,
    /// Its token was revoked.
    TokenRevoked,
    /// A join that nobody could answer for too long.
    JoinTimeout,
}

impl SentAway {
    const ALL: [Self; 3] = [Self::TokenExpired, Self::TokenRevoked, Self::JoinTimeout];

    const fn as_str(self) -> &'static str {
        match self {
            Self::TokenExpired => "token_expired",
            Self::TokenRevoked => "token_revoked",
            Self::JoinTimeout => "join_timeout",
        }
    }
}

/// What is asked of api pods.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asking {
    /// To enter a room, or for a page of what was missed there.
    Join,
    /// Whether a token is revoked.
    Token,
    /// What a room missed.
    CatchUp,
    /// Where rooms stand.
    Heads,
    /// How users stand.
    Users,
}

impl Asking {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Token => "token",
            Self::CatchUp => "catch_up",
            Self::Heads => "heads",
            Self::Users => "users",
        }
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
    forwards: IntCounterVec,
    moves: IntCounterVec,
    bytes: IntCounterVec,
    frames: IntCounterVec,
    pauses: IntCounter,
    draining: IntGauge,
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
            forwards: vec(
                "parley_gateway_forwards_total",
                "Polling requests of other gateways' sessions, by outcome.",
                "outcome",
            )?,
            moves: vec(
                "parley_gateway_moves_total",
                "Sessions that moved to or from another gateway, by outcome.",
                "outcome",
            )?,
            bytes: vec("parley_gateway_bytes_total", "Payload bytes, by direction.", "direction")?,
            frames: vec("parley_gateway_frames_total", "Messages, by direction.", "direction")?,
            pauses: IntCounter::new(
                "parley_gateway_inbox_pauses_total",
                "Times that a connection was not read because enough of it waited to be handled.",
            )?,
            draining: IntGauge::new(
                "parley_gateway_drain_remaining",
                "Connections that a drain has still to close; 0 while the pod does not drain.",
            )?,
        })
    }

    fn families(&self) -> [&dyn Collector; 11] {
        [
            &self.connections,
            &self.opened,
            &self.closed,
            &self.refused,
            &self.upgrades,
            &self.forwards,
            &self.moves,
            &self.bytes,
            &self.frames,
            &self.pauses,
            &self.draining,
        ]
    }

    fn read(&self) {
        let stats = self.server.stats();
        let set = |family: &IntCounterVec, label: &str, value: u64| {
            let counter = family.with_label_values(&[label]);
            counter.inc_by(value.saturating_sub(counter.get()));
        };
        let connections = i64::try_from(stats.connections).unwrap_or(i64::MAX);
        self.connections.set(connections);
        self.draining.set(if self.server.refuses_new() { connections } else { 0 });
        self.pauses.inc_by(stats.inbox_pauses.saturating_sub(self.pauses.get()));
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
        for (outcome, count) in stats.forwarded {
            set(&self.forwards, outcome.as_str(), count);
        }
        for (outcome, count) in stats.moved {
            set(&self.moves, outcome.as_str(), count);
        }
        set(&self.refused, "too_many_connections", stats.connections_dropped);
        set(&self.refused, "head_timeout", stats.head_timeouts);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_that_has_lost_nothing_says_so() {
        let registry = Registry::new();
        let _metrics = Metrics::register(&registry).unwrap();
        let families = registry.gather();
        let catch_ups = families.iter().find(|it| it.name() == "parley_gateway_catch_ups_total");
        assert_eq!(catch_ups.unwrap().get_metric().len(), Cause::ALL.len());
    }
}
