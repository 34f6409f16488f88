//! Which targets are allowed that are not public.

use std::collections::HashSet;
use std::net::IpAddr;

use ipnet::IpNet;

use crate::OutboundError;
use crate::address::{Class, behind_nat64};
use crate::target::is_name;

/// Most entries of a list.
const MOST_ENTRIES: usize = 256;

/// What an operator allows besides public addresses; by default nothing.
///
/// A host on the list may have any address that [`Class::can_be_allowed`], and be called without TLS.
#[derive(Debug, Clone, Default)]
pub struct Policy {
    names: HashSet<String>,
    networks: Vec<IpNet>,
}

impl Policy {
    /// Public addresses only.
    pub fn public() -> Self {
        Self::default()
    }

    /// Public addresses, and these: host names, addresses, networks (`10.0.0.0/8`).
    pub fn allowing<S: AsRef<str>>(
        entries: impl IntoIterator<Item = S>,
    ) -> Result<Self, OutboundError> {
        let mut policy = Self::default();
        for entry in entries {
            policy.allow(entry.as_ref().trim())?;
        }
        if policy.names.len() + policy.networks.len() > MOST_ENTRIES {
            let text = format!("more than {MOST_ENTRIES} targets are allowed");
            return Err(OutboundError::Settings(text));
        }
        Ok(policy)
    }

    fn allow(&mut self, entry: &str) -> Result<(), OutboundError> {
        if let Ok(network) = entry.parse::<IpNet>() {
            self.networks.push(network.trunc());
            return Ok(());
        }
        if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
            self.networks.push(address.into());
            return Ok(());
        }
        match url::Host::parse(entry) {
            Ok(url::Host::Domain(name)) if is_name(&name) => {
                self.names.insert(name);
                Ok(())
            }
            _ => Err(OutboundError::Settings(format!("{entry:?} is no host, address or network"))),
        }
    }

    /// Whether the list names the host.
    pub(crate) fn names(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether the list holds a network with the address.
    pub(crate) fn covers(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(&address))
    }

    /// Whether an address may be called, of a host that the list names or not.
    pub(crate) fn check(&self, named: bool, address: IpAddr) -> Result<(), OutboundError> {
        let Some(class) = Class::of(address) else { return Ok(()) };
        if !class.can_be_allowed() || !(named || self.covers(address)) {
            return Err(OutboundError::Forbidden { address, class });
        }
        match address {
            // What is behind the translator is what is called.
            IpAddr::V6(address) if class == Class::Nat64 => {
                self.check(named, behind_nat64(address))
            }
            _ => Ok(()),
        }
    }
}
