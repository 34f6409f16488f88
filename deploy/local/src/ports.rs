//! Ports: fixed ones are checked before anything starts, the others are chosen, reserved and remembered.
//!
//! What is chosen is listened on seconds later, and again after a process was killed. Meanwhile another launcher, or another
//! test's cluster in this process, must not choose it too: so whoever chooses a port holds the UDP socket of the same number,
//! which nothing here speaks, for as long as the cluster lives. The system takes it back, however that ends.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, UdpSocket};
use std::ops::Range;

use anyhow::{Result, bail};

use crate::home::{Home, read_json, write_json};

/// Below the ephemeral ranges of Linux and macOS, where any client socket may sit on a port.
const CHOSEN: Range<u16> = 18_000..32_000;

pub(crate) struct Ports {
    kept: BTreeMap<String, u16>,
    taken: BTreeSet<u16>,
    reserved: Vec<UdpSocket>,
}

impl Ports {
    pub(crate) fn of(home: &Home) -> Result<Self> {
        let kept = read_json(&home.file("ports.json"))?.unwrap_or_default();
        Ok(Self { kept, taken: BTreeSet::new(), reserved: Vec::new() })
    }

    /// The port that `name` had last time if it is still free, else a new one.
    pub(crate) fn free(&mut self, name: &str) -> Result<u16> {
        let last = self.kept.get(name).copied();
        let tries = last.into_iter().chain((0..200).map(|_| rand::random_range(CHOSEN)));
        for port in tries {
            if !self.taken.contains(&port)
                && let Ok(reserved) = UdpSocket::bind(("127.0.0.1", port))
                && is_free(port)
            {
                self.reserved.push(reserved);
                self.taken.insert(port);
                self.kept.insert(name.to_owned(), port);
                return Ok(port);
            }
        }
        bail!("no free port found for {name} between {} and {}", CHOSEN.start, CHOSEN.end)
    }

    /// Exactly this port, or an error that says who wanted it.
    pub(crate) fn fixed(&mut self, name: &str, port: u16) -> Result<u16> {
        if !self.taken.insert(port) || !is_free(port) {
            bail!("port {port} for {name} is in use: stop what uses it, or choose with --port");
        }
        Ok(port)
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        write_json(&home.file("ports.json"), &self.kept)
    }
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none() -> Ports {
        Ports { kept: BTreeMap::new(), taken: BTreeSet::new(), reserved: Vec::new() }
    }

    #[test]
    fn a_used_port_is_refused_by_name() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = none().fixed("api-1", port).unwrap_err().to_string();
        assert!(error.contains("api-1") && error.contains(&port.to_string()), "{error}");
    }

    #[test]
    fn a_chosen_port_is_kept_while_it_is_free() {
        let mut ports = none();
        let first = ports.free("nats-1").unwrap();
        let mut later = || {
            ports.taken.clear();
            ports.reserved.clear();
            ports.free("nats-1").unwrap()
        };
        assert_eq!(later(), first);
        let _holder = TcpListener::bind(("127.0.0.1", first)).unwrap();
        assert_ne!(later(), first);
    }

    #[test]
    fn what_one_cluster_has_chosen_is_not_given_to_another() {
        let mut one = none();
        let port = one.free("api-1").unwrap();
        let mut other = none();
        other.kept.insert("api-1".to_owned(), port);
        assert_ne!(other.free("api-1").unwrap(), port, "though nobody listens there yet");
        drop(one);
        let mut third = none();
        third.kept.insert("api-1".to_owned(), port);
        assert_eq!(third.free("api-1").unwrap(), port, "it went with its cluster");
    }

    #[test]
    fn no_port_is_given_twice() {
        let mut ports = none();
        let given: BTreeSet<_> =
            (0..20).map(|index| ports.free(&index.to_string()).unwrap()).collect();
        assert_eq!(given.len(), 20);
        assert!(given.iter().all(|port| CHOSEN.contains(port)));
    }
}
