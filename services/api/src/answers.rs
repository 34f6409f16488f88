//! Answering what gateways ask over the bus.

use parley_domain::ask::{
    CatchUpAnswer, CatchUpAsk, HeadsAnswer, HeadsAsk, JoinAnswer, JoinAsk, JoinRefusal, MAX_HEADS,
    RevokedAnswer, RevokedAsk,
};
use parley_relay::Bus;
use parley_store::{CatchUp, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::agents;
use crate::app::State;
use crate::teller::Teller;

/// Answers until `stop`.
pub(crate) async fn run(
    bus: Bus,
    store: Store,
    state: State,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let teller = state.teller.clone();
    let revoked = move |ask| revoked(state.clone(), ask);
    tokio::try_join!(
        bus.answer(revoked, stop.cancelled()),
        bus.answer(
            with(&store, move |store, ask| join(store, teller.clone(), ask)),
            stop.cancelled()
        ),
        bus.answer(with(&store, catch_up), stop.cancelled()),
        bus.answer(with(&store, heads), stop.cancelled()),
    )?;
    Ok(())
}

/// An answer that needs the database.
fn with<A, F: Future, B: Fn(Store, A) -> F>(
    store: &Store,
    answer: B,
) -> impl Fn(A) -> F + use<A, F, B> {
    let store = store.clone();
    move |ask| answer(store.clone(), ask)
}

async fn revoked(state: State, ask: RevokedAsk) -> RevokedAnswer {
    match state.callers.ask_revoked(&ask.user_id, ask.issued_at).await {
        Ok(true) => RevokedAnswer::Revoked,
        Ok(false) => RevokedAnswer::Counts,
        Err(error) => {
            tracing::warn!(%error, "whether a token is revoked could not be told");
            RevokedAnswer::Unavailable
        }
    }
}

async fn join(store: Store, teller: Teller, ask: JoinAsk) -> JoinAnswer {
    enter(&store, &teller, &ask).await.unwrap_or_else(|error| {
        tracing::warn!(chat.id = %ask.chat_id, %error, "a join could not be answered");
        JoinAnswer::Unavailable
    })
}

/// One of the support pool enters a support chat by joining its room.
async fn enter(store: &Store, teller: &Teller, ask: &JoinAsk) -> Result<JoinAnswer, StoreError> {
    let answer = store.join(ask).await?;
    let outside = JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant };
    let who = (&ask.user_id, ask.role);
    if answer == outside && agents::enter(store, teller, ask.chat_id, who).await? {
        return store.join(ask).await;
    }
    Ok(answer)
}

async fn catch_up(store: Store, ask: CatchUpAsk) -> CatchUpAnswer {
    match store.catch_up(ask.chat_id, ask.position).await {
        Ok(missed) => missed
            .map(CatchUp::into_missed)
            .map_or(CatchUpAnswer::ChatNotFound, CatchUpAnswer::Missed),
        Err(error) => {
            tracing::warn!(chat.id = %ask.chat_id, %error, "a catch-up could not be answered");
            CatchUpAnswer::Unavailable
        }
    }
}

async fn heads(store: Store, ask: HeadsAsk) -> HeadsAnswer {
    let chats = ask.chat_ids.get(..MAX_HEADS).unwrap_or(&ask.chat_ids);
    match store.heads(chats).await {
        Ok(heads) => HeadsAnswer::Heads { heads, epoch: store.epoch() },
        Err(error) => {
            tracing::warn!(%error, "heads could not be told");
            HeadsAnswer::Unavailable
        }
    }
}
