//! The settings of a gateway pod.

use std::net::SocketAddr;

use clap::{Args, Parser};
use parley_domain::token::{TokenSettings, Verifier};
use parley_relay::NatsSettings;
use parley_runtime::process;
use parley_runtime::settings::ProcessSettings;

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
    /// NATS.
    #[command(flatten)]
    pub nats: NatsSettings,
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

    /// Most connections of this pod; more are refused with 503
    #[arg(long, env = "PARLEY_MAX_CONNECTIONS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub max_connections: u32,

    /// Milliseconds between heartbeats
    #[arg(long, env = "PARLEY_PING_INTERVAL_MS", default_value_t = 25_000, value_parser = clap::value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub ping_interval_ms: u64,

    /// Milliseconds that a client has to answer a heartbeat
    #[arg(long, env = "PARLEY_PING_TIMEOUT_MS", default_value_t = 20_000, value_parser = clap::value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub ping_timeout_ms: u64,

    /// Most bytes of one message from a client
    #[arg(long, env = "PARLEY_MAX_PAYLOAD_BYTES", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1024..=16_000_000), value_name = "BYTES")]
    pub max_payload_bytes: u32,

    /// Most bytes that may wait for one connection; one that reads too slowly is closed
    #[arg(long, env = "PARLEY_OUTBOX_BYTES", default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(10_000..), value_name = "BYTES")]
    pub outbox_bytes: u32,

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
        self.peers.check()?;
        Verifier::new(&self.tokens)?;
        Ok(())
    }
}
