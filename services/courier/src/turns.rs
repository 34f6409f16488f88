//! Who is online from now on, or is not any more, as gateways tell it: best effort, so what cannot be written is not told.

use parley_domain::attendance::Turn;
use parley_relay::Bus;
use parley_store::Store;
use tokio_util::sync::CancellationToken;

/// Hands on what gateways tell this courier, until `stop`.
pub(crate) async fn run(store: Store, bus: Bus, stop: CancellationToken) -> anyhow::Result<()> {
    let hear = |turns: Vec<Turn>| {
        let store = store.clone();
        async move {
            if let Err(error) = store.tell_turns(&turns).await {
                tracing::warn!(%error, lost = turns.len(), "who is online cannot be told");
            }
        }
    };
    Ok(bus.hear_turns(hear, stop.cancelled()).await?)
}
