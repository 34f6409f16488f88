//! What became of deliveries, many at a time: attempts, lanes that are given back, and how webhooks stand.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ids::{DeliveryId, WebhookId};
use parley_domain::webhook::{EventKind, shown_url};
use serde_json::json;
use sqlx::PgConnection;
use uuid::Uuid;

use super::claims::LaneId;
use super::deliveries::DeliveryState;
use super::{FAILING, interval};
use crate::metrics::Call;
use crate::outbox::{Outward, put};
use crate::{Store, StoreError, signed};

/// What came of one attempt.
#[derive(Debug, Clone)]
pub struct Attempted {
    /// At what.
    pub delivery: DeliveryId,
    /// Which one.
    pub attempt: u32,
    /// What has become of the delivery by it.
    pub state: DeliveryState,
    /// When it began.
    pub began_at: DateTime<Utc>,
    /// How long it took.
    pub took: Duration,
    /// The answer's status, if there was an answer.
    pub status: Option<u16>,
    /// Why there was none, or why it does not count.
    pub error: Option<String>,
    /// How the answer began.
    pub answer: Option<String>,
}

/// A lane that is given back.
#[derive(Debug, Clone, Copy)]
pub struct Released {
    /// Whose.
    pub webhook: WebhookId,
    /// Which.
    pub lane: LaneId,
    /// For how long nobody is to claim it.
    pub pause: Duration,
}

/// How the attempts at a webhook went, in the order in which they ended.
#[derive(Debug, Clone, Copy)]
pub struct Health {
    /// Whose.
    pub webhook: WebhookId,
    /// Whether any of them has succeeded.
    pub succeeded: bool,
    /// How many have failed since the last success among them.
    pub failed: u32,
    /// It has said that it wants nothing any more.
    pub gone: bool,
}

/// How a webhook that fails is treated.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For how long nothing is tried at first; each time twice as long,
    pub base: Duration,
    /// up to this.
    pub cap: Duration,
    /// After which it is switched off.
    pub give_up: Duration,
}

/// What came of many attempts.
#[derive(Debug, Clone, Default)]
pub struct Settlement {
    /// What was attempted.
    pub attempts: Vec<Attempted>,
    /// Lanes that nobody works at any more.
    pub released: Vec<Released>,
    /// Of webhooks that fail, or did.
    pub health: Vec<Health>,
}

impl Store {
    /// Writes down what became of deliveries. Returns webhooks that were switched off by it.
    ///
    /// Its commit does not wait for the log's flush: what a crash of Postgres forgets is delivered again under its id.
    pub async fn settle(
        &self,
        holder: Uuid,
        settlement: &Settlement,
        patience: &Patience,
    ) -> Result<Vec<WebhookId>, StoreError> {
        let _timed = self.metrics.time(Call::Settle);
        let mut transaction =
            self.pool.begin_with("begin; set local synchronous_commit = off").await?;
        let mut turned = Turned::default();
        // Webhooks, then deliveries, then lanes, each of them once: as everybody who locks several of these.
        if !settlement.health.is_empty() {
            turned = self.stand(&mut transaction, &settlement.health, patience).await?;
        }
        let mut settled = Vec::new();
        if !settlement.attempts.is_empty() {
            settled = attempted(&mut transaction, &settlement.attempts).await?;
        }
        let Turned { back, disabled } = turned;
        let lanes = Lanes { settled: &settled, released: &settlement.released, back: &back };
        lanes.change(&mut transaction, holder).await?;
        transaction.commit().await?;
        Ok(disabled)
    }

    /// How webhooks stand: which ones are paused, come back, or are switched off.
    async fn stand(
        &self,
        connection: &mut PgConnection,
        health: &[Health],
        patience: &Patience,
    ) -> Result<Turned, StoreError> {
        let webhooks: Vec<Uuid> = health.iter().map(|it| it.webhook.uuid()).collect();
        let succeeded: Vec<bool> = health.iter().map(|it| it.succeeded).collect();
        let failed: Vec<i32> = health.iter().map(|it| it.failed.cast_signed()).collect();
        let gone: Vec<bool> = health.iter().map(|it| it.gone).collect();
        let rows = sqlx::query!(
            r#"
            with before as materialized (
                select w.id, w.failing_since, w.failures >= $8 as failing, t.succeeded, t.gone
                    -- Attempts that failed at the same time are one reason to wait, however many lanes and pods there are.
                    , case
                        when t.succeeded or w.failures < $8
                            then least(case when t.succeeded then 0 else w.failures end + t.failed, $8)
                        when t.failed > 0 and coalesce(w.paused_until <= clock_timestamp(), true) then w.failures + 1
                        else w.failures
                    end as failures
                from unnest($1::uuid[], $2::boolean[], $3::integer[], $4::boolean[]) as t (id, succeeded, failed, gone)
                join webhooks w on w.id = t.id
                where w.disabled_at is null and w.removed_at is null
                order by w.id
                for no key update of w
            )
            , standing as (
                select b.*
                    , b.gone or (
                        not b.succeeded and b.failing_since < clock_timestamp() - $7::interval
                    ) is true as ends
                from before b
            )
            update webhooks w set
                failures = s.failures
                , failing_since = case
                    when s.failures = 0 then null
                    when s.succeeded then clock_timestamp()
                    else coalesce(w.failing_since, clock_timestamp())
                end
                , paused_until = case
                    when s.failures < $8 then null
                    when s.failures <= w.failures then w.paused_until
                    else clock_timestamp() + (0.5 + random() / 2)
                        * least($6::interval, $5::interval * power(2, least(s.failures - $8, 24)))
                end
                , disabled_at = case when s.ends then clock_timestamp() end
                , disabled_reason = case when s.gone then 'gone' when s.ends then 'failing' end
            from standing s
            where w.id = s.id
            returning w.id, w.url, s.ends as "ends!", s.failing and s.failures = 0 as "back!", w.disabled_reason as reason
            "#,
            &webhooks,
            &succeeded,
            &failed,
            &gone,
            interval(patience.base),
            interval(patience.cap),
            interval(patience.give_up),
            FAILING,
        )
        .fetch_all(&mut *connection)
        .await?;
        let back = rows.iter().filter(|row| row.back).map(|row| row.id).collect();
        let ended: Vec<_> = rows.into_iter().filter(|row| row.ends).collect();
        for row in &ended {
            let url = shown_url(&row.url);
            let detail = json!({ "webhookId": row.id, "url": url, "reason": row.reason });
            put(connection, None, &Outward::of(EventKind::WebhookDisabled, Some(detail))).await?;
        }
        Ok(Turned { back, disabled: ended.into_iter().map(|row| row.id.into()).collect() })
    }
}

/// Webhooks that stand otherwise than before.
#[derive(Default)]
struct Turned {
    /// They were failing, and do not any more.
    back: Vec<Uuid>,
    /// They were switched off.
    disabled: Vec<WebhookId>,
}

/// Deliveries of a lane that do not wait any more.
struct Settled {
    webhook_id: Uuid,
    lane: Uuid,
    deliveries: i64,
}

/// Notes attempts; says how much is settled of which lanes.
async fn attempted(
    connection: &mut PgConnection,
    attempts: &[Attempted],
) -> Result<Vec<Settled>, StoreError> {
    let deliveries: Vec<i64> = attempts.iter().map(|it| signed(it.delivery.0)).collect();
    let numbers: Vec<i32> = attempts.iter().map(|it| it.attempt.cast_signed()).collect();
    let states: Vec<&str> = attempts.iter().map(|it| it.state.as_str()).collect();
    let began: Vec<DateTime<Utc>> = attempts.iter().map(|it| it.began_at).collect();
    let took = |it: &Attempted| i32::try_from(it.took.as_millis()).unwrap_or(i32::MAX);
    let millis: Vec<i32> = attempts.iter().map(took).collect();
    let statuses: Vec<Option<i32>> = attempts.iter().map(|it| it.status.map(i32::from)).collect();
    let errors: Vec<Option<&str>> = attempts.iter().map(|it| it.error.as_deref()).collect();
    let answers: Vec<Option<&str>> = attempts.iter().map(|it| it.answer.as_deref()).collect();
    let settled = sqlx::query_as!(
        Settled,
        r#"
        with told as materialized (
            select *
            from unnest(
                $1::bigint[], $2::integer[], $3::text[], $4::timestamptz[], $5::integer[], $6::integer[], $7::text[]
                , $8::text[]
            ) as t (delivery_id, attempt, state, began_at, millis, status, error, answer)
        )
        , noted as (
            insert into webhook_attempts (delivery_id, attempt, began_at, millis, status, error, answer)
            select delivery_id, attempt, began_at, millis, status, error, answer
            from told
            -- Two processes may have made the same attempt, when a claim has ended in between.
            on conflict (delivery_id, attempt) do nothing
        )
        , changed as (
            update webhook_deliveries d set
                attempts = greatest(d.attempts, t.attempt)
                , failed = d.failed + case when t.state = 'delivered' then 0 else 1 end
                , state = t.state
                , settled_at = case when t.state <> 'waiting' then clock_timestamp() end
            from told t
            where d.id = t.delivery_id and d.state = 'waiting'
            returning d.webhook_id, d.lane, d.state
        )
        select c.webhook_id, c.lane, count(*) as "deliveries!"
        from changed c
        where c.state <> 'waiting'
        group by c.webhook_id, c.lane
        "#,
        &deliveries,
        &numbers,
        &states as _,
        &began,
        &millis,
        &statuses as _,
        &errors as _,
        &answers as _,
    )
    .fetch_all(connection)
    .await?;
    Ok(settled)
}

/// What happens to lanes by a settlement.
struct Lanes<'a> {
    settled: &'a [Settled],
    released: &'a [Released],
    /// Webhooks of which everything that waits is due now, however often it has failed.
    back: &'a [Uuid],
}

impl Lanes<'_> {
    /// Takes what is settled out of lanes, gives lanes back unless somebody else has claimed them since, and wakes those of
    /// webhooks that are back.
    async fn change(&self, connection: &mut PgConnection, holder: Uuid) -> Result<(), StoreError> {
        let settled = self.settled.iter().map(|it| (it.webhook_id, it.lane, it.deliveries, None));
        let released = self.released.iter().map(|it| {
            let webhook = it.webhook.uuid();
            let pause = if self.back.contains(&webhook) { Duration::ZERO } else { it.pause };
            (webhook, it.lane.0, 0, Some(pause.as_secs_f64()))
        });
        let changes: Vec<_> = settled.chain(released).collect();
        if changes.is_empty() && self.back.is_empty() {
            return Ok(());
        }
        let webhooks: Vec<Uuid> = changes.iter().map(|it| it.0).collect();
        let lanes: Vec<Uuid> = changes.iter().map(|it| it.1).collect();
        let deliveries: Vec<i64> = changes.iter().map(|it| it.2).collect();
        let pauses: Vec<Option<f64>> = changes.iter().map(|it| it.3).collect();
        sqlx::query!(
            r#"
            with changed as materialized (
                select t.webhook_id, t.lane, sum(t.deliveries)::bigint as deliveries, max(t.pause) as pause, bool_or(t.woken) as woken
                from (
                    select t.webhook_id, t.lane, t.deliveries, t.pause, false as woken
                    from unnest($2::uuid[], $3::uuid[], $4::bigint[], $5::float8[]) as t (webhook_id, lane, deliveries, pause)
                    union all
                    select l.webhook_id, l.lane, 0, null, true
                    from webhook_lanes l
                    where l.webhook_id = any($6) and l.waiting > 0 and l.holder is null and l.due_at > clock_timestamp()
                ) t
                group by t.webhook_id, t.lane
            )
            , held as materialized (
                select l.webhook_id, l.lane, c.deliveries, c.pause, c.woken
                from changed c
                join webhook_lanes l on l.webhook_id = c.webhook_id and l.lane = c.lane
                -- In one order, as everybody who locks several lanes.
                order by l.webhook_id, l.lane
                for no key update of l
            )
            update webhook_lanes l set
                waiting = l.waiting - h.deliveries
                , holder = case when l.holder = $1 and h.pause is not null then null else l.holder end
                , due_at = case
                    when l.holder = $1 and h.pause is not null then clock_timestamp() + h.pause * interval '1 second'
                    when l.holder is null and h.woken then least(l.due_at, clock_timestamp())
                    else l.due_at
                end
            from held h
            where l.webhook_id = h.webhook_id and l.lane = h.lane
            "#,
            holder,
            &webhooks,
            &lanes,
            &deliveries,
            &pauses as _,
            self.back,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
