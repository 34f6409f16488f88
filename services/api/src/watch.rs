//! Watching Postgres, for readiness and metrics.

use std::time::Duration;

use parley_runtime::readiness::Condition;
use parley_store::Store;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::metrics::Metrics;

const EVERY: Duration = Duration::from_secs(1);
const DEADLINE: Duration = Duration::from_secs(2);

/// Asks the database every second, until `stop`.
pub(crate) async fn run(
    store: Store,
    ready: Condition,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_up = true;
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let up = matches!(timeout(DEADLINE, store.ping()).await, Ok(Ok(())));
        if up != was_up {
            if up {
                tracing::info!("Postgres answers again");
            } else {
                tracing::error!("Postgres does not answer");
            }
        }
        was_up = up;
        ready.set(up);
        metrics.postgres_up.set(i64::from(up));
    }
    Ok(())
}
