//! For the tests of other crates: real components, a fresh database each.
//!
//! `cargo parley test` starts the components and tells where they are. A test that is run without
//! them fails and says so; none is ever skipped.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::Result;

use crate::debian::Unpacked;
use crate::home::Home;
use crate::postgres;
use crate::tools::venv_program;

pub use crate::security::Certificates;

/// Makes an empty database on the server of `admin_url` and says where it is, with user and password. Nobody drops it:
/// the server goes with the test run, and a drop waits for connections that its own thread may be holding up.
///
/// # Panics
/// When the server does not make one.
#[expect(clippy::panic, reason = "a test without its database must fail, never skip")]
pub fn fresh_database(admin_url: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("test_{}_{number}_{:08x}", std::process::id(), rand::random::<u32>());
    if let Err(error) = postgres::sql(&psql(), admin_url, &format!("CREATE DATABASE {name}")) {
        panic!("no fresh database ({error:#}): run `cargo parley test`");
    }
    let server = admin_url.rsplit_once('/').map_or(admin_url, |(server, _)| server);
    format!("{server}/{name}")
}

/// Has a database do what nothing of ours has a verb for.
///
/// # Panics
/// When it does not.
#[expect(clippy::panic, reason = "a test whose scene cannot be set must fail")]
pub fn execute(url: &str, sql: &str) {
    if let Err(error) = postgres::sql(&psql(), url, sql) {
        panic!("{sql}: {error:#}");
    }
}

/// An address from which tests make databases (`PARLEY_TEST_DATABASE_URL`).
pub fn database_url() -> String {
    wanted("PARLEY_TEST_DATABASE_URL")
}

/// The NATS server for tests (`PARLEY_TEST_NATS_URL`).
pub fn nats_url() -> String {
    wanted("PARLEY_TEST_NATS_URL")
}

/// The Redis server for tests (`PARLEY_TEST_REDIS_URL`).
pub fn redis_url() -> String {
    wanted("PARLEY_TEST_REDIS_URL")
}

/// A bucket of an S3-compatible store for tests (`PARLEY_TEST_S3_URL`).
#[derive(Debug, Clone)]
pub struct Bucket {
    /// Where the store is.
    pub endpoint: String,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub access_key: String,
    /// The proof of that.
    pub secret_key: String,
}

/// The bucket for tests, from `http://key:secret@host:port/bucket`.
///
/// # Panics
/// When nobody has told it.
#[expect(clippy::panic, reason = "a test without its components must fail, never skip")]
pub fn bucket() -> Bucket {
    let url = wanted("PARLEY_TEST_S3_URL");
    let read = || {
        let (credentials, place) = url.strip_prefix("http://")?.split_once('@')?;
        let (access_key, secret_key) = credentials.split_once(':')?;
        let (host, name) = place.split_once('/')?;
        Some(Bucket {
            endpoint: format!("http://{host}"),
            name: name.to_owned(),
            access_key: access_key.to_owned(),
            secret_key: secret_key.to_owned(),
        })
    };
    read().unwrap_or_else(|| panic!("PARLEY_TEST_S3_URL is no http://key:secret@host:port/bucket"))
}

/// `PgBouncer`, out of the packages that `PARLEY_TEST_PGBOUNCER` names the folder of.
pub fn pgbouncer() -> Command {
    Unpacked::at(PathBuf::from(wanted("PARLEY_TEST_PGBOUNCER"))).command("pgbouncer")
}

#[expect(clippy::panic, reason = "a test without its components must fail, never skip")]
fn wanted(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo parley test`"))
}

fn psql() -> PathBuf {
    std::env::var_os("PARLEY_TEST_PSQL").map_or_else(|| "psql".into(), PathBuf::from)
}

/// A launcher folder of its own for a cluster that a test starts, within this test run's folder,
/// where `cargo parley test` stops whatever a test has left running.
pub fn home(name: &str) -> Result<Home> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let home = Home::from_env()?;
    let base = PathBuf::from(wanted("PARLEY_TEST_FOLDER"));
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let folder = format!("{name}-{}-{number}", std::process::id());
    Ok(home.beside(base.join(folder)))
}

/// A program of the pinned wheels that `cargo parley test` has installed.
pub fn tool(home: &Home, name: &str) -> PathBuf {
    venv_program(home, name)
}

/// A command that speaks to the launcher of another folder.
pub fn launcher(program: &str, home: &Home) -> Command {
    let mut command = Command::new(program);
    command.env("PARLEY_HOME", home.root()).env("PARLEY_TOOLS", home.tools());
    command
}
