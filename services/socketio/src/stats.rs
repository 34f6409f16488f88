//! Plain counters; the application gives them to whatever it measures with.

use crate::reason::DisconnectReason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why an HTTP request or a handshake was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// No such transport (code 0).
    UnknownTransport,
    /// No such session (code 1).
    UnknownSession,
    /// A handshake that is not a GET (code 2).
    BadMethod,
    /// Something else is wrong with the request (code 3).
    BadRequest,
    /// The origin is not on the list (code 4).
    Forbidden,
    /// Not Engine.IO 4 (code 5).
    UnsupportedVersion,
    /// `max_connections` sessions are open (503).
    Full,
    /// The server takes no new sessions (503).
    Draining,
    /// A polling body above `max_payload` (413).
    TooLarge,
}

impl Refusal {
    const ALL: [Self; 9] = [
        Self::UnknownTransport,
        Self::UnknownSession,
        Self::BadMethod,
        Self::BadRequest,
        Self::Forbidden,
        Self::UnsupportedVersion,
        Self::Full,
        Self::Draining,
        Self::TooLarge,
    ];

    /// A stable label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownTransport => "unknown_transport",
            Self::UnknownSession => "unknown_session",
            Self::BadMethod => "bad_method",
            Self::BadRequest => "bad_request",
            Self::Forbidden => "forbidden",
            Self::UnsupportedVersion => "unsupported_version",
            Self::Full => "full",
            Self::Draining => "draining",
            Self::TooLarge => "too_large",
        }
    }
}

/// What came of a request for a session of another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Forwarded {
    /// Its server answered.
    Answered,
    /// No server has that name any more.
    UnknownServer,
    /// Its server accepts no connection.
    Unreachable,
    /// Its server was asked, and the connection broke.
    Broken,
    /// Its server did not answer in time.
    TimedOut,
    /// The client went away first.
    GivenUp,
    /// As many as may be were being passed on.
    TooMany,
    /// Its body was too large, or never came.
    BadBody,
}

impl Forwarded {
    const ALL: [Self; 8] = [
        Self::Answered,
        Self::UnknownServer,
        Self::Unreachable,
        Self::Broken,
        Self::TimedOut,
        Self::GivenUp,
        Self::TooMany,
        Self::BadBody,
    ];

    /// A stable label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::UnknownServer => "unknown_server",
            Self::Unreachable => "unreachable",
            Self::Broken => "broken",
            Self::TimedOut => "timed_out",
            Self::GivenUp => "given_up",
            Self::TooMany => "too_many",
            Self::BadBody => "bad_body",
        }
    }
}

/// What came of a session that was to move to another server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Moved {
    /// It came here.
    Arrived,
    /// It went.
    Departed,
    /// The client did not finish the upgrade: the session is where it was.
    GivenUp,
    /// Its server did not give it, before the client began.
    Refused,
    /// It was lost on the way, and the client has to come again.
    Failed,
}

impl Moved {
    const ALL: [Self; 5] =
        [Self::Arrived, Self::Departed, Self::GivenUp, Self::Refused, Self::Failed];

    /// A stable label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Departed => "departed",
            Self::GivenUp => "given_up",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// The counters of one engine since it was made.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct StatsSnapshot {
    /// Sessions that are open now.
    pub connections: usize,
    /// How many may be open.
    pub max_connections: usize,
    /// Engine.IO packets that wait to be written, to all sessions together.
    pub outbox_frames: usize,
    /// Bytes of those packets.
    pub outbox_bytes: usize,
    /// Sessions opened over polling.
    pub opened_polling: u64,
    /// Sessions opened over WebSocket.
    pub opened_websocket: u64,
    /// Sessions that moved from polling to WebSocket.
    pub upgraded: u64,
    /// Upgrades that were begun and not finished.
    pub upgrades_failed: u64,
    /// Sessions closed, by reason.
    pub closed: Vec<(DisconnectReason, u64)>,
    /// Requests refused, by reason.
    pub refused: Vec<(Refusal, u64)>,
    /// Polling requests of other servers' sessions, by outcome.
    pub forwarded: Vec<(Forwarded, u64)>,
    /// Sessions that moved between servers, by outcome.
    pub moved: Vec<(Moved, u64)>,
    /// Engine.IO packets received.
    pub frames_in: u64,
    /// Bytes of those packets.
    pub bytes_in: u64,
    /// Engine.IO packets written.
    pub frames_out: u64,
    /// Bytes of those packets, with their WebSocket headers.
    pub bytes_out: u64,
    /// Connections closed because their outbox was full.
    pub outbox_overflows: u64,
    /// Times a connection was not read because its handler had enough to do.
    pub inbox_pauses: u64,
    /// TCP connections closed unread on the listener of this engine, because there were too many.
    pub connections_dropped: u64,
    /// TCP connections closed on the listener of this engine because the head of a request did not come
    /// in time.
    pub head_timeouts: u64,
}

/// What there is at this moment.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) connections: usize,
    pub(crate) max_connections: usize,
    pub(crate) outbox_frames: usize,
    pub(crate) outbox_bytes: usize,
}

#[derive(Default)]
pub(crate) struct Stats {
    pub(crate) opened_polling: AtomicU64,
    pub(crate) opened_websocket: AtomicU64,
    pub(crate) upgraded: AtomicU64,
    pub(crate) upgrades_failed: AtomicU64,
    pub(crate) frames_in: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) frames_out: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    pub(crate) outbox_overflows: AtomicU64,
    pub(crate) inbox_pauses: AtomicU64,
    pub(crate) connections_dropped: AtomicU64,
    pub(crate) head_timeouts: AtomicU64,
    closed: [AtomicU64; DisconnectReason::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    forwarded: [AtomicU64; Forwarded::ALL.len()],
    moved: [AtomicU64; Moved::ALL.len()],
}

impl Stats {
    pub(crate) fn closed(&self, reason: DisconnectReason) {
        self.closed[reason.index()].fetch_add(1, Relaxed);
    }

    pub(crate) fn refused(&self, refusal: Refusal) {
        self.refused[refusal as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn forwarded(&self, outcome: Forwarded) {
        self.forwarded[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn moved(&self, outcome: Moved) {
        self.moved[outcome as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.frames_in.fetch_add(1, Relaxed);
        self.bytes_in.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn written(&self, frames: usize, bytes: usize) {
        self.frames_out.fetch_add(frames as u64, Relaxed);
        self.bytes_out.fetch_add(bytes as u64, Relaxed);
    }

    pub(crate) fn snapshot(&self, now: Now) -> StatsSnapshot {
        StatsSnapshot {
            connections: now.connections,
            max_connections: now.max_connections,
            outbox_frames: now.outbox_frames,
            outbox_bytes: now.outbox_bytes,
            opened_polling: self.opened_polling.load(Relaxed),
            opened_websocket: self.opened_websocket.load(Relaxed),
            upgraded: self.upgraded.load(Relaxed),
            upgrades_failed: self.upgrades_failed.load(Relaxed),
            closed: DisconnectReason::ALL
                .into_iter()
                .map(|reason| (reason, self.closed[reason.index()].load(Relaxed)))
                .collect(),
            refused: Refusal::ALL
                .into_iter()
                .map(|refusal| (refusal, self.refused[refusal as usize].load(Relaxed)))
                .collect(),
            forwarded: Forwarded::ALL
                .into_iter()
                .map(|outcome| (outcome, self.forwarded[outcome as usize].load(Relaxed)))
                .collect(),
            moved: Moved::ALL
                .into_iter()
                .map(|outcome| (outcome, self.moved[outcome as usize].load(Relaxed)))
                .collect(),
            frames_in: self.frames_in.load(Relaxed),
            bytes_in: self.bytes_in.load(Relaxed),
            frames_out: self.frames_out.load(Relaxed),
            bytes_out: self.bytes_out.load(Relaxed),
            outbox_overflows: self.outbox_overflows.load(Relaxed),
            inbox_pauses: self.inbox_pauses.load(Relaxed),
            connections_dropped: self.connections_dropped.load(Relaxed),
            head_timeouts: self.head_timeouts.load(Relaxed),
        }
    }
}
