//! What gateways know of one delivery, for "why did this user not get that message?". JSON; unknown fields are ignored
//! on both sides. No account holds contents.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::ids::{ChatId, UserId};
use crate::version::Version;

/// Most memberships, and most connections, of one account; the latest are named.
pub const MAX_ACCOUNTS: usize = 32;

/// What do you know of this version and this user? Asked of every gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAsk {
    /// The chat.
    pub chat_id: ChatId,
    /// Who should have heard it.
    pub user_id: UserId,
    /// What should have been heard.
    pub version: Version,
}

/// What one gateway knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryAccount {
    /// Which gateway.
    pub pod: String,
    /// Which start of it, as the list of those that are there has it.
    pub instance: String,
    /// When it started. It knows of nothing before.
    pub started_at: DateTime<Utc>,
    /// From here on it remembers every ending; of what ended before, it has forgotten some.
    pub remembers_from: DateTime<Utc>,
    /// Up to which version its room has told its members; `None`: no such room is open there.
    pub room: Option<Version>,
    /// How its room passed the version; `None`: it did not, or it is too long ago.
    pub told: Option<Telling>,
    /// The user's connections in the room, those that are there and those that were, the oldest first.
    pub memberships: Vec<MembershipAccount>,
    /// The user's connections, in the room or not, those that are open and those that were.
    pub connections: Vec<ConnectionAccount>,
}

/// How a room passed a version on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Telling {
    /// How the version came to the pod.
    pub way: Way,
    /// Not before this.
    pub from: DateTime<Utc>,
    /// Not after this.
    pub until: DateTime<Utc>,
}

/// How a version came to a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Way {
    /// Over the bus.
    Live,
    /// The bus had lost it, or something before it: it came in a catch-up, where a later change of the same thing may
    /// have stood for it.
    CatchUp,
}

/// One connection in a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MembershipAccount {
    /// The connection's Socket.IO id.
    pub socket: String,
    /// When it came into the room.
    pub joined_at: DateTime<Utc>,
    /// What is at or below it was not told, because the client had it, or was to load it.
    pub known: Version,
    /// Why it was not told.
    pub known_by: KnownBy,
    /// What is above `known`, up to here, was told before it was in the fan-out.
    pub entered_at: Version,
    /// Up to here everything above `known` was handed to it.
    pub up_to: Version,
    /// How it ended, if it has.
    pub ended: Option<MembershipEnded>,
}

/// Why a joiner was not told what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KnownBy {
    /// It joined without saying where it was: it loads the history.
    Join,
    /// It said so (`since`).
    Client,
    /// It was told to reload (`resync`).
    Resync,
    /// Its session came from another gateway, which had handed it that.
    Moved,
}

/// How a connection left a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MembershipEnded {
    /// When.
    pub at: DateTime<Utc>,
    /// Why.
    pub why: Leaving,
}

/// Why a connection left a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Leaving {
    /// The client left the room.
    Left,
    /// The user was removed from the chat.
    Removed,
    /// The room could not tell what came next, and closed the connection so that it comes back.
    SentAway,
    /// The connection ended.
    Closed,
    /// The session went to another gateway.
    Moved,
}

/// One connection of the user.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionAccount {
    /// Its Socket.IO id.
    pub socket: String,
    /// When it came to this gateway.
    pub connected_at: DateTime<Utc>,
    /// Frames that were handed to it and not written to the network.
    pub waiting: usize,
    /// How it ended, if it has.
    pub ended: Option<ConnectionEnded>,
}

/// How a connection ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConnectionEnded {
    /// When.
    pub at: DateTime<Utc>,
    /// The reason, as in `parley_gateway_closed_total`.
    pub why: String,
}
