//! `/api/chat/:id/messages`: sending and reading.

use axum::extract::{Request, State as Extract};
use axum::handler::Handler;
use axum::http::HeaderMap;
use axum::response::Response;
use chrono::{DateTime, Utc};
use parley_domain::Invalid;
use parley_domain::ids::{ChatId, ClientMessageId, MessageId};
use parley_domain::message::{Content, EDIT_WINDOW, Message, MessageType, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::page::{MessagePagination, Page};
use parley_domain::token;
use parley_domain::user::Role;
use parley_domain::version::{Seq, Version};
use parley_store::{Cursor, DeleteAs, DeleteMessage, EditMessage, MessageQuery, Order};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::{AnyOf, ObjectBuilder, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema, SchemaFormat};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::attachments::{self, FileForm};
use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, ChatPath, Json, MessagePath, Query, Reader};
use crate::form::is_form;
use crate::limits::LimitHeaders;
use crate::sends::{self, Sent};

const DEFAULT_LIMIT: u32 = 50;
const IDEMPOTENCY_KEY: &str = "idempotency-key";

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = SendMessage)]
pub(crate) struct SendRequest {
    #[schema(value_type = Content, required)]
    content: Option<String>,
    /// `text` by default; `system` for admins and the host application.
    #[serde(rename = "type")]
    #[schema(value_type = Option<MessageType>)]
    message_type: Option<String>,
    /// A message of the same chat.
    #[schema(value_type = Option<MessageId>)]
    reply_to_message_id: Option<String>,
    /// The host's own data: at most 16 KiB and 16 levels, without NUL.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
    /// Makes a repeated send the same send; must agree with `Idempotency-Key` if both are given.
    #[schema(value_type = Option<ClientMessageId>)]
    client_message_id: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneMessage)]
pub(crate) struct MessageAnswer {
    pub(super) message: Message,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// From 1.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    page: Option<String>,
    /// 50 by default; above 100 counts as 100.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<String>,
    /// A time (ISO 8601), a message id or a seq, which is itself left out.
    #[param(schema_with = time_or_message)]
    before: Option<String>,
    /// The same, for what came later; with both, the page is taken from between them.
    #[param(schema_with = time_or_message)]
    after: Option<String>,
    /// A message id or a seq in the middle of the page; without `before`, `after` and further pages.
    #[param(schema_with = id_or_seq)]
    around: Option<String>,
    /// `desc`, newest first, by default.
    #[param(value_type = Option<OrderWord>, inline)]
    order: Option<String>,
}

fn time_or_message() -> Schema {
    let time = SchemaFormat::KnownFormat(KnownFormat::DateTime);
    let time = ObjectBuilder::new().schema_type(Type::String).format(Some(time));
    any_of(
        vec![time.into(), MessageId::schema(), Seq::schema()],
        "A time (ISO 8601), a message id or a seq, which is itself left out; with both, the page is taken from between them.",
    )
}

fn id_or_seq() -> Schema {
    any_of(
        vec![MessageId::schema(), Seq::schema()],
        "A message id or a seq in the middle of the page; without `before`, `after` and further pages.",
    )
}

fn any_of(items: Vec<RefOr<Schema>>, description: &str) -> Schema {
    Schema::AnyOf(AnyOf { items, description: Some(description.to_owned()), ..AnyOf::default() })
}

/// Which end of a page comes first.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document's words for what `ListQuery::parse` takes")]
enum OrderWord {
    Desc,
    Asc,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Messages)]
pub(crate) struct ListAnswer {
    messages: Vec<Message>,
    pagination: MessagePagination,
    /// The `since` of a join that misses nothing of what came after this page.
    version: Version,
}

/// `POST /api/chat/:id/messages`: sends a message: 201 once the message is committed; 200 for a replay. A form is a message
/// with a file: old front ends send it here.
#[utoipa::path(
    post,
    path = "/api/chat/{id}/messages",
    operation_id = "sendMessage",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("Idempotency-Key" = Option<ClientMessageId>, Header, description = "The same as `clientMessageId`"),
    ),
    request_body(content(
        (SendRequest = "application/json", examples(
            ("text" = (value = json!({ "content": "Hello" }))),
            ("answer" = (value = json!({
                "content": "Yes",
                "replyToMessageId": "0192f0a4-7c3b-7d2e-8a1b-0123456789ab",
                "metadata": { "mood": "good" },
                "clientMessageId": "8f1c-1"
            }))),
        )),
        (FileForm = "multipart/form-data", example = json!({ "file": "words", "content": "Look" })),
    )),
    responses(
        (status = 201, description = "The message is committed", body = Success<MessageAnswer>),
        (status = 200, description = "It was sent before: the message as it is now", body = Success<MessageAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "forbidden", "not_participant", "message_refused", "chat_not_found", "message_not_found",
        "idempotency_conflict", "rate_limited", "too_many_attempts",
    ]))),
)]
pub(crate) async fn send(Extract(state): Extract<State>, request: Request) -> Response {
    if is_form(request.headers()) {
        Box::pin(attachments::send.call(request, state)).await
    } else {
        send_text.call(request, state).await
    }
}

async fn send_text(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    ChatPath(chat): ChatPath,
    headers: HeaderMap,
    Json(body): Json<SendRequest>,
) -> Result<(LimitHeaders, Success<MessageAnswer>), ApiError> {
    let new = body.parse(chat, &caller, &headers)?;
    if new.message_type == MessageType::System && !caller.role.sends_system_messages() {
        return Err(ApiError::Forbidden);
    }
    let Sent { appended, usage } = sends::send(&state, &caller, new).await?;
    let answer = MessageAnswer { message: appended.message };
    Ok((LimitHeaders(usage), Success::made(!appended.replay, answer)))
}

impl SendRequest {
    fn parse(
        self,
        chat_id: ChatId,
        caller: &token::Caller,
        headers: &HeaderMap,
    ) -> Result<NewMessage, Invalid> {
        let message_type =
            self.message_type.as_deref().map(MessageType::parse).transpose()?.unwrap_or_default();
        Ok(NewMessage {
            chat_id,
            sender_id: caller.id.clone(),
            message_type,
            by_host: caller.role == Role::Service && message_type == MessageType::System,
            content: Content::parse(self.content.as_deref().unwrap_or_default())?,
            reply_to: self
                .reply_to_message_id
                .map(|id| {
                    MessageId::parse(&id).map_err(|invalid| invalid.in_field("replyToMessageId"))
                })
                .transpose()?,
            metadata: self.metadata.map(Metadata::parse).transpose()?,
            client_message_id: client_message_id(self.client_message_id.as_deref(), headers)?,
            file: None,
            original: None,
        })
    }
}

/// The sender's own id of the message, from the body or the `Idempotency-Key` header; both have to agree.
pub(super) fn client_message_id(
    body: Option<&str>,
    headers: &HeaderMap,
) -> Result<Option<ClientMessageId>, Invalid> {
    let header =
        match headers.get(IDEMPOTENCY_KEY).map(|value| std::str::from_utf8(value.as_bytes())) {
            None => None,
            Some(Ok(text)) => Some(text),
            Some(Err(_)) => return Err(Invalid::new("Idempotency-Key", "must be UTF-8")),
        };
    if let (Some(body), Some(header)) = (body, header)
        && body != header
    {
        return Err(Invalid::new("clientMessageId", "must agree with the Idempotency-Key header"));
    }
    body.or(header).map(ClientMessageId::parse).transpose()
}

/// `GET /api/chat/:id/messages`: a page of the history, newest first unless `order=asc`.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/messages",
    operation_id = "listMessages",
    tag = "messages",
    params(("id" = ChatId, Path, description = "The chat"), ListQuery),
    responses(
        (status = 200, description = "A page of the history", body = Success<ListAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    reader: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Success<ListAnswer>, ApiError> {
    let query = query.parse()?;
    let page = state.store.messages(reader.chat, &query).await?.ok_or(ApiError::ChatNotFound)?;
    Ok(Success::ok(ListAnswer {
        messages: page.messages,
        pagination: page.pagination,
        version: page.version,
    }))
}

#[derive(Deserialize, ToSchema)]
#[schema(as = EditMessage)]
pub(crate) struct EditRequest {
    #[schema(value_type = Content, required)]
    content: Option<String>,
}

/// `PUT /api/chat/:id/messages/:messageId`: changes the text, for its author, for 15 minutes.
#[utoipa::path(
    put,
    path = "/api/chat/{id}/messages/{messageId}",
    operation_id = "editMessage",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("messageId" = MessageId, Path, description = "The message"),
    ),
    request_body(content = EditRequest, example = json!({ "content": "Hello!" })),
    responses(
        (status = 200, description = "The message as it is now", body = Success<MessageAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "message_deleted", "edit_window_over", "not_participant", "not_author", "chat_not_found",
        "message_not_found",
    ]))),
)]
pub(crate) async fn edit(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    path: MessagePath,
    Json(body): Json<EditRequest>,
) -> Result<Success<MessageAnswer>, ApiError> {
    let content = Content::parse(body.content.as_deref().unwrap_or_default())?;
    let MessagePath { chat, message } = path;
    let edit = state.store.edit_message(chat, message, &caller.id, &content, EDIT_WINDOW);
    match edit.await? {
        EditMessage::Edited(message, committed) => {
            state.teller.tell(&committed);
            Ok(Success::ok(MessageAnswer { message: *message }))
        }
        EditMessage::ChatNotFound => Err(ApiError::ChatNotFound),
        EditMessage::NotParticipant => Err(ApiError::NotParticipant),
        EditMessage::MessageNotFound => Err(ApiError::MessageNotFound),
        EditMessage::NotAuthor => Err(ApiError::NotAuthor),
        EditMessage::Deleted => Err(ApiError::MessageDeleted),
        EditMessage::WindowOver => Err(ApiError::EditWindowOver),
    }
}

/// `DELETE /api/chat/:id/messages/:messageId`: leaves a tombstone; for the author, and for admins.
#[utoipa::path(
    delete,
    path = "/api/chat/{id}/messages/{messageId}",
    operation_id = "deleteMessage",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("messageId" = MessageId, Path, description = "The message"),
    ),
    responses(
        (status = 200, description = "What is left of the message", body = Success<MessageAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "not_participant", "not_author", "chat_not_found", "message_not_found",
    ]))),
)]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    path: MessagePath,
) -> Result<Success<MessageAnswer>, ApiError> {
    let authority = if caller.role.moderates() { DeleteAs::Admin } else { DeleteAs::Author };
    let MessagePath { chat, message } = path;
    match state.store.delete_message(chat, message, &caller.id, authority).await? {
        DeleteMessage::Deleted(message, committed) => {
            state.teller.tell(&committed);
            // Its file may go.
            state.files.bell.notify_one();
            Ok(Success::ok(MessageAnswer { message: *message }))
        }
        DeleteMessage::AlreadyDeleted(message) => {
            Ok(Success::ok(MessageAnswer { message: *message }))
        }
        DeleteMessage::ChatNotFound => Err(ApiError::ChatNotFound),
        DeleteMessage::NotParticipant => Err(ApiError::NotParticipant),
        DeleteMessage::MessageNotFound => Err(ApiError::MessageNotFound),
        DeleteMessage::NotAuthor => Err(ApiError::NotAuthor),
    }
}

impl ListQuery {
    fn parse(&self) -> Result<MessageQuery, Invalid> {
        let page = Page::parse(self.page.as_deref(), self.limit.as_deref(), DEFAULT_LIMIT)?;
        let before = cursor("before", self.before.as_deref())?;
        let after = cursor("after", self.after.as_deref())?;
        let around = cursor("around", self.around.as_deref())?;
        if around.is_some() && (before.is_some() || after.is_some() || page.number > 1) {
            return Err(Invalid::new("around", "stands alone: without before, after and page"));
        }
        if matches!(around, Some(Cursor::Time(_))) {
            return Err(Invalid::new("around", "must be a message id or a seq"));
        }
        let order = match self.order.as_deref() {
            None | Some("desc") => Order::NewestFirst,
            Some("asc") => Order::OldestFirst,
            Some(_) => return Err(Invalid::new("order", "must be asc or desc")),
        };
        Ok(MessageQuery { before, after, around, order, page })
    }
}

/// A seq is all digits, an id has the form of a UUID, and anything else has to be a time.
fn cursor(field: &'static str, text: Option<&str>) -> Result<Option<Cursor>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits {
        return Ok(Some(Cursor::Seq(Seq(text.parse().unwrap_or(u64::MAX)))));
    }
    if let Ok(id) = MessageId::parse(text) {
        return Ok(Some(Cursor::Id(id)));
    }
    // A `+` of an offset that was not encoded arrives as a space.
    match DateTime::parse_from_rfc3339(&text.replace(' ', "+")) {
        Ok(time) => Ok(Some(Cursor::Time(time.with_timezone(&Utc)))),
        Err(_) => Err(Invalid::new(field, "must be a time (ISO 8601), a message id or a seq")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_are_told_apart_by_their_form() {
        let read = |text| cursor("before", Some(text));
        assert_eq!(read("17"), Ok(Some(Cursor::Seq(Seq(17)))));
        assert_eq!(read("99999999999999999999999"), Ok(Some(Cursor::Seq(Seq(u64::MAX)))));
        assert!(matches!(read("0192f0a4-7c3b-7d2e-8a1b-0123456789ab"), Ok(Some(Cursor::Id(_)))));
        let moment = DateTime::from_timestamp(1_767_225_600, 0).unwrap();
        for text in
            ["2026-01-01T00:00:00.000Z", "2026-01-01T02:00:00+02:00", "2026-01-01T02:00:00 02:00"]
        {
            assert_eq!(read(text), Ok(Some(Cursor::Time(moment))), "{text}");
        }
        for bad in ["", "-1", "yesterday", "2026-01-01", "+17"] {
            assert!(read(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_two_places_of_an_idempotency_key_agree_or_the_send_is_refused() {
        let mut headers = HeaderMap::new();
        let id = |body, headers: &HeaderMap| {
            client_message_id(body, headers).map(|id| id.map(String::from))
        };
        assert_eq!(id(None, &headers), Ok(None));
        assert_eq!(id(Some("a"), &headers), Ok(Some("a".to_owned())));
        headers.insert(IDEMPOTENCY_KEY, "a".parse().unwrap());
        assert_eq!(id(None, &headers), Ok(Some("a".to_owned())));
        assert_eq!(id(Some("a"), &headers), Ok(Some("a".to_owned())));
        assert!(id(Some("b"), &headers).is_err());
    }
}
