//! Webhooks: which events the host application's servers can be told, and where.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::Invalid;
use crate::chat::ChatType;
use crate::ids::{ChatId, UserId};
use crate::message::Message;
use crate::time::Timestamp;

/// Most bytes of a webhook's URL.
pub const MAX_URL: usize = 2048;
/// Most characters of a webhook's description.
pub const MAX_DESCRIPTION: usize = 200;

/// What happened, as webhooks are told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = WebhookEvent))]
pub enum EventKind {
    /// A message was sent.
    #[serde(rename = "message.created")]
    MessageCreated,
    /// A message's text was changed.
    #[serde(rename = "message.edited")]
    MessageEdited,
    /// A message was deleted.
    #[serde(rename = "message.deleted")]
    MessageDeleted,
    /// Somebody has read messages.
    #[serde(rename = "message.read")]
    MessageRead,
    /// Somebody is in a chat from here on, or is something else there.
    #[serde(rename = "participant.added")]
    ParticipantAdded,
    /// Somebody is out of a chat from here on.
    #[serde(rename = "participant.removed")]
    ParticipantRemoved,
    /// There is a chat.
    #[serde(rename = "chat.created")]
    ChatCreated,
    /// Somebody is to be told, out of band, of what was said while they were away.
    #[serde(rename = "notification.due")]
    NotificationDue,
    /// A webhook was switched off because it failed for too long.
    #[serde(rename = "webhook.disabled")]
    WebhookDisabled,
    /// A test: it is sent to the webhook that it is asked for, and never else.
    #[serde(rename = "webhook.ping")]
    WebhookPing,
    /// Somebody has a connection, and had none anywhere. Best effort: it may be missing, and only comes if it is switched on.
    #[serde(rename = "user.online")]
    UserOnline,
    /// Somebody has no connection any more. Best effort, as `user.online`.
    #[serde(rename = "user.offline")]
    UserOffline,
}

impl EventKind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::MessageCreated,
        Self::MessageEdited,
        Self::MessageDeleted,
        Self::MessageRead,
        Self::ParticipantAdded,
        Self::ParticipantRemoved,
        Self::ChatCreated,
        Self::NotificationDue,
        Self::WebhookDisabled,
        Self::WebhookPing,
        Self::UserOnline,
        Self::UserOffline,
    ];

    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MessageCreated => "message.created",
            Self::MessageEdited => "message.edited",
            Self::MessageDeleted => "message.deleted",
            Self::MessageRead => "message.read",
            Self::ParticipantAdded => "participant.added",
            Self::ParticipantRemoved => "participant.removed",
            Self::ChatCreated => "chat.created",
            Self::NotificationDue => "notification.due",
            Self::WebhookDisabled => "webhook.disabled",
            Self::WebhookPing => "webhook.ping",
            Self::UserOnline => "user.online",
            Self::UserOffline => "user.offline",
        }
    }

    /// Reads the word; anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let known = Self::ALL.into_iter().find(|kind| kind.as_str() == text);
        known.ok_or_else(|| Invalid::new("events", "must be events that there are"))
    }
}

/// Which events a webhook is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFilter(Vec<EventKind>);

impl EventFilter {
    /// These, each once; none means all of them, also those of later releases.
    pub fn parse(names: &[String]) -> Result<Self, Invalid> {
        if names.len() > EventKind::ALL.len() {
            return Err(Invalid::new("events", "must name each event once"));
        }
        let kinds: Result<Vec<_>, _> = names.iter().map(|name| EventKind::parse(name)).collect();
        Ok(Self::of(kinds?))
    }

    /// The same of events that are known.
    pub fn of(mut kinds: Vec<EventKind>) -> Self {
        kinds.sort_unstable();
        kinds.dedup();
        Self(kinds)
    }

    /// Those that are named.
    pub fn kinds(&self) -> &[EventKind] {
        &self.0
    }
}

/// Where a webhook listens: an absolute `https` or `http` URL without a user, a password or a fragment. Whether it may be
/// reached is decided by whoever calls it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 2048, pattern = r"^https?://[!-\u0022$-.0->A-\[\]-~]+([/?][!-\u0022$-~]*)?$", example = "https://app.example/parley")
)]
pub struct WebhookUrl(Box<str>);

impl WebhookUrl {
    /// Accepts what is such a URL.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let rule =
            "must be an http(s) URL of printable ASCII, without a user and without a fragment";
        let refused = || Invalid::new("url", rule);
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split(['/', '?']).next()).ok_or_else(refused)?;
        let printable = text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#');
        if host.is_empty() || host.contains(['@', '\\']) || !printable || text.len() > MAX_URL {
            return Err(refused());
        }
        Ok(Self(text.into()))
    }

    /// The URL as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A webhook's URL as others may see it: whose server it is. What follows may be a secret.
pub fn shown_url(url: &str) -> &str {
    let host = url.find("://").map_or(0, |scheme| scheme + 3);
    let end = url[host..].find(['/', '?', '#']).map_or(url.len(), |end| host + end);
    &url[..end]
}

/// What a webhook is for, in its owner's words: 1–200 characters, no control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$", example = "push notifications")
)]
pub struct Description(Box<str>);

impl Description {
    /// Accepts a description within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let length = text.chars().count();
        if length == 0 || length > MAX_DESCRIPTION || text.chars().any(char::is_control) {
            let rule = format!("must have 1 to {MAX_DESCRIPTION} characters, none of them control");
            return Err(Invalid::new("description", rule));
        }
        Ok(Self(text.into()))
    }

    /// The description as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A chat as webhooks are told of it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct OutwardChat {
    /// The chat.
    #[serde(rename = "_id")]
    pub id: ChatId,
    /// What kind of conversation it is.
    #[serde(rename = "type")]
    pub chat_type: ChatType,
    /// A group's title.
    pub title: Option<String>,
    /// What a support chat is about.
    pub subject: Option<String>,
    /// The host's own data.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Box<RawValue>>,
    /// The host's purchase request that the chat belongs to.
    pub purchase_request_id: Option<String>,
    /// Who created it.
    pub created_by: UserId,
    /// Who is in it; at most 100 of them.
    pub participant_ids: Vec<UserId>,
    /// All of them.
    pub participant_count: u64,
    /// When created.
    pub created_at: Timestamp,
}

/// What is posted to a webhook, as the Standard Webhooks specification has it: what happened, when, and what about it. It is
/// written when it is posted: a message is shown as it is then, and one that was deleted meanwhile says nothing any more.
#[derive(Debug, Serialize)]
pub struct Payload<'a> {
    /// What happened, as an [`EventKind`] is written: a release that is about to go may meet one that it does not know.
    #[serde(rename = "type")]
    pub kind: &'a str,
    /// When it happened, not when it is posted.
    pub timestamp: Timestamp,
    /// What about it.
    pub data: EventData<'a>,
}

/// What about it; which fields, depends on the event.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EventData<'a> {
    /// The chat, if it happened in one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat_id: Option<ChatId>,
    /// What was kept of it when it happened.
    #[serde(flatten)]
    pub detail: Option<&'a Value>,
    /// The message as REST shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<&'a Message>,
    /// The chat that was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chat: Option<&'a OutwardChat>,
}

impl Payload<'_> {
    /// The body of the request.
    #[expect(
        clippy::missing_panics_doc,
        clippy::expect_used,
        reason = "our own payloads have what JSON needs: text as keys, finite numbers"
    )]
    pub fn encode(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a payload is plain JSON")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_read_as_it_is_written() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::parse(kind.as_str()), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert!(EventKind::parse("message.*").is_err());
    }

    #[test]
    fn a_filter_names_each_event_once() {
        let names = ["message.read", "message.created", "message.read"].map(str::to_owned);
        let filter = EventFilter::parse(&names).unwrap();
        assert_eq!(filter.kinds(), [EventKind::MessageCreated, EventKind::MessageRead]);
    }

    #[test]
    fn a_url_names_a_host_and_nobody() {
        for good in ["https://app.example", "http://10.0.0.1:8080/x?y=z", "https://[::1]/"] {
            assert_eq!(WebhookUrl::parse(good).unwrap().as_str(), good);
        }
        assert_eq!(shown_url("https://app.example/secret?token=y?z"), "https://app.example");
        assert_eq!(shown_url("http://10.0.0.1:8080?token=y"), "http://10.0.0.1:8080");
        assert_eq!(shown_url("https://app.example"), "https://app.example");
        for bad in [
            "",
            "https://",
            "https:///x",
            "ftp://app.example",
            "app.example",
            "https://a@app.example",
            "https://app.example/#x",
            "https://app.example/ x",
            "https://app.example\\@other",
            "https://zoë.example",
            &format!("https://app.example/{}", "x".repeat(MAX_URL)),
        ] {
            assert!(WebhookUrl::parse(bad).is_err(), "{bad:?}");
        }
    }
}
