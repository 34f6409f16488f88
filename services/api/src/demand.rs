//! Noting, every second, which events webhooks want: no send asks for it.

use std::time::Duration;

use parley_store::Store;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

const EVERY: Duration = Duration::from_secs(1);

/// Looks it up until `stop`. What cannot be looked up is taken to be wanted after a while: see the store.
pub(crate) async fn run(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        if let Some(Err(error)) = stop.run_until_cancelled(store.note_demand()).await {
            tracing::debug!(%error, "webhooks could not be read");
        }
    }
    Ok(())
}
