//! `/api/chat/:id/mute`: being left alone by a chat.

use axum::extract::State as Extract;
use parley_domain::chat::Chat;
use parley_domain::ids::ChatId;
use parley_domain::mute::Mute;
use parley_domain::time::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::chats::shown;
use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Json, Participant};

#[derive(Deserialize, ToSchema)]
#[schema(as = MuteChat)]
pub(crate) struct MuteRequest {
    muted: bool,
    /// A time in the next ten years; left out or `null`, a mute has no end.
    #[schema(value_type = Option<Timestamp>)]
    until: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Muted)]
pub(crate) struct MuteAnswer {
    muted: bool,
    muted_until: Option<Timestamp>,
    chat: Chat,
}

/// `PATCH /api/chat/:id/mute`: no notifications of the chat for the caller, until then or until they say otherwise. The same
/// again changes nothing; events and unread counts stay as they are.
#[utoipa::path(
    patch,
    path = "/api/chat/{id}/mute",
    operation_id = "muteChat",
    tag = "chats",
    params(("id" = ChatId, Path, description = "The chat")),
    request_body(content = MuteRequest, examples(
        ("for good" = (value = json!({ "muted": true }))),
        ("until then" = (value = json!({ "muted": true, "until": "2035-01-01T07:00:00.000Z" }))),
        ("no more" = (value = json!({ "muted": false }))),
    )),
    responses(
        (status = 200, description = "What it is now", body = Success<MuteAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn mute(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
    Json(body): Json<MuteRequest>,
) -> Result<Success<MuteAnswer>, ApiError> {
    let mute = Mute::parse(body.muted, body.until.as_deref(), state.clock.now())?;
    if !state.store.mute(chat, &caller.id, mute).await? {
        return Err(ApiError::NotParticipant);
    }
    let chat = state.with_presence(shown(&state, chat, &caller.id).await?).await;
    let (muted, muted_until) = (chat.muted, chat.muted_until);
    Ok(Success::ok(MuteAnswer { muted, muted_until, chat }))
}
