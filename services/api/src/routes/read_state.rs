//! `/api/chat/:id/messages/read` and `/unread`: what the caller has read.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ids::{ChatId, MessageId};
use parley_domain::message::MAX_NAMED_MESSAGES;
use parley_domain::time::Timestamp;
use parley_domain::version::Seq;
use parley_store::{MarkRead, MarkUnread};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Json, OptionalJson, Participant};

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = MarkRead)]
pub(crate) struct ReadRequest {
    /// Without any, everything is marked. Ids that the chat does not know are passed over.
    #[schema(value_type = Option<Vec<MessageId>>, max_items = 1000)]
    message_ids: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Read)]
pub(crate) struct ReadAnswer {
    modified_count: u64,
    unread_count: u64,
    read_up_to: Seq,
}

/// `PATCH /api/chat/:id/messages/read`: marks the named messages as read; without names, all.
#[utoipa::path(
    patch,
    path = "/api/chat/{id}/messages/read",
    operation_id = "markRead",
    tag = "messages",
    params(("id" = ChatId, Path, description = "The chat")),
    request_body(content = Option<ReadRequest>, examples(
        ("all" = (value = json!({}))),
        ("some" = (value = json!({ "messageIds": ["0192f0a4-7c3b-7d2e-8a1b-0123456789ab"] }))),
    )),
    responses(
        (status = 200, description = "What was changed", body = Success<ReadAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn read(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
    OptionalJson(body): OptionalJson<ReadRequest>,
) -> Result<Success<ReadAnswer>, ApiError> {
    let ids = body.parse()?;
    let marked = match state.store.mark_read(chat, &caller.id, ids.as_deref()).await? {
        MarkRead::Marked(marked) => marked,
        MarkRead::NotParticipant => return Err(ApiError::NotParticipant),
    };
    if marked.modified > 0 {
        let at = Timestamp::new(state.clock.now());
        state.teller.tell_read(chat, &caller.id, &marked, at);
    }
    Ok(Success::ok(ReadAnswer {
        modified_count: marked.modified,
        unread_count: marked.unread,
        read_up_to: marked.read_up_to,
    }))
}

impl ReadRequest {
    fn parse(self) -> Result<Option<Vec<MessageId>>, Invalid> {
        let ids = self.message_ids.unwrap_or_default();
        if ids.len() > MAX_NAMED_MESSAGES {
            let rule = format!("must not name more than {MAX_NAMED_MESSAGES} messages");
            return Err(Invalid::new("messageIds", rule));
        }
        let parse = |id: &String| MessageId::parse(id).map_err(|it| it.in_field("messageIds"));
        let ids = ids.iter().map(parse).collect::<Result<Vec<_>, _>>()?;
        Ok((!ids.is_empty()).then_some(ids))
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = MarkUnread)]
pub(crate) struct UnreadRequest {
    #[schema(value_type = MessageId)]
    message_id: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Unread)]
pub(crate) struct UnreadAnswer {
    unread_count: u64,
    read_up_to: Seq,
}

/// `PATCH /api/chat/:id/messages/unread`: marks a message and everything after it as unread.
#[utoipa::path(
    patch,
    path = "/api/chat/{id}/messages/unread",
    operation_id = "markUnread",
    tag = "messages",
    params(("id" = ChatId, Path, description = "The chat")),
    request_body(content = UnreadRequest, example = json!({ "messageId": "0192f0a4-7c3b-7d2e-8a1b-0123456789ab" })),
    responses(
        (status = 200, description = "What is unread now", body = Success<UnreadAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found", "message_not_found"]))),
)]
pub(crate) async fn unread(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
    Json(body): Json<UnreadRequest>,
) -> Result<Success<UnreadAnswer>, ApiError> {
    let from = MessageId::parse(&body.message_id)?;
    match state.store.mark_unread(chat, &caller.id, from).await? {
        MarkUnread::Marked { unread, read_up_to } => {
            Ok(Success::ok(UnreadAnswer { unread_count: unread, read_up_to }))
        }
        MarkUnread::NotParticipant => Err(ApiError::NotParticipant),
        MarkUnread::MessageNotFound => Err(ApiError::MessageNotFound),
    }
}
