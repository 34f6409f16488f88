//! Table `webhooks`: where events go, and whether they arrive. Its deliveries are in files of their own.

mod claims;
mod deliveries;
mod settle;
mod upkeep;

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ids::{EventId, WebhookId};
use parley_domain::webhook::{Description, EventFilter, EventKind, WebhookUrl};
use secrecy::{ExposeSecret, SecretString};
use sqlx::PgConnection;
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

pub use claims::{ClaimLimits, Claimed, ClaimedLane, Due, LaneId, Target};
pub use deliveries::{
    AttemptRecord, DeliveryQuery, DeliveryRecord, DeliveryState, ReplayRange, Replayed,
};
pub use settle::{Attempted, Health, Patience, Released, Settlement};
pub use upkeep::{Retention, WebhookStandings};

use crate::metrics::Call;
use crate::{Store, StoreError, unsigned};

/// Failures in a row from which on a webhook is tried with one lane at a time, and with pauses.
const FAILING: i32 = 10;

/// A webhook as it is made.
#[derive(Debug, Clone)]
pub struct NewWebhook {
    /// Where it listens.
    pub url: WebhookUrl,
    /// What it is for.
    pub description: Option<Description>,
    /// Which events it wants.
    pub events: EventFilter,
}

/// What is changed about a webhook; what is `None` stays.
#[derive(Debug, Clone, Default)]
pub struct WebhookChange {
    /// Where it listens.
    pub url: Option<WebhookUrl>,
    /// What it is for; `Some(None)` takes that away.
    pub description: Option<Option<Description>>,
    /// Which events it wants.
    pub events: Option<EventFilter>,
    /// Whether anything is delivered. Switched on, it is as if it had never failed.
    pub enabled: Option<bool>,
}

/// A webhook as it stands, without its secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookRecord {
    /// The webhook.
    pub id: WebhookId,
    /// Where it listens.
    pub url: String,
    /// What it is for.
    pub description: Option<String>,
    /// Which events it wants.
    pub events: EventFilter,
    /// Until when the secret before the present one signs too.
    pub former_until: Option<DateTime<Utc>>,
    /// Since when nothing is delivered, and why.
    pub disabled: Option<(DateTime<Utc>, String)>,
    /// Since when every attempt has failed.
    pub failing_since: Option<DateTime<Utc>>,
    /// Deliveries that wait.
    pub waiting: u64,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// When it was last changed.
    pub updated_at: DateTime<Utc>,
}

struct WebhookRow {
    id: Uuid,
    url: String,
    description: Option<String>,
    events: Vec<String>,
    former_until: Option<DateTime<Utc>>,
    disabled_at: Option<DateTime<Utc>>,
    disabled_reason: Option<String>,
    failing_since: Option<DateTime<Utc>>,
    waiting: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl WebhookRow {
    fn record(self) -> WebhookRecord {
        let kinds = self.events.iter().filter_map(|name| EventKind::parse(name).ok());
        WebhookRecord {
            id: self.id.into(),
            url: self.url,
            description: self.description,
            events: EventFilter::of(kinds.collect()),
            former_until: self.former_until,
            disabled: self
                .disabled_at
                .map(|since| (since, self.disabled_reason.unwrap_or_default())),
            failing_since: self.failing_since,
            waiting: unsigned(self.waiting),
            created_at: self.created_at,
            updated_at: self.updated_at,
        }
    }
}

/// The rows of webhooks that are not removed; what follows the `where` is the caller's.
macro_rules! webhook_rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            WebhookRow,
            r#"
            select
                w.id, w.url, w.description, w.events
                , case when w.former_until > clock_timestamp() then w.former_until end as former_until
                , w.disabled_at, w.disabled_reason, w.failing_since, w.created_at, w.updated_at
                , coalesce((
                    select sum(l.waiting)::bigint from webhook_lanes l where l.webhook_id = w.id and l.waiting > 0
                ), 0) as "waiting!"
            from webhooks w
            where w.removed_at is null
            "#
            + $rest
            $(, $argument)*
        )
    };
}

impl Store {
    /// Makes a webhook, unless there are as many as there may be.
    pub async fn create_webhook(
        &self,
        new: &NewWebhook,
        secret: &SecretString,
        most: u32,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let id = Uuid::now_v7();
        let mut transaction = self.pool.begin().await?;
        // One at a time, so that they can be counted. Of 'parley', and the second of its kind.
        sqlx::query!("select pg_advisory_xact_lock(x'7061726c'::int, 2)")
            .execute(&mut *transaction)
            .await?;
        let made = sqlx::query!(
            r#"
            insert into webhooks (id, url, description, events, secret)
            select $1, $2, $3, $4, $5
            where (select count(*) from webhooks where removed_at is null) < $6
            "#,
            id,
            new.url.as_str(),
            new.description.as_ref().map(Description::as_str),
            &names(&new.events),
            secret.expose_secret(),
            i64::from(most),
        )
        .execute(&mut *transaction)
        .await?;
        let record = one(&mut transaction, id.into()).await?;
        transaction.commit().await?;
        Ok(record.filter(|_| made.rows_affected() > 0))
    }

    /// Every webhook, the oldest first.
    pub async fn webhooks(&self) -> Result<Vec<WebhookRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let rows = webhook_rows!("order by w.id").fetch_all(&self.pool).await?;
        Ok(rows.into_iter().map(WebhookRow::record).collect())
    }

    /// One webhook.
    pub async fn webhook(&self, id: WebhookId) -> Result<Option<WebhookRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        one(&mut *self.pool.acquire().await?, id).await
    }

    /// Changes a webhook; `None` without such a one.
    pub async fn change_webhook(
        &self,
        id: WebhookId,
        change: &WebhookChange,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let description = change.description.as_ref();
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            r#"
            update webhooks set
                url = coalesce($2, url)
                , description = case when $3 then $4 else description end
                , events = coalesce($5, events)
                , disabled_at = case
                    when $6::boolean then null when not $6 then coalesce(disabled_at, now()) else disabled_at
                end
                , disabled_reason = case
                    when $6 then null when not $6 then coalesce(disabled_reason, 'asked') else disabled_reason
                end
                , failures = case when $6 then 0 else failures end
                , failing_since = case when $6 then null else failing_since end
                , paused_until = case when $6 then null else paused_until end
                , updated_at = now()
            where id = $1 and removed_at is null
            "#,
            id.uuid(),
            change.url.as_ref().map(WebhookUrl::as_str),
            description.is_some(),
            description.and_then(|new| new.as_ref().map(Description::as_str)),
            change.events.as_ref().map(names) as _,
            change.enabled,
        )
        .execute(&mut *transaction)
        .await?;
        if change.enabled == Some(true) {
            wake(&mut transaction, &[id.uuid()]).await?;
        }
        let record = one(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(record)
    }

    /// Gives a webhook another secret; the one that it had signs too for as long as is said. `None` without such a webhook.
    pub async fn rotate_webhook_secret(
        &self,
        id: WebhookId,
        secret: &SecretString,
        both: Duration,
    ) -> Result<Option<WebhookRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let mut transaction = self.pool.begin().await?;
        sqlx::query!(
            r#"
            update webhooks set
                former_secret = secret
                , former_until = clock_timestamp() + $3::interval
                , secret = $2
                , updated_at = now()
            where id = $1 and removed_at is null
            "#,
            id.uuid(),
            secret.expose_secret(),
            interval(both),
        )
        .execute(&mut *transaction)
        .await?;
        let record = one(&mut transaction, id).await?;
        transaction.commit().await?;
        Ok(record)
    }

    /// Removes a webhook with everything that waits for it; false without such a one. Its log goes piece by piece.
    pub async fn remove_webhook(&self, id: WebhookId) -> Result<bool, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let removed = sqlx::query!(
            r#"
            update webhooks
            set removed_at = now(), secret = '', former_secret = null
            where id = $1 and removed_at is null
            "#,
            id.uuid(),
        )
        .execute(&self.pool)
        .await?;
        Ok(removed.rows_affected() > 0)
    }

    /// Has a webhook told an event that says nothing; while it is switched off, that waits too. `None` without such a one.
    pub async fn ping_webhook(&self, id: WebhookId) -> Result<Option<DeliveryRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let mut transaction = self.pool.begin().await?;
        let made = sqlx::query_scalar!(
            r#"
            with made as (
                insert into webhook_deliveries (webhook_id, lane, event_id, kind, occurred_at, retry_from)
                select w.id, '00000000-0000-0000-0000-000000000000', $2, $3, moment, moment
                from webhooks w, clock_timestamp() as moment
                where w.id = $1 and w.removed_at is null
                returning id, webhook_id, lane
            )
            , opened as (
                insert into webhook_lanes as l (webhook_id, lane, waiting, due_at)
                select webhook_id, lane, 1, clock_timestamp() from made
                on conflict (webhook_id, lane) do update set
                    waiting = l.waiting + 1
                    , due_at = case when l.waiting = 0 and l.holder is null then excluded.due_at else l.due_at end
            )
            select id from made
            "#,
            id.uuid(),
            EventId::from(Uuid::now_v7()).uuid(),
            EventKind::WebhookPing.as_str(),
        )
        .fetch_optional(&mut *transaction)
        .await?;
        let Some(made) = made else { return Ok(None) };
        let record = deliveries::one(&mut transaction, id, made).await?;
        transaction.commit().await?;
        Ok(record)
    }
}

async fn one(
    connection: &mut PgConnection,
    id: WebhookId,
) -> Result<Option<WebhookRecord>, StoreError> {
    let row = webhook_rows!("and w.id = $1", id.uuid()).fetch_optional(connection).await?;
    Ok(row.map(WebhookRow::record))
}

/// What waits for these webhooks is due now, however often it has failed.
async fn wake(connection: &mut PgConnection, webhooks: &[Uuid]) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        with asleep as materialized (
            select webhook_id, lane
            from webhook_lanes
            where webhook_id = any($1) and waiting > 0 and holder is null and due_at > clock_timestamp()
            -- In one order, as everybody who locks several lanes.
            order by webhook_id, lane
            for no key update
        )
        update webhook_lanes l
        set due_at = clock_timestamp()
        from asleep a
        where l.webhook_id = a.webhook_id and l.lane = a.lane
        "#,
        webhooks,
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn names(filter: &EventFilter) -> Vec<String> {
    filter.kinds().iter().map(|kind| kind.as_str().to_owned()).collect()
}

pub(crate) fn interval(time: Duration) -> PgInterval {
    let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    PgInterval { months: 0, days: 0, microseconds }
}
