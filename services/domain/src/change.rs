//! Durable changes of a chat: each takes a version, and each is one event of its room.
//!
//! The same change is told live by whoever made it, again by whoever finds that nobody told it, and in a catch-up to
//! whoever was away. It is written here once for all three, so that they cannot differ.

use bytes::Bytes;

use crate::bus::{Kind, Origin, RoomEvent};
use crate::chat::Participant;
use crate::event::{
    MessageDeleted, MessageEdited, NewMessage, ParticipantRemoved, ParticipantsAdded, encode,
    server,
};
use crate::ids::{ChatId, UserId};
use crate::message::Message;
use crate::version::{Epoch, Version};

/// A committed change of a chat.
#[derive(Debug, Clone)]
pub struct Change {
    /// The chat.
    pub chat_id: ChatId,
    /// The version that the change took.
    pub version: Version,
    /// What happened.
    pub kind: ChangeKind,
}

/// What happened. In a catch-up, messages are shown as they are now.
#[derive(Debug, Clone)]
pub enum ChangeKind {
    /// It was sent.
    NewMessage(Box<Message>),
    /// Its text was changed.
    MessageEdited(Box<Message>),
    /// It was deleted; what is left of it.
    MessageDeleted {
        /// The tombstone.
        message: Box<Message>,
        /// By whom.
        by: Option<UserId>,
    },
    /// They are in from here on, or are something else.
    ParticipantsAdded {
        /// Who.
        participants: Vec<Participant>,
        /// By whom.
        by: Option<UserId>,
    },
    /// Out from here on.
    ParticipantRemoved {
        /// Who.
        user_id: UserId,
        /// By whom.
        by: Option<UserId>,
    },
}

impl Change {
    /// A message that was sent.
    pub fn sent(message: Message) -> Self {
        let (chat_id, version) = (message.chat_id, message.version);
        Self { chat_id, version, kind: ChangeKind::NewMessage(Box::new(message)) }
    }

    /// The message that it is about, if it is about one.
    pub fn message(&self) -> Option<&Message> {
        match &self.kind {
            ChangeKind::NewMessage(message)
            | ChangeKind::MessageEdited(message)
            | ChangeKind::MessageDeleted { message, .. } => Some(message),
            ChangeKind::ParticipantsAdded { .. } | ChangeKind::ParticipantRemoved { .. } => None,
        }
    }

    /// What is known of its origin when it is told later, from what is stored: when a message was sent, changed or deleted.
    pub fn origin(&self) -> Origin {
        let committed_at = self.message().and_then(|message| {
            let changed = match &self.kind {
                ChangeKind::MessageEdited(_) => message.edited_at,
                ChangeKind::MessageDeleted { .. } => message.deleted_at,
                _ => Some(message.created_at),
            };
            changed.map(|at| at.0)
        });
        Origin { committed_at, trace: None }
    }

    /// The event of it, as it goes over the bus.
    pub fn event(&self, epoch: Epoch, origin: Origin) -> RoomEvent {
        RoomEvent {
            kind: self.event_kind(),
            chat_id: self.chat_id,
            version: Some(self.version),
            epoch,
            affected: self.affected(),
            membership_versions: Vec::new(),
            origin,
            event: Bytes::from(self.payload(epoch)),
        }
    }

    const fn event_kind(&self) -> Kind {
        match &self.kind {
            ChangeKind::NewMessage(_) => Kind::NewMessage,
            ChangeKind::MessageEdited(_) => Kind::MessageEdited,
            ChangeKind::MessageDeleted { .. } => Kind::MessageDeleted,
            ChangeKind::ParticipantsAdded { .. } => Kind::ParticipantsAdded,
            ChangeKind::ParticipantRemoved { .. } => Kind::ParticipantRemoved,
        }
    }

    fn affected(&self) -> Vec<UserId> {
        match &self.kind {
            ChangeKind::NewMessage(message)
            | ChangeKind::MessageEdited(message)
            | ChangeKind::MessageDeleted { message, .. } => vec![message.sender_id.clone()],
            ChangeKind::ParticipantsAdded { participants, .. } => {
                participants.iter().map(|participant| participant.user_id.clone()).collect()
            }
            ChangeKind::ParticipantRemoved { user_id, .. } => vec![user_id.clone()],
        }
    }

    fn payload(&self, epoch: Epoch) -> Vec<u8> {
        let (chat_id, version) = (self.chat_id, self.version);
        match &self.kind {
            ChangeKind::NewMessage(message) => {
                encode(server::NEW_MESSAGE, &NewMessage { chat_id, version, epoch, message })
            }
            ChangeKind::MessageEdited(message) => {
                let (message_id, content) = (message.id, message.content.as_str());
                let edited_at = message.edited_at;
                let edited = MessageEdited {
                    chat_id,
                    version,
                    epoch,
                    message_id,
                    content,
                    edited_at,
                    message,
                };
                encode(server::MESSAGE_EDITED, &edited)
            }
            ChangeKind::MessageDeleted { message, by } => {
                let (message_id, deleted_at) = (message.id, message.deleted_at);
                let deleted_by = by.as_ref();
                let deleted =
                    MessageDeleted { chat_id, version, epoch, message_id, deleted_at, deleted_by };
                encode(server::MESSAGE_DELETED, &deleted)
            }
            ChangeKind::ParticipantsAdded { participants, by } => {
                let added_by = by.as_ref();
                let added = ParticipantsAdded { chat_id, version, epoch, participants, added_by };
                encode(server::PARTICIPANTS_ADDED, &added)
            }
            ChangeKind::ParticipantRemoved { user_id, by } => {
                let removed_by = by.as_ref();
                let removed = ParticipantRemoved { chat_id, version, epoch, user_id, removed_by };
                encode(server::PARTICIPANT_REMOVED, &removed)
            }
        }
    }
}
