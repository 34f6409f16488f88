//! How the bus and Redis are reached.

use std::str::FromStr;
use std::time::Duration;

use async_nats::ServerAddr;
use clap::Args;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{ConnectionInfo, IntoConnectionInfo};

use crate::RelayError;

/// NATS.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsSettings {
    /// The servers of one cluster, `nats://host:port`, separated by commas
    #[arg(
        long,
        env = "PARLEY_NATS_URL",
        hide_env_values = true,
        value_delimiter = ',',
        required = true,
        value_name = "URLS"
    )]
    pub nats_url: Vec<String>,
}

impl NatsSettings {
    /// Tests what can be tested without connecting.
    pub fn check(&self) -> Result<(), RelayError> {
        self.servers().map(drop)
    }

    pub(crate) fn servers(&self) -> Result<Vec<ServerAddr>, RelayError> {
        self.nats_url
            .iter()
            .map(|url| match ServerAddr::from_str(url) {
                Ok(server) if !server.host().is_empty() => Ok(server),
                _ => Err(RelayError::Url),
            })
            .collect()
    }
}

/// Redis.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// The server, `redis://[user:password@]host:port[/database]`
    #[arg(long, env = "PARLEY_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: String,

    /// How long an answer of Redis is waited for before this pod decides by itself, in milliseconds
    #[arg(long, env = "PARLEY_REDIS_MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=10_000), value_name = "MILLISECONDS")]
    pub redis_ms: u64,
}

impl RedisSettings {
    /// Tests what can be tested without connecting.
    pub fn check(&self) -> Result<(), RelayError> {
        self.server().map(drop)
    }

    pub(crate) fn server(&self) -> Result<ConnectionInfo, RelayError> {
        match self.redis_url.split_once("://") {
            Some(("redis", _)) => {}
            Some(("rediss", _)) => return Err(RelayError::RedisTls),
            _ => return Err(RelayError::RedisUrl),
        }
        let server = self.redis_url.as_str().into_connection_info();
        let server = server.map_err(|_| RelayError::RedisUrl)?;
        // Many small commands share the connection: none waits for the acknowledgement of another.
        Ok(server.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.redis_ms)
    }
}
