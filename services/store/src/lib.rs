//! What must survive: Postgres, and the only SQL of the project.
//!
//! Methods are verbs of the domain and state facts: what is absent is `None` or a named outcome, never an error.
//! One file per table. Queries are checked at compile time against the schema (`.sqlx` holds what the compiler needs
//! without a database; `cargo parley sqlx` writes it anew).
//!
//! This crate must never know HTTP, sockets, the bus or Redis, and never publishes anything: whoever calls it learns
//! what was committed and does that.

mod appender;
mod attachments;
mod changes;
mod chats;
mod direct;
mod epoch;
mod error;
mod heads;
mod loose_objects;
mod messages;
mod metrics;
mod migrations;
mod notices;
mod outbox;
mod participants;
mod preferences;
mod read_state;
mod settings;
mod users;
mod webhooks;

use std::sync::Arc;
use std::time::Duration;

use parley_domain::version::Epoch;
use prometheus::Registry;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Connection, PgPool};

pub use appender::{Appender, AppenderSettings, AppenderTask, Expected, TooFewConnections};
pub use attachments::StoredFile;
pub use changes::CatchUp;
pub use chats::{ChatFilter, CreateChat, CreatedChat};
pub use error::StoreError;
pub use heads::{Committed, Head, UntoldHead};
pub use messages::{
    AppendMessage, Appended, Cursor, DeleteAs, DeleteMessage, EditMessage, MessagePage,
    MessagePlace, MessageQuery, Order,
};
pub use migrations::migrate;
pub use notices::{Decided, Decision, DueNotice};
pub use outbox::{ArmNotices, FannedOut};
pub use participants::{
    Access, AddParticipant, ChangeAs, EnterSupport, Membership, MembershipRecord, RemoveParticipant,
};
pub use read_state::{ChatStats, MarkRead, MarkUnread, Marked};
pub use settings::{ComesBack, DatabaseSettings, ParticipantSettings, UnknownUsers};
pub use users::UserRecord;
pub use webhooks::{
    AttemptRecord, Attempted, ClaimLimits, Claimed, ClaimedLane, DeliveryQuery, DeliveryRecord,
    DeliveryState, Due, Health, LaneId, NewWebhook, Patience, Released, ReplayRange, Replayed,
    Retention, Settlement, Target, WebhookChange, WebhookRecord, WebhookStandings,
};

use crate::appender::connections_for_sends;
use crate::epoch::CurrentEpoch;
use crate::heads::ToldHeads;
use crate::metrics::{Call, Metrics, Pools};
use crate::outbox::Demand;

/// The database, through bounded pools of connections.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    /// The appender's own, whose plans are made as its statements need them.
    sends: PgPool,
    epoch: Arc<CurrentEpoch>,
    told: Arc<ToldHeads>,
    demand: Arc<Demand>,
    metrics: Arc<Metrics>,
}

impl Store {
    /// Connects, and proves it with one connection.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        Self::connect_for_shards(settings, 1).await
    }

    /// The same, with connections for an appender of so many shards.
    pub async fn connect_for_shards(
        settings: &DatabaseSettings,
        shards: u32,
    ) -> Result<Self, StoreError> {
        let options = settings.connect_options()?;
        direct::connect(settings, &options).await?.close().await?;
        let epoch = Arc::new(CurrentEpoch::default());
        let all = settings.database_connections;
        let for_sends = connections_for_sends(all, shards);
        let others = all.saturating_sub(for_sends).max(1);
        let pool = pool(settings, others, &epoch).connect_with(options.clone()).await?;
        let sends = pool_for_sends(settings, for_sends, &epoch, options);
        let metrics = Arc::new(Metrics::new()?);
        let (told, demand) = Default::default();
        Ok(Self { pool, sends, epoch, told, demand, metrics })
    }

    /// Has the registry tell of calls and pools.
    pub fn register(&self, registry: &Registry) -> Result<(), StoreError> {
        registry.register(Box::new(self.metrics.calls()))?;
        let pools = [("sends", self.sends.clone()), ("others", self.pool.clone())];
        registry.register(Box::new(Pools::new(pools)?))?;
        Ok(())
    }

    /// The history that versions belong to now.
    pub fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    /// Asks the database for nothing, to see whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Ping);
        sqlx::query!("select 1 as one").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Most connections of the appender.
    pub(crate) fn connections_for_sends(&self) -> u32 {
        self.sends.options().get_max_connections()
    }

    /// Ends every connection once its work is done.
    pub async fn close(&self) {
        tokio::join!(self.pool.close(), self.sends.close());
    }

    /// A transaction in which all reads see one moment.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        Ok(self.pool.begin_with("begin isolation level repeatable read read only").await?)
    }
}

fn pool(settings: &DatabaseSettings, most: u32, epoch: &Arc<CurrentEpoch>) -> PgPoolOptions {
    let noted = epoch.clone();
    PgPoolOptions::new()
        .max_connections(most)
        .min_connections(most.min(2))
        .acquire_timeout(settings.acquire_timeout())
        // A ping per use would double the round trips; a broken connection shows itself.
        .test_before_acquire(false)
        .max_lifetime(Duration::from_mins(30))
        // A database cannot be replaced under an open connection, so each new one tells which history it is in.
        .after_connect(move |connection, _| {
            let noted = noted.clone();
            Box::pin(async move { noted.note(connection).await })
        })
}

/// One plan is made per connection, perhaps while the tables are empty and every plan looks as good as any other. So it is
/// left no choice: what is looked up by key always is, in the order of its index. Planning anew would cost more than the whole
/// batch, and settings of the function's own nearly as much as a message.
fn pool_for_sends(
    settings: &DatabaseSettings,
    most: u32,
    epoch: &Arc<CurrentEpoch>,
    options: PgConnectOptions,
) -> PgPool {
    let options = options.options([
        ("plan_cache_mode", "force_generic_plan"),
        ("enable_sort", "off"),
        ("enable_incremental_sort", "off"),
        ("enable_bitmapscan", "off"),
        ("enable_seqscan", "off"),
        ("enable_hashjoin", "off"),
        ("enable_mergejoin", "off"),
    ]);
    pool(settings, most, epoch).min_connections(1).connect_lazy_with(options)
}

/// Postgres has no unsigned numbers; ours begin at 0 and the schema keeps them there.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The other way; a position beyond what Postgres can count stands beyond every row.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
