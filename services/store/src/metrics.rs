//! What the store tells of itself: its calls and its pools. The appender has metrics of its own.

use std::time::Instant;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntGaugeVec, Opts};
use sqlx::PgPool;

/// What is asked of the database, apart from commits of messages. Calls that cost alike go by one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// Whether it answers.
    Ping,
    /// What a chat is to a user.
    Access,
    /// Joins of rooms.
    Joins,
    /// What changed after a version.
    Changes,
    /// Where chats stand.
    Heads,
    /// How users stand, and whose tokens count.
    Users,
    /// A page of a chat's messages.
    History,
    /// One chat.
    Chat,
    /// A page of somebody's chats.
    Chats,
    /// Who is in a chat, a page of them.
    Participants,
    /// Unread counts, and what moves them.
    ReadState,
    /// An earlier try of a send.
    Tries,
    /// A new chat.
    Create,
    /// A change of messages or memberships.
    Change,
    /// Changes of the directory.
    Directory,
    /// Files and their objects.
    Files,
    /// What nobody has told yet, and what has been told.
    Sweep,
    /// Webhooks, and what was delivered to them.
    Webhooks,
    /// From the outbox to deliveries.
    FanOut,
    /// Deliveries that are due.
    Claims,
    /// What became of deliveries.
    Settle,
    /// Notices that are due, and what became of them.
    Notices,
}

impl Call {
    const ALL: [Self; 22] = [
        Self::Ping,
        Self::Access,
        Self::Joins,
        Self::Changes,
        Self::Heads,
        Self::Users,
        Self::History,
        Self::Chat,
        Self::Chats,
        Self::Participants,
        Self::ReadState,
        Self::Tries,
        Self::Create,
        Self::Change,
        Self::Directory,
        Self::Files,
        Self::Sweep,
        Self::Webhooks,
        Self::FanOut,
        Self::Claims,
        Self::Settle,
        Self::Notices,
    ];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Ping => "ping",
            Self::Access => "access",
            Self::Joins => "joins",
            Self::Changes => "changes",
            Self::Heads => "heads",
            Self::Users => "users",
            Self::History => "history",
            Self::Chat => "chat",
            Self::Chats => "chats",
            Self::Participants => "participants",
            Self::ReadState => "read_state",
            Self::Tries => "tries",
            Self::Create => "create",
            Self::Change => "change",
            Self::Directory => "directory",
            Self::Files => "files",
            Self::Sweep => "sweep",
            Self::Webhooks => "webhooks",
            Self::FanOut => "fan_out",
            Self::Claims => "claims",
            Self::Settle => "settle",
            Self::Notices => "notices",
        }
    }
}

/// Times of the calls.
pub(crate) struct Metrics {
    family: HistogramVec,
    calls: [Histogram; Call::ALL.len()],
}

impl Metrics {
    pub(crate) fn new() -> Result<Self, prometheus::Error> {
        let family = HistogramVec::new(
            HistogramOpts::new(
                "parley_store_call_seconds",
                "Time of a call of the database, the wait for a connection included, by what it is about.",
            )
            .buckets(vec![
                0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
            ]),
            &["call"],
        )?;
        let calls = Call::ALL.map(|call| family.with_label_values(&[call.as_str()]));
        Ok(Self { family, calls })
    }

    /// Times a call until what this gives is dropped, whatever comes of it.
    pub(crate) fn time(&self, call: Call) -> Timed<'_> {
        Timed { seconds: &self.calls[call as usize], began: Instant::now() }
    }

    pub(crate) fn calls(&self) -> HistogramVec {
        self.family.clone()
    }
}

/// A call under way.
#[must_use]
pub(crate) struct Timed<'a> {
    seconds: &'a Histogram,
    began: Instant,
}

impl Drop for Timed<'_> {
    fn drop(&mut self) {
        self.seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

/// The pools' own counts, read when they are asked for.
pub(crate) struct Pools {
    named: [(&'static str, PgPool); 2],
    connections: IntGaugeVec,
    idle: IntGaugeVec,
    most: IntGaugeVec,
}

impl Pools {
    pub(crate) fn new(pools: [(&'static str, PgPool); 2]) -> Result<Self, prometheus::Error> {
        let vec = |name: &str, help: &str| IntGaugeVec::new(Opts::new(name, help), &["pool"]);
        Ok(Self {
            named: pools,
            connections: vec(
                "parley_postgres_connections",
                "Connections to Postgres, by pool: of commits of messages, and of everything else.",
            )?,
            idle: vec("parley_postgres_idle_connections", "Connections without work, by pool.")?,
            most: vec(
                "parley_postgres_connections_limit",
                "Most connections that there may be, by pool; when all are at work, calls wait.",
            )?,
        })
    }

    fn families(&self) -> [&dyn Collector; 3] {
        [&self.connections, &self.idle, &self.most]
    }
}

impl Collector for Pools {
    fn desc(&self) -> Vec<&Desc> {
        self.families().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        for (name, pool) in &self.named {
            let idle = i64::try_from(pool.num_idle()).unwrap_or(i64::MAX);
            self.connections.with_label_values(&[name]).set(pool.size().into());
            self.idle.with_label_values(&[name]).set(idle);
            let most = pool.options().get_max_connections();
            self.most.with_label_values(&[name]).set(most.into());
        }
        self.families().into_iter().flat_map(Collector::collect).collect()
    }
}
