//! Redis behind Sentinels: the server dies, another takes its place, and pods find it.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use deadpool_redis::redis::{Client, cmd};
use parley_relay::{Kept, Member, Movements, Presence, RedisSettings};
use prometheus::Registry;
use tempfile::TempDir;

use crate::redis::{LimitPod, RedisServer, a_minute, limits, new_user, program};
use crate::server::{eventually, free_port};

const NAME: &str = "parley";
const PASSWORD: &str = "of-the-servers";
const SENTINELS_PASSWORD: &str = "of-the-sentinels";

/// Two servers, the second a replica, and three sentinels, any two of which decide.
struct Watched {
    primary: RedisServer,
    #[expect(dead_code, reason = "it is killed with this")]
    replica: RedisServer,
    sentinels: Vec<Sentinel>,
}

/// Killed when it is dropped.
struct Sentinel {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl Sentinel {
    fn watch(primary: u16) -> Self {
        let (folder, port) = (tempfile::tempdir().unwrap(), free_port());
        let configuration = format!(
            "port {port}\nbind 127.0.0.1\ndir {}\nrequirepass {SENTINELS_PASSWORD}\n\
             sentinel sentinel-pass {SENTINELS_PASSWORD}\n\
             sentinel monitor {NAME} 127.0.0.1 {primary} 2\nsentinel auth-pass {NAME} {PASSWORD}\n\
             sentinel down-after-milliseconds {NAME} 1000\nsentinel failover-timeout {NAME} 5000\n",
            folder.path().display()
        );
        let file = folder.path().join("sentinel.conf");
        std::fs::write(&file, configuration).unwrap();
        let process = Command::new(program())
            .arg(file)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { process, port, _folder: folder }
    }

    /// Other sentinels and replicas that this one knows.
    async fn knows(&self) -> Option<(u64, u64)> {
        let url = format!("redis://:{SENTINELS_PASSWORD}@127.0.0.1:{}", self.port);
        let client = Client::open(url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.ok()?;
        let mut about = cmd("SENTINEL");
        let about = about.arg("MASTER").arg(NAME);
        let about: std::collections::HashMap<String, String> =
            about.query_async(&mut connection).await.ok()?;
        let number = |key: &str| about.get(key)?.parse().ok();
        Some((number("num-other-sentinels")?, number("num-slaves")?))
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

impl Watched {
    async fn start() -> Self {
        let login = ["--requirepass", PASSWORD, "--masterauth", PASSWORD];
        let primary = RedisServer::start_with(&login).await;
        let port = primary.port().to_string();
        let of = ["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"];
        let replica = RedisServer::start_with(&[&login[..], &of].concat()).await;
        let sentinels: Vec<_> = (0..3).map(|_| Sentinel::watch(primary.port())).collect();
        for sentinel in &sentinels {
            eventually("the sentinels know each other and the replica", async || {
                (sentinel.knows().await == Some((2, 1))).then_some(())
            })
            .await;
        }
        Self { primary, replica, sentinels }
    }

    fn settings(&self) -> RedisSettings {
        let urls = self.sentinels.iter().map(|it| format!("redis://127.0.0.1:{}", it.port));
        RedisSettings {
            redis_url: None,
            redis_sentinels: urls.collect(),
            redis_master: Some(NAME.to_owned()),
            redis_sentinel_password: Some(SENTINELS_PASSWORD.into()),
            redis_password: Some(PASSWORD.into()),
            ..RedisSettings::at("", 2_000)
        }
    }
}

#[tokio::test]
async fn a_replica_that_was_promoted_is_found_and_limits_and_presence_go_on() {
    let mut watched = Watched::start().await;
    let settings = watched.settings();
    settings.check().unwrap();
    let pod = LimitPod::at(&settings, 1, limits()).await;
    let presence = Presence::connect(&settings, &Registry::new()).await.unwrap();
    pod.reaches(true).await;
    let (alice, policy) = (new_user(), a_minute(3));
    for _ in 0..2 {
        pod.allowed(&alice, policy, Member::unique()).await;
    }
    assert_eq!(pod.decisions("redis", "allowed"), 2);
    assert_ne!(presence.beat("gateway-1").await, Kept::Away);

    watched.primary.stop();
    pod.reaches(false).await;
    // Nobody waits for the election: the pod goes by what it knows.
    pod.allowed(&alice, policy, Member::unique()).await;
    assert_eq!(pod.decisions("fallback", "allowed"), 1);

    pod.reaches(true).await;
    pod.refused(&alice, policy).await;
    assert_eq!(pod.decisions("redis", "limited"), 1, "what was granted meanwhile is put back");
    let everybody =
        Movements { everybody: true, come: vec![alice.clone()], ..Movements::default() };
    eventually("the new server is told who is there", async || {
        presence.beat("gateway-1").await;
        presence.moved("gateway-1", &everybody).await;
        let seen = presence.of(std::slice::from_ref(&alice)).await?;
        seen[0].online.then_some(())
    })
    .await;
}

/// The first one hangs, which costs nobody more than the wait for one answer.
#[tokio::test]
async fn a_sentinel_that_hangs_is_not_waited_for_by_the_others() {
    let watched = Watched::start().await;
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut settings = watched.settings();
    settings.redis_sentinels[0] = format!("redis://{}", silent.local_addr().unwrap());
    let begun = tokio::time::Instant::now();
    let pod = LimitPod::at(&settings, 1, limits()).await;
    pod.reaches(true).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}
