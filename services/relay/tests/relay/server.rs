//! A NATS server of a test's own, which it may stop and start again.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Fails instead of hanging.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Waits until `probe` finds something.
pub(crate) async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(begun.elapsed() < PATIENCE, "in vain: {what}");
        sleep(Duration::from_millis(10)).await;
    }
}

/// The value of one series in Prometheus text; 0 if it is not there yet.
pub(crate) fn sample(metrics: &str, series: &str) -> u64 {
    let value = metrics.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().unwrap())
}

/// What a GET answers: status and body; `None` if nobody does.
pub(crate) async fn get(address: SocketAddr, path: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    let request = format!("GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split(' ').nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// The passwords of a configured server's users.
pub(crate) const API_PASSWORD: &str = "of-api-pods";
pub(crate) const GATEWAY_PASSWORD: &str = "of-gateways";
pub(crate) const COURIER_PASSWORD: &str = "of-couriers";

/// Killed when it is dropped.
pub(crate) struct NatsServer {
    folder: TempDir,
    port: u16,
    /// The text of its configuration file, if it has one.
    configuration: Option<String>,
    running: Option<Running>,
}

struct Running {
    process: Child,
    monitoring: SocketAddr,
}

impl NatsServer {
    pub(crate) async fn start() -> Self {
        Self::start_as(None).await
    }

    /// One with this configuration, which may take the passwords of the users' file from the environment.
    pub(crate) async fn configured(configuration: String) -> Self {
        Self::start_as(Some(configuration)).await
    }

    async fn start_as(configuration: Option<String>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut server = Self { folder, port: 0, configuration, running: None };
        for _ in 0..20 {
            server.port = free_port();
            if server.run().await {
                return server;
            }
        }
        panic!("no NATS server starts");
    }

    /// On the port where it was.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.run().await, "NATS does not start again on port {}", self.port);
    }

    /// At once and without a word.
    pub(crate) fn stop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.process.kill().unwrap();
            running.process.wait().unwrap();
        }
    }

    /// It keeps its connections and takes new ones, and answers none: to a client, a connection that is half-open.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("a running server");
        kill_process(Pid::from_child(&running.process), signal).unwrap();
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://{}", self.address())
    }

    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// The server's own account of its subscriptions to `subject`: connection and number of each.
    pub(crate) async fn subscriptions(&self, subject: &str) -> Vec<(u64, String)> {
        let subs = self.monitor("/subsz?subs=1&limit=10000").await;
        let list = subs["subscriptions_list"].as_array().cloned().unwrap_or_default();
        let ours = list.into_iter().filter(|sub| sub["subject"] == subject);
        ours.map(|sub| (sub["cid"].as_u64().unwrap(), sub["sid"].to_string())).collect()
    }

    /// A page of the server's monitoring.
    pub(crate) async fn monitor(&self, path: &str) -> Value {
        let address = self.running.as_ref().expect("a running server").monitoring;
        let (status, body) = get(address, path).await.expect("monitoring");
        assert_eq!(status, 200);
        serde_json::from_str(&body).unwrap()
    }

    /// Whether it listens now; not if the port was taken.
    async fn run(&mut self) -> bool {
        assert!(self.running.is_none(), "it runs already");
        let mut command = Command::new(program());
        if let Some(configuration) = &self.configuration {
            let file = self.folder.path().join("nats.conf");
            std::fs::write(&file, configuration).unwrap();
            command.arg("--config").arg(file);
            command.env("PARLEY_NATS_API_PASSWORD", API_PASSWORD);
            command.env("PARLEY_NATS_GATEWAY_PASSWORD", GATEWAY_PASSWORD);
            command.env("PARLEY_NATS_COURIER_PASSWORD", COURIER_PASSWORD);
        }
        let mut process = command
            .args(["-a", "127.0.0.1", "-m", "-1", "-p"])
            .arg(self.port.to_string())
            .arg("--ports_file_dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PARLEY_TEST_NATS_SERVER cannot be run");
        let ports = format!("_{}.ports", process.id());
        let monitoring = eventually("NATS starts", async || {
            if process.try_wait().unwrap().is_some() {
                return Some(None);
            }
            self.read_ports(&ports).map(Some)
        });
        let monitoring = monitoring.await;
        self.running = monitoring.map(|monitoring| Running { process, monitoring });
        self.running.is_some()
    }

    /// The file appears before its text.
    fn read_ports(&self, ending: &str) -> Option<SocketAddr> {
        let mut files = self.folder.path().read_dir().unwrap().map(|file| file.unwrap().path());
        let file = files.find(|file| file.to_string_lossy().ends_with(ending))?;
        let ports: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
        ports["monitoring"][0].as_str()?.strip_prefix("http://")?.parse().ok()
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn program() -> PathBuf {
    std::env::var_os("PARLEY_TEST_NATS_SERVER")
        .expect(
            "PARLEY_TEST_NATS_SERVER, the nats-server to run, is not set: run `cargo parley test`",
        )
        .into()
}

/// Below the ports that systems lend to clients: while the server is away, nobody takes its place by chance.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = 10_000 + (uuid::Uuid::new_v4().as_u128() % 20_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
