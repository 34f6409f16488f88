//! A pooler between a pod and Postgres is named before anything is done.

use std::process::{Child, Stdio};
use std::time::Duration;

use parley_local::testing;
use parley_store::{Store, StoreError, migrate};
use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::fixture::settings;

/// Longer than a start takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `PgBouncer` before an empty database. Killed when it is dropped.
struct PgBouncer {
    process: Child,
    port: u16,
    _folder: TempDir,
}

impl PgBouncer {
    async fn start(lines: &str) -> Self {
        let database = testing::fresh_database(&testing::database_url());
        let (login, place) = database.split_once("://").unwrap().1.split_once('@').unwrap();
        let (user, password) = login.split_once(':').unwrap();
        let (address, name) = place.split_once('/').unwrap();
        let (host, server) = address.split_once(':').unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nparley = host={host} port={server} dbname={name} user={user} password={password}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nauth_type = any\nunix_socket_dir =\n{lines}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = testing::pgbouncer();
        command.arg("--quiet").arg(&file);
        if rustix::process::getuid().is_root() {
            command.arg("--user=nobody");
        }
        let process = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let started = Self { process, port, _folder: folder };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            assert!(Instant::now() < deadline, "PgBouncer does not start");
            sleep(Duration::from_millis(10)).await;
        }
        started
    }

    fn url(&self) -> String {
        format!("postgres://parley@127.0.0.1:{}/parley", self.port)
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

#[tokio::test]
async fn a_pooler_is_refused_by_name_in_whatever_mode_and_whatever_it_lets_pass() {
    for lines in [
        "pool_mode = transaction",
        "pool_mode = transaction\nignore_startup_parameters = options, extra_float_digits",
        "pool_mode = session",
        "pool_mode = session\nignore_startup_parameters = options, extra_float_digits",
    ] {
        let pooler = PgBouncer::start(lines).await;
        let settings = settings(&pooler.url());
        for refused in [Store::connect(&settings).await.err(), migrate(&settings).await.err()] {
            assert!(matches!(refused, Some(StoreError::Pooler)), "{lines}: {refused:?}");
        }
    }
}
