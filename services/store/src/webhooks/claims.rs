//! Table `webhook_lanes`: who delivers what now. A lane is claimed for a while, with the first of what waits in it.

use std::collections::HashMap;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, DeliveryId, EventId, WebhookId};
use parley_domain::message::Message;
use parley_domain::webhook::{EventKind, OutwardChat};
use secrecy::SecretString;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use super::{FAILING, interval};
use crate::chats::chats_outward;
use crate::messages::replays;
use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

/// How much may be claimed.
#[derive(Debug, Clone)]
pub struct ClaimLimits {
    /// Lanes of one webhook that this process has at a time.
    pub lanes: u32,
    /// Deliveries of one lane.
    pub deliveries: u32,
    /// For how long.
    pub lease: Duration,
    /// Lanes that this process has already, by webhook.
    pub held: Vec<(WebhookId, u32)>,
}

/// Lanes that are this process's for a while.
#[derive(Debug, Default)]
pub struct Claimed {
    /// Where they lead, once each.
    pub targets: HashMap<WebhookId, Target>,
    /// The lanes.
    pub lanes: Vec<ClaimedLane>,
}

/// A webhook, as deliveries need it.
#[derive(Debug)]
pub struct Target {
    /// Where it listens.
    pub url: String,
    /// What deliveries are signed with: its secret, and the one before it while that counts.
    pub secrets: Vec<SecretString>,
    /// Whether its last attempt has failed.
    pub failing: bool,
}

/// What a webhook is told one after the other: of a chat, of a user's coming and going, or of neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LaneId(pub(super) Uuid);

/// The version of the UUIDs of users' lanes: chats have others.
const OF_A_USER: usize = 8;

impl LaneId {
    /// The chat that it is of, if it is of one.
    pub fn chat(self) -> Option<ChatId> {
        let of_none = self.0.is_nil() || self.0.get_version_num() == OF_A_USER;
        (!of_none).then(|| self.0.into())
    }
}

impl From<ChatId> for LaneId {
    fn from(chat: ChatId) -> Self {
        Self(chat.uuid())
    }
}

/// Deliveries to be made one after the other.
#[derive(Debug)]
pub struct ClaimedLane {
    /// To whom.
    pub webhook: WebhookId,
    /// Of what.
    pub lane: LaneId,
    /// What waits, the first first; more may wait behind it.
    pub deliveries: Vec<Due>,
}

/// A delivery to be made, with what it tells as that is now.
#[derive(Debug)]
pub struct Due {
    /// The delivery.
    pub id: DeliveryId,
    /// The event.
    pub event_id: EventId,
    /// What happened, as an [`EventKind`] is written.
    pub kind: String,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// Which attempt it will be, from 1.
    pub attempt: u32,
    /// How many have failed since it began to be tried.
    pub failed: u32,
    /// For how long it has been waited for.
    pub waited: Duration,
    /// What was kept of it.
    pub detail: Option<Value>,
    /// The message that it is about.
    pub message: Option<Message>,
    /// The chat that it is about, of one that was made.
    pub chat: Option<OutwardChat>,
}

struct DueRow {
    webhook_id: Uuid,
    lane: Uuid,
    id: i64,
    event_id: Uuid,
    kind: String,
    seq: Option<i64>,
    detail: Option<Value>,
    occurred_at: DateTime<Utc>,
    attempts: i32,
    failed: i32,
    waited: f64,
}

impl Store {
    /// Claims lanes that are due, of each webhook as many as there is room for: one that fails again and again has room for one.
    /// A claim that is not given back in time ends by itself.
    pub async fn claim_lanes(
        &self,
        holder: Uuid,
        limits: &ClaimLimits,
    ) -> Result<Claimed, StoreError> {
        let _timed = self.metrics.time(Call::Claims);
        let mut connection = self.pool.acquire().await?;
        let (mut claimed, lanes) = claim(&mut connection, holder, limits).await?;
        if lanes.is_empty() {
            return Ok(claimed);
        }
        let rows = due(&mut connection, &lanes, limits.deliveries).await?;
        let mut messages = messages_of(&mut connection, &rows).await?;
        let made = rows.iter().filter(|row| row.kind == EventKind::ChatCreated.as_str());
        let made: Vec<Uuid> = made.map(|row| row.lane).collect();
        let mut chats = HashMap::new();
        if !made.is_empty() {
            chats = chats_outward(&mut connection, &made).await?;
        }
        drop(connection);
        let mut by_lane: HashMap<(Uuid, Uuid), Vec<Due>> = HashMap::new();
        // A message may be told of more than once, to more than one.
        for row in rows {
            let message = row.seq.and_then(|seq| messages.get_mut(&(row.lane, seq)).cloned());
            let chat = chats.get_mut(&row.lane).cloned();
            by_lane.entry((row.webhook_id, row.lane)).or_default().push(row.due(message, chat));
        }
        claimed.lanes.extend(lanes.into_iter().map(|(webhook, lane)| ClaimedLane {
            webhook: webhook.into(),
            lane: LaneId(lane),
            deliveries: by_lane.remove(&(webhook, lane)).unwrap_or_default(),
        }));
        Ok(claimed)
    }
}

impl DueRow {
    fn due(self, message: Option<Message>, chat: Option<OutwardChat>) -> Due {
        let made = self.kind == EventKind::ChatCreated.as_str();
        Due {
            id: DeliveryId(unsigned(self.id)),
            event_id: self.event_id.into(),
            kind: self.kind,
            occurred_at: self.occurred_at,
            attempt: self.attempts.unsigned_abs() + 1,
            failed: self.failed.unsigned_abs(),
            waited: Duration::try_from_secs_f64(self.waited).unwrap_or_default(),
            detail: self.detail,
            message,
            chat: chat.filter(|_| made),
        }
    }
}

/// The claim itself, of webhooks that are switched on and not paused. Its commit does not wait for the log's flush: a claim
/// that a crash of Postgres forgets is made again, and what was delivered under it comes again under its id.
async fn claim(
    connection: &mut PgConnection,
    holder: Uuid,
    limits: &ClaimLimits,
) -> Result<(Claimed, Vec<(Uuid, Uuid)>), StoreError> {
    let (webhooks, held): (Vec<Uuid>, Vec<i32>) =
        limits.held.iter().map(|(id, held)| (id.uuid(), held.cast_signed())).unzip();
    let rows = sqlx::query!(
        r#"
        with due as materialized (
            select w.id, w.url, w.secret, w.failures, w.former_secret, w.former_until, l.lane
            from webhooks w
            left join unnest($2::uuid[], $3::integer[]) as h (id, lanes) on h.id = w.id
            cross join lateral (
                select l.webhook_id, l.lane
                from webhook_lanes l
                where l.webhook_id = w.id and l.waiting > 0 and l.due_at <= statement_timestamp()
                order by l.due_at
                limit greatest(case when w.failures < $5 then $4 else 1 end - coalesce(h.lanes, 0), 0)
                for no key update skip locked
            ) l
            where w.disabled_at is null and w.removed_at is null
                and (w.paused_until is null or w.paused_until <= clock_timestamp())
        )
        , unflushed as materialized (
            select set_config('synchronous_commit', 'off', true)
        )
        update webhook_lanes l
        set holder = $1, due_at = clock_timestamp() + $6::interval
        from due d
        cross join unflushed
        where l.webhook_id = d.id and l.lane = d.lane
        returning
            l.webhook_id, l.lane, d.url, d.secret, d.failures > 0 as "failing!"
            , case when d.former_until > clock_timestamp() then d.former_secret end as former_secret
        "#,
        holder,
        &webhooks,
        &held,
        limits.lanes.cast_signed(),
        FAILING,
        interval(limits.lease),
    )
    .fetch_all(connection)
    .await?;
    let mut claimed = Claimed::default();
    let mut lanes = Vec::with_capacity(rows.len());
    for row in rows {
        lanes.push((row.webhook_id, row.lane));
        claimed.targets.entry(row.webhook_id.into()).or_insert_with(|| Target {
            url: row.url,
            secrets: std::iter::once(row.secret)
                .chain(row.former_secret)
                .map(SecretString::from)
                .collect(),
            failing: row.failing,
        });
    }
    Ok((claimed, lanes))
}

/// The first deliveries of each lane.
async fn due(
    connection: &mut PgConnection,
    lanes: &[(Uuid, Uuid)],
    most: u32,
) -> Result<Vec<DueRow>, StoreError> {
    let (webhooks, ids): (Vec<Uuid>, Vec<Uuid>) = lanes.iter().copied().unzip();
    let rows = sqlx::query_as!(
        DueRow,
        r#"
        select
            d.webhook_id, d.lane, d.id, d.event_id, d.kind, d.seq, d.detail, d.occurred_at, d.attempts, d.failed
            , extract(epoch from clock_timestamp() - d.retry_from)::float8 as "waited!"
        from unnest($1::uuid[], $2::uuid[]) with ordinality as wanted (webhook_id, lane, place)
        cross join lateral (
            select *
            from webhook_deliveries d
            where d.webhook_id = wanted.webhook_id and d.lane = wanted.lane and d.state = 'waiting'
            order by d.id
            limit $3
        ) d
        order by wanted.place, d.id
        "#,
        &webhooks,
        &ids,
        i64::from(most),
    )
    .fetch_all(connection)
    .await?;
    Ok(rows)
}

/// The messages that these are about, as they are now.
async fn messages_of(
    connection: &mut PgConnection,
    rows: &[DueRow],
) -> Result<HashMap<(Uuid, i64), Message>, StoreError> {
    let mut places: Vec<(Uuid, i64)> =
        rows.iter().filter_map(|row| Some((row.lane, row.seq?))).collect();
    if places.is_empty() {
        return Ok(HashMap::new());
    }
    places.sort_unstable();
    places.dedup();
    let messages = replays(connection, &places).await?;
    Ok(messages.into_iter().map(|it| ((it.chat_id.uuid(), signed(it.seq.0)), it)).collect())
}
