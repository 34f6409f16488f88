//! Parley's own processes: their settings, their check, their start.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::process::{Keeper, Kind, Start, capture};
use crate::rest;
use crate::security::Security;
use crate::state::Pod;

/// A pod that is to be started.
#[derive(Clone)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) admin: u16,
    /// Where a gateway takes what the others pass on.
    pub(crate) peers: Option<u16>,
}

/// What all pods are told.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) redis_url: String,
    pub(crate) jwt_secret: String,
    pub(crate) link_secret: String,
    pub(crate) peer_secret: String,
    /// Where the bytes of files are kept.
    pub(crate) files: PathBuf,
    /// Threads of each pod.
    pub(crate) workers: usize,
    /// TLS and credentials, if the parts want them.
    pub(crate) security: Option<Security>,
    /// From `--set`; they win over the launcher's own.
    pub(crate) extra: Vec<(String, String)>,
}

/// Each pod has its own of these: a value for all would be wrong.
const PER_POD: [&str; 5] = [
    "PARLEY_POD",
    "PARLEY_LISTEN",
    "PARLEY_ADMIN_LISTEN",
    "PARLEY_PEER_LISTEN",
    "PARLEY_PEER_ADDRESS",
];

/// Reads `NAME=VALUE`, with or without `PARLEY_` in front.
pub(crate) fn setting(text: &str) -> Result<(String, String)> {
    let (name, value) = text.split_once('=').context("write NAME=VALUE")?;
    let name = name.trim().to_ascii_uppercase();
    let name = if name.starts_with("PARLEY_") { name } else { format!("PARLEY_{name}") };
    if name.len() == "PARLEY_".len()
        || !name.bytes().all(|it| it == b'_' || it.is_ascii_alphanumeric())
    {
        bail!("`{text}` does not name a setting: write NAME=VALUE");
    }
    if PER_POD.contains(&name.as_str()) {
        bail!("{name} is different in each pod: the launcher sets it");
    }
    Ok((name, value.to_owned()))
}

/// Each pod's share of the cores: more threads than cores only take each other's time.
pub(crate) fn workers(pods: u16) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    (cores / usize::from(pods.max(1))).max(1)
}

impl Plan {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    pub(crate) fn described(&self, pid: u32) -> Pod {
        Pod { name: self.name.clone(), url: self.url(), admin: self.admin_url(), pid }
    }

    fn command(&self, binaries: &Path, settings: &Settings) -> Command {
        let mut command = bare(&binaries.join(binary(self.kind)));
        command.env("PARLEY_POD", &self.name);
        command.env("PARLEY_ADMIN_LISTEN", format!("127.0.0.1:{}", self.admin));
        command.env("PARLEY_LOG_FORMAT", "json");
        command.env("PARLEY_WORKERS", settings.workers.to_string());
        command.env("PARLEY_NATS_URL", &settings.nats_url);
        if self.kind != Kind::Courier {
            command.env("PARLEY_LISTEN", format!("127.0.0.1:{}", self.port));
            command.env("PARLEY_JWT_SECRET", &settings.jwt_secret);
            command.env("PARLEY_REDIS_URL", &settings.redis_url);
        }
        if self.kind != Kind::Gateway {
            command.env("PARLEY_DATABASE_URL", &settings.database_url);
            // Whoever tries webhooks out has them listen here.
            command.env("PARLEY_OUTBOUND_ALLOW", "127.0.0.1,localhost");
        }
        if self.kind == Kind::Api {
            command.env("PARLEY_FILES_FOLDER", &settings.files);
            command.env("PARLEY_LINK_SECRET", &settings.link_secret);
        }
        if let Some(port) = self.peers {
            command.env("PARLEY_PEER_LISTEN", format!("127.0.0.1:{port}"));
            command.env("PARLEY_PEER_SECRET", &settings.peer_secret);
        }
        if let Some(security) = &settings.security {
            command.envs(security.pod_settings(self.kind));
        }
        command.envs(settings.extra.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Lets the service itself judge its settings, before anything is started.
    pub(crate) fn check(&self, binaries: &Path, settings: &Settings) -> Result<()> {
        capture(self.command(binaries, settings).arg("--check"))
            .map(|_| ())
            .with_context(|| format!("{} refuses its settings", binary(self.kind)))
    }

    pub(crate) fn start(
        &self,
        binaries: &Path,
        settings: &Settings,
        keeper: &mut Keeper,
    ) -> Result<()> {
        keeper.start(Start {
            name: self.name.clone(),
            kind: self.kind,
            url: self.url(),
            admin: Some(self.admin_url()),
            command: self.command(binaries, settings),
        })
    }

    pub(crate) fn wait(&self, keeper: &mut Keeper) -> Result<()> {
        let ready = format!("{}/readyz", self.admin_url());
        keeper.wait_ready(&self.name, Duration::from_mins(1), || rest::is_ok(&ready))
    }
}

fn binary(kind: Kind) -> &'static str {
    match kind {
        Kind::Gateway => "parley-gateway",
        Kind::Courier => "parley-courier",
        _ => "parley-api",
    }
}

/// Refuses a setting that no service has: most likely it is misspelt, and would have no effect.
pub(crate) fn check_names(binaries: &Path, settings: &Settings) -> Result<()> {
    if settings.extra.is_empty() {
        return Ok(());
    }
    let mut known = String::new();
    for kind in [Kind::Api, Kind::Gateway, Kind::Courier] {
        let program = binaries.join(binary(kind));
        // An earlier release has no couriers.
        if program.exists() {
            known += &capture(bare(&program).arg("--help"))?;
        }
    }
    for (name, _) in &settings.extra {
        // The value of a secret is not shown, and neither is the sign before it.
        if !["=", "]"].iter().any(|end| known.contains(&format!("[env: {name}{end}"))) {
            bail!(
                "--set: there is no setting {name}: `parley-api --help` and those of `parley-gateway` and `parley-courier` list them"
            );
        }
    }
    Ok(())
}

/// A command without the launcher's own `PARLEY_*` variables, so that what a shell has set does
/// not reach a pod unseen.
fn bare(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("PARLEY_") {
            command.env_remove(name);
        }
    }
    command
}

/// Brings the database to the schema of these binaries.
pub(crate) fn migrate(binaries: &Path, database_url: &str) -> Result<()> {
    let mut command = bare(&binaries.join("parley-api"));
    command.arg("migrate").env("PARLEY_DATABASE_URL", database_url);
    capture(&mut command).map(|_| ()).context("cannot migrate the database")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_named_with_or_without_the_prefix() {
        let wanted = ("PARLEY_LOG".to_owned(), "a=b".to_owned());
        assert_eq!(setting("log=a=b").unwrap(), wanted);
        assert_eq!(setting("PARLEY_LOG=a=b").unwrap(), wanted);
        for wrong in ["LOG", "=1", "PARLEY_=1", "A B=1", "POD=x", "PARLEY_LISTEN=1"] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
