//! What is old goes, so that no table grows for ever; and how much there is.
//!
//! Old is what was before a time before `now()`: `clock_timestamp()` may be another one for each row, so that no index finds what was
//! before it.

use std::time::Duration;

use super::interval;
use crate::metrics::Call;
use crate::{Store, StoreError, unsigned};

/// For how long lanes are kept in which nothing waits.
const EMPTY_LANE: Duration = Duration::from_hours(1);

/// For how long what is kept.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// What was delivered.
    pub delivered: Duration,
    /// What was given up.
    pub dead: Duration,
    /// How long anything waits for a webhook that is switched off, before it is given up.
    pub waiting: Duration,
}

/// How webhooks and their deliveries stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WebhookStandings {
    /// Webhooks whose last attempt has not failed.
    pub healthy: u64,
    /// Webhooks whose last attempt has failed.
    pub failing: u64,
    /// Webhooks that are switched off.
    pub disabled: u64,
    /// Deliveries that wait.
    pub waiting: u64,
    /// Deliveries that wait for webhooks that are switched on and do not fail.
    pub waiting_healthy: u64,
}

impl Store {
    /// Removes deliveries that are old, at most so many, with their attempts; says how many.
    pub async fn forget_deliveries(
        &self,
        retention: &Retention,
        most: u32,
    ) -> Result<u64, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let forgotten = sqlx::query_scalar!(
            r#"
            with old as materialized (
                (
                    select id, false as removed from webhook_deliveries
                    where state = 'delivered' and settled_at < now() - $1::interval
                    order by settled_at
                    limit $3
                )
                union all
                (
                    select id, false from webhook_deliveries
                    where state = 'dead' and settled_at < now() - $2::interval
                    order by settled_at
                    limit $3
                )
                union all
                (
                    select d.id, true
                    from webhooks w
                    join webhook_deliveries d on d.webhook_id = w.id
                    where w.removed_at is not null
                    limit $3
                )
            )
            , attempts as (
                delete from webhook_attempts a using old where a.delivery_id = old.id
            )
            , gone as (
                -- What is replayed in this moment waits, and is counted in its lane.
                delete from webhook_deliveries d
                using old
                where d.id = old.id and (old.removed or d.state <> 'waiting')
                returning d.id
            )
            select count(*) as "count!" from gone
            "#,
            interval(retention.delivered),
            interval(retention.dead),
            i64::from(most),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned(forgotten))
    }

    /// Gives up, of what waits for webhooks that are switched off, what is old, at most so many; says how many.
    pub async fn give_up_deliveries(
        &self,
        retention: &Retention,
        most: u32,
    ) -> Result<u64, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let dead = sqlx::query_scalar!(
            r#"
            with old as materialized (
                select d.id
                from webhooks w
                cross join lateral (
                    select d.id
                    from webhook_deliveries d
                    where d.webhook_id = w.id and d.state = 'waiting' and d.retry_from < now() - $1::interval
                    order by d.retry_from
                    limit $2
                    for no key update skip locked
                ) d
                where w.disabled_at is not null and w.removed_at is null
                limit $2
            )
            , dead as (
                update webhook_deliveries d
                set state = 'dead', settled_at = clock_timestamp()
                from old
                where d.id = old.id and d.state = 'waiting'
                returning d.webhook_id, d.lane
            )
            , counted as materialized (
                select webhook_id, lane, count(*) as deliveries from dead group by webhook_id, lane
            )
            , held as materialized (
                select l.webhook_id, l.lane, c.deliveries
                from webhook_lanes l
                join counted c on c.webhook_id = l.webhook_id and c.lane = l.lane
                order by l.webhook_id, l.lane
                for no key update of l
            )
            , emptied as (
                update webhook_lanes l
                set waiting = l.waiting - h.deliveries
                from held h
                where l.webhook_id = h.webhook_id and l.lane = h.lane
            )
            select count(*) as "count!" from dead
            "#,
            interval(retention.waiting),
            i64::from(most),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(unsigned(dead))
    }

    /// Removes lanes in which nothing waits, and removed webhooks of which nothing is left.
    pub async fn forget_lanes(&self) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        sqlx::query!(
            r#"
            with old as materialized (
                select l.webhook_id, l.lane
                from webhook_lanes l
                where (l.waiting = 0 and l.due_at < now() - $1::interval)
                    or exists (select from webhooks w where w.id = l.webhook_id and w.removed_at is not null)
                -- Nobody is waited for: who locks several lanes does so in their order, which this has not.
                for update skip locked
            )
            delete from webhook_lanes l
            using old o
            where l.webhook_id = o.webhook_id and l.lane = o.lane
            "#,
            interval(EMPTY_LANE),
        )
        .execute(&self.pool)
        .await?;
        sqlx::query!(
            r#"
            delete from webhooks w
            where w.removed_at < now() - $1::interval
                and not exists (select from webhook_deliveries d where d.webhook_id = w.id)
                and not exists (select from webhook_lanes l where l.webhook_id = w.id)
            "#,
            interval(EMPTY_LANE),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// How webhooks and their deliveries stand.
    pub async fn webhook_standings(&self) -> Result<WebhookStandings, StoreError> {
        let _timed = self.metrics.time(Call::Webhooks);
        let row = sqlx::query!(
            r#"
            select
                count(*) filter (where w.disabled_at is null and w.failures = 0) as "healthy!"
                , count(*) filter (where w.disabled_at is null and w.failures > 0) as "failing!"
                , count(*) filter (where w.disabled_at is not null) as "disabled!"
                , coalesce(sum(l.waiting), 0)::bigint as "waiting!"
                , coalesce(sum(l.waiting) filter (where w.disabled_at is null and w.failures = 0), 0)::bigint
                    as "waiting_healthy!"
            from webhooks w
            cross join lateral (
                select sum(waiting) as waiting from webhook_lanes where webhook_id = w.id and waiting > 0
            ) l
            where w.removed_at is null
            "#,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(WebhookStandings {
            healthy: unsigned(row.healthy),
            failing: unsigned(row.failing),
            disabled: unsigned(row.disabled),
            waiting: unsigned(row.waiting),
            waiting_healthy: unsigned(row.waiting_healthy),
        })
    }
}
