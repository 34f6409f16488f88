//! Table `pending_heads`: what was committed and perhaps not told.

use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::change::Change;
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use tracing::Span;
use uuid::Uuid;

use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

/// The trace of a transaction that took versions. Whoever has told its changes removes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Head(pub(crate) i64);

/// Committed changes of chats, still to be told.
#[derive(Debug, Clone)]
pub struct Committed {
    /// Chat by chat in rising version.
    pub changes: Vec<Change>,
    /// The history of their versions.
    pub epoch: Epoch,
    /// To be given to [`Store::told`] once the bus has the changes.
    pub head: Head,
    /// What the senders of some of the changes do, of those that are traced.
    pub traced: Vec<(ChatId, Version, Span)>,
}

/// Something that was committed a while ago and not told: its pod died, or the bus was away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UntoldHead {
    /// To be given to [`Store::told`].
    pub head: Head,
    /// The chats, each with the version before the first one that was taken.
    pub chats: Vec<(ChatId, Version)>,
    /// Chats that were made: their people may not know that they have them.
    pub made: Vec<ChatId>,
}

/// The version that a chat is made at, which nothing else takes.
pub(crate) const MADE: Version = Version(0);

/// Most told heads that one statement removes.
const AT_ONCE: usize = 256;

/// Heads whose changes have been told, to be removed with one of the next commits. Losing one costs that its changes
/// are told again.
#[derive(Default)]
pub(crate) struct ToldHeads(Mutex<Vec<Head>>);

impl ToldHeads {
    pub(crate) fn take(&self) -> Vec<Head> {
        let mut waiting = self.0.lock();
        let rest = waiting.len().saturating_sub(AT_ONCE);
        waiting.split_off(rest)
    }

    pub(crate) fn put_back(&self, heads: Vec<Head>) {
        self.0.lock().extend(heads);
    }
}

impl Store {
    /// The changes of this commit have been told: its trace goes with one of the next commits of messages, or within
    /// half a second while an appender runs.
    pub fn told_soon(&self, head: Head) {
        self.told.put_back(vec![head]);
    }

    /// Forgets what has been told. What somebody else is forgetting just now is left to them.
    pub async fn told(&self, heads: &[Head]) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Sweep);
        let ids: Vec<i64> = heads.iter().map(|head| head.0).collect();
        sqlx::query!(
            r#"
            delete from pending_heads
            where id in (select id from pending_heads where id = any($1) for update skip locked)
            "#,
            &ids,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// What nobody has told for `age`, the oldest first.
    pub async fn untold(&self, age: Duration, limit: u32) -> Result<Vec<UntoldHead>, StoreError> {
        let _timed = self.metrics.time(Call::Sweep);
        let age = PgInterval::try_from(age).map_err(sqlx::Error::Encode)?;
        let rows = sqlx::query!(
            r#"
            select id, chat_ids, versions
            from pending_heads
            where created_at < clock_timestamp() - $1::interval
            order by id
            limit $2
            "#,
            age,
            i64::from(limit),
        )
        .fetch_all(&self.pool)
        .await?;
        let untold = rows.into_iter().map(|row| {
            let mut untold = UntoldHead { head: Head(row.id), chats: Vec::new(), made: Vec::new() };
            for (chat, first) in row.chat_ids.into_iter().zip(row.versions) {
                let (chat, first) = (ChatId::from(chat), Version(unsigned(first)));
                match first {
                    MADE => untold.made.push(chat),
                    Version(first) => untold.chats.push((chat, Version(first - 1))),
                }
            }
            untold
        });
        Ok(untold.collect())
    }

    /// Where these chats stand; absent ones are left out.
    pub async fn heads(&self, chats: &[ChatId]) -> Result<Vec<(ChatId, Version)>, StoreError> {
        let _timed = self.metrics.time(Call::Heads);
        let ids: Vec<Uuid> = chats.iter().map(|chat| chat.uuid()).collect();
        let rows = sqlx::query!("select id, version from chats where id = any($1)", &ids)
            .fetch_all(&self.pool)
            .await?;
        Ok(rows.into_iter().map(|row| (row.id.into(), Version(unsigned(row.version)))).collect())
    }
}

/// Leaves the trace of a change, in the transaction that makes it.
pub(crate) async fn note(
    connection: &mut PgConnection,
    chat: ChatId,
    first: Version,
) -> Result<Head, StoreError> {
    let id = sqlx::query_scalar!(
        "insert into pending_heads (chat_ids, versions) values ($1, $2) returning id",
        &[chat.uuid()],
        &[signed(first.0)],
    )
    .fetch_one(connection)
    .await?;
    Ok(Head(id))
}
