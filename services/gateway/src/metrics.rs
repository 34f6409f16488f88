//! What a gateway pod tells of itself. No label holds a chat or a user.

use chrono::TimeDelta;
use parley_domain::event::ResyncReason;
use std::sync::Arc;

use parley_socketio::{Application, Server};
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Opts, Registry,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};
use tokio::time::Instant;

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
    pub(crate) gaps: Gaps,
    /// Endings that are not remembered any more.
    pub(crate) forgotten: IntCounter,
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
        let metrics = Self {
            rooms: gauge!("parley_gateway_rooms", "Rooms that this pod listens to.", registry)?,
            delivered: counter!(
                "parley_gateway_delivered_total",
                "Events handed to connections, one for each event and connection.",
                registry
            )?,
            delivery: histogram!(
                "parley_gateway_delivery_seconds",
                "From a commit, by the api pod's clock, until all of a room's connections here were handed the event, by this pod's; one for each durable event and room. Only what came live: what a room or a connection caught up with has no part in it.",
                DELIVERY.to_vec(),
                registry
            )?,
            replayed: counter!(
                "parley_gateway_replayed_total",
                "Missed events told to connections on their way into a room.",
                registry
            )?,
            evicted: counter!(
                "parley_gateway_evicted_total",
                "Connections that left a room because their user was removed from the chat.",
                registry
            )?,
            gaps: Gaps::register(registry)?,
            overflowed: counter!(
                "parley_gateway_overflowed_total",
                "Events that a room could not hold while it caught up. Durable ones came with a page of that, receipts did not.",
                registry
            )?,
            forgotten: counter!(
                "parley_gateway_endings_forgotten_total",
                "Endings of connections, memberships and rooms that this pod remembers no more, because there were later ones.",
                registry
            )?,
            connects: counters!(
                "parley_gateway_connects_total",
                "CONNECTs, by outcome.",
                &["outcome"],
                registry
            )?,
            refreshes: counters!(
                "parley_gateway_refreshes_total",
                "New tokens of open connections, by outcome.",
                &["outcome"],
                registry
            )?,
            sent_away: counters!(
                "parley_gateway_sent_away_total",
                "Connections closed because of what they are here for, by reason.",
                &["reason"],
                registry
            )?,
            joins: counters!(
                "parley_gateway_joins_total",
                "Joins and leaves that were answered, by outcome.",
                &["outcome"],
                registry
            )?,
            resyncs: counters!(
                "parley_gateway_resyncs_total",
                "Connections on their way into a room that were told to reload after their ack, by reason.",
                &["reason"],
                registry
            )?,
            lost: counters!(
                "parley_gateway_lost_total",
                "Rooms whose connections were closed because they cannot be told what they missed, by reason.",
                &["reason"],
                registry
            )?,
            catch_ups: counters!(
                "parley_gateway_catch_ups_total",
                "Times that a room had to ask for what it did not hear, by cause; 0 while nothing is lost.",
                &["cause"],
                registry
            )?,
            comparisons: counters!(
                "parley_gateway_comparisons_total",
                "Times that all rooms were compared with their chats, by reason.",
                &["reason"],
                registry
            )?,
            asks: counters!(
                "parley_gateway_asks_total",
                "Asks that cost an api pod a look into its database, by kind.",
                &["kind"],
                registry
            )?,
            asked: counters!(
                "parley_gateway_asked_together_total",
                "Joins and tokens that those asks were about, by kind.",
                &["kind"],
                registry
            )?,
        };
        metrics.name_all();
        Ok(metrics)
    }

    /// What has not happened is told as 0, and not by silence.
    fn name_all(&self) {
        for code in [TOO_MANY_CONNECTIONS.code, "accepted"] {
            self.connects.with_label_values(&[code]);
        }
        for code in [TOO_MANY_ROOMS.code, RATE_LIMITED.code, "joined", "unavailable"] {
            self.joins.with_label_values(&[code]);
        }
        for code in [OTHER_USER.code, RATE_LIMITED.code, "accepted"] {
            self.refreshes.with_label_values(&[code]);
        }
        for why in SentAway::ALL {
            self.sent_away.with_label_values(&[why.as_str()]);
        }
        for cause in Cause::ALL {
            self.catch_ups.with_label_values(&[cause.as_str()]);
        }
        for why in Lost::ALL {
            self.lost.with_label_values(&[why.as_str()]);
        }
        for why in Doubt::ALL {
            self.comparisons.with_label_values(&[why.as_str()]);
        }
        for reason in [ResyncReason::Gap, ResyncReason::History, ResyncReason::Chats] {
            self.resyncs.with_label_values(&[reason.as_str()]);
        }
        for what in Asking::ALL {
            self.asks.with_label_values(&[what.as_str()]);
        }
        for what in [Asking::Join, Asking::Token] {
            self.asked.with_label_values(&[what.as_str()]);
        }
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
        self.lost.with_label_values(&[why.as_str()]).inc();
    }

    pub(crate) fn compared(&self, why: Doubt) {
        self.comparisons.with_label_values(&[why.as_str()]).inc();
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

/// What rooms miss for a while.
#[derive(Clone)]
pub(crate) struct Gaps {
    /// Events that had to wait for ones before them.
    pub(crate) held: IntCounter,
    noticed: IntCounter,
    behind: IntGauge,
    repairs: Histogram,
}

impl Gaps {
    fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        Ok(Self {
            held: counter!(
                "parley_gateway_held_total",
                "Events that came before ones that go before them, and waited.",
                registry
            )?,
            noticed: counter!(
                "parley_gateway_gaps_total",
                "Times that a room noticed that it misses something.",
                registry
            )?,
            behind: gauge!(
                "parley_gateway_rooms_behind",
                "Rooms that miss something that is known to be there.",
                registry
            )?,
            repairs: histogram!(
                "parley_gateway_gap_seconds",
                "Time from noticing that something is missing until all of it was told.",
                vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,],
                registry
            )?,
        })
    }

    /// A room misses something, until what this gives is dropped.
    pub(crate) fn begin(&self) -> Behind {
        self.noticed.inc();
        self.behind.inc();
        Behind { gaps: self.clone(), since: Instant::now() }
    }
}

/// A room that misses something.
pub(crate) struct Behind {
    gaps: Gaps,
    since: Instant,
}

impl Behind {
    /// It has all of it now.
    pub(crate) fn repaired(self) {
        self.gaps.repairs.observe(self.since.elapsed().as_secs_f64());
    }
}

impl Drop for Behind {
    fn drop(&mut self) {
        self.gaps.behind.dec();
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
    const ALL: [Self; 5] = [Self::Join, Self::Token, Self::CatchUp, Self::Heads, Self::Users];

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
    connections_limit: IntGauge,
    outbox_frames: IntGauge,
    outbox_bytes: IntGauge,
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
            connections_limit: IntGauge::new(
                "parley_gateway_connections_limit",
                "Most connections that may be open; more are refused.",
            )?,
            outbox_frames: IntGauge::new(
                "parley_gateway_outbox_messages",
                "Messages that wait to be written, to all connections together.",
            )?,
            outbox_bytes: IntGauge::new(
                "parley_gateway_outbox_bytes",
                "Bytes of messages that wait to be written, to all connections together.",
            )?,
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

    fn families(&self) -> [&dyn Collector; 14] {
        [
            &self.connections,
            &self.connections_limit,
            &self.outbox_frames,
            &self.outbox_bytes,
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
        let gauge = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        let connections = gauge(stats.connections);
        self.connections.set(connections);
        self.connections_limit.set(gauge(stats.max_connections));
        self.outbox_frames.set(gauge(stats.outbox_frames));
        self.outbox_bytes.set(gauge(stats.outbox_bytes));
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
