//! Redis (Valkey; Debian's Redis where TLS is wanted): in memory only, because Parley must be able to lose it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::process::{Keeper, Kind, Start};
use crate::security::Security;

pub(crate) struct Redis {
    pub(crate) port: u16,
    pub(crate) tls: bool,
}

impl Redis {
    pub(crate) fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", if self.tls { "rediss" } else { "redis" }, self.port)
    }

    pub(crate) fn start(
        &self,
        program: &Path,
        security: Option<&Security>,
        keeper: &mut Keeper,
    ) -> Result<()> {
        let port = self.port.to_string();
        let mut command = if let Some(security) = security {
            let mut command = security.programs.redis.command("redis-server");
            command.args(["--port", "0", "--tls-port", &port, "--tls-auth-clients", "yes"]);
            command.arg("--tls-cert-file").arg(security.file("server.pem"));
            command.arg("--tls-key-file").arg(security.file("server.key"));
            command.arg("--tls-ca-cert-file").arg(security.file("ca.pem"));
            command.arg("--aclfile").arg(security.redis_users());
            command
        } else {
            let mut command = Command::new(program);
            command.args(["--port", &port]);
            command
        };
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]);
        command.arg("--dir").arg(keeper.home().root());
        let (name, url) = ("redis".to_owned(), self.url());
        keeper.start(Start { name, kind: Kind::Redis, url, admin: None, command })
    }

    pub(crate) fn wait(&self, security: Option<&Security>, keeper: &mut Keeper) -> Result<()> {
        keeper.wait_ready("redis", Duration::from_secs(15), || match security {
            Some(security) => security.redis_answers(self.port),
            None => pongs(self.port).unwrap_or(false),
        })
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
