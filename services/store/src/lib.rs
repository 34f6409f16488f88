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
mod epoch;
mod error;
mod heads;
mod loose_objects;
mod messages;
mod migrations;
mod participants;
mod read_state;
mod settings;
mod users;

use std::sync::Arc;
use std::time::Duration;

use parley_domain::version::Epoch;
use sqlx::postgres::PgPoolOptions;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::timeout;

pub use appender::{Appender, AppenderSettings, AppenderTask, Expected, TooFewConnections};
pub use attachments::StoredFile;
pub use changes::CatchUp;
pub use chats::{ChatFilter, CreateChat, CreatedChat};
pub use error::StoreError;
pub use heads::{Committed, Head, UntoldHead};
pub use messages::{
    AppendMessage, Appended, Cursor, DeleteAs, DeleteMessage, EditMessage, MessagePage,
    MessageQuery, Order,
};
pub use migrations::migrate;
pub use participants::{
    Access, AddParticipant, ChangeAs, EnterSupport, Membership, RemoveParticipant,
};
pub use read_state::{ChatStats, MarkRead, MarkUnread, Marked};
pub use settings::{ComesBack, DatabaseSettings, ParticipantSettings, UnknownUsers};
pub use users::UserRecord;

use crate::epoch::CurrentEpoch;
use crate::heads::ToldHeads;

/// The database, through a bounded pool of connections.
#[derive(Clone)]
pub struct Store {
    pool: PgPool,
    epoch: Arc<CurrentEpoch>,
    told: Arc<ToldHeads>,
}

impl Store {
    /// Connects, and proves it with one connection.
    pub async fn connect(settings: &DatabaseSettings) -> Result<Self, StoreError> {
        let options = settings.connect_options()?;
        // A pool tells only that it waited in vain; one connection by hand tells why.
        let attempt =
            timeout(settings.acquire_timeout(), PgConnection::connect_with(&options)).await;
        attempt.map_err(|_| StoreError::from(sqlx::Error::PoolTimedOut))??.close().await?;
        let epoch = Arc::new(CurrentEpoch::default());
        let noted = epoch.clone();
        let pool = PgPoolOptions::new()
            .max_connections(settings.database_connections)
            .min_connections(settings.database_connections.min(2))
            .acquire_timeout(settings.acquire_timeout())
            // A ping per use would double the round trips; a broken connection shows itself.
            .test_before_acquire(false)
            .max_lifetime(Duration::from_mins(30))
            // A database cannot be replaced under an open connection, so each new one tells which history it is in.
            .after_connect(move |connection, _| {
                let noted = noted.clone();
                Box::pin(async move { noted.note(connection).await })
            })
            .connect_with(options)
            .await?;
        Ok(Self { pool, epoch, told: Arc::default() })
    }

    /// The history that versions belong to now.
    pub fn epoch(&self) -> Epoch {
        self.epoch.get()
    }

    /// Asks the database for nothing, to see whether it answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("select 1 as one").fetch_one(&self.pool).await?;
        Ok(())
    }

    /// Most connections of the pool.
    pub(crate) fn most_connections(&self) -> u32 {
        self.pool.options().get_max_connections()
    }

    /// Connections of the pool: (all, idle).
    pub fn connections(&self) -> (u32, usize) {
        (self.pool.size(), self.pool.num_idle())
    }

    /// Ends every connection once its work is done.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// A transaction in which all reads see one moment.
    async fn snapshot(&self) -> Result<sqlx::Transaction<'static, sqlx::Postgres>, StoreError> {
        Ok(self.pool.begin_with("begin isolation level repeatable read read only").await?)
    }
}

/// Postgres has no unsigned numbers; ours begin at 0 and the schema keeps them there.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// The other way; a position beyond what Postgres can count stands beyond every row.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
