//! Which private targets may be called.

use std::path::PathBuf;

use clap::Args;

use crate::{Client, OutboundError, Policy, Roots};

/// Calls to addresses that customers or the host application named.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Calls outside")]
pub struct OutboundSettings {
    /// Hosts, addresses and networks that may be called although they are not public, separated by commas; only a host
    /// or an address of this list may be called without TLS
    #[arg(long, env = "PARLEY_OUTBOUND_ALLOW", value_delimiter = ',', value_name = "LIST")]
    pub outbound_allow: Vec<String>,

    /// A PEM file of authorities that vouch for hosts besides the public ones
    #[arg(long, env = "PARLEY_OUTBOUND_CA_FILE", value_name = "FILE")]
    pub outbound_ca_file: Option<PathBuf>,
}

impl OutboundSettings {
    /// What may be called.
    pub fn policy(&self) -> Result<Policy, OutboundError> {
        Policy::allowing(self.outbound_allow.iter().filter(|entry| !entry.trim().is_empty()))
            .map_err(|error| OutboundError::Settings(format!("PARLEY_OUTBOUND_ALLOW: {error}")))
    }

    /// A client that calls it.
    pub fn client(&self) -> Result<Client, OutboundError> {
        Client::new(self.policy()?, self.roots()?)
    }

    fn roots(&self) -> Result<Roots, OutboundError> {
        let Some(path) = &self.outbound_ca_file else { return Ok(Roots::public()) };
        let wrong = |error: String| {
            OutboundError::Settings(format!("PARLEY_OUTBOUND_CA_FILE, {}: {error}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
        Roots::public().and_pem(&pem).map_err(|error| wrong(error.to_string()))
    }
}
