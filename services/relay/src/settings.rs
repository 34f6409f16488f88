//! How the bus is reached.

use std::str::FromStr;

use async_nats::ServerAddr;
use clap::Args;

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
