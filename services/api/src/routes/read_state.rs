//! `/api/chat/:id/messages/read` and `/unread`: what the caller has read.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ids::MessageId;
use parley_domain::message::MAX_NAMED_MESSAGES;
use parley_domain::time::Timestamp;
use parley_domain::version::Seq;
use parley_store::{MarkRead, MarkUnread};
use serde::{Deserialize, Serialize};

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Json, OptionalJson, Participant};

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(crate) struct ReadRequest {
    message_ids: Option<Vec<String>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReadAnswer {
    modified_count: u64,
    unread_count: u64,
    read_up_to: Seq,
}

/// `PATCH /api/chat/:id/messages/read`: marks the named messages as read; without names, all.
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnreadRequest {
    message_id: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UnreadAnswer {
    unread_count: u64,
    read_up_to: Seq,
}

/// `PATCH /api/chat/:id/messages/unread`: marks a message and everything after it as unread.
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
