//! What is written down about a cluster: `cluster.json` for everybody, `run.json` for the launcher.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::home::{Home, read_json, shown, write_json};
use crate::process::Process;

/// What runs, as `cluster.json` says it. Tools read this: fields may be added, none may go.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Description {
    /// The balancer's address: where a client starts.
    pub url: String,
    /// The api pods.
    pub api: Vec<Pod>,
    /// The gateway pods.
    pub gateway: Vec<Pod>,
    /// The courier pods; absent in what an earlier release has written.
    #[serde(default)]
    pub courier: Vec<Pod>,
    /// The load balancer.
    pub balancer: Named,
    /// The database, with user and password in its URL.
    pub postgres: Address,
    /// The NATS servers.
    pub nats: Vec<Named>,
    /// The Redis server.
    pub redis: Address,
    /// What signs tokens.
    pub jwt: Jwt,
}

/// A Parley process.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Pod {
    /// `api-1`, `gateway-2` …
    pub name: String,
    /// Where it serves clients; of a courier, which has none, its admin port.
    pub url: String,
    /// Its admin port: `/livez`, `/readyz`, `/metrics`, `/drain`.
    pub admin: String,
    /// The process itself.
    pub pid: u32,
}

/// A component that there may be several of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub url: String,
    /// The process itself.
    pub pid: u32,
}

/// A component that there is one of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Address {
    /// Where it listens.
    pub url: String,
    /// The process itself.
    pub pid: u32,
}

/// How tokens are signed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Jwt {
    /// Always `HS256` here.
    pub algorithm: String,
    /// The secret that pods and token makers know.
    pub secret: String,
}

impl Description {
    /// Reads a `cluster.json`.
    pub fn read(path: &Path) -> Result<Self> {
        read_json(path)?
            .with_context(|| format!("{} does not exist: no cluster is up", shown(path)))
    }

    /// Every Parley pod, api pods first.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.api.iter().chain(&self.gateway).chain(&self.courier)
    }

    /// A process was started anew.
    pub(crate) fn replace(&mut self, old: u32, new: u32) {
        let pods = self.api.iter_mut().chain(&mut self.gateway).chain(&mut self.courier);
        let pods = pods.map(|pod| &mut pod.pid);
        let named = self.nats.iter_mut().chain([&mut self.balancer]).map(|named| &mut named.pid);
        let others = [&mut self.postgres, &mut self.redis].map(|address| &mut address.pid);
        for pid in pods.chain(named).chain(others).filter(|pid| **pid == old) {
            *pid = new;
        }
    }
}

/// The launcher's own notes, enough to stop everything after the launcher itself was killed.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Run {
    /// In the order in which they were started.
    pub(crate) processes: Vec<Process>,
    /// The data folder that goes with the cluster.
    pub(crate) ephemeral: Option<PathBuf>,
    /// `down` is at work: whoever watches the processes must not call their end a crash.
    pub(crate) stopping: bool,
}

impl Run {
    pub(crate) fn of(home: &Home) -> Result<Option<Self>> {
        read_json(&file(home))
    }

    pub(crate) fn save(&self, home: &Home) -> Result<()> {
        write_json(&file(home), self)
    }

    pub(crate) fn forget(home: &Home) {
        for path in [home.cluster_file(), file(home)] {
            // Absent is what we want; anything else shows at the next start.
            let _ = std::fs::remove_file(path);
        }
    }

    pub(crate) fn something_lives(&self) -> bool {
        self.processes.iter().any(Process::is_alive)
    }
}

fn file(home: &Home) -> PathBuf {
    home.file("run.json")
}
