//! What is asked, and what is answered.

use chrono::{DateTime, Utc};
use parley_domain::Invalid;
use parley_domain::ids::{ChatId, ClientMessageId, MessageId, UserId};
use parley_domain::message::{Content, MessageType, NewFile, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::time::Timestamp;
use parley_domain::user::Role;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use super::Unanswered;

/// Most characters of a reason that a sender is told.
const MOST_REASON: usize = 500;

/// The body of a call, in the shape of a webhook.
#[derive(Serialize)]
pub(super) struct Question<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    timestamp: Timestamp,
    data: Asked<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Asked<'a> {
    chat_id: ChatId,
    sender_id: &'a UserId,
    sender_role: Role,
    message: AskedMessage<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AskedMessage<'a> {
    #[serde(rename = "type")]
    message_type: MessageType,
    content: &'a str,
    metadata: Option<&'a Metadata>,
    reply_to_message_id: Option<MessageId>,
    client_message_id: Option<&'a ClientMessageId>,
    attachments: Vec<AskedFile<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct AskedFile<'a> {
    filename: &'a str,
    mime_type: &'a str,
    size: u64,
}

impl<'a> Question<'a> {
    pub(super) fn new(role: Role, new: &'a NewMessage, now: DateTime<Utc>) -> Self {
        let file = |file: &'a NewFile| AskedFile {
            filename: file.name.as_str(),
            mime_type: file.file_type.as_str(),
            size: file.size,
        };
        let message = AskedMessage {
            message_type: new.message_type,
            content: new.content.as_str(),
            metadata: new.metadata.as_ref(),
            reply_to_message_id: new.reply_to,
            client_message_id: new.client_message_id.as_ref(),
            attachments: new.file.as_deref().map(file).into_iter().collect(),
        };
        let (chat_id, sender_id) = (new.chat_id, &new.sender_id);
        let data = Asked { chat_id, sender_id, sender_role: role, message };
        Self { kind: "message.before", timestamp: now.into(), data }
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        // Text, numbers and JSON always serialize.
        serde_json::to_vec(self).unwrap_or_default()
    }
}

/// What is to become of a message.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "action", rename_all = "snake_case")]
pub(super) enum Verdict {
    Allow,
    Refuse {
        #[serde(default)]
        reason: Option<String>,
    },
    Rewrite {
        /// Left out, it stays.
        #[serde(default)]
        content: Option<String>,
        /// Left out, it stays; `null` takes it away.
        #[serde(default, deserialize_with = "said")]
        metadata: NewMetadata,
    },
}

/// What is to become of the metadata.
#[derive(Debug, Default, PartialEq)]
pub(super) enum NewMetadata {
    #[default]
    AsTheyAre,
    Given(Option<Value>),
}

/// What is there is said, be it `null`.
fn said<'de, D: Deserializer<'de>>(value: D) -> Result<NewMetadata, D::Error> {
    Option::deserialize(value).map(NewMetadata::Given)
}

/// What was done to a message.
#[derive(Debug, PartialEq)]
pub(super) enum Done {
    Allowed,
    Rewritten,
    /// Nothing, and this is why.
    Refused(Option<String>),
}

impl Verdict {
    /// Reads an answer; an empty one allows.
    pub(super) fn read(body: &[u8]) -> Result<Self, Unanswered> {
        if body.trim_ascii().is_empty() {
            return Ok(Self::Allow);
        }
        // serde's words may repeat what it has read.
        serde_json::from_slice(body).map_err(|_| Unanswered::Garbage("is no verdict".to_owned()))
    }

    /// Does it to the message. A change is as valid as what a client sends, or is none.
    pub(super) fn apply(self, new: &mut NewMessage) -> Result<Done, Unanswered> {
        match self {
            Self::Allow => Ok(Done::Allowed),
            Self::Refuse { reason } => {
                let reason = reason.filter(|reason| !reason.trim().is_empty());
                Ok(Done::Refused(reason.map(|reason| reason.chars().take(MOST_REASON).collect())))
            }
            Self::Rewrite { content, metadata } => {
                rewrite(new, content.as_deref(), metadata)
                    .map_err(|error| Unanswered::Garbage(format!("is invalid: {error}")))?;
                Ok(Done::Rewritten)
            }
        }
    }
}

/// Both or nothing.
fn rewrite(
    new: &mut NewMessage,
    content: Option<&str>,
    metadata: NewMetadata,
) -> Result<(), Invalid> {
    let parse = if new.file.is_some() { Content::parse_caption } else { Content::parse };
    let content = content.map(parse).transpose()?;
    if let NewMetadata::Given(metadata) = metadata {
        new.rewrite_metadata(metadata.map(Metadata::parse).transpose()?);
    }
    if let Some(content) = content {
        new.rewrite_content(content);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_is_read_as_it_is_documented_and_not_otherwise() {
        let read = |text: &str| Verdict::read(text.as_bytes()).ok();
        let rewrite = |content: Option<&str>, metadata| {
            Some(Verdict::Rewrite { content: content.map(str::to_owned), metadata })
        };
        assert_eq!(read(r#"{"action":"allow","more":1}"#), Some(Verdict::Allow));
        assert_eq!(read(" \n"), Some(Verdict::Allow));
        assert_eq!(read(r#"{"action":"refuse"}"#), Some(Verdict::Refuse { reason: None }));
        let text = read(r#"{"action":"rewrite","content":"a"}"#);
        assert_eq!(text, rewrite(Some("a"), NewMetadata::AsTheyAre));
        let none = read(r#"{"action":"rewrite","metadata":null}"#);
        assert_eq!(none, rewrite(None, NewMetadata::Given(None)));
        let some = read(r#"{"action":"rewrite","metadata":{"a":1}}"#);
        assert_eq!(some, rewrite(None, NewMetadata::Given(Some(serde_json::json!({ "a": 1 })))));
        for garbage in ["ok", "{}", "null", "[]", r#"{"action":"maybe"}"#, r#"{"action":1}"#] {
            assert_eq!(read(garbage), None, "{garbage}");
        }
    }
}
