//! What is old goes, and how much there is is told.

use std::time::Duration;

use parley_runtime::readiness::Condition;
use parley_store::{Retention, Store, StoreError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

/// How often the database is asked how much there is.
const WATCH: Duration = Duration::from_secs(5);
/// How long that may take.
const DEADLINE: Duration = Duration::from_secs(3);
/// How often what is old is looked for.
const FORGET: Duration = Duration::from_secs(30);
/// Rows that one statement removes.
const AT_ONCE: u32 = 2_000;
/// Statements of one round: what is left goes with the next one.
const ROUNDS: u32 = 50;

/// Asks the database until `stop`, for readiness and metrics.
pub(crate) async fn watch(
    store: Store,
    ready: Condition,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = interval(WATCH);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let read = timeout(DEADLINE, async {
            Ok::<_, StoreError>((store.webhook_standings().await?, store.outbox_age().await?))
        });
        match read.await {
            Ok(Ok((standings, age))) => {
                ready.set(true);
                metrics.stands(&standings, age);
            }
            Ok(Err(error)) => {
                ready.set(false);
                tracing::warn!(%error, "Postgres does not answer");
            }
            Err(_) => ready.set(false),
        }
    }
    Ok(())
}

/// Removes what is old until `stop`.
pub(crate) async fn forget(
    store: Store,
    retention: Retention,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = interval(FORGET);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let round = stop.run_until_cancelled(round(&store, &retention, &metrics)).await;
        if let Some(Err(error)) = round {
            tracing::warn!(%error, "what is old cannot be removed now");
        }
    }
    Ok(())
}

async fn round(store: &Store, retention: &Retention, metrics: &Metrics) -> Result<(), StoreError> {
    for _ in 0..ROUNDS {
        let dead = store.give_up_deliveries(retention, AT_ONCE).await?;
        let forgotten = store.forget_deliveries(retention, AT_ONCE).await?;
        metrics.dead.inc_by(dead);
        metrics.forgotten.inc_by(forgotten);
        if dead == 0 && forgotten == 0 {
            break;
        }
    }
    store.forget_lanes().await
}
