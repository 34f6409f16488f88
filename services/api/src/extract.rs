//! What handlers are given: requests parsed into the domain's types, callers and their rights proved.

use axum::body::{Body, HttpBody};
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use chrono::DateTime;
use futures_util::StreamExt;
use parley_domain::chat::ChatType;
use parley_domain::ids::{AttachmentId, ChatId, DeliveryId, MessageId, UserId, WebhookId};
use parley_domain::link::Link;
use parley_domain::token::{self, TokenError};
use parley_domain::user::Role;
use parley_store::{Access, StoredFile};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::agents;
use crate::app::State;
use crate::error::ApiError;

/// Whoever holds a valid token; known to the directory.
pub(crate) struct Caller(pub(crate) token::Caller);

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let token = bearer(parts).map_err(ApiError::Unauthorized)?;
        state.callers.identify(token, state.clock.now()).await.map(Self)
    }
}

fn bearer(parts: &Parts) -> Result<&str, TokenError> {
    let value = parts.headers.get(header::AUTHORIZATION).ok_or(TokenError::Missing)?;
    let value = value.to_str().map_err(|_| TokenError::Invalid)?;
    let (scheme, token) = value.split_once(' ').ok_or(TokenError::Invalid)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(TokenError::Invalid) }
}

/// The user of the path, who may or may not be there.
pub(crate) struct UserPath(pub(crate) UserId);

impl FromRequestParts<State> for UserPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        UserId::parse(&id).map(Self).map_err(ApiError::InvalidId)
    }
}

/// A caller who may write the user directory: the host application.
pub(crate) struct UserManager;

impl FromRequestParts<State> for UserManager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        if caller.role.manages_users() { Ok(Self) } else { Err(ApiError::Forbidden) }
    }
}

/// A caller who may anonymise users and revoke their tokens: the host application, or an admin.
pub(crate) struct UserEnder;

impl FromRequestParts<State> for UserEnder {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        if caller.role.ends_users() { Ok(Self) } else { Err(ApiError::Forbidden) }
    }
}

/// A caller who may say where events go, and see what became of them: the host application, or an admin.
pub(crate) struct WebhookManager;

impl FromRequestParts<State> for WebhookManager {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        if caller.role.manages_webhooks() { Ok(Self) } else { Err(ApiError::Forbidden) }
    }
}

/// The webhook of the path, which may or may not be there.
pub(crate) struct WebhookPath(pub(crate) WebhookId);

impl FromRequestParts<State> for WebhookPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        WebhookId::parse(&id).map(Self).map_err(ApiError::InvalidId)
    }
}

/// The delivery of the path, which may or may not be there.
pub(crate) struct DeliveryPath {
    pub(crate) webhook: WebhookId,
    pub(crate) delivery: DeliveryId,
}

impl FromRequestParts<State> for DeliveryPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path((webhook, delivery)) =
            Path::<(String, String)>::from_request_parts(parts, state).await?;
        let webhook = WebhookId::parse(&webhook).map_err(ApiError::InvalidId)?;
        let delivery = DeliveryId::parse(&delivery).map_err(ApiError::InvalidId)?;
        Ok(Self { webhook, delivery })
    }
}

/// The chat of the path, which may or may not be there.
pub(crate) struct ChatPath(pub(crate) ChatId);

impl FromRequestParts<State> for ChatPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path(id) = Path::<String>::from_request_parts(parts, state).await?;
        ChatId::parse(&id).map(Self).map_err(ApiError::InvalidId)
    }
}

/// The message of the path, which may or may not be there.
pub(crate) struct MessagePath {
    pub(crate) chat: ChatId,
    pub(crate) message: MessageId,
}

impl FromRequestParts<State> for MessagePath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path((chat, message)) =
            Path::<(String, String)>::from_request_parts(parts, state).await?;
        let chat = ChatId::parse(&chat).map_err(ApiError::InvalidId)?;
        let message = MessageId::parse(&message).map_err(ApiError::InvalidId)?;
        Ok(Self { chat, message })
    }
}

/// The participant of the path, who may or may not be there.
pub(crate) struct ParticipantPath {
    pub(crate) chat: ChatId,
    pub(crate) user: UserId,
}

impl FromRequestParts<State> for ParticipantPath {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Path((chat, user)) = Path::<(String, String)>::from_request_parts(parts, state).await?;
        let chat = ChatId::parse(&chat).map_err(ApiError::InvalidId)?;
        let user = UserId::parse(&user).map_err(ApiError::InvalidId)?;
        Ok(Self { chat, user })
    }
}

/// A caller who is in the chat of the path; one of the support pool enters a support chat by this.
pub(crate) struct Participant {
    pub(crate) caller: token::Caller,
    pub(crate) chat: ChatId,
}

impl FromRequestParts<State> for Participant {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let ChatPath(chat) = ChatPath::from_request_parts(parts, state).await?;
        match state.store.access(chat, &caller.id).await? {
            Access::NoChat => return Err(ApiError::ChatNotFound),
            Access::Participant(_) => {}
            Access::Outsider(ChatType::Direct | ChatType::Group) => {
                return Err(ApiError::NotParticipant);
            }
            Access::Outsider(ChatType::Support) => {
                let who = (&caller.id, caller.role);
                if !agents::enter(&state.store, &state.teller, chat, who).await? {
                    return Err(ApiError::NotParticipant);
                }
            }
        }
        Ok(Self { caller, chat })
    }
}

/// A caller who may read the chat of the path: a participant, or a role that reads every chat.
pub(crate) struct Reader {
    pub(crate) caller: token::Caller,
    pub(crate) chat: ChatId,
}

impl FromRequestParts<State> for Reader {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let ChatPath(chat) = ChatPath::from_request_parts(parts, state).await?;
        require_reader(state, chat, &caller.id, caller.role).await?;
        Ok(Self { caller, chat })
    }
}

async fn require_reader(
    state: &State,
    chat: ChatId,
    user: &UserId,
    role: Role,
) -> Result<(), ApiError> {
    match state.store.access(chat, user).await? {
        Access::NoChat => Err(ApiError::ChatNotFound),
        Access::Outsider(chat_type) if !reads(role, chat_type) => Err(ApiError::NotParticipant),
        Access::Outsider(_) | Access::Participant(_) => Ok(()),
    }
}

/// A file of a message in the chat of the path, for a reader of it.
pub(crate) struct ReadableFile {
    pub(crate) caller: token::Caller,
    pub(crate) chat: ChatId,
    pub(crate) file: StoredFile,
}

impl FromRequestParts<State> for ReadableFile {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let Caller(caller) = Caller::from_request_parts(parts, state).await?;
        let (chat, attachment) = attachment_path(parts, state).await?;
        let file = readable(state, chat, attachment, &caller.id, caller.role).await?;
        Ok(Self { caller, chat, file })
    }
}

/// The same, also for whoever a link was made for that still counts, as long as they are a reader. A link gives the file
/// and nothing else: no other link above all.
pub(crate) struct DownloadableFile(pub(crate) UserId, pub(crate) StoredFile);

impl FromRequestParts<State> for DownloadableFile {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        let link = parts.uri.query().is_some_and(|query| query.contains("signature="));
        if !link || parts.headers.contains_key(header::AUTHORIZATION) {
            let readable = ReadableFile::from_request_parts(parts, state).await?;
            return Ok(Self(readable.caller.id, readable.file));
        }
        let (chat, attachment) = attachment_path(parts, state).await?;
        let link = Query::<LinkQuery>::from_request_parts(parts, state).await;
        let Query(link) = link.map_err(|_| ApiError::LinkInvalid)?;
        let (user, role) = linked(state, chat, attachment, link).await?;
        let file = readable(state, chat, attachment, &user, role).await?;
        Ok(Self(user, file))
    }
}

async fn attachment_path(
    parts: &mut Parts,
    state: &State,
) -> Result<(ChatId, AttachmentId), ApiError> {
    let Path((chat, attachment)) =
        Path::<(String, String)>::from_request_parts(parts, state).await?;
    let chat = ChatId::parse(&chat).map_err(ApiError::InvalidId)?;
    let attachment = AttachmentId::parse(&attachment).map_err(ApiError::InvalidId)?;
    Ok((chat, attachment))
}

async fn readable(
    state: &State,
    chat: ChatId,
    attachment: AttachmentId,
    user: &UserId,
    role: Role,
) -> Result<StoredFile, ApiError> {
    require_reader(state, chat, user, role).await?;
    state.store.file(chat, attachment).await?.ok_or(ApiError::AttachmentNotFound)
}

/// The query of a link.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct LinkQuery {
    /// Of a link, with all the others: whom it was made for.
    #[param(value_type = UserId, required = false)]
    user: String,
    /// As what.
    #[param(required = false)]
    role: String,
    /// When, in seconds of the Unix epoch.
    #[param(required = false)]
    issued: i64,
    /// The second from which on it counts no more.
    #[param(required = false)]
    expires: i64,
    /// The proof that it was made here.
    #[param(required = false)]
    signature: String,
}

/// Whom a link was made for, if it counts. A revocation of their tokens ends their links too.
async fn linked(
    state: &State,
    chat: ChatId,
    attachment: AttachmentId,
    query: LinkQuery,
) -> Result<(UserId, Role), ApiError> {
    let key = state.files.link_key.as_ref().ok_or(ApiError::LinkInvalid)?;
    let LinkQuery { user, role, issued, expires, signature } = query;
    let user = UserId::parse(&user).map_err(|_| ApiError::LinkInvalid)?;
    let role = Role::from_claim(Some(&role));
    let link = Link { chat, attachment, user, role, issued, expires };
    if !key.accepts(&link, &signature, state.clock.now()) {
        return Err(ApiError::LinkInvalid);
    }
    let issued = DateTime::from_timestamp(issued, 0);
    if state.callers.ask_revoked(&link.user, issued).await? {
        return Err(ApiError::LinkInvalid);
    }
    Ok((link.user, role))
}

/// Whether a role reads chats of this type without being in them.
const fn reads(role: Role, chat_type: ChatType) -> bool {
    role.reads_every_chat() || (matches!(chat_type, ChatType::Support) && role.is_in_support_pool())
}

/// A JSON body.
pub(crate) struct Json<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<State> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        if !says_json(request.headers()) {
            return Err(ApiError::UnsupportedMediaType);
        }
        let body = read(request.into_body(), state.max_body).await?;
        parse(&body).map(Self)
    }
}

/// A JSON body that may be left out altogether.
pub(crate) struct OptionalJson<T>(pub(crate) T);

impl<T: DeserializeOwned + Default> FromRequest<State> for OptionalJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        let json = says_json(request.headers());
        let body = read(request.into_body(), state.max_body).await?;
        match (body.is_empty(), json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse(&body).map(Self),
            (false, false) => Err(ApiError::UnsupportedMediaType),
        }
    }
}

fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    match axum::Json::from_bytes(body) {
        Ok(axum::Json(body)) => Ok(body),
        Err(JsonRejection::JsonDataError(error)) => Err(ApiError::InvalidBody(innermost(&error))),
        Err(_) => Err(ApiError::InvalidJson),
    }
}

/// `application/json`, or a type built on it such as `application/merge-patch+json`.
fn says_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    let subtype = subtype.to_ascii_lowercase();
    kind.eq_ignore_ascii_case("application") && (subtype == "json" || subtype.ends_with("+json"))
}

/// The whole body, at most `limit` bytes. Of a larger one the rest is read and dropped, within reason: a client that
/// is still writing when the connection closes sees a broken pipe and never the 413. One that says beforehand that it goes
/// far beyond reason is not waited for.
async fn read(body: Body, limit: usize) -> Result<Bytes, ApiError> {
    const PATIENCE: usize = 16;
    let most = limit.saturating_mul(PATIENCE);
    let announced = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
    if announced > most.saturating_mul(2) {
        return Err(ApiError::PayloadTooLarge);
    }
    let mut chunks = body.into_data_stream();
    let mut kept = BytesMut::new();
    let mut seen = 0;
    while let Some(chunk) = chunks.next().await {
        // The client went away, or sent less than it announced.
        let chunk = chunk.map_err(|_| ApiError::InvalidJson)?;
        seen += chunk.len();
        if seen <= limit {
            kept.extend_from_slice(&chunk);
        } else if seen > most {
            break;
        }
    }
    if seen > limit { Err(ApiError::PayloadTooLarge) } else { Ok(kept.freeze()) }
}

/// serde's own words, e.g. "missing field `content` at line 1 column 2".
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The query string.
pub(crate) struct Query<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, state).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(ApiError::InvalidUrl),
        }
    }
}

/// The parameters of the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned + Send> FromRequestParts<State> for Path<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &State) -> Result<Self, ApiError> {
        match axum::extract::Path::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            Err(_) => Err(ApiError::InvalidUrl),
        }
    }
}
