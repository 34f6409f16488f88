//! How sends are batched, and how long they may wait.

use std::time::Duration;

use clap::Args;

use crate::DatabaseSettings;

/// Connections that are left beside those of the shards: one for lanes, one for everybody else.
const OTHERS: u32 = 2;

/// The settings cannot be used together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("PARLEY_DATABASE_CONNECTIONS must exceed PARLEY_APPEND_SHARDS by {OTHERS} at least")]
pub struct TooFewConnections;

/// Sends.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Sends")]
pub struct AppenderSettings {
    /// Commits of messages that this pod has in flight at a time
    #[arg(long, env = "PARLEY_APPEND_SHARDS", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64), value_name = "NUMBER")]
    pub append_shards: u32,

    /// Most messages of one commit
    #[arg(long, env = "PARLEY_APPEND_BATCH", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "NUMBER")]
    pub append_batch: u32,

    /// Most messages that wait in this pod; more are refused with 503
    #[arg(long, env = "PARLEY_APPEND_QUEUE", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub append_queue: u32,

    /// Milliseconds after which a send is answered with 503
    #[arg(long, env = "PARLEY_SEND_MS", default_value_t = 3000, value_parser = clap::value_parser!(u64).range(100..=60_000), value_name = "MS")]
    pub send_ms: u64,
}

/// How many connections of so many in all are for commits of messages: one for each shard, and some for lanes, which may
/// wait for locks and must leave connections for everybody else.
pub(crate) fn connections_for_sends(all: u32, shards: u32) -> u32 {
    shards + (all.saturating_sub(shards) / 3).max(1)
}

impl AppenderSettings {
    /// Tests what single settings cannot say: busy shards keep their connections, and others need some too.
    pub fn check(&self, database: &DatabaseSettings) -> Result<(), TooFewConnections> {
        if database.database_connections < self.append_shards + OTHERS {
            return Err(TooFewConnections);
        }
        Ok(())
    }

    pub(super) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.send_ms)
    }

    /// How long a commit may be in flight before its connection is given up: by then nobody waits for it any more.
    pub(super) const fn patience(&self) -> Duration {
        Duration::from_millis(self.send_ms * 2)
    }
}
