//! Tables `webhook_deliveries` and `webhook_attempts` as a log: what became of each event, and its being told again.

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, DeliveryId, EventId, WebhookId};
use parley_domain::webhook::EventKind;
use sqlx::PgConnection;
use uuid::Uuid;

use super::claims::LaneId;
use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

/// Most attempts of one delivery that are shown.
const SHOWN_ATTEMPTS: i64 = 100;

/// What has become of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is tried, or will be.
    Waiting,
    /// The webhook has answered with a 2xx.
    Delivered,
    /// It was tried for too long; it may be replayed.
    Dead,
}

impl DeliveryState {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Dead => "dead",
        }
    }

    fn parse(text: &str) -> Result<Self, StoreError> {
        [Self::Waiting, Self::Delivered, Self::Dead]
            .into_iter()
            .find(|state| state.as_str() == text)
            .ok_or_else(|| StoreError::inconsistent("webhook_deliveries", format!("state {text}")))
    }
}

/// An event for one webhook, and what has become of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryRecord {
    /// The delivery.
    pub id: DeliveryId,
    /// The event, which other webhooks are told too.
    pub event_id: EventId,
    /// What happened.
    pub kind: EventKind,
    /// Where, if it was in a chat.
    pub chat_id: Option<ChatId>,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// What has become of it.
    pub state: DeliveryState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was delivered or given up.
    pub settled_at: Option<DateTime<Utc>>,
    /// The last attempt.
    pub last: Option<AttemptRecord>,
}

/// One attempt at a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptRecord {
    /// Which one, from 1.
    pub attempt: u32,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How long it took.
    pub millis: u32,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none.
    pub error: Option<String>,
    /// How the answer began.
    pub answer: Option<String>,
}

/// Which deliveries of a webhook, the newest first.
#[derive(Debug, Clone, Copy)]
pub struct DeliveryQuery {
    /// Only of this state.
    pub state: Option<DeliveryState>,
    /// Only those before this one.
    pub before: Option<DeliveryId>,
    /// Most of them.
    pub limit: u32,
}

/// What is to be told again.
#[derive(Debug, Clone, Copy)]
pub struct ReplayRange {
    /// What happened at or after this,
    pub from: DateTime<Utc>,
    /// and before this.
    pub to: DateTime<Utc>,
    /// Also what was delivered; else only what was given up.
    pub delivered_too: bool,
    /// Only what comes after this one: the last of the replay before.
    pub after: Option<DeliveryId>,
    /// Most of them, the oldest first.
    pub most: u32,
}

/// What came of a replay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replayed {
    /// Deliveries that wait again.
    pub count: u64,
    /// The last of them.
    pub last: Option<DeliveryId>,
    /// Whether there may be more of them.
    pub more: bool,
}

struct DeliveryRow {
    id: i64,
    event_id: Uuid,
    kind: String,
    lane: Uuid,
    occurred_at: DateTime<Utc>,
    state: String,
    attempts: i32,
    settled_at: Option<DateTime<Utc>>,
    attempt: Option<i32>,
    began_at: Option<DateTime<Utc>>,
    millis: Option<i32>,
    status: Option<i32>,
    error: Option<String>,
    answer: Option<String>,
}

impl DeliveryRow {
    fn record(self) -> Result<DeliveryRecord, StoreError> {
        let last = AttemptRow {
            attempt: self.attempt.unwrap_or_default(),
            began_at: self.began_at.unwrap_or_default(),
            millis: self.millis.unwrap_or_default(),
            status: self.status,
            error: self.error,
            answer: self.answer,
        };
        Ok(DeliveryRecord {
            id: DeliveryId(unsigned(self.id)),
            event_id: self.event_id.into(),
            kind: event_kind(&self.kind)?,
            chat_id: LaneId(self.lane).chat(),
            occurred_at: self.occurred_at,
            state: DeliveryState::parse(&self.state)?,
            attempts: self.attempts.unsigned_abs(),
            settled_at: self.settled_at,
            last: self.attempt.map(|_| last.record()),
        })
    }
}

struct AttemptRow {
    attempt: i32,
    began_at: DateTime<Utc>,
    millis: i32,
    status: Option<i32>,
    error: Option<String>,
    answer: Option<String>,
}

impl AttemptRow {
    fn record(self) -> AttemptRecord {
        AttemptRecord {
            attempt: self.attempt.unsigned_abs(),
            began_at: self.began_at,
            millis: self.millis.unsigned_abs(),
            status: self.status.and_then(|status| u16::try_from(status).ok()),
            error: self.error,
            answer: self.answer,
        }
    }
}

/// The rows of a webhook's deliveries with their last attempts; what follows the `where` is the caller's.
macro_rules! delivery_rows {
    ($($rest:literal)+ $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            DeliveryRow,
            r#"
            select
                d.id, d.event_id, d.kind, d.lane, d.occurred_at, d.state, d.attempts, d.settled_at
                , a.attempt as "attempt?", a.began_at as "began_at?", a.millis as "millis?", a.status, a.error, a.answer
            from webhook_deliveries d
            left join webhook_attempts a on a.delivery_id = d.id and a.attempt = d.attempts
            where d.webhook_id = $1
            "#
            $(+ $rest)+
            $(, $argument)*
        )
    };
}

impl Store {
    /// Deliveries of a webhook; none without such a one.
    pub async fn deliveries(
        &self,
        webhook: WebhookId,
        query: &DeliveryQuery,
    ) -> Result<Vec<DeliveryRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let before = query.before.map_or(i64::MAX, |before| signed(before.0));
        let (webhook, limit, pool) = (webhook.uuid(), i64::from(query.limit), &self.pool);
        macro_rules! page {
            ($($of_state:literal)?) => {
                delivery_rows!(
                    "and d.id < $2" $($of_state)? " order by d.id desc limit $3", webhook, before, limit
                )
                .fetch_all(pool)
                .await?
            };
        }
        // A state by its name, and not as an argument: so its index serves.
        let rows = match query.state {
            None => page!(),
            Some(DeliveryState::Waiting) => page!(" and d.state = 'waiting'"),
            Some(DeliveryState::Delivered) => page!(" and d.state = 'delivered'"),
            Some(DeliveryState::Dead) => page!(" and d.state = 'dead'"),
        };
        rows.into_iter().map(DeliveryRow::record).collect()
    }

    /// One delivery of a webhook with its latest attempts, the oldest of them first.
    pub async fn delivery(
        &self,
        webhook: WebhookId,
        id: DeliveryId,
    ) -> Result<Option<(DeliveryRecord, Vec<AttemptRecord>)>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let mut snapshot = self.snapshot().await?;
        let Some(record) = one(&mut snapshot, webhook, signed(id.0)).await? else {
            return Ok(None);
        };
        let mut attempts = sqlx::query_as!(
            AttemptRow,
            r#"
            select attempt, began_at, millis, status, error, answer
            from webhook_attempts
            where delivery_id = $1
            order by attempt desc
            limit $2
            "#,
            signed(id.0),
            SHOWN_ATTEMPTS,
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        attempts.reverse();
        Ok(Some((record, attempts.into_iter().map(AttemptRow::record).collect())))
    }

    /// Has one delivery told again, whatever became of it; `None` without such a one. What waits anyway goes on waiting.
    pub async fn replay(
        &self,
        webhook: WebhookId,
        id: DeliveryId,
    ) -> Result<Option<DeliveryRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let mut transaction = self.pool.begin().await?;
        again(&mut transaction, webhook, &[signed(id.0)]).await?;
        let record = one(&mut transaction, webhook, signed(id.0)).await?;
        transaction.commit().await?;
        Ok(record)
    }

    /// Has what happened in a time told again, in its order and under its ids; `None` if there is nothing to go on after.
    pub async fn replay_range(
        &self,
        webhook: WebhookId,
        range: &ReplayRange,
    ) -> Result<Option<Replayed>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let mut transaction = self.pool.begin().await?;
        let mut begin = (range.from, 0);
        if let Some(after) = range.after {
            let Some(last) = one(&mut transaction, webhook, signed(after.0)).await? else {
                return Ok(None);
            };
            begin = begin.max((last.occurred_at, signed(after.0)));
        }
        let chosen = settled_within(&mut transaction, webhook, begin, range).await?;
        let count = again(&mut transaction, webhook, &chosen).await?;
        transaction.commit().await?;
        let last = chosen.last().map(|id| DeliveryId(unsigned(*id)));
        Ok(Some(Replayed { count, last, more: chosen.len() >= range.most as usize }))
    }
}

/// What does not wait of a time, the oldest first, after a delivery of a moment.
async fn settled_within(
    connection: &mut PgConnection,
    webhook: WebhookId,
    (from, after): (DateTime<Utc>, i64),
    range: &ReplayRange,
) -> Result<Vec<i64>, StoreError> {
    // A state by its name, and not as an argument: so its index serves.
    macro_rules! settled {
        ($state:literal) => {
            sqlx::query_scalar!(
                r#"
                select id
                from webhook_deliveries
                where webhook_id = $1 and (occurred_at, id) > ($2, $3) and occurred_at < $4
                "#
                    + $state
                    + " order by occurred_at, id limit $5 for no key update",
                webhook.uuid(),
                from,
                after,
                range.to,
                i64::from(range.most),
            )
            .fetch_all(connection)
            .await?
        };
    }
    Ok(if range.delivered_too {
        settled!("and state <> 'waiting'")
    } else {
        settled!("and state = 'dead'")
    })
}

/// Has settled deliveries wait once more, under their ids and in their order; says how many.
async fn again(
    connection: &mut PgConnection,
    webhook: WebhookId,
    deliveries: &[i64],
) -> Result<u64, StoreError> {
    let count = sqlx::query_scalar!(
        r#"
        with waiting as (
            update webhook_deliveries
            set state = 'waiting', settled_at = null, failed = 0, retry_from = clock_timestamp()
            where id = any($2) and webhook_id = $1 and state <> 'waiting'
            returning webhook_id, lane
        )
        , opened as (
            insert into webhook_lanes as l (webhook_id, lane, waiting, due_at)
            select webhook_id, lane, count(*), clock_timestamp()
            from waiting
            group by webhook_id, lane
            order by webhook_id, lane
            on conflict (webhook_id, lane) do update set
                waiting = l.waiting + excluded.waiting
                , due_at = case when l.holder is null then excluded.due_at else l.due_at end
        )
        select count(*) as "count!" from waiting
        "#,
        webhook.uuid(),
        deliveries,
    )
    .fetch_one(connection)
    .await?;
    Ok(unsigned(count))
}

pub(super) async fn one(
    connection: &mut PgConnection,
    webhook: WebhookId,
    id: i64,
) -> Result<Option<DeliveryRecord>, StoreError> {
    let row =
        delivery_rows!("and d.id = $2", webhook.uuid(), id).fetch_optional(connection).await?;
    row.map(DeliveryRow::record).transpose()
}

/// A kind that this release has written.
fn event_kind(text: &str) -> Result<EventKind, StoreError> {
    EventKind::parse(text)
        .map_err(|_| StoreError::inconsistent("webhook_deliveries", format!("event {text}")))
}
