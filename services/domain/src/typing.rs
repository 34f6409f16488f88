//! Who is writing, as gateways tell each other. Nothing of it lasts, and nothing of it comes from api pods.

use serde::{Deserialize, Serialize};

use crate::ids::{ChatId, UserId};
use crate::version::{Epoch, Version};

/// Somebody begins to write, goes on, or has stopped: on the bus, from one gateway to all. JSON; unknown fields are ignored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TypingSignal {
    /// Where.
    pub chat_id: ChatId,
    /// Who.
    pub typist: Typist,
    /// Whether they write now.
    pub is_typing: bool,
    /// Where the writer's room stood: a room that is not as far waits with it, so that it passes no removal by.
    pub version: Version,
    /// The history of that version.
    pub epoch: Epoch,
}

/// Somebody who is writing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "camelCase")]
pub struct Typist {
    /// Who.
    pub user_id: UserId,
    /// Their name, as their token has it.
    pub name: Option<String>,
}
