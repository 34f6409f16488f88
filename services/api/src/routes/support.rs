//! `/api/chat/support`: asking for help.

use std::time::Duration;

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::chat::Subject;
use parley_domain::ids::{ChatId, ClientMessageId, UserId};
use parley_domain::message::{Content, MessageType, NewMessage};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use uuid::Builder;

use super::chats::{ChatAnswer, shown};
use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, OptionalJson};
use crate::limits::LimitHeaders;
use crate::sends;

/// A second wish for the same within this is a double click.
const DOUBLE_CLICK: Duration = Duration::from_secs(5);

#[derive(Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", default)]
#[schema(as = OpenSupportChat)]
pub(crate) struct SupportRequest {
    #[schema(value_type = Option<Subject>)]
    subject: Option<String>,
    /// Sent, and charged, as any other message.
    #[schema(value_type = Option<Content>)]
    initial_message: Option<String>,
}

/// `POST /api/chat/support`: asks for help: 201 with a new chat, or 200 with the one of the click before. The initial message is sent as
/// any other; when it is refused, the chat is there without it.
#[utoipa::path(
    post,
    path = "/api/chat/support",
    operation_id = "openSupportChat",
    tag = "chats",
    request_body(content = Option<SupportRequest>, example = json!({ "subject": "A refund", "initialMessage": "Where is my money?" })),
    responses(
        (status = 201, description = "A new chat", body = Success<ChatAnswer>),
        (status = 200, description = "The chat of the click before", body = Success<ChatAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "message_refused", "idempotency_conflict", "rate_limited", "too_many_attempts",
    ]))),
)]
pub(crate) async fn open(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    OptionalJson(body): OptionalJson<SupportRequest>,
) -> Result<(LimitHeaders, Success<ChatAnswer>), ApiError> {
    let (subject, content) = body.parse()?;
    let opened = state.store.open_support_chat(&caller.id, subject, DOUBLE_CLICK).await?;
    if let Some(head) = opened.head {
        let chat = shown(&state, opened.id, &caller.id).await?;
        state.teller.tell_created(chat, head);
    }
    let usage = match content {
        None => None,
        Some(content) => {
            let first = first_message(opened.id, caller.id.clone(), content)?;
            sends::send(&state, &caller, first).await?.usage
        }
    };
    let chat = shown(&state, opened.id, &caller.id).await?;
    Ok((
        LimitHeaders(usage),
        Success::made(opened.new, ChatAnswer { chat: state.with_presence(chat).await }),
    ))
}

impl SupportRequest {
    fn parse(self) -> Result<(Option<Subject>, Option<Content>), Invalid> {
        let subject = self.subject.as_deref().map(Subject::parse).transpose()?;
        let content = self.initial_message.as_deref().map(Content::parse).transpose();
        Ok((subject, content.map_err(|invalid| invalid.in_field("initialMessage"))?))
    }
}

/// Named after what it says, so that a double click sends it once.
fn first_message(
    chat_id: ChatId,
    sender_id: UserId,
    content: Content,
) -> Result<NewMessage, Invalid> {
    let mut digest = [0; 16];
    digest.copy_from_slice(&Sha256::digest(content.as_str())[..16]);
    let digest = Builder::from_custom_bytes(digest).into_uuid();
    let client_message_id = ClientMessageId::parse(&format!("initial-{digest}"))?;
    Ok(NewMessage {
        chat_id,
        sender_id,
        message_type: MessageType::Text,
        by_host: false,
        content,
        reply_to: None,
        metadata: None,
        client_message_id: Some(client_message_id),
        file: None,
        original: None,
    })
}
