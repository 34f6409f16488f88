//! Answering what gateways ask over the bus.

use parley_domain::ask::{JoinAnswer, JoinAsk};
use parley_relay::Bus;
use parley_store::Store;
use tokio_util::sync::CancellationToken;

/// Answers until `stop`.
pub(crate) async fn run(bus: Bus, store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    let join = move |ask: JoinAsk| {
        let store = store.clone();
        async move {
            store.join(ask.chat_id, &ask.user_id).await.unwrap_or_else(|error| {
                tracing::warn!(chat.id = %ask.chat_id, %error, "a join could not be answered");
                JoinAnswer::Unavailable
            })
        }
    };
    bus.answer_joins(join, stop.cancelled()).await?;
    Ok(())
}
