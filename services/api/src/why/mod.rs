//! "Why did this user not get that message?", for whoever operates Parley: asked on the admin port, answered from the
//! database and from what every gateway remembers. No contents.

mod verdict;

use std::time::Duration;

use axum::Router;
use axum::extract::State as Extract;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use chrono::{DateTime, Utc};
use parley_domain::delivery::{DeliveryAccount, DeliveryAsk};
use parley_domain::ids::{ChatId, MessageId, UserId};
use parley_domain::version::{Seq, Version};
use parley_relay::{Bus, Presence};
use parley_store::{MembershipRecord, MessagePlace, Store};
use serde::{Deserialize, Serialize};

use self::verdict::Facts;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::Query;
use crate::observe::new_request_id;

/// How long gateways have to answer.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// Whom and what it is about.
#[derive(Debug, Deserialize)]
struct Question {
    user: String,
    message: String,
    /// Without it, the message is looked for in the user's chats.
    chat: Option<String>,
}

/// The sentence first, then what it follows from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer {
    conclusion: String,
    code: &'static str,
    message: MessageShown,
    participant: Option<ParticipantShown>,
    gateways: Vec<DeliveryAccount>,
    /// Gateways that are there, as Redis has it, and have not answered.
    silent_gateways: Vec<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct MessageShown {
    id: MessageId,
    chat_id: ChatId,
    seq: Seq,
    version: Version,
    changed_version: Option<Version>,
    sender_id: UserId,
    created_at: DateTime<Utc>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ParticipantShown {
    /// Whether they were one when the message was sent, as far as their last coming says.
    then: bool,
    joined_at: DateTime<Utc>,
    /// The chat's last message when they came, or came back.
    joined_seq: Seq,
    left_at: Option<DateTime<Utc>>,
    left_at_version: Option<Version>,
}

/// Who is asked. Nothing else of the pod: the admin port serves to the very end, and what it holds cannot end before.
#[derive(Clone)]
pub(crate) struct Sources {
    pub(crate) store: Store,
    pub(crate) presence: Presence,
    pub(crate) bus: Bus,
}

/// What the admin port of an api pod has beside every pod's.
pub(crate) fn routes(sources: Sources) -> Router {
    Router::new().route("/why", get(why)).with_state(sources)
}

async fn why(
    Extract(sources): Extract<Sources>,
    query: Result<Query<Question>, ApiError>,
) -> Response {
    let answer = match query {
        Ok(Query(question)) => answer(&sources, &question).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(answer) => Success::ok(answer).into_response(),
        Err(error) => error.render(&new_request_id()),
    }
}

async fn answer(sources: &Sources, question: &Question) -> Result<Answer, ApiError> {
    let user_id = UserId::parse(&question.user)?;
    let id = MessageId::parse(&question.message)?;
    let chat = question.chat.as_deref().map(ChatId::parse).transpose()?;
    let place = sources.store.message_place(id, chat, &user_id).await?;
    let place = place.ok_or(ApiError::MessageNotFound)?;
    let membership = sources.store.membership_record(place.chat_id, &user_id).await?;
    let ask = DeliveryAsk { chat_id: place.chat_id, user_id, version: place.version };
    let (gateways, silent_gateways) = accounts(sources, &ask).await;
    let facts = Facts {
        user: ask.user_id.as_str(),
        message: &place,
        membership: membership.as_ref(),
        accounts: &gateways,
        silent: &silent_gateways,
    };
    let verdict = facts.verdict();
    let participant = membership.map(|membership| shown(&membership, &place));
    Ok(Answer {
        conclusion: verdict.sentence,
        code: verdict.code,
        message: MessageShown::of(id, place),
        participant,
        gateways,
        silent_gateways,
    })
}

/// What gateways say, and who of those that are there says nothing. A bus or a Redis that is away makes nobody answer, or
/// nobody known: the verdict then says what is not known.
async fn accounts(sources: &Sources, ask: &DeliveryAsk) -> (Vec<DeliveryAccount>, Vec<String>) {
    let there = sources.presence.gateways().await.unwrap_or_default();
    let asked = sources.bus.ask_gateways(ask, &there, PATIENCE).await;
    let mut accounts = asked.unwrap_or_else(|error| {
        tracing::warn!(%error, "gateways could not be asked");
        Vec::new()
    });
    accounts.sort_by(|one, other| one.pod.cmp(&other.pod));
    let has_answered = |one: &String| accounts.iter().any(|account| account.instance == *one);
    let silent = there.into_iter().filter(|one| !has_answered(one)).collect();
    (accounts, silent)
}

fn shown(membership: &MembershipRecord, place: &MessagePlace) -> ParticipantShown {
    ParticipantShown {
        then: verdict::was_participant(membership, place),
        joined_at: membership.joined_at,
        joined_seq: membership.joined_seq,
        left_at: membership.left_at,
        left_at_version: verdict::left_at_version(membership),
    }
}

impl MessageShown {
    fn of(id: MessageId, place: MessagePlace) -> Self {
        let MessagePlace { chat_id, seq, version, changed_version, sender_id, created_at } = place;
        Self { id, chat_id, seq, version, changed_version, sender_id, created_at }
    }
}
