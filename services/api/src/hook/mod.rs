//! The hook before a message: the host application may refuse what is about to be sent, or change it.
//!
//! It is asked once for each new message of a participant: not for a repetition of one that is committed, not for what is
//! refused anyway, and not for what the host application says itself. Without an URL nothing of this is there.

mod settings;
mod wire;

use std::time::Duration;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use parley_domain::message::NewMessage;
use parley_domain::user::Role;
use parley_outbound::webhook::{self, Key, MessageId};
use parley_outbound::{Answer, Client, OutboundError, OutboundSettings, Target};
use parley_store::{Access, AppendMessage};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};
use tracing::Instrument;
use uuid::Uuid;

use crate::app::State;
use crate::error::ApiError;
use crate::metrics::{HookMetrics, HookOutcome};
use crate::traces::step;
use settings::OnFailure;
use wire::{Done, Question, Verdict};

pub use settings::HookSettings;

/// Whom a pod asks.
pub(crate) struct Hook {
    client: Client,
    target: Target,
    keys: Vec<Key>,
    deadline: Duration,
    on_failure: OnFailure,
    places: Semaphore,
    metrics: HookMetrics,
}

/// Why there is no verdict.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("as many calls as there may be are under way")]
    Full,
    #[error("{0}")]
    Call(#[from] OutboundError),
    #[error("it answers {0}")]
    Status(u16),
    #[error("its answer {0}")]
    Garbage(String),
}

impl Hook {
    /// `None` if nobody is to be asked.
    pub(crate) fn new(
        settings: &HookSettings,
        outbound: &OutboundSettings,
        metrics: &HookMetrics,
    ) -> anyhow::Result<Option<Self>> {
        let Some((target, keys)) = settings.target(&outbound.policy()?)? else { return Ok(None) };
        let calls = settings.before_message_calls;
        metrics.calls_limit.set(calls.into());
        Ok(Some(Self {
            client: outbound.client()?,
            target,
            keys,
            deadline: settings.deadline(),
            on_failure: settings.before_message_failure,
            places: Semaphore::new(calls as usize),
            metrics: metrics.clone(),
        }))
    }

    /// Asks, and does to the message what is answered.
    async fn ask(&self, state: &State, role: Role, new: &mut NewMessage) -> Result<(), ApiError> {
        let begun = Instant::now();
        let verdict = self.verdict(state, role, new).instrument(step("before_message")).await;
        let verdict = verdict.and_then(|verdict| verdict.apply(new));
        let took = begun.elapsed();
        match verdict {
            Ok(Done::Allowed) => {
                self.metrics.answered(HookOutcome::Allowed, took);
                Ok(())
            }
            Ok(Done::Rewritten) => {
                self.metrics.answered(HookOutcome::Rewritten, took);
                Ok(())
            }
            Ok(Done::Refused(reason)) => {
                self.metrics.answered(HookOutcome::Refused, took);
                Err(ApiError::MessageRefused { reason })
            }
            Err(unanswered) => {
                self.metrics.answered(unanswered.outcome(), took);
                tracing::warn!(error = %unanswered, "the hook before a message gave no verdict");
                match self.on_failure {
                    OnFailure::Open => Ok(()),
                    OnFailure::Closed => Err(ApiError::Unavailable),
                }
            }
        }
    }

    /// What it says within the deadline, half of which may go by until there is a place: a call that has no time left for
    /// its answer would only take somebody else's.
    async fn verdict(
        &self,
        state: &State,
        role: Role,
        new: &NewMessage,
    ) -> Result<Verdict, Unanswered> {
        let end = Instant::now() + self.deadline;
        let place = timeout(self.deadline / 2, self.places.acquire()).await;
        let Ok(Ok(_place)) = place else { return Err(Unanswered::Full) };
        let _under_way = self.metrics.begun();
        let now = state.clock.now();
        let body = Bytes::from(Question::new(role, new, now).to_json());
        let id = MessageId::parse(&format!("before_{}", Uuid::new_v4().simple()))?;
        let mut headers = webhook::headers(&self.keys, &id, now.timestamp(), &body);
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(header::USER_AGENT, HeaderValue::from_static("Parley"));
        read(&self.call(&headers, &body, end).await?)
    }

    /// A question may be asked twice, unlike what happened: a connection that was kept may be closed by the other side just
    /// when it is used again, and nobody is to pay for that.
    async fn call(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        end: Instant,
    ) -> Result<Answer, OutboundError> {
        let once = async || {
            let left = end.saturating_duration_since(Instant::now());
            self.client.post(&self.target, headers.clone(), body.clone(), left).await
        };
        match once().await {
            Err(OutboundError::Connection(_)) => once().await,
            outcome => outcome,
        }
    }
}

impl Unanswered {
    const fn outcome(&self) -> HookOutcome {
        match self {
            Self::Full => HookOutcome::Full,
            Self::Call(OutboundError::TimedOut(_)) => HookOutcome::Late,
            Self::Call(_) | Self::Status(_) | Self::Garbage(_) => HookOutcome::Failed,
        }
    }
}

fn read(answer: &Answer) -> Result<Verdict, Unanswered> {
    if !answer.status.is_success() {
        return Err(Unanswered::Status(answer.status.as_u16()));
    }
    if answer.truncated {
        return Err(Unanswered::Garbage("is too large".to_owned()));
    }
    Verdict::read(&answer.body)
}

/// What comes before a new message: nothing without a hook. An earlier try of the same message is handed back instead of being
/// asked about again; the message itself may have become another one.
pub(crate) async fn before(
    state: &State,
    role: Role,
    new: &mut NewMessage,
) -> Result<Option<AppendMessage>, ApiError> {
    match &state.hook {
        None => Ok(None),
        // In a box, so that a send without a hook is moved about without room for it.
        Some(hook) => Box::pin(asked(hook, state, role, new)).await,
    }
}

async fn asked(
    hook: &Hook,
    state: &State,
    role: Role,
    new: &mut NewMessage,
) -> Result<Option<AppendMessage>, ApiError> {
    if role == Role::Service {
        return Ok(None);
    }
    let earlier = state.store.earlier_try(new).await?;
    if earlier.is_some() {
        return Ok(earlier);
    }
    match state.store.access(new.chat_id, &new.sender_id).await? {
        Access::NoChat => Err(ApiError::ChatNotFound),
        Access::Outsider(_) => Err(ApiError::NotParticipant),
        Access::Participant(_) => hook.ask(state, role, new).await.map(|()| None),
    }
}
