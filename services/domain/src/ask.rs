//! What gateways ask api pods over the bus, and the answers. JSON; unknown fields are ignored on both sides.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::event::Refusal;
use crate::ids::{ChatId, UserId};
use crate::version::{Epoch, Seq, Version};

/// May this user enter this room, and where does it stand?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAsk {
    /// The room.
    pub chat_id: ChatId,
    /// Who wants to enter.
    pub user_id: UserId,
}

/// The answer to a [`JoinAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum JoinAnswer {
    /// Yes; this is the chat in one snapshot of the primary database.
    Joined(JoinSnapshot),
    /// No, for good.
    Refused {
        /// Why.
        refusal: JoinRefusal,
    },
    /// Not now: the api pod could not find out. Ask again.
    Unavailable,
}

/// A chat at the moment of a join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinSnapshot {
    /// The chat's version.
    pub version: Version,
    /// The history of that version.
    pub epoch: Epoch,
    /// How far participants have read: the joiner, and at most 99 others.
    pub read_pointers: BTreeMap<UserId, Seq>,
}

/// Why a join is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JoinRefusal {
    /// There is no such chat.
    ChatNotFound,
    /// The chat is there, and not the user's.
    NotParticipant,
}

impl JoinRefusal {
    /// What the client is told.
    pub const fn refusal(self) -> Refusal {
        match self {
            Self::ChatNotFound => {
                Refusal { code: "chat_not_found", message: "There is no such chat." }
            }
            Self::NotParticipant => Refusal {
                code: "not_participant",
                message: "You are not a participant of this chat.",
            },
        }
    }
}
