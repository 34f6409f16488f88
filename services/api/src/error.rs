//! Every way in which a request fails, with its status and its stable code. The one place of this crate that knows
//! both.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use parley_domain::Invalid;
use parley_domain::preferences::QuietHoursError;
use parley_domain::token::TokenError;
use parley_store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::limits::Limited;

/// Seconds after which a client may try again what was unavailable.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// A status and the stable word that says more.
pub(crate) type Code = (StatusCode, &'static str);

/// The codes as constants, and all of them for whoever describes them.
macro_rules! codes {
    ($($name:ident = $status:ident, $word:literal;)*) => {
        $(const $name: Code = (StatusCode::$status, $word);)*
        /// Every code but those of tokens, which [`TokenError`] has.
        pub(crate) const CODES: &[Code] = &[$($name),*];
    };
}

codes! {
    INVALID_REQUEST = BAD_REQUEST, "invalid_request";
    INVALID_JSON = BAD_REQUEST, "invalid_json";
    INVALID_FORM = BAD_REQUEST, "invalid_form";
    UPLOAD_INCOMPLETE = BAD_REQUEST, "upload_incomplete";
    INVALID_ID = BAD_REQUEST, "invalid_id";
    NOT_GROUP = BAD_REQUEST, "not_group";
    GROUP_FULL = BAD_REQUEST, "group_full";
    MESSAGE_DELETED = BAD_REQUEST, "message_deleted";
    EDIT_WINDOW_OVER = BAD_REQUEST, "edit_window_over";
    FORBIDDEN = FORBIDDEN, "forbidden";
    NOT_PARTICIPANT = FORBIDDEN, "not_participant";
    MESSAGE_REFUSED = FORBIDDEN, "message_refused";
    LINK_INVALID = FORBIDDEN, "link_invalid";
    NOT_AUTHOR = FORBIDDEN, "not_author";
    CHAT_NOT_FOUND = NOT_FOUND, "chat_not_found";
    MESSAGE_NOT_FOUND = NOT_FOUND, "message_not_found";
    ATTACHMENT_NOT_FOUND = NOT_FOUND, "attachment_not_found";
    USER_NOT_FOUND = NOT_FOUND, "user_not_found";
    PARTICIPANT_NOT_FOUND = NOT_FOUND, "participant_not_found";
    NOT_FOUND = NOT_FOUND, "not_found";
    METHOD_NOT_ALLOWED = METHOD_NOT_ALLOWED, "method_not_allowed";
    PAYLOAD_TOO_LARGE = PAYLOAD_TOO_LARGE, "payload_too_large";
    UNSUPPORTED_MEDIA_TYPE = UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type";
    FILE_TYPE_NOT_ALLOWED = UNSUPPORTED_MEDIA_TYPE, "file_type_not_allowed";
    RANGE_NOT_SATISFIABLE = RANGE_NOT_SATISFIABLE, "range_not_satisfiable";
    IDEMPOTENCY_CONFLICT = UNPROCESSABLE_ENTITY, "idempotency_conflict";
    UNKNOWN_TIME_ZONE = UNPROCESSABLE_ENTITY, "unknown_time_zone";
    QUIET_HOURS_EMPTY = UNPROCESSABLE_ENTITY, "quiet_hours_empty";
    RATE_LIMITED = TOO_MANY_REQUESTS, "rate_limited";
    TOO_MANY_ATTEMPTS = TOO_MANY_REQUESTS, "too_many_attempts";
    UNAVAILABLE = SERVICE_UNAVAILABLE, "unavailable";
    INTERNAL = INTERNAL_SERVER_ERROR, "internal";
}

/// A failed request.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ApiError {
    /// A field breaks a rule.
    #[error("{0}.")]
    Invalid(Invalid),
    /// The body is no JSON.
    #[error("The body is not valid JSON.")]
    InvalidJson,
    /// The body is JSON of another shape.
    #[error("The body does not have the expected shape: {0}.")]
    InvalidBody(String),
    /// The query or path cannot be read.
    #[error("The query or path cannot be read.")]
    InvalidUrl,
    /// An id in the path is none.
    #[error("{0}.")]
    InvalidId(Invalid),
    /// No token, or one that does not count.
    #[error("This needs a valid token: {0}.")]
    Unauthorized(TokenError),
    /// The caller's role does not allow it.
    #[error("You are not allowed to do this.")]
    Forbidden,
    /// The chat is there, and not the caller's.
    #[error("You are not a participant of this chat.")]
    NotParticipant,
    /// There is no such chat.
    #[error("There is no such chat.")]
    ChatNotFound,
    /// There is no such message in this chat.
    #[error("There is no such message in this chat.")]
    MessageNotFound,
    /// There is no such user.
    #[error("There is no such user.")]
    UserNotFound,
    /// Someone named is not known.
    #[error("A named participant is not known.")]
    ParticipantNotFound {
        /// Who.
        user_id: String,
    },
    /// The chat's participants are its participants for good.
    #[error("The participants of this chat do not change.")]
    NotGroup,
    /// The group has as many participants as it may have.
    #[error("The group is full.")]
    GroupFull,
    /// There is no such route.
    #[error("There is no such resource.")]
    NotFound,
    /// The route does not know this method.
    #[error("This resource does not support this method.")]
    MethodNotAllowed,
    /// The body is larger than allowed.
    #[error("The request is too large.")]
    PayloadTooLarge,
    /// The body is not JSON by its own account.
    #[error("The body must be application/json.")]
    UnsupportedMediaType,
    /// The body is no form by its own account.
    #[error("The body must be multipart/form-data.")]
    NotForm,
    /// The body is a form by its own account only.
    #[error("The form cannot be read.")]
    InvalidForm,
    /// The form did not come to its end in time, or at all.
    #[error("The upload did not come to its end.")]
    UploadIncomplete,
    /// The file is, by its content, of a type that is not wanted.
    #[error("Files of this type are not allowed.")]
    FileTypeNotAllowed,
    /// There is no such file in this chat, or not any more.
    #[error("There is no such file in this chat.")]
    AttachmentNotFound,
    /// The file does not reach as far as was asked.
    #[error("The file has no such range.")]
    RangeNotSatisfiable {
        /// The file's bytes.
        size: u64,
    },
    /// The link was not made here, or counts no more.
    #[error("The link does not count, or not any more.")]
    LinkInvalid,
    /// The client message id was used for another request.
    #[error("This clientMessageId was used for another message.")]
    IdempotencyConflict,
    /// The host application does not let the message through.
    #[error("The message was refused.")]
    MessageRefused {
        /// Why, as it says to the sender.
        reason: Option<String>,
    },
    /// The time zone is not one of the IANA database.
    #[error("There is no such time zone.")]
    UnknownTimeZone,
    /// All day or never: nobody can say.
    #[error("Quiet hours cannot end when they begin.")]
    QuietHoursEmpty,
    /// Somebody else wrote the message.
    #[error("Only its author may do this.")]
    NotAuthor,
    /// The message is deleted.
    #[error("The message is deleted.")]
    MessageDeleted,
    /// The message is too old to be edited.
    #[error("A message can be edited for 15 minutes only.")]
    EditWindowOver,
    /// The caller has sent as many messages as are allowed for now.
    #[error("Too many messages: wait a little.")]
    RateLimited(Limited),
    /// The caller has tried too often, whatever came of it.
    #[error("Too many attempts: wait a little.")]
    TooManyAttempts(Limited),
    /// A dependency or a queue is at its limit.
    #[error("The service is not available at the moment.")]
    Unavailable,
    /// A bug of ours; its detail is logged where it is found, and never told.
    #[error("Something went wrong on our side.")]
    Internal,
}

impl ApiError {
    /// Status and stable code.
    pub(crate) const fn status_and_code(&self) -> Code {
        match self {
            Self::Invalid(_) | Self::InvalidBody(_) | Self::InvalidUrl => INVALID_REQUEST,
            Self::InvalidJson => INVALID_JSON,
            Self::InvalidId(_) => INVALID_ID,
            Self::Unauthorized(error) => (StatusCode::UNAUTHORIZED, error.code()),
            Self::Forbidden => FORBIDDEN,
            Self::NotParticipant => NOT_PARTICIPANT,
            Self::ChatNotFound => CHAT_NOT_FOUND,
            Self::MessageNotFound => MESSAGE_NOT_FOUND,
            Self::UserNotFound => USER_NOT_FOUND,
            Self::ParticipantNotFound { .. } => PARTICIPANT_NOT_FOUND,
            Self::NotGroup => NOT_GROUP,
            Self::GroupFull => GROUP_FULL,
            Self::NotFound => NOT_FOUND,
            Self::MethodNotAllowed => METHOD_NOT_ALLOWED,
            Self::PayloadTooLarge => PAYLOAD_TOO_LARGE,
            Self::UnsupportedMediaType | Self::NotForm => UNSUPPORTED_MEDIA_TYPE,
            Self::InvalidForm => INVALID_FORM,
            Self::UploadIncomplete => UPLOAD_INCOMPLETE,
            Self::FileTypeNotAllowed => FILE_TYPE_NOT_ALLOWED,
            Self::AttachmentNotFound => ATTACHMENT_NOT_FOUND,
            Self::RangeNotSatisfiable { .. } => RANGE_NOT_SATISFIABLE,
            Self::LinkInvalid => LINK_INVALID,
            Self::IdempotencyConflict => IDEMPOTENCY_CONFLICT,
            Self::MessageRefused { .. } => MESSAGE_REFUSED,
            Self::UnknownTimeZone => UNKNOWN_TIME_ZONE,
            Self::QuietHoursEmpty => QUIET_HOURS_EMPTY,
            Self::NotAuthor => NOT_AUTHOR,
            Self::MessageDeleted => MESSAGE_DELETED,
            Self::EditWindowOver => EDIT_WINDOW_OVER,
            Self::RateLimited(_) => RATE_LIMITED,
            Self::TooManyAttempts(_) => TOO_MANY_ATTEMPTS,
            Self::Unavailable => UNAVAILABLE,
            Self::Internal => INTERNAL,
        }
    }

    /// What the framework itself answered, as one of ours; `None` for what is no failure.
    pub(crate) fn of_status(status: StatusCode) -> Option<Self> {
        match status {
            StatusCode::NOT_FOUND => Some(Self::NotFound),
            StatusCode::METHOD_NOT_ALLOWED => Some(Self::MethodNotAllowed),
            StatusCode::PAYLOAD_TOO_LARGE => Some(Self::PayloadTooLarge),
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Some(Self::UnsupportedMediaType),
            StatusCode::SERVICE_UNAVAILABLE => Some(Self::Unavailable),
            status if status.is_client_error() => Some(Self::InvalidUrl),
            status if status.is_server_error() => Some(Self::Internal),
            _ => None,
        }
    }

    fn details(&self) -> Option<Value> {
        match self {
            Self::Invalid(invalid) | Self::InvalidId(invalid) => {
                Some(json!({ "field": invalid.field }))
            }
            Self::ParticipantNotFound { user_id } => Some(json!({ "userId": user_id })),
            Self::MessageRefused { reason } => reason.as_ref().map(|why| json!({ "reason": why })),
            Self::RateLimited(limited) | Self::TooManyAttempts(limited) => Some(limited.details()),
            _ => None,
        }
    }

    /// The finished answer.
    pub(crate) fn render(&self, request_id: &str) -> Response {
        let (status, code) = self.status_and_code();
        let error = Described { code, message: self.to_string(), details: self.details() };
        let body = Failure { success: false, error, request_id };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self {
            Self::Unavailable => drop(headers.insert(header::RETRY_AFTER, RETRY_AFTER)),
            Self::RateLimited(limited) | Self::TooManyAttempts(limited) => limited.write(headers),
            Self::RangeNotSatisfiable { size } => {
                if let Ok(value) = HeaderValue::from_str(&format!("bytes */{size}")) {
                    headers.insert(header::CONTENT_RANGE, value);
                }
            }
            Self::Unauthorized(_) => {
                drop(headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        response
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Failure<'a> {
    success: bool,
    error: Described,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Described {
    code: &'static str,
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    details: Option<Value>,
}

/// What `details` may say; which fields, depends on the code.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
#[expect(dead_code, reason = "the document's account of `ApiError::details`")]
pub(crate) struct FailureDetails {
    /// The field that breaks a rule.
    field: Option<String>,
    /// Who is not known.
    user_id: Option<String>,
    /// Why the host application does not let a message through.
    reason: Option<String>,
    /// How often in each window.
    limit: Option<u32>,
    window_seconds: Option<u64>,
    retry_after_seconds: Option<u64>,
}

impl IntoResponse for ApiError {
    /// Leaves the rendering to [`crate::observe`], which knows the request's id.
    fn into_response(self) -> Response {
        let mut response = self.status_and_code().0.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Invalid> for ApiError {
    fn from(invalid: Invalid) -> Self {
        Self::Invalid(invalid)
    }
}

impl From<QuietHoursError> for ApiError {
    fn from(error: QuietHoursError) -> Self {
        match error {
            QuietHoursError::Invalid(invalid) => Self::Invalid(invalid),
            QuietHoursError::UnknownTimeZone => Self::UnknownTimeZone,
            QuietHoursError::Empty => Self::QuietHoursEmpty,
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        if let StoreError::Unavailable(_) | StoreError::NotBegun(_) = error {
            tracing::warn!(%error, "a request was refused");
            Self::Unavailable
        } else {
            tracing::error!(%error, "a request failed");
            Self::Internal
        }
    }
}
