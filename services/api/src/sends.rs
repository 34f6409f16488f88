//! A send from its limit to its commit.

use chrono::TimeDelta;
use parley_domain::ids::{ChatId, ClientMessageId};
use parley_domain::message::NewMessage;
use parley_domain::token;
use parley_domain::user::Role;
use parley_relay::{Charge, Charged, Limit, Member, Usage};
use parley_store::{AppendMessage, Appended, Expected, StoreError};
use tracing::Instrument;

use crate::agents;
use crate::app::State;
use crate::error::ApiError;
use crate::finishing::to_the_end;
use crate::hook::before;
use crate::limits::Limited;
use crate::traces::step;
use crate::uploads;

/// By how much the clocks of the database, Redis and this pod may differ.
const CLOCKS: TimeDelta = TimeDelta::seconds(5);

/// A message that is committed.
pub(crate) struct Sent {
    pub(crate) appended: Appended,
    /// How the sender stands; `None` without limit.
    pub(crate) usage: Option<Usage>,
}

/// Sends for the caller; one of the support pool enters a support chat by this.
pub(crate) async fn send(
    state: &State,
    caller: &token::Caller,
    new: NewMessage,
) -> Result<Sent, ApiError> {
    let role = caller.role;
    if !role.is_in_support_pool() {
        return charge_and_commit(state, role, new).await;
    }
    Box::pin(send_as_agent(state, caller, new)).await
}

async fn send_as_agent(
    state: &State,
    caller: &token::Caller,
    new: NewMessage,
) -> Result<Sent, ApiError> {
    let (role, chat, again) = (caller.role, new.chat_id, new.clone());
    match charge_and_commit(state, role, new).await {
        Err(ApiError::NotParticipant) => {
            let who = (&caller.id, role);
            if !agents::enter(&state.store, &state.teller, chat, who).await? {
                return Err(ApiError::NotParticipant);
            }
            charge_and_commit(state, role, again).await
        }
        outcome => outcome,
    }
}

/// Charges a send, commits it, and settles the charge by what came of it, to the end: a client that goes away must
/// not leave a charge behind that nobody settles.
async fn charge_and_commit(state: &State, role: Role, new: NewMessage) -> Result<Sent, ApiError> {
    let state = state.clone();
    to_the_end(async move { charged(&state, role, new).await }).await
}

/// A place for a message that is still arriving.
pub(crate) enum Admission {
    /// The sender has no limit.
    Free,
    /// The message is charged for, unless nothing comes of it.
    Charged(Charged),
    /// The sender is at the limit, and may only say again what it has said under a client message id.
    Repetition(Limited),
}

/// Charges for a message before it has arrived, and so before it is known whether it repeats another one.
pub(crate) async fn admit(
    state: &State,
    caller: &token::Caller,
    chat: ChatId,
    client_id: Option<&ClientMessageId>,
) -> Result<Admission, ApiError> {
    let Some(policy) = state.limits.of(caller.role) else { return Ok(Admission::Free) };
    match state.limiter.charge(&caller.id, policy, Member::unique()).await {
        Charge::Allowed(charged) => Ok(Admission::Charged(charged)),
        Charge::Limited(refused) if refused.why == Limit::Attempts => {
            Err(ApiError::TooManyAttempts(Limited(refused)))
        }
        Charge::Limited(refused) => match client_id {
            Some(id) if state.store.has_tried(chat, &caller.id, id).await? => {
                Ok(Admission::Repetition(Limited(refused)))
            }
            _ => Err(ApiError::RateLimited(Limited(refused))),
        },
    }
}

impl Admission {
    /// Nothing came of it.
    pub(crate) async fn withdraw(self, state: &State) {
        if let Self::Charged(charged) = self {
            state.limiter.give_back(charged).await;
        }
    }
}

/// Commits a message that has arrived, with its file. An object that no message has taken is released.
pub(crate) async fn send_admitted(
    state: &State,
    role: Role,
    admission: Admission,
    mut new: NewMessage,
    object: &str,
) -> Result<Sent, ApiError> {
    let charged = match admission {
        Admission::Repetition(limited) => return repeated(state, limited, &new, object).await,
        Admission::Free => None,
        Admission::Charged(charged) => Some(charged),
    };
    let usage = charged.as_ref().map(|charged| charged.usage);
    let outcome = match before(state, role, &mut new).await {
        Ok(Some(earlier)) => Ok(earlier),
        Ok(None) => append(state, None, new, false).await,
        Err(refused) => {
            uploads::release(state, object).await;
            if let Some(charged) = charged {
                state.limiter.give_back(charged).await;
            }
            return Err(refused);
        }
    };
    if let Some(charged) = charged {
        settle_own(state, charged, &outcome).await;
    }
    if !may_be_taken(&outcome) {
        uploads::release(state, object).await;
    }
    sent(state, outcome?, usage)
}

/// A repetition of what was sent with another object; the limit is over for everything else.
async fn repeated(
    state: &State,
    limited: Limited,
    new: &NewMessage,
    object: &str,
) -> Result<Sent, ApiError> {
    let earlier = state.store.earlier_try(new).await;
    uploads::release(state, object).await;
    let earlier = earlier?.ok_or(ApiError::RateLimited(limited))?;
    sent(state, earlier, Some(limited.0.usage))
}

/// Whether a send has come to a new message, or may yet.
fn may_be_taken(outcome: &Result<AppendMessage, StoreError>) -> bool {
    match outcome {
        Ok(AppendMessage::Appended(appended)) => !appended.replay,
        Ok(_) | Err(StoreError::NotBegun(_)) => false,
        Err(_) => true,
    }
}

/// Settles a charge on which no other try can count.
async fn settle_own(state: &State, charged: Charged, outcome: &Result<AppendMessage, StoreError>) {
    match outcome {
        Ok(AppendMessage::Appended(appended)) if !appended.replay => {
            state.limiter.keep(&charged).await;
        }
        Ok(_) | Err(StoreError::NotBegun(_)) => state.limiter.give_back(charged).await,
        Err(_) => {}
    }
}

async fn charged(state: &State, role: Role, mut new: NewMessage) -> Result<Sent, ApiError> {
    // Nobody waits for a send that has yet to be asked about.
    let expected = state.hook.is_none().then(|| state.appender.expect(new.chat_id));
    let Some(policy) = state.limits.of(role) else {
        let outcome = match before(state, role, &mut new).await? {
            Some(earlier) => earlier,
            None => append(state, expected, new, false).await?,
        };
        return sent(state, outcome, None);
    };
    let charge = state.limiter.charge(&new.sender_id, policy, member(&new));
    match charge.instrument(step("limit")).await {
        Charge::Allowed(charged) => {
            let usage = charged.usage;
            let outcome = match before(state, role, &mut new).await {
                Ok(Some(earlier)) => Ok(earlier),
                Ok(None) => append(state, expected, new, !charged.added).await,
                Err(refused) => {
                    state.limiter.give_back(charged).await;
                    return Err(refused);
                }
            };
            settle(state, charged, &outcome).await;
            sent(state, outcome?, Some(usage))
        }
        Charge::Limited(refused) => {
            drop(expected);
            let limited = Limited(refused);
            if refused.why == Limit::Attempts {
                return Err(ApiError::TooManyAttempts(limited));
            }
            // A repetition is free, however old: only the database remembers it. In a box, as whatever is rare on the
            // way of a send: a future is as large as its largest branch, and every send is moved about.
            match Box::pin(state.store.earlier_try(&new)).await? {
                Some(outcome) => sent(state, outcome, Some(refused.usage)),
                None => Err(ApiError::RateLimited(limited)),
            }
        }
    }
}

async fn append(
    state: &State,
    expected: Option<Expected>,
    new: NewMessage,
    again: bool,
) -> Result<AppendMessage, StoreError> {
    let expected = expected.unwrap_or_else(|| state.appender.expect(new.chat_id));
    if again {
        expected.append_again(new).instrument(step("append")).await
    } else {
        expected.append(new).instrument(step("append")).await
    }
}

fn member(new: &NewMessage) -> Member {
    let client_id = new.client_message_id.as_ref();
    client_id.map_or_else(Member::unique, |id| Member::of(new.chat_id, id, &new.request_hash()))
}

/// A message that was committed is charged for; what certainly was not is free. As long as the outcome is not certain,
/// the charge stays, and so it does where another try of the same message may count on it.
async fn settle(state: &State, charged: Charged, outcome: &Result<AppendMessage, StoreError>) {
    match outcome {
        Ok(AppendMessage::Appended(appended)) if !appended.replay => {
            state.limiter.keep(&charged).await;
        }
        // The first try was charged for in a window that is long over: nobody counts on this charge.
        Ok(AppendMessage::Appended(appended)) if is_old(state, appended, &charged) => {
            state.limiter.give_back(charged).await;
        }
        Ok(
            AppendMessage::ChatNotFound
            | AppendMessage::NotParticipant
            | AppendMessage::ReplyNotFound
            | AppendMessage::IdempotencyConflict,
        )
        | Err(StoreError::NotBegun(_)) => state.limiter.give_back(charged).await,
        Ok(AppendMessage::Appended(_)) | Err(_) => {}
    }
}

/// Whether the message is older than the window, by a margin for clocks that differ.
fn is_old(state: &State, appended: &Appended, charged: &Charged) -> bool {
    let window = TimeDelta::from_std(charged.usage.policy.window).unwrap_or(TimeDelta::MAX);
    let age = state.clock.now() - appended.message.created_at.0;
    age > window.checked_add(&CLOCKS).unwrap_or(TimeDelta::MAX)
}

fn sent(state: &State, outcome: AppendMessage, usage: Option<Usage>) -> Result<Sent, ApiError> {
    match outcome {
        AppendMessage::Appended(appended) => {
            if appended.replay {
                // The first try may have died before it told anybody.
                state.teller.tell_again(&appended.message);
            } else {
                state.metrics.messages.inc();
            }
            Ok(Sent { appended: *appended, usage })
        }
        AppendMessage::ChatNotFound => Err(ApiError::ChatNotFound),
        AppendMessage::NotParticipant => Err(ApiError::NotParticipant),
        AppendMessage::ReplyNotFound => Err(ApiError::MessageNotFound),
        AppendMessage::IdempotencyConflict => Err(ApiError::IdempotencyConflict),
    }
}
