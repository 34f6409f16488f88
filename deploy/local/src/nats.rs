//! NATS: one server, core only.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Keeper, Kind, Start};
use crate::rest;
use crate::tools::Programs;

pub(crate) const NAME: &str = "nats-1";

pub(crate) struct Nats {
    pub(crate) port: u16,
    pub(crate) monitoring: u16,
}

impl Nats {
    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&self, programs: &Programs, keeper: &mut Keeper) -> Result<()> {
        let mut command = Command::new(&programs.nats);
        command.args(["--name", NAME, "-a", "127.0.0.1"]);
        command.args(["-p", &self.port.to_string(), "-m", &self.monitoring.to_string()]);
        let (name, url) = (NAME.to_owned(), self.url());
        keeper.start(Start { name, kind: Kind::Nats, url, admin: None, command })
    }

    pub(crate) fn wait(&self, keeper: &mut Keeper) -> Result<()> {
        let health = format!("http://127.0.0.1:{}/healthz", self.monitoring);
        keeper.wait_ready(NAME, Duration::from_secs(15), || rest::is_ok(&health))
    }
}
