//! Who sees a chat at this moment, asked of every gateway. JSON; unknown fields are ignored on both sides.

use serde::{Deserialize, Serialize};

use crate::ids::{ChatId, UserId};

/// People of a chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Viewers {
    /// The chat.
    pub chat_id: ChatId,
    /// Who.
    pub users: Vec<UserId>,
}

/// Which of these have a live connection that has joined the chat?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HereAsk {
    /// Chat by chat.
    pub asked: Vec<Viewers>,
}

/// Those that one gateway has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HereAnswer {
    /// Chat by chat; chats of which it has none are left out.
    pub here: Vec<Viewers>,
}
