//! The peers' sides: one process each, on the core that the gateway has in its turn.

use std::fs::File;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, npm, workspace};

use super::hall::wait;
use crate::audience::Speech;
use crate::pin::Cores;

/// What Parley is measured beside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Peer {
    /// npm `socket.io` on Node.js
    Socketio,
    /// Bun's own WebSocket server, with its publish: no Socket.IO
    Bun,
}

impl Peer {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Socketio => "socket.io",
            Self::Bun => "Bun, raw",
        }
    }

    /// Its group among the servers whose costs are read.
    pub(crate) fn group(self) -> &'static str {
        match self {
            Self::Socketio => "socketio",
            Self::Bun => "bun",
        }
    }

    pub(crate) fn speech(self) -> Speech {
        match self {
            Self::Socketio => Speech::SocketIo,
            Self::Bun => Speech::Raw,
        }
    }

    fn program(self, installed: &Path) -> Result<(PathBuf, &'static str)> {
        match self {
            Self::Socketio => Ok((npm::node()?, "socketio.mjs")),
            Self::Bun => Ok((bun(installed)?, "bun.mjs")),
        }
    }
}

/// There is one for each kind of processor; npm has installed those that fit the system.
fn bun(installed: &Path) -> Result<PathBuf> {
    let folder = installed.join("node_modules/@oven");
    for package in std::fs::read_dir(&folder).context("npm has installed no Bun")?.flatten() {
        let program = package.path().join("bin/bun");
        let asked = Command::new(&program).arg("--version").stdout(Stdio::null()).status();
        if asked.is_ok_and(|status| status.success()) {
            return Ok(program);
        }
    }
    bail!("no Bun in {} runs here", folder.display())
}

/// A running peer; it ends with this value.
pub(crate) struct Running {
    pub(crate) peer: Peer,
    pub(crate) address: SocketAddr,
    child: Child,
    /// As it would be typed.
    pub(crate) command: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Running {
    pub(crate) fn start(
        peer: Peer,
        home: &Home,
        cores: &Cores,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let source = workspace().join("loadtest/peers/fanout");
        let installed = npm::install(home, &source, "fanout-peers", interrupt)?;
        let (program, script) = peer.program(&installed)?;
        // Packages are looked for beside the program.
        std::fs::copy(source.join(script), installed.join(script))?;
        // Free now; whoever takes it in between makes the start fail.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let log = File::create(home.log(peer.group()))?;
        let mut command = Command::new(&program);
        command.arg(script).current_dir(&installed).env("NODE_ENV", "production");
        command.env("PEER_PORT", address.port().to_string());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        let child = cores.start(|| command.spawn().context("cannot start the peer"))?;
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let running = Self { peer, address, child, command: format!("{name} {script}") };
        wait("the peer listens", interrupt, || Ok(TcpStream::connect(address).is_ok()))?;
        Ok(running)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }
}
