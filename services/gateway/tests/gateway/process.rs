//! The pod as a process: how it becomes ready, how it ends, and what it says when it cannot start.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::client::{Client, Heard};
use crate::fixture::{ApiPod, Gateway, SECOND, SECRET, World, token_for};
use crate::server::{NatsServer, eventually, soon};
use crate::transports::{PEERS, Polling};

pub(crate) const NOWHERE: &str = "nats://127.0.0.1:9";

pub(crate) fn command(nats_url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_parley-gateway"));
    command
        .env_clear()
        .env("PARLEY_NATS_URL", nats_url)
        .env("PARLEY_REDIS_URL", "redis://127.0.0.1:1")
        .env("PARLEY_JWT_SECRET", SECRET)
        .env("PARLEY_LISTEN", "127.0.0.1:0")
        .env("PARLEY_ADMIN_LISTEN", "127.0.0.1:0")
        .env("PARLEY_LOG_FORMAT", "json")
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A pod in a process of its own; killed when it is dropped.
pub(crate) struct Process {
    child: Child,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
}

impl Process {
    pub(crate) async fn start(nats: &NatsServer, arguments: &[&str]) -> Self {
        let mut child = command(&nats.url(), arguments).spawn().unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
        let addresses = tokio::task::spawn_blocking(move || {
            let serving = log.by_ref().map(|line| serde_json::from_str::<Value>(&line.unwrap()));
            let mut serving = serving.map(Result::unwrap);
            let line = serving.find(|line| line["message"] == "serving Socket.IO").unwrap();
            // A pod whose log nobody reads would wait.
            std::thread::spawn(move || log.for_each(drop));
            ["address", "admin"].map(|name| line[name].as_str().unwrap().parse().unwrap())
        });
        let [address, admin] = soon(addresses).await.unwrap();
        Self { child, address, admin }
    }

    /// What it holds now, in bytes. From here on, its height counts anew.
    pub(crate) fn rest(&self) -> u64 {
        std::fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
        self.memory("VmRSS")
    }

    /// The most that it has held since.
    pub(crate) fn height(&self) -> u64 {
        self.memory("VmHWM")
    }

    /// A line of the process's status, in bytes.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
        kib * 1024
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    pub(crate) async fn status(&mut self) -> Option<i32> {
        eventually("the process ends", async || self.child.try_wait().unwrap()).await.code()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn a_pod_is_ready_while_it_has_the_bus() {
    let mut nats = NatsServer::start().await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    nats.stop();
    gateway.is_not_ready("nats").await;
    nats.start_again().await;
    gateway.is_ready().await;
    gateway.lifecycle.readiness().drain();
    gateway.is_not_ready("draining").await;
}

#[tokio::test]
async fn a_pod_that_is_told_to_stop_sends_its_clients_elsewhere() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let chat = api.chats.create(0);
    let mut pod = Process::start(&nats, &[]).await;
    let mut clients = Vec::new();
    for number in 0..20 {
        let token = token_for(&format!("user-{number}"), 60);
        let mut client = Client::connect(pod.address, &token).await;
        client.join_at(chat, 0).await;
        clients.push(client);
    }
    api.say(chat);
    for client in &mut clients {
        client.hears(chat, 1).await;
    }
    pod.terminate();
    for client in &mut clients {
        client.is_closed_with(1001).await;
    }
    assert_eq!(pod.status().await, Some(0));
    eventually("its subscriptions are gone", async || {
        nats.subscriptions(&format!("chat.{chat}")).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn i9_a_join_that_waits_does_not_hold_a_stop_for_long() {
    let nats = NatsServer::start().await;
    let mut pod = Process::start(&nats, &[]).await;
    let mut client = Client::connect(pod.address, &token_for("alice", 60)).await;
    client.emit("join-chat-room", &json!("0192f0a4-7c3b-7d2e-8a1b-0123456789ab")).await;
    eventually("an ask in vain", async || {
        (nats.monitor("/varz").await["in_msgs"].as_u64()? >= 1).then_some(())
    })
    .await;
    let begun = Instant::now();
    pod.terminate();
    client.is_closed_with(1001).await;
    assert!(begun.elapsed() < SECOND * 10);
    assert_eq!(pod.status().await, Some(0));
}

#[tokio::test]
async fn a_pod_that_stops_in_this_process_finishes_every_task() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    let lifecycle = &world.gateway.lifecycle;
    lifecycle.stop().cancel();
    client.is_closed_with(1001).await;
    soon(lifecycle.finished()).await;
    assert!(tokio::net::TcpStream::connect(world.gateway.address).await.is_err());
}

/// One line on standard error, its service first.
fn says(output: &Output, status: i32, line: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(said.starts_with(&format!("parley-gateway: {line}")), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn wrong_settings_are_one_line_and_status_2() {
    for (arguments, line) in [
        (&["--jwt-secret=short"][..], "PARLEY_JWT_SECRET must have at least 32 bytes"),
        (
            &["--jwks-url=https://x", "--jwks-file=x"],
            "PARLEY_JWKS_FILE and PARLEY_JWKS_URL cannot both be set",
        ),
        (&["--jwks-url=ftp://x"], "PARLEY_JWKS_URL must begin with https:// or http://"),
        (
            &["--nats-url=http://x:secret@y"],
            "PARLEY_NATS_URL is not a list of nats:// or tls:// URLs",
        ),
        (
            &["--drain-seconds=25", "--shutdown-seconds=25"],
            "PARLEY_DRAIN_SECONDS must be less than PARLEY_SHUTDOWN_SECONDS",
        ),
        (&["--joins-per-second=0"], "PARLEY_JOINS_PER_SECOND cannot be \"0\""),
        (&["--max-connections=0"], "PARLEY_MAX_CONNECTIONS cannot be \"0\""),
        (&["--ping-interval-ms=1"], "PARLEY_PING_INTERVAL_MS cannot be \"1\""),
        (&["--outbox-bytes=1"], "PARLEY_OUTBOX_BYTES cannot be \"1\""),
        (&["--listen=nowhere"], "PARLEY_LISTEN cannot be \"nowhere\""),
        (&["--log=a=b=c"], "PARLEY_LOG cannot be \"a=b=c\""),
        (&["--no-such-flag"], "unexpected argument '--no-such-flag'"),
    ] {
        let output = command(NOWHERE, arguments).output().unwrap();
        says(&output, 2, line);
        assert!(!String::from_utf8_lossy(&output.stderr).contains("short"), "a secret is not said");
    }
    let output = command(NOWHERE, &[]).env_remove("PARLEY_NATS_URL").output().unwrap();
    says(&output, 2, "PARLEY_NATS_URL is not set");
    let output = command(NOWHERE, &[]).env_remove("PARLEY_JWT_SECRET").output().unwrap();
    says(&output, 2, "PARLEY_JWT_SECRET is not set, nor PARLEY_JWKS_FILE or PARLEY_JWKS_URL");
    let output = command(NOWHERE, &["--check"]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"parley-gateway: the settings are good\n");
}

#[test]
fn a_port_that_is_taken_is_one_line_and_status_1() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    for (flag, name) in [("--listen", "PARLEY_LISTEN"), ("--admin-listen", "PARLEY_ADMIN_LISTEN")] {
        let output = command(NOWHERE, &[&format!("{flag}={address}")]).output().unwrap();
        says(&output, 1, &format!("{name}: cannot listen on {address}"));
    }
}

#[test]
fn what_ships_cannot_break_deliveries_on_purpose() {
    let help = command(NOWHERE, &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(help.contains("[env: PARLEY_LISTEN="), "not the settings: {help}");
    assert!(!help.to_lowercase().contains("planted"), "the feature planted-faults is on: {help}");
}

#[tokio::test]
async fn the_sessions_of_a_pod_that_dies_are_over_wherever_their_polls_are() {
    let nats = NatsServer::start().await;
    let _api = ApiPod::start(&nats).await;
    let survivor = Gateway::start(&nats.url(), &PEERS).await;
    survivor.is_ready().await;
    let mut pod = Process::start(&nats, &PEERS).await;
    let mut client = Polling::open(pod.address).await;
    client.gateway = survivor.address;
    client.send(&format!("40{}", json!({ "token": token_for("alice", 60) }))).await;
    assert_eq!(client.next().await, Heard::Connected);
    let parked = client.clone();
    let parked = tokio::spawn(async move { parked.request("GET", "").await });
    let answered = "parley_gateway_forwards_total{outcome=\"answered\"}";
    survivor.reaches(answered, 2).await;
    pod.child.kill().unwrap();
    let unknown = (400, r#"{"code":1,"message":"Session ID unknown"}"#.to_owned());
    assert_eq!(soon(parked).await.unwrap(), unknown);
    let dead = Instant::now();
    assert_eq!(client.request("POST", "3").await, unknown);
    assert_eq!(client.request("GET", "").await, unknown);
    assert!(dead.elapsed() < SECOND, "nobody waits for the dead");
    // As a stock client does then.
    let again = Polling::open(survivor.address).await;
    again.send(&format!("40{}", json!({ "token": token_for("alice", 60) }))).await;
}
