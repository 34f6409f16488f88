//! Redis (Valkey): in memory only, because Parley must be able to lose it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Keeper, Kind, Start};

pub(crate) struct Redis {
    pub(crate) port: u16,
}

impl Redis {
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&self, program: &Path, keeper: &mut Keeper) -> Result<()> {
        let mut command = Command::new(program);
        command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
        command.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(keeper.home().root());
        let (name, url) = ("redis".to_owned(), self.url());
        keeper.start(Start { name, kind: Kind::Redis, url, admin: None, command })
    }

    pub(crate) fn wait(&self, keeper: &mut Keeper) -> Result<()> {
        keeper.wait_ready("redis", Duration::from_secs(15), || pongs(self.port).unwrap_or(false))
    }
}

fn pongs(port: u16) -> std::io::Result<bool> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    stream.write_all(b"PING\r\n")?;
    let mut answer = [0; 5];
    stream.read_exact(&mut answer)?;
    Ok(&answer == b"+PONG")
}
