//! Whose costs are read: the processes of a cluster, in groups.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Result;
use parley_local::{Description, Named, Pod};

use crate::proc::{Machine, Processes};

/// Servers that are counted together.
#[derive(Clone, Debug)]
struct Group {
    name: &'static str,
    pids: Vec<u32>,
}

/// The servers of a cluster.
#[derive(Clone, Debug)]
pub(crate) struct Servers(Vec<Group>);

impl Servers {
    /// Those of this cluster.
    pub(crate) fn of(cluster: &Description) -> Self {
        let pods = |pods: &[Pod]| pods.iter().map(|pod| pod.pid).collect();
        let named = |servers: &[Named]| servers.iter().map(|server| server.pid).collect();
        Self(vec![
            Group { name: "api", pids: pods(&cluster.api) },
            Group { name: "gateway", pids: pods(&cluster.gateway) },
            Group { name: "postgres", pids: vec![cluster.postgres.pid] },
            Group { name: "redis", pids: vec![cluster.redis.pid] },
            Group { name: "nats", pids: named(&cluster.nats) },
        ])
    }

    /// These, and some others.
    pub(crate) fn and(&self, name: &'static str, pids: Vec<u32>) -> Self {
        let mut servers = self.clone();
        servers.0.push(Group { name, pids });
        servers
    }

    /// What they, and the process that makes the load, have spent up to now.
    pub(crate) fn usage(&self, load: u32) -> Result<Usage> {
        // The moment stands between the two readings that it is for.
        let machine = Machine::now()?;
        let at = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let processes = Processes::now()?;
        let groups = self.0.iter().map(|group| (group.name, processes.trees(&group.pids)));
        Ok(Usage { at, machine, groups: groups.collect(), load: processes.own(load) })
    }
}

/// What was spent up to a moment.
#[derive(Clone, Debug)]
pub(crate) struct Usage {
    /// The moment, since 1970.
    pub(crate) at: Duration,
    machine: Machine,
    groups: Vec<(&'static str, Duration)>,
    load: Duration,
}

impl Usage {
    /// What was spent since an earlier moment.
    pub(crate) fn since(&self, earlier: &Self) -> Spent {
        let groups = self.groups.iter().zip(&earlier.groups);
        let groups: Vec<_> =
            groups.map(|((name, now), (_, then))| (*name, now.saturating_sub(*then))).collect();
        let load = self.load.saturating_sub(earlier.load);
        let total = self.machine.total.saturating_sub(earlier.machine.total);
        let busy = self.machine.busy.saturating_sub(earlier.machine.busy);
        let known: Duration = groups.iter().map(|(_, spent)| *spent).sum();
        Spent {
            took: self.at.saturating_sub(earlier.at),
            load,
            busy: share(busy, total),
            others: share(busy.saturating_sub(known + load), total),
            groups,
        }
    }
}

/// What was spent between two moments.
#[derive(Clone, Debug)]
pub(crate) struct Spent {
    /// How long that was.
    pub(crate) took: Duration,
    groups: Vec<(&'static str, Duration)>,
    /// By the process that made the load.
    pub(crate) load: Duration,
    /// Share of the machine that was not idle.
    pub(crate) busy: f64,
    /// Share of the machine that went to nobody we know.
    pub(crate) others: f64,
}

impl Spent {
    /// What one group of servers spent.
    pub(crate) fn by(&self, group: &str) -> Duration {
        let found = self.groups.iter().find(|(name, _)| *name == group);
        found.map_or(Duration::ZERO, |(_, spent)| *spent)
    }

    /// What all servers spent together.
    pub(crate) fn by_all(&self) -> Duration {
        self.groups.iter().map(|(_, spent)| *spent).sum()
    }
}

fn share(part: Duration, whole: Duration) -> f64 {
    if whole.is_zero() { 0.0 } else { part.as_secs_f64() / whole.as_secs_f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(seconds: u64, busy: u64, api: u64, load: u64) -> Usage {
        Usage {
            at: Duration::from_secs(seconds),
            machine: Machine {
                busy: Duration::from_secs(busy),
                total: Duration::from_secs(seconds * 2),
            },
            groups: vec![("api", Duration::from_secs(api)), ("nats", Duration::from_secs(1))],
            load: Duration::from_secs(load),
        }
    }

    #[test]
    fn spent_is_what_was_added() {
        let spent = usage(110, 66, 9, 4).since(&usage(100, 50, 2, 1));
        assert_eq!(spent.took, Duration::from_secs(10));
        assert_eq!(spent.by("api"), Duration::from_secs(7));
        assert_eq!(spent.by_all(), Duration::from_secs(7));
        assert_eq!(spent.load, Duration::from_secs(3));
        assert!((spent.busy - 0.8).abs() < 1e-9);
        assert!((spent.others - 0.3).abs() < 1e-9);
    }
}
