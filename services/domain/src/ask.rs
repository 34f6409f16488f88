//! What gateways ask api pods over the bus, and the answers. JSON; unknown fields are ignored on both sides.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use crate::chat::MAX_LISTED_PARTICIPANTS;
use crate::event::Refusal;
use crate::ids::{ChatId, UserId};
use crate::user::Role;
use crate::version::{Epoch, Seq, Version};

/// Most chats of one [`HeadsAsk`].
pub const MAX_HEADS: usize = 1_000;
/// Most users of one [`UsersAsk`].
pub const MAX_USERS: usize = 1_000;
/// Most joins of one [`JoinsAsk`].
pub const MAX_JOINS: usize = 256;
/// Most bytes of the rooms and pages of one answer to a [`JoinsAsk`]; the first join is answered whatever it takes.
pub const MAX_JOINS_BYTES: usize = 640 * 1024;
/// Most changes of one page of a catch-up.
pub const MAX_PAGE_EVENTS: usize = 200;
/// Most bytes of the events of one page of a catch-up, as they stand in the answer; a page has at least one event.
pub const MAX_PAGE_BYTES: usize = 512 * 1024;
/// A position further behind than this is not caught up with: the client reloads.
pub const MAX_MISSED: u64 = 5_000;

/// Where a client or a room was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// The last version that it has.
    pub since: Version,
    /// The history of that version; without one, the present history is meant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
}

/// May this user enter this room, and where does it stand?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinAsk {
    /// The room.
    pub chat_id: ChatId,
    /// Who wants to enter.
    pub user_id: UserId,
    /// What their token lets them be: the pool may enter every support chat.
    #[serde(default)]
    pub role: Role,
    /// Where the joiner was, if it says so: then the answer brings what was missed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<Position>,
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
    /// What was missed since the joiner's position, if the ask had one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missed: Option<Missed>,
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

/// Many joins at once. They may be of different rooms and users; each has its own answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinsAsk {
    /// At most [`MAX_JOINS`]; more are not answered.
    pub joins: Vec<JoinAsk>,
}

/// The answer to a [`JoinsAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum JoinsAnswer {
    /// Here.
    Joins(Joins),
    /// Not now: the api pod could not find out about any of them. Ask again.
    Unavailable,
}

/// Joins, all of one snapshot of the primary database. What several of them are told stands here once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Joins {
    /// Rooms that somebody may enter.
    pub rooms: Vec<RoomSnapshot>,
    /// What somebody missed.
    pub missed: Vec<Missed>,
    /// What came of each join, in the order of the ask.
    pub joins: Vec<JoinOutcome>,
}

/// A chat at the moment of joins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoomSnapshot {
    /// The chat's version.
    pub version: Version,
    /// The history of that version.
    pub epoch: Epoch,
    /// How far participants have read: at most the first 100.
    pub read_pointers: BTreeMap<UserId, Seq>,
}

/// What came of one join among many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "join", rename_all = "snake_case")]
pub enum JoinOutcome {
    /// Yes.
    Joined {
        /// Which of [`Joins::rooms`] it is.
        room: usize,
        /// How far the joiner has read.
        read: Seq,
        /// Which of [`Joins::missed`] the joiner missed, if the ask had a position.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        missed: Option<usize>,
    },
    /// No, for good.
    Refused {
        /// Why.
        refusal: JoinRefusal,
    },
    /// Not now: about this one the api pod could not find out.
    Unavailable,
    /// The answer had no room for it. Ask again at once.
    Later,
}

impl RoomSnapshot {
    /// The room as one joiner is told of it: with their own pointer, and at most 99 others.
    pub fn seen_by(&self, user: &UserId, read: Seq) -> JoinSnapshot {
        let mut read_pointers = self.read_pointers.clone();
        if !read_pointers.contains_key(user) && read_pointers.len() >= MAX_LISTED_PARTICIPANTS {
            read_pointers.pop_last();
        }
        read_pointers.insert(user.clone(), read);
        JoinSnapshot { version: self.version, epoch: self.epoch, read_pointers, missed: None }
    }
}

impl Joins {
    /// The answer to one of the joins alone, if there is one.
    pub fn answer(&self, join: usize, user: &UserId) -> JoinAnswer {
        let whole = || match *self.joins.get(join)? {
            JoinOutcome::Joined { room, read, missed } => {
                let snapshot = self.rooms.get(room)?.seen_by(user, read);
                let missed = match missed {
                    Some(missed) => Some(self.missed.get(missed)?.clone()),
                    None => None,
                };
                Some(JoinAnswer::Joined(JoinSnapshot { missed, ..snapshot }))
            }
            JoinOutcome::Refused { refusal } => Some(JoinAnswer::Refused { refusal }),
            JoinOutcome::Unavailable | JoinOutcome::Later => None,
        };
        whole().unwrap_or(JoinAnswer::Unavailable)
    }
}

/// Is a token of this user revoked?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevokedAsk {
    /// Whose token.
    pub user_id: UserId,
    /// When it was issued, if it says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_at: Option<DateTime<Utc>>,
}

/// The answer to a [`RevokedAsk`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum RevokedAnswer {
    /// No: it counts.
    Counts {
        /// How often the set of the user's chats had changed by then; what the bearer hears counts from there.
        #[serde(default)]
        membership_version: Option<u64>,
    },
    /// Yes.
    Revoked,
    /// Not now. Ask again.
    Unavailable,
}

/// How do these users stand, of whom something may not have been heard?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UsersAsk {
    /// At most [`MAX_USERS`]; more are not answered.
    pub user_ids: Vec<UserId>,
}

/// The answer to a [`UsersAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum UsersAnswer {
    /// Here; whom the directory does not know is left out.
    Users {
        /// In no order.
        users: Vec<UserStanding>,
    },
    /// Not now. Ask again.
    Unavailable,
}

/// How a user stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserStanding {
    /// Who.
    pub user_id: UserId,
    /// How often the set of the user's chats has changed.
    pub membership_version: u64,
    /// What was issued up to then counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_valid_after: Option<DateTime<Utc>>,
}

/// What happened in this room after a position?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CatchUpAsk {
    /// The room.
    pub chat_id: ChatId,
    /// Where it stands.
    pub position: Position,
}

/// The answer to a [`CatchUpAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum CatchUpAnswer {
    /// This.
    Missed(Missed),
    /// There is no such chat.
    ChatNotFound,
    /// Not now. Ask again.
    Unavailable,
}

/// What was missed since a position.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "missed", rename_all = "snake_case")]
pub enum Missed {
    /// These events, in rising version.
    Events(MissedPage),
    /// It is too far back, in another history or in the future: reload, and go on from the version.
    Resync {
        /// Where the chat stands.
        version: Version,
        /// The history of that version.
        epoch: Epoch,
    },
}

/// A page of a catch-up: at most 200 events and 512 KiB. A later change of the same message or participant stands for
/// the earlier ones, so versions may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedPage {
    /// In rising version.
    pub events: Vec<MissedEvent>,
    /// The position after this page.
    pub up_to: Version,
    /// Where the chat stands; `up_to` when nothing more is missing.
    pub version: Version,
    /// The history of both.
    pub epoch: Epoch,
}

/// An event that a room or a client did not hear.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MissedEvent {
    /// The change's version.
    pub version: Version,
    /// What it does, as [`crate::bus::Kind::code`] says it.
    pub kind: u8,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub affected: Vec<UserId>,
    /// Who was removed after this version and before a change that the event shows already: it is not for them. Only a
    /// room's catch-up says so; a joiner is a participant.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden_from: Vec<UserId>,
    /// The finished event, `["name",{…}]`.
    pub event: String,
}

/// Where do these chats stand?
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeadsAsk {
    /// At most [`MAX_HEADS`]; more are not answered.
    pub chat_ids: Vec<ChatId>,
}

/// The answer to a [`HeadsAsk`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "answer", rename_all = "snake_case")]
pub enum HeadsAnswer {
    /// Here.
    Heads {
        /// The version of each chat that there is.
        heads: Vec<(ChatId, Version)>,
        /// The history of the versions.
        epoch: Epoch,
    },
    /// Not now. Ask again.
    Unavailable,
}
