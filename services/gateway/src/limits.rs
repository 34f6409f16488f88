//! What one pod, one user and one connection may have, and how long they may take.

use std::num::NonZeroU32;
use std::time::Duration;

use clap::{Args, value_parser};

/// Every limit of a gateway. Each has a row in the README, with what happens there and how it is measured.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// Most connections of this pod; more are refused with 503. TCP connections beside their `WebSocket`s may be a quarter
    /// more
    #[arg(long, env = "PARLEY_MAX_CONNECTIONS", default_value_t = 15_000, value_parser = value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub max_connections: u32,

    /// Most connections of one user on this pod; more are refused at CONNECT
    #[arg(long, env = "PARLEY_MAX_USER_CONNECTIONS", default_value_t = 50, value_parser = value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub max_user_connections: u32,

    /// Most rooms of one connection; joins to more are refused
    #[arg(long, env = "PARLEY_MAX_ROOMS", default_value_t = 500, value_parser = value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub max_rooms: u32,

    /// Joins and new tokens of one connection per second, ten seconds' worth at once; more are refused
    #[arg(long, env = "PARLEY_JOINS_PER_SECOND", default_value = "50", value_name = "NUMBER")]
    pub joins_per_second: NonZeroU32,

    /// Packets from one connection per second, ten seconds' worth at once; one that sends more is closed
    #[arg(long, env = "PARLEY_EVENTS_PER_SECOND", default_value = "100", value_name = "NUMBER")]
    pub events_per_second: NonZeroU32,

    /// Most packets of one connection that wait for the ones before, joins that are pending among them; then it is not read
    #[arg(long, env = "PARLEY_INBOX_EVENTS", default_value_t = 32, value_parser = value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub inbox_events: u32,

    /// Most bytes of one message from a client
    #[arg(long, env = "PARLEY_MAX_PAYLOAD_BYTES", default_value_t = 100_000, value_parser = value_parser!(u32).range(1024..=16_000_000), value_name = "BYTES")]
    pub max_payload_bytes: u32,

    /// Most bytes that may wait for one connection; one that reads too slowly is closed
    #[arg(long, env = "PARLEY_OUTBOX_BYTES", default_value_t = 1_000_000, value_parser = value_parser!(u32).range(10_000..), value_name = "BYTES")]
    pub outbox_bytes: u32,

    /// Most events that may wait for one connection; one that reads too slowly is closed
    #[arg(long, env = "PARLEY_OUTBOX_FRAMES", default_value_t = 1024, value_parser = value_parser!(u32).range(16..), value_name = "NUMBER")]
    pub outbox_frames: u32,

    /// Ended connections, and as many memberships and rooms, that this pod remembers for whoever asks why somebody did not get
    /// a message; what is older is forgotten
    #[arg(long, env = "PARLEY_RECENT_ENDINGS", default_value_t = 10_000, value_parser = value_parser!(u32).range(0..=1_000_000), value_name = "NUMBER")]
    pub recent_endings: u32,

    /// Milliseconds in which something of what is being written has to be taken
    #[arg(long, env = "PARLEY_WRITE_TIMEOUT_MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub write_timeout_ms: u64,

    /// Milliseconds for the head of a request, and from the accepting of a connection to its first
    #[arg(long, env = "PARLEY_HEADER_TIMEOUT_MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub header_timeout_ms: u64,

    /// Milliseconds for the body of a polling request
    #[arg(long, env = "PARLEY_BODY_TIMEOUT_MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub body_timeout_ms: u64,

    /// Milliseconds from the opening of a connection to a CONNECT that is accepted
    #[arg(long, env = "PARLEY_CONNECT_TIMEOUT_MS", default_value_t = 45_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub connect_timeout_ms: u64,

    /// Milliseconds for an upgrade to WebSocket that was begun
    #[arg(long, env = "PARLEY_UPGRADE_TIMEOUT_MS", default_value_t = 10_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub upgrade_timeout_ms: u64,

    /// Milliseconds that a join stays pending while nobody can answer it
    #[arg(long, env = "PARLEY_JOIN_TIMEOUT_MS", default_value_t = 20_000, value_parser = value_parser!(u64).range(1_000..=300_000), value_name = "MS")]
    pub join_timeout_ms: u64,

    /// Milliseconds that a client has to answer a heartbeat
    #[arg(long, env = "PARLEY_PING_TIMEOUT_MS", default_value_t = 20_000, value_parser = value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub ping_timeout_ms: u64,
}

impl LimitSettings {
    /// How long a join stays pending.
    pub(crate) const fn join_timeout(&self) -> Duration {
        Duration::from_millis(self.join_timeout_ms)
    }
}
