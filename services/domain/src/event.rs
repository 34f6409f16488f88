//! What a room hears. Every payload is written here, once, by the api pod; gateways pass the bytes on.
//!
//! An event on the wire is the JSON array `["<name>", { … }]` that a Socket.IO client takes as one emit with one
//! argument. Readers ignore fields that they do not know, so a field may be added; none may go or change meaning.

use serde::Serialize;

use crate::chat::{Chat, Participant};
use crate::ids::{ChatId, MessageId, UserId};
use crate::message::Message;
use crate::time::Timestamp;
use crate::version::{Epoch, Seq, Version};

/// Names that a client sends.
pub mod client {
    /// Enter a room.
    pub const JOIN: &str = "join-chat-room";
    /// Leave a room.
    pub const LEAVE: &str = "leave-chat-room";
    /// Go on with a newer token.
    pub const REFRESH: &str = "refresh-token";
    /// The user writes, or goes on writing.
    pub const TYPING_START: &str = "typing-start";
    /// The user has stopped.
    pub const TYPING_STOP: &str = "typing-stop";
}

/// Names that a client hears.
pub mod server {
    /// A message was sent.
    pub const NEW_MESSAGE: &str = "new-message";
    /// A message's text was changed.
    pub const MESSAGE_EDITED: &str = "message-edited";
    /// A message was deleted.
    pub const MESSAGE_DELETED: &str = "message-deleted";
    /// People were added, or are something else now.
    pub const PARTICIPANTS_ADDED: &str = "participants-added";
    /// Somebody was removed, or left.
    pub const PARTICIPANT_REMOVED: &str = "participant-removed";
    /// Somebody has read.
    pub const MESSAGES_READ: &str = "messages-read";
    /// Somebody writes, or has stopped.
    pub const USER_TYPING: &str = "user-typing";
    /// To a user's connections: there is a chat that they have not had.
    pub const CHAT_CREATED: &str = "chat-created";
    /// To a user's connections: a chat is not theirs any more.
    pub const CHAT_REMOVED: &str = "chat-removed";
    /// Something may have been missed: reload this chat by REST.
    pub const RESYNC: &str = "resync";
    /// A request without an ack callback was refused.
    pub const ERROR: &str = "error";
}

/// `new-message`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(as = NewMessageEvent))]
#[serde(rename_all = "camelCase")]
pub struct NewMessage<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// The change's place in the chat.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// The message as REST shows it.
    pub message: &'a Message,
}

/// `message-edited`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MessageEdited<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// The change's place in the chat.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// Which message.
    pub message_id: MessageId,
    /// Its text now.
    pub content: &'a str,
    /// When.
    pub edited_at: Option<Timestamp>,
    /// The message as REST shows it.
    pub message: &'a Message,
}

/// `message-deleted`; never what it said.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MessageDeleted<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// The change's place in the chat.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// Which message.
    pub message_id: MessageId,
    /// When.
    pub deleted_at: Option<Timestamp>,
    /// Its author, or an admin.
    pub deleted_by: Option<&'a UserId>,
}

/// `participants-added`: people who are in the chat from this version on, as what they are now.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParticipantsAdded<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// The change's place in the chat.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// Who.
    pub participants: &'a [Participant],
    /// By whom.
    pub added_by: Option<&'a UserId>,
}

/// `participant-removed`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ParticipantRemoved<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// The change's place in the chat.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// Who.
    pub user_id: &'a UserId,
    /// By whom; oneself for one who left.
    pub removed_by: Option<&'a UserId>,
}

/// `chat-created` and `chat-removed`; they take no version of their own.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct ChatShown<'a> {
    /// The chat.
    pub chat_id: ChatId,
    /// Where it stood: the position to join from.
    pub version: Version,
    /// The history that the version belongs to.
    pub epoch: Epoch,
    /// As the user sees it; of a chat that is not theirs any more, nothing that was said in it.
    pub chat: &'a Chat,
}

/// `messages-read`; takes no version.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct MessagesRead<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// Who has read.
    pub user_id: &'a UserId,
    /// What; `null`: everything.
    pub message_ids: Option<&'a [MessageId]>,
    /// Everything up to this seq is read.
    pub read_up_to: Seq,
    /// When.
    pub read_at: Timestamp,
}

/// `user-typing`; takes no version. It is told when it begins and when it ends, and is written by the gateway at which the
/// user is connected.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct UserTyping<'a> {
    /// The room.
    pub chat_id: ChatId,
    /// Who.
    pub user_id: &'a UserId,
    /// Their name, as their token has it.
    pub name: Option<&'a str>,
    /// Whether they write now.
    pub is_typing: bool,
}

impl UserTyping<'_> {
    /// The event as it goes to clients.
    pub fn encode(&self) -> Vec<u8> {
        encode(server::USER_TYPING, self)
    }
}

/// Why a client is told to reload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ResyncReason {
    /// So much did not arrive that it is not told one by one.
    Gap,
    /// The database was put back, or is another one.
    History,
    /// The user has chats that were not told, or has some no more.
    Chats,
}

impl ResyncReason {
    /// The word on the wire and in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::History => "history",
            Self::Chats => "chats",
        }
    }
}

/// `resync`.
#[derive(Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Resync {
    /// The room; `null`: which chats the user has is to be reloaded.
    pub chat_id: Option<ChatId>,
    /// What happened.
    pub reason: ResyncReason,
}

impl Resync {
    /// The event as it goes to clients.
    pub fn encode(&self) -> Vec<u8> {
        encode(server::RESYNC, self)
    }
}

/// The refusal of a client's request, in an ack or as event `error`.
#[derive(Debug, Clone, Serialize)]
pub struct Refusal {
    /// A stable word.
    pub code: &'static str,
    /// One sentence for a developer.
    pub message: &'static str,
}

/// The array `["name", payload]`.
#[expect(
    clippy::missing_panics_doc,
    reason = "our own payloads have what JSON needs: text as keys, finite numbers"
)]
pub fn encode(name: &str, payload: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(&(name, payload)).expect("an event is plain JSON")
}
