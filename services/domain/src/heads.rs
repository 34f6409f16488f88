//! What api pods announce again and again: where the chats stand that they told something about. Of an event that the bus
//! has lost, and that nothing follows, nobody would ever know otherwise. JSON; unknown fields are ignored.

use serde::{Deserialize, Serialize};

use crate::ids::ChatId;
use crate::version::{Epoch, Version};

/// Most chats of one announcement.
pub const MAX_ANNOUNCED: usize = 2_000;

/// One announcement of an api pod. There is one every while, even with nothing in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Announcement {
    /// The process that says it: another one after every start.
    pub pod: u64,
    /// 1, 2, 3 … of this process: whoever misses a number has missed an announcement.
    pub number: u64,
    /// The chats, and at least how far they are.
    pub heads: Vec<(ChatId, Version)>,
    /// The history of the versions; absent with no chats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub epoch: Option<Epoch>,
    /// The pod could not keep all of them in mind: whoever listens has to compare everything.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost_track: bool,
}
