//! How sends are batched, and how long they may wait.

use std::time::Duration;

use clap::Args;

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

impl AppenderSettings {
    pub(super) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.send_ms)
    }

    /// How long a commit may be in flight before its connection is given up: by then nobody waits for it any more.
    pub(super) const fn patience(&self) -> Duration {
        Duration::from_millis(self.send_ms * 2)
    }
}
