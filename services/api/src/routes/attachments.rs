//! Files of messages: sending one, downloading it, and links for where no token can be sent.

use axum::body::Body;
use axum::extract::State as Extract;
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use chrono::SubsecRound;
use futures_util::TryStreamExt;
use parley_domain::Invalid;
use parley_domain::file;
use parley_domain::ids::{AttachmentId, ChatId, ClientMessageId, MessageId};
use parley_domain::link::Link;
use parley_domain::message::{Content, MessageType, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::time::Timestamp;
use parley_domain::token;
use parley_files::FilesError;
use parley_store::StoredFile;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use utoipa::ToSchema;

use super::messages::{MessageAnswer, client_message_id};
use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{DownloadableFile, LinkQuery, Participant, ReadableFile};
use crate::finishing::to_the_end;
use crate::form::Form;
use crate::limits::LimitHeaders;
use crate::range::{Asked, asked};
use crate::sends::{self, Admission, Sent};
use crate::uploads::{self, Received};

/// What a query lets stand as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What RFC 5987 lets stand as it is.
const ATTR_CHAR: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// A message with a file; fields of other names mean nothing.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's account of what `uploads::receive` reads")]
pub(crate) struct FileForm {
    /// One file with a name of 1–255 characters that is no path. Its type is what its content says.
    #[schema(value_type = String, format = Binary)]
    file: Vec<u8>,
    /// The caption; it may be empty.
    #[schema(value_type = String, required = false, max_length = 5000, pattern = r"^[^\u0000]*$")]
    content: Option<String>,
    /// A message of the same chat.
    #[schema(value_type = MessageId, required = false)]
    reply_to_message_id: Option<String>,
    /// The host's own data as JSON: at most 16 KiB and 16 levels, without NUL.
    #[schema(value_type = Object, required = false)]
    metadata: Option<String>,
    /// Makes a repeated send the same send; must agree with `Idempotency-Key` if both are given.
    #[schema(value_type = ClientMessageId, required = false)]
    client_message_id: Option<String>,
}

/// `POST /api/chat/:id/messages/file`: sends a message with a file: 201 once the message is committed; 200 for a replay. Who
/// may not send is refused before the body is read.
#[utoipa::path(
    post,
    path = "/api/chat/{id}/messages/file",
    operation_id = "sendFile",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("Idempotency-Key" = Option<ClientMessageId>, Header, description = "The same as `clientMessageId`, and known before the form is read"),
    ),
    request_body(
        content = FileForm,
        content_type = "multipart/form-data",
        example = json!({ "file": "words", "content": "Look", "metadata": { "mood": "good" }, "clientMessageId": "8f1c-2" }),
    ),
    responses(
        (status = 201, description = "The message is committed", body = Success<MessageAnswer>),
        (status = 200, description = "It was sent before: the message as it is now", body = Success<MessageAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "not_participant", "message_refused", "chat_not_found", "message_not_found",
        "idempotency_conflict", "rate_limited", "too_many_attempts",
    ]))),
)]
pub(crate) async fn send(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
    headers: HeaderMap,
    form: Form,
) -> Result<(LimitHeaders, Success<MessageAnswer>), ApiError> {
    let header_id = client_message_id(None, &headers)?;
    let place = state.files.uploads.take(&caller.id)?;
    // A client that goes away must leave neither a charge nor an object behind.
    let Sent { appended, usage } = to_the_end(async move {
        let _place = place;
        let admission = sends::admit(&state, &caller, chat, header_id.as_ref()).await?;
        match uploads::receive(&state, form).await {
            Ok(received) => {
                send_received(&state, admission, received, chat, &caller, &headers).await
            }
            Err(error) => {
                admission.withdraw(&state).await;
                Err(error)
            }
        }
    })
    .await?;
    let answer = MessageAnswer { message: appended.message };
    Ok((LimitHeaders(usage), Success::made(!appended.replay, answer)))
}

/// Sends what has been received, if it is a message.
async fn send_received(
    state: &State,
    admission: Admission,
    received: Received,
    chat: ChatId,
    caller: &token::Caller,
    headers: &HeaderMap,
) -> Result<Sent, ApiError> {
    let key = received.file.storage_key.clone();
    match parse(received, chat, caller, headers) {
        Ok(new) => sends::send_admitted(state, caller.role, admission, new, &key).await,
        Err(invalid) => {
            uploads::release(state, &key).await;
            admission.withdraw(state).await;
            Err(invalid.into())
        }
    }
}

fn parse(
    received: Received,
    chat_id: ChatId,
    caller: &token::Caller,
    headers: &HeaderMap,
) -> Result<NewMessage, Invalid> {
    let Received { fields, file } = received;
    let metadata = fields.metadata.filter(|text| !text.is_empty());
    let metadata = metadata.map(|text| {
        let value = serde_json::from_str(&text);
        Metadata::parse(value.map_err(|_| Invalid::new("metadata", "must be JSON"))?)
    });
    let reply_to = fields.reply_to_message_id.filter(|text| !text.is_empty());
    let reply_to = reply_to
        .map(|id| MessageId::parse(&id).map_err(|invalid| invalid.in_field("replyToMessageId")));
    Ok(NewMessage {
        chat_id,
        sender_id: caller.id.clone(),
        message_type: MessageType::Text,
        by_host: false,
        content: Content::parse_caption(fields.content.as_deref().unwrap_or_default())?,
        reply_to: reply_to.transpose()?,
        metadata: metadata.transpose()?,
        client_message_id: client_message_id(fields.client_message_id.as_deref(), headers)?,
        file: Some(Box::new(file)),
        original: None,
    })
}

/// A file, or a range of it.
#[derive(ToSchema)]
#[schema(value_type = String, format = Binary)]
#[expect(dead_code, reason = "the document's word for a body that is no JSON")]
struct FileBytes(Vec<u8>);

/// `GET /api/chat/:id/attachments/:attachmentId`: the file, or a range of it. Instead of a token, a link's query names who may
/// have it. One range is honoured (`Range`, `If-Range`); several are answered with the whole file.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/attachments/{attachmentId}",
    operation_id = "downloadFile",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("attachmentId" = AttachmentId, Path, description = "The file"),
        ("Range" = Option<String>, Header, description = "`bytes=0-499`"),
        ("If-Range" = Option<String>, Header, description = "The `ETag` of the file of which a range is wanted"),
        LinkQuery,
    ),
    responses(
        (
            status = 200, description = "The file", content_type = "*/*", body = FileBytes,
            headers(("Content-Length"), ("Accept-Ranges"), ("ETag"), ("Content-Disposition"), ("X-Content-Type-Options"), ("Content-Security-Policy")),
        ),
        (
            status = 206, description = "The range", content_type = "*/*", body = FileBytes,
            headers(("Content-Length"), ("Content-Range"), ("Accept-Ranges"), ("ETag"), ("Content-Disposition"), ("X-Content-Type-Options"), ("Content-Security-Policy")),
        ),
    ),
    security(("bearer" = []), ("link" = [])),
    extensions(("x-refusals" = json!([
        "not_participant", "link_invalid", "chat_not_found", "attachment_not_found", "range_not_satisfiable",
    ]))),
)]
pub(crate) async fn download(
    Extract(state): Extract<State>,
    DownloadableFile(user, file): DownloadableFile,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let (status, range) = match asked(&headers, file.size, &etag(&file)) {
        Asked::Whole => (StatusCode::OK, 0..file.size),
        Asked::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
        Asked::Nothing => return Err(ApiError::RangeNotSatisfiable { size: file.size }),
    };
    let length = range.end - range.start;
    let content_range = (status == StatusCode::PARTIAL_CONTENT)
        .then(|| format!("bytes {}-{}/{}", range.start, range.end - 1, file.size));
    let place = state.files.downloads.take(&user)?;
    let failed = state.metrics.reads_failed.clone();
    let pieces = state.files.storage.read(&file.storage_key, range).await;
    let pieces = pieces.inspect_err(|_| failed.inc())?;
    // The head has gone out: all that is left is to break off.
    let noted = move |error: &FilesError| {
        // It is taken for as long as there are pieces to come.
        let _ = &place;
        failed.inc();
        tracing::warn!(%error, "a download was broken off");
    };
    let body = Body::from_stream(pieces.inspect_err(noted));
    let mut response = (status, body).into_response();
    describe(response.headers_mut(), &file, length, content_range);
    Ok(response)
}

/// `HEAD /api/chat/:id/attachments/:attachmentId`: what a `GET` of the whole file says of it.
#[utoipa::path(
    head,
    path = "/api/chat/{id}/attachments/{attachmentId}",
    operation_id = "describeFile",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("attachmentId" = AttachmentId, Path, description = "The file"),
        LinkQuery,
    ),
    responses((
        status = 200, description = "The file, without its bytes",
        headers(("Content-Length"), ("Accept-Ranges"), ("ETag"), ("Content-Disposition"), ("X-Content-Type-Options"), ("Content-Security-Policy")),
    )),
    security(("bearer" = []), ("link" = [])),
    extensions(("x-refusals" = json!([
        "not_participant", "link_invalid", "chat_not_found", "attachment_not_found",
    ]))),
)]
pub(crate) async fn head(DownloadableFile(_, file): DownloadableFile) -> Response {
    let mut response = Body::empty().into_response();
    describe(response.headers_mut(), &file, file.size, None);
    response
}

fn etag(file: &StoredFile) -> String {
    format!("\"{}\"", file.id)
}

/// What a browser needs to know of a file, and what it must not do with it.
fn describe(head: &mut HeaderMap, file: &StoredFile, length: u64, range: Option<String>) {
    let (mime_type, shown) = file::serving(&file.mime_type);
    let mime_type = if mime_type == "text/plain" { "text/plain; charset=utf-8" } else { mime_type };
    let mut put = |name: HeaderName, value: String| {
        // The name is encoded; everything else is ours.
        if let Ok(value) = HeaderValue::try_from(value) {
            head.insert(name, value);
        }
    };
    put(header::CONTENT_TYPE, mime_type.to_owned());
    put(header::CONTENT_LENGTH, length.to_string());
    put(header::CONTENT_DISPOSITION, disposition(&file.filename, shown));
    put(header::ETAG, etag(file));
    if let Some(range) = range {
        put(header::CONTENT_RANGE, range);
    }
    for (name, value) in GUARDS {
        head.insert(name, HeaderValue::from_static(value));
    }
}

/// What every file is given out with.
const GUARDS: [(HeaderName, &str); 3] = [
    (header::ACCEPT_RANGES, "bytes"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CONTENT_SECURITY_POLICY, "sandbox; default-src 'none'"),
];

/// RFC 6266: a name that everybody reads, and the real one.
fn disposition(filename: &str, shown: bool) -> String {
    let plain = |c: char| if c.is_ascii() && !"\"\\%".contains(c) { c } else { '_' };
    let ascii: String = filename.chars().map(plain).collect();
    let kind = if shown { "inline" } else { "attachment" };
    let encoded = utf8_percent_encode(filename, ATTR_CHAR);
    format!("{kind}; filename=\"{ascii}\"; filename*=UTF-8''{encoded}")
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = FileLink)]
pub(crate) struct LinkAnswer {
    /// The file's address without the host, with the link's query.
    url: String,
    expires_at: Timestamp,
}

/// `GET /api/chat/:id/attachments/:attachmentId/link`: the file's address for where no token can be sent, as `<img src>`,
/// for a short while. It is its asker's own: it ends with what the asker may read. Where links are not set up, this is 404.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/attachments/{attachmentId}/link",
    operation_id = "linkFile",
    tag = "messages",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("attachmentId" = AttachmentId, Path, description = "The file"),
    ),
    responses((status = 200, description = "The link", body = Success<LinkAnswer>)),
    extensions(("x-refusals" = json!([
        "not_participant", "chat_not_found", "attachment_not_found", "not_found",
    ]))),
)]
pub(crate) async fn link(
    Extract(state): Extract<State>,
    ReadableFile { caller, chat, file }: ReadableFile,
) -> Result<Success<LinkAnswer>, ApiError> {
    let key = state.files.link_key.as_ref().ok_or(ApiError::NotFound)?;
    let now = state.clock.now().trunc_subsecs(0);
    // It is as old as the token that asks for it, and lives no longer: what ends the token ends the link.
    let issued = caller.issued_at.map_or(0, |at| at.timestamp());
    let until = (now + state.files.settings.link_lifetime()).min(caller.expires_at);
    let expires = until.timestamp();
    let (user, role) = (caller.id, caller.role);
    let link = Link { chat, attachment: file.id, user, role, issued, expires };
    let url = format!(
        "/api/chat/{chat}/attachments/{}?user={}&role={}&issued={}&expires={}&signature={}",
        file.id,
        utf8_percent_encode(link.user.as_str(), UNRESERVED),
        role.as_str(),
        link.issued,
        link.expires,
        key.sign(&link),
    );
    Ok(Success::ok(LinkAnswer { url, expires_at: Timestamp::new(until) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_told_twice_and_breaks_nothing() {
        assert_eq!(
            disposition("photo 1.png", true),
            "inline; filename=\"photo 1.png\"; filename*=UTF-8''photo%201.png"
        );
        assert_eq!(
            disposition("a\"; filename=x\\.html%", false),
            "attachment; filename=\"a_; filename=x_.html_\"; filename*=UTF-8''a%22%3B%20filename%3Dx%5C.html%25"
        );
        assert_eq!(
            disposition("Ü文.txt", true),
            "inline; filename=\"__.txt\"; filename*=UTF-8''%C3%9C%E6%96%87.txt"
        );
    }
}
