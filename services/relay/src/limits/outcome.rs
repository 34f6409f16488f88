//! What came of an attempt.

use std::time::{Duration, Instant};

use super::member::UserKey;
use super::{Member, Policy};

/// Whether something may be sent.
#[derive(Debug)]
pub enum Charge {
    /// It may.
    Allowed(Charged),
    /// It may not now. Nothing was put into the window.
    Limited(Refused),
}

/// How a user stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// The limit that was applied, as it is set.
    pub policy: Policy,
    /// How many more there may be now; while Redis is gone, on this pod.
    pub remaining: u32,
    /// How long until a place comes free.
    pub reset: Duration,
}

/// An attempt that may be sent. It is needed again when its outcome is known.
#[derive(Debug)]
pub struct Charged {
    /// Whether this very attempt put the member into the window; if not, it was there already, and this was free.
    pub added: bool,
    /// How the user stands after it.
    pub usage: Usage,
    pub(crate) user: UserKey,
    pub(crate) member: Member,
    /// When it was noted on this pod.
    pub(crate) granted: Instant,
    /// When it was decided, by Redis's clock.
    pub(crate) score: Option<u64>,
}

impl Charged {
    /// When it was decided, in µs by the clock of Redis; `None` if this pod did by itself.
    pub fn redis_time(&self) -> Option<u64> {
        self.score
    }
}

/// An attempt that may not be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// How the user stands, by the limit that refused.
    pub usage: Usage,
    /// After how long the next one may be sent.
    pub retry_after: Duration,
    /// Which limit refused.
    pub why: Limit,
}

/// The limits there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// New messages, by role.
    Messages,
    /// Attempts of any kind.
    Attempts,
}

impl Refused {
    pub(crate) fn new(why: Limit, policy: Policy, wait: Duration) -> Self {
        let usage = Usage { policy, remaining: 0, reset: wait };
        Self { usage, retry_after: wait, why }
    }
}
