//! The peer's side: two Node processes with npm `socket.io`, its Redis streams adapter and connection state recovery, on
//! the cluster's Redis.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home, Interrupt, npm, workspace};

use super::fleet::{Fleet, Identity, Speech};
use super::{Cost, MEMBERS, Party};
use crate::http::request;
use crate::load::ask_all;

const PROCESSES: usize = 2;
const READY_WITHIN: Duration = Duration::from_secs(20);

/// The running processes; they end with this value.
pub(super) struct Peer {
    nodes: Vec<Node>,
    rooms: usize,
    head: u64,
    redis: String,
    /// What Redis had done when counting began.
    commands: u64,
}

struct Node {
    child: Child,
    address: String,
}

impl Drop for Node {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Peer {
    pub(super) fn start(
        home: &Home,
        cluster: &Cluster,
        rooms: usize,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let source = workspace().join("loadtest/peers/socketio");
        let installed = npm::install(home, &source, "storm-peer", interrupt)?;
        // Packages are looked for beside the program.
        std::fs::copy(source.join("server.mjs"), installed.join("server.mjs"))?;
        let redis = cluster.description().redis.url.clone();
        let start = |number: usize| {
            // Free now; whoever takes it in between makes the start fail.
            let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
            let log = File::create(home.log(&format!("node-{number}")))?;
            let mut node = Command::new(npm::node()?);
            node.arg("server.mjs").current_dir(&installed).env("NODE_ENV", "production");
            node.env("PEER_PORT", port.to_string()).env("PEER_REDIS_URL", &redis);
            node.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
            let child = node.spawn().context("cannot start Node.js")?;
            Ok(Node { child, address: format!("127.0.0.1:{port}") })
        };
        let nodes = (1..=PROCESSES).map(start).collect::<Result<Vec<_>>>()?;
        let deadline = Instant::now() + READY_WITHIN;
        while nodes.iter().any(|node| TcpStream::connect(&node.address).is_err()) {
            if interrupt.asked() || Instant::now() > deadline {
                bail!("the peer does not listen");
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let redis = redis.trim_start_matches("redis://").to_owned();
        Ok(Self { nodes, rooms, head: 0, redis, commands: 0 })
    }
}

/// The clients of these rooms.
pub(super) fn fleet(peer: &Peer) -> Fleet {
    let identity = |number: usize| Identity {
        speech: Speech::SocketIo,
        room: format!("room-{}", number / MEMBERS),
    };
    let addresses = peer.nodes.iter().map(|node| node.address.clone()).collect();
    Fleet::start(addresses, (0..peer.rooms * MEMBERS).map(identity).collect())
}

impl Party for Peer {
    fn say(&mut self) -> Result<()> {
        self.head += 1;
        let say = (0..self.rooms).map(|room| {
            let number = self.head;
            let path = format!(
                "/say?room=room-{room}&number={number}&content=message+{number}+of+this+room"
            );
            request("POST", &path, "none", "")
        });
        let node = usize::try_from(self.head)? % self.nodes.len();
        ask_all(&self.nodes[node].address, say.collect()).map(drop)
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn begin(&mut self) -> Result<()> {
        self.commands = commands(&self.redis)?;
        Ok(())
    }

    fn asked(&self) -> Result<Cost> {
        Ok(Cost { statements: None, commands: Some(commands(&self.redis)? - self.commands) })
    }

    fn sockets(&self) -> (&'static str, Vec<u32>) {
        ("node", self.nodes.iter().map(|node| node.child.id()).collect())
    }
}

/// How many commands this Redis has carried out.
fn commands(address: &str) -> Result<u64> {
    let mut stream = TcpStream::connect(address).context("cannot connect to Redis")?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"INFO stats\r\n")?;
    let mut reader = BufReader::new(stream);
    let mut length = String::new();
    reader.read_line(&mut length)?;
    let length: usize = length.trim().trim_start_matches('$').parse().context("no INFO")?;
    let mut said = vec![0; length];
    reader.read_exact(&mut said)?;
    let said = String::from_utf8_lossy(&said);
    let number = said.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
    number.context("Redis does not count its commands")?.trim().parse().context("no number")
}
