//! Table `outbox`: what was committed and is to be told to webhooks, written by the transaction that commits it, and only
//! as long as somebody wants it.
//!
//! Whether somebody does is a note that each pod keeps and looks up anew every second, so that no send asks for it. A note
//! older than [`LASTS`] counts no more: then everything is written, and thrown away by the fan-out if nobody wants it. So a
//! webhook hears of everything that is begun [`LASTS`] after it was made, whatever a pod was held up by.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use parley_domain::attendance::Turn;
use parley_domain::ids::ChatId;
use parley_domain::webhook::EventKind;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::heads::{self, Head};
use crate::metrics::Call;
use crate::webhooks::interval;
use crate::{Store, StoreError, unsigned};

/// For how long a pod goes by what it has noted.
const LASTS: Duration = Duration::from_secs(5);

/// Which events webhooks want, as this process has noted it.
#[derive(Default)]
pub(crate) struct Demand(Mutex<Option<Noted>>);

struct Noted {
    /// Before it was asked for.
    asked: Instant,
    wanted: [bool; EventKind::ALL.len()],
}

impl Demand {
    /// Whether the event is to be written: somebody wants it, or nobody knows.
    pub(crate) fn wants(&self, kind: EventKind) -> bool {
        let noted = self.0.lock();
        match &*noted {
            Some(noted) if noted.asked.elapsed() < LASTS => noted.wanted[kind as usize],
            _ => true,
        }
    }

    fn note(&self, asked: Instant, wants: impl Fn(EventKind) -> bool) {
        *self.0.lock() = Some(Noted { asked, wanted: EventKind::ALL.map(wants) });
    }
}

/// A change that webhooks are told, but for what is read when they are.
pub(crate) struct Outward {
    pub(crate) kind: EventKind,
    /// The message that it is about, by its seq.
    pub(crate) seq: Option<i64>,
    /// What cannot be read later.
    pub(crate) detail: Option<Value>,
}

impl Outward {
    /// About no message.
    pub(crate) const fn of(kind: EventKind, detail: Option<Value>) -> Self {
        Self { kind, seq: None, detail }
    }
}

/// What one call of the fan-out has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FannedOut {
    /// Rows of the outbox that are done.
    pub rows: u64,
    /// Deliveries that they have become.
    pub deliveries: u64,
    /// Timers of notices that they have armed.
    pub armed: u64,
}

/// How notices are armed: see [`Store::claim_notices`].
#[derive(Debug, Clone, Copy)]
pub struct ArmNotices {
    /// For how long a message waits for somebody to come and read it.
    pub delay: Duration,
    /// Nobody is told of chats with more participants than this.
    pub crowd: u32,
}

impl Store {
    /// Looks up which events webhooks want. To be called every second by whoever changes chats.
    pub async fn note_demand(&self) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let asked = Instant::now();
        let filters = sqlx::query_scalar!(
            r#"
            select distinct events
            from webhooks
            where disabled_at is null and removed_at is null
            "#,
        )
        .fetch_all(&self.pool)
        .await?;
        self.demand.note(asked, |kind| {
            let wants = |filter: &Vec<String>| {
                let names = |wanted: EventKind| filter.iter().any(|name| name == wanted.as_str());
                // Notices come of messages.
                let notices =
                    kind == EventKind::MessageCreated && names(EventKind::NotificationDue);
                filter.is_empty() || names(kind) || notices
            };
            filters.iter().any(wants)
        });
        Ok(())
    }

    /// Turns the oldest rows of the outbox, at most so many, into deliveries; `None` while somebody else does.
    pub async fn fan_out(
        &self,
        most: u32,
        notices: &ArmNotices,
    ) -> Result<Option<FannedOut>, StoreError> {
        let _timed = self.metrics.time(Call::FanOut);
        let most = i32::try_from(most).unwrap_or(i32::MAX);
        let crowd = i32::try_from(notices.crowd).unwrap_or(i32::MAX);
        let row = sqlx::query!(
            "select rows_taken, deliveries, armed from fan_out_1($1, $2, $3)",
            most,
            interval(notices.delay),
            crowd,
        )
        .fetch_one(&self.pool)
        .await?;
        let Some(rows) = row.rows_taken else { return Ok(None) };
        let deliveries = unsigned(row.deliveries.unwrap_or_default());
        let armed = unsigned(row.armed.unwrap_or_default());
        Ok(Some(FannedOut { rows: unsigned(rows), deliveries, armed }))
    }

    /// Has webhooks told who is online from now on, or is not any more, if one of them wants that.
    pub async fn tell_turns(&self, turns: &[Turn]) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let kind =
            |turn: &Turn| if turn.online { EventKind::UserOnline } else { EventKind::UserOffline };
        let kinds: Vec<&str> = turns.iter().map(|turn| kind(turn).as_str()).collect();
        let users: Vec<&str> = turns.iter().map(|turn| turn.user_id.as_str()).collect();
        sqlx::query!(
            r#"
            insert into outbox (kind, chat_ids, seqs, counts, detail)
            select t.kind, array[null::uuid], array[null::bigint], '{1}', jsonb_build_object('userId', t.user_id)
            from unnest($1::text[], $2::text[]) with ordinality as t (kind, user_id, place)
            where exists (
                select from webhooks w
                where w.disabled_at is null and w.removed_at is null and (w.events = '{}' or t.kind = any(w.events))
            )
            order by t.place
            "#,
            &kinds as _,
            &users as _,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How long the oldest row of the outbox has waited; `None` when it is empty.
    pub async fn outbox_age(&self) -> Result<Option<Duration>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let seconds = sqlx::query_scalar!(
            r#"
            select extract(epoch from clock_timestamp() - created_at)::float8 as "seconds!"
            from outbox
            order by id
            limit 1
            "#,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(seconds.map(|seconds| Duration::try_from_secs_f64(seconds).unwrap_or_default()))
    }

    /// Leaves the traces of a change that takes versions, in its transaction: one for the rooms, and one for webhooks if any
    /// wants it.
    pub(crate) async fn note(
        &self,
        connection: &mut PgConnection,
        chat: ChatId,
        first: parley_domain::version::Version,
        outward: &[Outward],
    ) -> Result<Head, StoreError> {
        for outward in outward.iter().filter(|outward| self.demand.wants(outward.kind)) {
            put(connection, Some(chat), outward).await?;
        }
        heads::note(connection, chat, first).await
    }
}

/// Writes an event into the outbox, in the transaction of what happened.
pub(crate) async fn put(
    connection: &mut PgConnection,
    chat: Option<ChatId>,
    outward: &Outward,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into outbox (kind, chat_ids, seqs, counts, detail)
        values ($1, array[$2::uuid], array[$3::bigint - 1], '{1}', $4)
        "#,
        outward.kind.as_str(),
        chat.map(ChatId::uuid) as Option<Uuid>,
        outward.seq,
        outward.detail,
    )
    .execute(connection)
    .await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nobody_knows_to_be_unwanted_is_written() {
        let demand = Demand::default();
        assert!(demand.wants(EventKind::MessageCreated), "nothing is noted yet");
        let now = Instant::now();
        demand.note(now, |kind| kind == EventKind::ChatCreated);
        assert!(demand.wants(EventKind::ChatCreated) && !demand.wants(EventKind::MessageCreated));
        let Some(long_ago) = now.checked_sub(LASTS) else { return };
        demand.note(long_ago, |_| false);
        assert!(demand.wants(EventKind::MessageCreated), "the note is too old");
    }
}
