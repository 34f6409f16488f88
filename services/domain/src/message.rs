//! Messages: what may be sent, and what one looks like to a client.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use crate::Invalid;
use crate::file::{FileName, FileType};
use crate::ids::{AttachmentId, ChatId, ClientMessageId, MessageId, UserId};
use crate::metadata::Metadata;
use crate::time::Timestamp;
use crate::version::{Seq, Version};

/// Most characters (Unicode scalar values) of a message.
pub const MAX_CONTENT: usize = 5_000;

/// How long after its sending an author may change a message.
pub const EDIT_WINDOW: Duration = Duration::from_mins(15);
/// Most messages that one request names.
pub const MAX_NAMED_MESSAGES: usize = 1_000;

/// The text of a message: 1–5,000 Unicode scalar values, not only white space (but beside a file), no NUL; stored as sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 5000, pattern = r"^[^\u0000]*[^\u0000\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000][^\u0000]*$", example = "Hello")
)]
pub struct Content(Box<str>);

impl Content {
    /// Accepts text within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().is_empty() {
            return Err(Invalid::new("content", "must not be empty"));
        }
        Self::parse_caption(text)
    }

    /// Accepts text beside a file, which may say nothing.
    pub fn parse_caption(text: &str) -> Result<Self, Invalid> {
        if text.contains('\0') {
            return Err(Invalid::new("content", "must not contain NUL"));
        }
        // Bytes bound characters, so the count is only taken where it can matter.
        if text.len() > MAX_CONTENT && text.chars().count() > MAX_CONTENT {
            return Err(Invalid::new(
                "content",
                format!("must not exceed {MAX_CONTENT} characters"),
            ));
        }
        Ok(Self(text.into()))
    }

    /// The text as sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Who speaks: a person, or the host application (`system`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum MessageType {
    /// Written by a person.
    #[default]
    Text,
    /// Written by the host application.
    System,
}

impl MessageType {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::System => "system",
        }
    }

    /// Reads the word; anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "text" => Ok(Self::Text),
            "system" => Ok(Self::System),
            _ => Err(Invalid::new("type", "must be text or system")),
        }
    }
}

/// A send, checked and ready to be stored.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// Where to.
    pub chat_id: ChatId,
    /// Who speaks.
    pub sender_id: UserId,
    /// As a person or as the host application.
    pub message_type: MessageType,
    /// Whether the host application itself speaks, which may do so without being in the chat.
    pub by_host: bool,
    /// The text.
    pub content: Content,
    /// The message it answers, which must stand in the same chat.
    pub reply_to: Option<MessageId>,
    /// The host's own data.
    pub metadata: Option<Metadata>,
    /// Makes a repeated send the same send.
    pub client_message_id: Option<ClientMessageId>,
    /// Its file, which lies in storage already. In a box: few messages have one, and every message is moved about.
    pub file: Option<Box<NewFile>>,
    /// What the sender asked for, if somebody else has changed it since.
    pub original: Option<Original>,
}

/// The hash of a request whose message has become another one: a repetition is known by what its sender says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Original(Box<[u8; 32]>);

/// A file that is about to become part of a message.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Under which id participants will find it.
    pub id: AttachmentId,
    /// Its name as uploaded.
    pub name: FileName,
    /// Its type, found from its content.
    pub file_type: FileType,
    /// Its size in bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub digest: [u8; 32],
    /// Where the bytes lie.
    pub storage_key: String,
}

impl NewMessage {
    /// Gives it another text than its sender has.
    pub fn rewrite_content(&mut self, content: Content) {
        self.keep_original();
        self.content = content;
    }

    /// Gives it other metadata than its sender has.
    pub fn rewrite_metadata(&mut self, metadata: Option<Metadata>) {
        self.keep_original();
        self.metadata = metadata;
    }

    fn keep_original(&mut self) {
        self.original = Some(Original(Box::new(self.request_hash())));
    }

    /// What distinguishes one request from another under the same client message id. It is kept in the database.
    pub fn request_hash(&self) -> [u8; 32] {
        if let Some(Original(hash)) = &self.original {
            return **hash;
        }
        let reply_to = self.reply_to.map(|id| id.to_string());
        let request = (self.message_type.as_str(), self.content.as_str(), reply_to, &self.metadata);
        // A tuple of text and JSON always serializes; its fields stand in a fixed order.
        let mut hash = Sha256::new_with_prefix(serde_json::to_vec(&request).unwrap_or_default());
        if let Some(file) = &self.file {
            // A name holds no NUL, and the digest has one length.
            hash.update([0]);
            hash.update(file.name.as_str());
            hash.update([0]);
            hash.update(file.digest);
        }
        hash.finalize().into()
    }
}

/// The sender as shown beside a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Sender {
    /// The user.
    #[serde(rename = "_id")]
    pub id: UserId,
    /// The display name, if the directory knows one.
    pub name: Option<String>,
    /// The picture, if the directory knows one.
    pub avatar: Option<String>,
}

/// A file of a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attachment {
    /// The file.
    #[serde(rename = "_id")]
    pub id: AttachmentId,
    /// Where participants download it.
    pub url: String,
    /// Its name as uploaded.
    pub filename: String,
    /// Its type, found from its content.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
}

impl Attachment {
    /// A file of a message of `chat`.
    pub fn new(
        chat: ChatId,
        id: AttachmentId,
        filename: String,
        mime_type: String,
        size: u64,
    ) -> Self {
        let url = format!("/api/chat/{chat}/attachments/{id}");
        Self { id, url, filename, mime_type, size }
    }
}

/// A message as clients see it, over REST and in events alike.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Message {
    /// The message.
    #[serde(rename = "_id")]
    pub id: MessageId,
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place among the chat's messages.
    pub seq: Seq,
    /// The chat's version at which it was sent.
    pub version: Version,
    /// The chat's version at which it was last edited or deleted.
    pub changed_version: Option<Version>,
    /// Who wrote it.
    pub sender_id: UserId,
    /// Who wrote it, for display.
    pub sender: Sender,
    /// Text or system.
    #[serde(rename = "type")]
    pub message_type: MessageType,
    /// The text; empty once deleted.
    #[cfg_attr(feature = "openapi", schema(example = "Hello"))]
    pub content: String,
    /// The message it answers.
    pub reply_to_message_id: Option<MessageId>,
    /// The host's own data, byte for byte as the database keeps it.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Box<RawValue>>,
    /// Its files.
    pub attachments: Vec<Attachment>,
    /// The sender's own id of it.
    pub client_message_id: Option<ClientMessageId>,
    /// Rises strictly with `seq`.
    pub created_at: Timestamp,
    /// When last edited.
    pub edited_at: Option<Timestamp>,
    /// When deleted.
    pub deleted_at: Option<Timestamp>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_counts_characters_not_bytes() {
        assert!(Content::parse(&"😀".repeat(MAX_CONTENT)).is_ok());
        assert!(Content::parse(&"😀".repeat(MAX_CONTENT + 1)).is_err());
        assert!(Content::parse(&"x".repeat(MAX_CONTENT)).is_ok());
        assert!(Content::parse(&"x".repeat(MAX_CONTENT + 1)).is_err());
    }

    #[test]
    fn i2_a_message_that_was_rewritten_is_still_the_request_that_was_made() {
        let content = |text| Content::parse(text).unwrap();
        let mut new = NewMessage {
            chat_id: uuid::Uuid::nil().into(),
            sender_id: UserId::parse("alice").unwrap(),
            message_type: MessageType::Text,
            by_host: false,
            content: content("hi"),
            reply_to: None,
            metadata: None,
            client_message_id: None,
            file: None,
            original: None,
        };
        let asked = new.request_hash();
        new.rewrite_content(content("ho"));
        let metadata = Metadata::parse(serde_json::json!({ "checked": true })).unwrap();
        new.rewrite_metadata(Some(metadata.clone()));
        assert_eq!(new.request_hash(), asked);
        assert_eq!((new.content.as_str(), &new.metadata), ("ho", &Some(metadata)));
        new.original = None;
        assert_ne!(new.request_hash(), asked);
    }

    #[test]
    fn content_is_kept_as_sent_but_never_blank() {
        assert_eq!(Content::parse("  hi\n").unwrap().as_str(), "  hi\n");
        for bad in ["", " ", "\n\t", "\u{3000}", "a\0b"] {
            assert!(Content::parse(bad).is_err(), "{bad:?}");
        }
    }
}
