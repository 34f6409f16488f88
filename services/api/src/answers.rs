//! Answering what gateways ask over the bus.

use parley_domain::ask::{
    CatchUpAnswer, CatchUpAsk, HeadsAnswer, HeadsAsk, JoinAnswer, JoinAsk, JoinOutcome,
    JoinRefusal, Joins, JoinsAnswer, JoinsAsk, MAX_HEADS, MAX_JOINS, MAX_USERS, RevokedAnswer,
    RevokedAsk, UsersAnswer, UsersAsk,
};
use parley_domain::token::is_revoked;
use parley_relay::Bus;
use parley_store::{CatchUp, Store, StoreError};
use tokio_util::sync::CancellationToken;

use crate::agents;
use crate::teller::Teller;

/// Answers until `stop`.
pub(crate) async fn run(
    bus: Bus,
    store: Store,
    teller: Teller,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let one = teller.clone();
    tokio::try_join!(
        bus.answer(with(&store, revoked), stop.cancelled()),
        bus.answer(with(&store, move |store, ask| join(store, one.clone(), ask)), stop.cancelled()),
        bus.answer(
            with(&store, move |store, ask| joins(store, teller.clone(), ask)),
            stop.cancelled()
        ),
        bus.answer(with(&store, catch_up), stop.cancelled()),
        bus.answer(with(&store, heads), stop.cancelled()),
        bus.answer(with(&store, users), stop.cancelled()),
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

async fn revoked(store: Store, ask: RevokedAsk) -> RevokedAnswer {
    match store.standings(std::slice::from_ref(&ask.user_id)).await {
        Ok(standings) => match standings.first() {
            Some(user) if is_revoked(ask.issued_at, user.tokens_valid_after) => {
                RevokedAnswer::Revoked
            }
            user => RevokedAnswer::Counts {
                membership_version: Some(user.map_or(0, |user| user.membership_version)),
            },
        },
        Err(error) => {
            tracing::warn!(%error, "whether a token is revoked could not be told");
            RevokedAnswer::Unavailable
        }
    }
}

/// As gateways of the release before this one ask.
async fn join(store: Store, teller: Teller, ask: JoinAsk) -> JoinAnswer {
    let user = ask.user_id.clone();
    match joins(store, teller, JoinsAsk { joins: vec![ask] }).await {
        JoinsAnswer::Joins(joins) => joins.answer(0, &user),
        JoinsAnswer::Unavailable => JoinAnswer::Unavailable,
    }
}

async fn joins(store: Store, teller: Teller, ask: JoinsAsk) -> JoinsAnswer {
    let asks = ask.joins.get(..MAX_JOINS).unwrap_or(&ask.joins);
    match enter(&store, &teller, asks).await {
        Ok(joins) => JoinsAnswer::Joins(joins),
        Err(error) => {
            tracing::warn!(joins = asks.len(), %error, "joins could not be answered");
            JoinsAnswer::Unavailable
        }
    }
}

/// One of the support pool enters a support chat by joining its room: whoever is outside and may be inside goes in, and all
/// are looked up again.
async fn enter(store: &Store, teller: &Teller, asks: &[JoinAsk]) -> Result<Joins, StoreError> {
    let joins = store.joins(asks).await?;
    let outside = JoinOutcome::Refused { refusal: JoinRefusal::NotParticipant };
    let outsiders = joins.joins.iter().enumerate().filter(|(_, outcome)| **outcome == outside);
    let (mut entered, mut failed) = (false, Vec::new());
    for (place, _) in outsiders {
        let Some(ask) = asks.get(place) else { continue };
        match agents::enter(store, teller, ask.chat_id, (&ask.user_id, ask.role)).await {
            Ok(is_in) => entered |= is_in,
            Err(error) => {
                tracing::warn!(chat.id = %ask.chat_id, %error, "an agent could not enter");
                failed.push(place);
            }
        }
    }
    let mut joins = if entered { store.joins(asks).await? } else { joins };
    for place in failed {
        // Only this one: the others are answered.
        joins.joins[place] = JoinOutcome::Unavailable;
    }
    Ok(joins)
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

async fn users(store: Store, ask: UsersAsk) -> UsersAnswer {
    let ids = ask.user_ids.get(..MAX_USERS).unwrap_or(&ask.user_ids);
    match store.standings(ids).await {
        Ok(users) => UsersAnswer::Users { users },
        Err(error) => {
            tracing::warn!(%error, "how users stand could not be told");
            UsersAnswer::Unavailable
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
