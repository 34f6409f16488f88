//! A Redis server of a test's own, which it may stop, pause and empty, and pods that ask it.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{Client, cmd};
use parley_domain::ids::UserId;
use parley_relay::{
    Charge, Charged, LimitSettings, Limiter, Member, Peers, Policy, RedisSettings, Refused,
};
use prometheus::{Registry, TextEncoder};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::net::TcpStream;
use uuid::Uuid;

use crate::server::{eventually, free_port, sample, soon};

/// Killed when it is dropped.
pub(crate) struct RedisServer {
    folder: TempDir,
    port: u16,
    /// Beyond those that every server has.
    arguments: Vec<String>,
    process: Option<Child>,
}

impl RedisServer {
    /// One that does not run yet.
    pub(crate) fn away() -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        Self { folder, port, arguments: Vec::new(), process: None }
    }

    /// One that is started with these arguments, too.
    pub(crate) async fn start_with(arguments: &[&str]) -> Self {
        for _ in 0..20 {
            let mut server = Self::away();
            server.arguments = arguments.iter().map(ToString::to_string).collect();
            if server.run().await {
                return server;
            }
        }
        panic!("no Redis server starts with {arguments:?}");
    }

    pub(crate) async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// On the port where it was, and empty.
    pub(crate) async fn start_again(&mut self) {
        assert!(self.run().await, "Redis does not start on port {}", self.port);
    }

    /// At once and without a word.
    pub(crate) fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// It keeps its connections and takes new ones, and answers none.
    pub(crate) fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub(crate) fn go_on(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        let process = self.process.as_ref().expect("a running server");
        kill_process(Pid::from_child(process), signal).unwrap();
    }

    /// It loses everything, and no connection with it: a restart that nobody notices.
    pub(crate) async fn forget(&self) {
        let mut connection = self.connection().await.expect("a running server");
        cmd("FLUSHALL").exec_async(&mut connection).await.unwrap();
    }

    /// It loses the scripts that it was told.
    pub(crate) async fn forget_scripts(&self) {
        let mut connection = self.connection().await.expect("a running server");
        cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
    }

    /// Where this user's window would be, something else is.
    pub(crate) async fn spoil(&self, user: &UserId) {
        let mut connection = self.connection().await.expect("a running server");
        let key = format!("parley:limit:{{{}}}", URL_SAFE_NO_PAD.encode(user.as_str()));
        cmd("RPUSH").arg(key).arg(1).exec_async(&mut connection).await.unwrap();
    }

    /// It loses the newest entry of each window: a replica that took over and lagged behind.
    pub(crate) async fn lag_behind(&self) {
        let mut connection = self.connection().await.expect("a running server");
        let windows: Vec<String> =
            cmd("KEYS").arg("parley:limit:{*}").query_async(&mut connection).await.unwrap();
        for window in windows {
            let kept: Vec<u8> = cmd("GET").arg(&window).query_async(&mut connection).await.unwrap();
            let before = &kept[..kept.len() - 24];
            let mut set = cmd("SET");
            set.arg(&window).arg(before).arg("KEEPTTL");
            set.exec_async(&mut connection).await.unwrap();
        }
    }

    /// Connections, without the one that asks.
    pub(crate) async fn clients(&self) -> usize {
        let mut connection = self.connection().await.expect("a running server");
        let list: String = cmd("CLIENT").arg("LIST").query_async(&mut connection).await.unwrap();
        list.lines().count() - 1
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    async fn connection(&self) -> Option<MultiplexedConnection> {
        let client = Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.ok()
    }

    /// Whether it answers now; not if the port was taken.
    async fn run(&mut self) -> bool {
        assert!(self.process.is_none(), "it runs already");
        let mut process = Command::new(program())
            .args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"])
            .arg(self.port.to_string())
            .args(&self.arguments)
            .arg("--dir")
            .arg(self.folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("PARLEY_TEST_REDIS_SERVER cannot be run");
        let runs = eventually("Redis starts", async || {
            if process.try_wait().unwrap().is_some() {
                return Some(false);
            }
            TcpStream::connect(("127.0.0.1", self.port)).await.ok().map(|_| true)
        });
        let runs = runs.await;
        self.process = runs.then_some(process);
        runs
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.stop();
    }
}

pub(crate) fn program() -> PathBuf {
    std::env::var_os("PARLEY_TEST_REDIS_SERVER")
        .expect("PARLEY_TEST_REDIS_SERVER, the valkey-server or redis-server to run, is not set: run `cargo parley test`")
        .into()
}

/// One pod's limiter and its metrics.
pub(crate) struct LimitPod {
    pub(crate) limiter: Limiter,
    registry: Registry,
}

impl LimitPod {
    /// For tests in which Redis stays: a busy machine is no outage.
    pub(crate) async fn patient(url: &str) -> Self {
        Self::with(url, 10_000, 1, limits()).await
    }

    /// One of so many pods, for tests in which Redis goes: then a command fails at once.
    pub(crate) async fn one_of(pods: usize, url: &str) -> Self {
        Self::with(url, 2_000, pods, limits()).await
    }

    /// For tests in which Redis answers nothing.
    pub(crate) async fn hasty(pods: usize, url: &str) -> Self {
        Self::with(url, 300, pods, limits()).await
    }

    pub(crate) async fn with(url: &str, ms: u64, pods: usize, limits: LimitSettings) -> Self {
        Self::at(&RedisSettings::at(url, ms), pods, limits).await
    }

    pub(crate) async fn at(redis: &RedisSettings, pods: usize, limits: LimitSettings) -> Self {
        let registry = Registry::new();
        let limiter = Limiter::connect(redis, &limits, Peers::fixed(pods), &registry);
        Self { limiter: soon(limiter).await.unwrap(), registry }
    }

    pub(crate) async fn charge(&self, user: &UserId, policy: Policy, member: Member) -> Charge {
        soon(self.limiter.charge(user, policy, member)).await
    }

    pub(crate) async fn allowed(&self, user: &UserId, policy: Policy, member: Member) -> Charged {
        match self.charge(user, policy, member).await {
            Charge::Allowed(charged) => charged,
            Charge::Limited(refused) => panic!("{refused:?}"),
        }
    }

    pub(crate) async fn refused(&self, user: &UserId, policy: Policy) -> Refused {
        match self.charge(user, policy, Member::unique()).await {
            Charge::Allowed(charged) => panic!("{charged:?}"),
            Charge::Limited(refused) => refused,
        }
    }

    /// Sends until it is refused; says how many it could.
    pub(crate) async fn exhaust(&self, user: &UserId, policy: Policy) -> u32 {
        let mut sent = 0;
        while let Charge::Allowed(charged) = self.charge(user, policy, Member::unique()).await {
            assert!(charged.added);
            sent += 1;
        }
        sent
    }

    /// Waits until Redis decides, or until it does not.
    pub(crate) async fn reaches(&self, up: bool) {
        eventually("Redis comes or goes", async || (self.up() == up).then_some(())).await;
    }

    pub(crate) fn up(&self) -> bool {
        self.metric("parley_redis_up") == 1
    }

    pub(crate) fn decisions(&self, source: &str, outcome: &str) -> u64 {
        let series = "parley_limiter_decisions_total";
        self.metric(&format!("{series}{{outcome=\"{outcome}\",source=\"{source}\"}}"))
    }

    pub(crate) fn metric(&self, series: &str) -> u64 {
        sample(&TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap(), series)
    }
}

/// No test here floods by chance.
pub(crate) fn limits() -> LimitSettings {
    LimitSettings {
        message_limits: "user=20/60".parse().unwrap(),
        attempt_limit: "1000000/60".parse().unwrap(),
        limiter_users: NonZeroUsize::new(1_000).unwrap(),
    }
}

pub(crate) fn a_minute(limit: u32) -> Policy {
    Policy { limit, window: Duration::from_mins(1) }
}

pub(crate) fn new_user() -> UserId {
    UserId::parse(&Uuid::new_v4().to_string()).unwrap()
}
