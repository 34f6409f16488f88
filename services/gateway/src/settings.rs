//! The settings of a gateway pod.

use std::net::SocketAddr;

use clap::{Args, Parser};
use parley_domain::token::{TokenSettings, Verifier};
use parley_relay::{NatsSettings, RedisSettings};
use parley_runtime::process;
use parley_runtime::settings::ProcessSettings;

use crate::limits::LimitSettings;
use crate::peers::PeerSettings;

/// Parley's gateway pod. Every setting is an environment variable, or the flag beside it.
#[derive(Debug, Clone, Parser)]
#[command(name = "parley-gateway", version)]
pub struct Settings {
    /// What every process needs.
    #[command(flatten)]
    pub process: ProcessSettings,
    /// The Socket.IO server.
    #[command(flatten)]
    pub sockets: SocketSettings,
    /// What one pod, one user and one connection may have.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// NATS.
    #[command(flatten)]
    pub nats: NatsSettings,
    /// Redis, for who is online and who is typing.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// The other gateways.
    #[command(flatten)]
    pub peers: PeerSettings,
    /// Which tokens count.
    #[command(flatten)]
    pub tokens: TokenSettings,
    /// What to break.
    #[cfg(feature = "planted-faults")]
    #[command(flatten)]
    pub planted: crate::planted::PlantedSettings,
}

/// The Socket.IO server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Socket.IO")]
pub struct SocketSettings {
    /// Where `/socket.io/` is served
    #[arg(long, env = "PARLEY_LISTEN", default_value = "0.0.0.0:8091", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Milliseconds between heartbeats
    #[arg(long, env = "PARLEY_PING_INTERVAL_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub ping_interval_ms: u64,

    /// Connections per second that a drain closes
    #[arg(long, env = "PARLEY_DRAIN_PER_SECOND", default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub drain_per_second: u32,

    /// Most seconds that a drain takes; with more connections than that, it closes more per second. Less than
    /// `PARLEY_SHUTDOWN_SECONDS`
    #[arg(long, env = "PARLEY_DRAIN_SECONDS", default_value_t = 20, value_parser = clap::value_parser!(u64).range(0..=3_600), value_name = "SECONDS")]
    pub drain_seconds: u64,

    /// Whether webhooks are told who is online from now on, and who is not any more: `user.online` and `user.offline`
    #[arg(long, env = "PARLEY_PRESENCE_EVENTS", default_value_t = false, action = clap::ArgAction::Set, value_name = "WHETHER")]
    pub presence_events: bool,

    /// Origins whose pages may connect, separated by commas; `*` is every one
    #[arg(
        long,
        env = "PARLEY_ORIGINS",
        value_delimiter = ',',
        default_value = "*",
        value_name = "ORIGINS"
    )]
    pub origins: Vec<String>,
}

impl process::Settings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn check(&self) -> anyhow::Result<()> {
        self.nats.check()?;
        self.redis.check()?;
        self.peers.check()?;
        Verifier::new(&self.tokens)?;
        anyhow::ensure!(
            self.sockets.drain_seconds < self.process.shutdown_seconds,
            "PARLEY_DRAIN_SECONDS must be less than PARLEY_SHUTDOWN_SECONDS"
        );
        Ok(())
    }
}

#[cfg(all(test, not(feature = "planted-faults")))]
mod tests {
    use super::*;

    /// `PARLEY_WRITE_SETTINGS=1 cargo test -p parley-gateway --lib documented` writes the table anew.
    #[test]
    fn the_settings_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/CONFIGURATION.md");
        let text = std::fs::read_to_string(path).unwrap();
        let fresh = parley_runtime::settings::documented::<Settings>(&text).unwrap();
        if std::env::var_os("PARLEY_WRITE_SETTINGS").is_some() {
            std::fs::write(path, &fresh).unwrap();
        } else {
            assert!(
                text == fresh,
                "deploy/CONFIGURATION.md is not what --help says: see this test"
            );
        }
    }
}
