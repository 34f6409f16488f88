//! `/api/chat/:id/changes`: what a client missed, for one that asks over REST.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ask::{Missed, MissedEvent, Position};
use parley_domain::chat::Participant;
use parley_domain::ids::{ChatId, MessageId, UserId};
use parley_domain::message::Message;
use parley_domain::time::Timestamp;
use parley_domain::version::{Epoch, Version};
use parley_store::CatchUp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::{IntoParams, ToSchema};

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Query, Reader};

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ChangesQuery {
    /// A version that the server gave.
    #[param(value_type = Version)]
    since: Option<String>,
    /// The history of that version; without it, the present one is meant.
    #[param(value_type = Option<String>, pattern = "^[0-9a-fA-F]{16}$")]
    epoch: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Changes)]
pub(crate) struct ChangesAnswer {
    /// As a Socket.IO client hears them: `["name", { … }]`.
    #[schema(value_type = Vec<ChangeEvent>, max_items = 200)]
    events: Vec<Box<RawValue>>,
    /// The `since` that goes on from here.
    version: Version,
    epoch: Epoch,
    has_more: bool,
    /// Nothing is told, since it would be too much or of another history: reload, and go on from `version`.
    resync: bool,
}

/// What stands beside the name of an event; which fields, depends on the name.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's account of what `parley_domain::event` writes")]
struct ChangeEvent {
    chat_id: ChatId,
    version: Version,
    epoch: Epoch,
    message_id: Option<MessageId>,
    content: Option<String>,
    edited_at: Option<Timestamp>,
    message: Option<Message>,
    deleted_at: Option<Timestamp>,
    deleted_by: Option<UserId>,
    participants: Option<Vec<Participant>>,
    added_by: Option<UserId>,
    user_id: Option<UserId>,
    removed_by: Option<UserId>,
}

/// `GET /api/chat/:id/changes`: a page of what happened after a version. A later change of the same message or
/// participant stands for the earlier ones.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/changes",
    operation_id = "listChanges",
    tag = "chats",
    params(("id" = ChatId, Path, description = "The chat"), ChangesQuery),
    responses(
        (status = 200, description = "A page of changes", body = Success<ChangesAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    reader: Reader,
    Query(query): Query<ChangesQuery>,
) -> Result<Success<ChangesAnswer>, ApiError> {
    let position = query.parse()?;
    let missed = state.store.catch_up(reader.chat, position).await?;
    let answer = match missed.map(CatchUp::into_missed).ok_or(ApiError::ChatNotFound)? {
        Missed::Events(page) => ChangesAnswer {
            events: page.events.into_iter().map(raw).collect::<Result<_, _>>()?,
            version: page.up_to,
            epoch: page.epoch,
            has_more: page.up_to < page.version,
            resync: false,
        },
        Missed::Resync { version, epoch } => {
            ChangesAnswer { events: Vec::new(), version, epoch, has_more: false, resync: true }
        }
    };
    Ok(Success::ok(answer))
}

fn raw(event: MissedEvent) -> Result<Box<RawValue>, ApiError> {
    RawValue::from_string(event.event).map_err(|error| {
        tracing::error!(%error, "an event is no JSON");
        ApiError::Internal
    })
}

impl ChangesQuery {
    fn parse(&self) -> Result<Position, Invalid> {
        let since = self.since.as_deref().unwrap_or_default();
        let since = since.parse().map_err(|invalid: Invalid| invalid.in_field("since"))?;
        let epoch = self.epoch.as_deref().map(str::parse).transpose()?;
        Ok(Position { since, epoch })
    }
}
