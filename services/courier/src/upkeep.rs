//! What is old goes, and how much there is is told.

use std::time::Duration;

use parley_runtime::readiness::Condition;
use parley_store::{Retention, Store, StoreError};
use prometheus::IntCounter;
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
        stop.run_until_cancelled(round(&store, &retention, &metrics)).await;
    }
    Ok(())
}

/// Each step by itself: what one of them cannot do keeps none of the others.
async fn round(store: &Store, retention: &Retention, metrics: &Metrics) {
    for (step, counter) in [(Step::GiveUp, &metrics.dead), (Step::Forget, &metrics.forgotten)] {
        step.all(store, retention, counter).await;
    }
    if let Err(error) = store.forget_lanes().await {
        tracing::warn!(%error, "old lanes cannot be removed now");
    }
}

/// What is done piece by piece.
#[derive(Debug, Clone, Copy)]
enum Step {
    GiveUp,
    Forget,
}

impl Step {
    /// Until nothing is left, it cannot be done, or the round is over.
    async fn all(self, store: &Store, retention: &Retention, counter: &IntCounter) {
        for _ in 0..ROUNDS {
            match self.piece(store, retention).await {
                Ok(0) => return,
                Ok(done) => counter.inc_by(done),
                Err(error) => {
                    tracing::warn!(%error, step = ?self, "old deliveries stay for now");
                    return;
                }
            }
        }
    }

    async fn piece(self, store: &Store, retention: &Retention) -> Result<u64, StoreError> {
        match self {
            Self::GiveUp => store.give_up_deliveries(retention, AT_ONCE).await,
            Self::Forget => store.forget_deliveries(retention, AT_ONCE).await,
        }
    }
}
