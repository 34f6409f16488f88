//! Parley's own binaries: built, or taken from `PARLEY_BIN_DIR`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::{make_folder, workspace};
use crate::interrupt::Interrupt;
use crate::pods;
use crate::process::{capture, on_path, run};
use crate::say;

/// The folder with `parley-api`, `parley-gateway` and `parley-courier`, built just now or given ready-made.
pub fn binaries(interrupt: &Interrupt) -> Result<PathBuf> {
    match std::env::var_os("PARLEY_BIN_DIR") {
        Some(folder) => given(&std::path::absolute(folder)?),
        None => build(interrupt),
    }
}

/// A folder with ready-made services.
pub(crate) fn given(folder: &Path) -> Result<PathBuf> {
    for name in ["parley-api", "parley-gateway"] {
        if !folder.join(name).is_file() {
            bail!("there is no {name} in {}", folder.display());
        }
    }
    Ok(folder.to_owned())
}

/// Brings a database to the schema of the services' binaries.
pub fn migrate(database_url: &str, interrupt: &Interrupt) -> Result<()> {
    migrate_by(&binaries(interrupt)?, database_url)
}

/// The same, by the services in this folder.
pub fn migrate_by(folder: &Path, database_url: &str) -> Result<()> {
    pods::migrate(folder, database_url)
}

/// Which of cargo's profiles the services are built in: `release`, and for measurements `dist`, which is what the image has.
pub(crate) const PROFILE: &str = "PARLEY_PROFILE";
/// What is shipped.
pub(crate) const DIST: &str = "dist";
const RELEASE: &str = "release";

/// The profile that is asked for.
pub fn profile() -> Result<String> {
    let profile = std::env::var(PROFILE).unwrap_or_else(|_| RELEASE.to_owned());
    if [RELEASE, DIST].contains(&profile.as_str()) {
        return Ok(profile);
    }
    bail!("{PROFILE} must be {RELEASE} or {DIST}, not \"{profile}\"")
}

/// Builds the services.
pub(crate) fn build(interrupt: &Interrupt) -> Result<PathBuf> {
    let profile = profile()?;
    let folder = target_folder()?.join(&profile);
    if !folder.join("parley-courier").exists() {
        if !["cc", "gcc", "clang"].iter().any(|name| on_path(name).is_some()) {
            bail!("a C compiler is missing (Debian: apt-get install gcc)");
        }
        let minutes = if profile == DIST { 15 } else { 8 };
        let text = format!("first build in {profile}: about {minutes} minutes on 2 cores");
        say::note(format_args!("building the services; {text}"));
    }
    let mut build = cargo();
    build.args(["build", "--profile", &profile, "-p", "parley-api", "-p", "parley-gateway"]);
    build.args(["-p", "parley-courier"]);
    if !run(build.current_dir(workspace()), interrupt)?.success() {
        bail!("the services do not build: see cargo's words above");
    }
    Ok(folder)
}

/// The folder with the real `parley-api` and, under the name `parley-gateway`, the one that breaks deliveries so that the
/// history checker has something to find.
pub fn build_planted(folder: &Path, interrupt: &Interrupt) -> Result<PathBuf> {
    const PLANTED: &str = "parley-gateway-planted";
    let api = binaries(interrupt)?.join("parley-api");
    let profile = profile()?;
    let mut build = cargo();
    build.args(["build", "--profile", &profile, "-p", "parley-gateway", "--bin", PLANTED]);
    build.args(["--features", "planted-faults"]);
    if !run(build.current_dir(workspace()), interrupt)?.success() {
        bail!("{PLANTED} does not build: see cargo's words above");
    }
    make_folder(folder)?;
    std::fs::copy(api, folder.join("parley-api"))?;
    std::fs::copy(target_folder()?.join(profile).join(PLANTED), folder.join("parley-gateway"))?;
    Ok(folder.to_owned())
}

/// Builds the load generator in release; returns its program.
pub(crate) fn build_loadtest(interrupt: &Interrupt) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "-p", "parley-loadtest"]);
    if !run(build.current_dir(workspace()), interrupt)?.success() {
        bail!("the load generator does not build: see cargo's words above");
    }
    Ok(target_folder()?.join(RELEASE).join("parley-loadtest"))
}

/// Builds Parley's side of the differential test in release; returns its program.
pub(crate) fn build_differential(interrupt: &Interrupt) -> Result<PathBuf> {
    let mut build = cargo();
    build.args(["build", "--release", "-p", "parley-socketio", "--example", "differential"]);
    if !run(build.current_dir(workspace()), interrupt)?.success() {
        bail!("the example `differential` does not build: see cargo's words above");
    }
    Ok(target_folder()?.join(RELEASE).join("examples/differential"))
}

/// The cargo that runs this launcher, or the one on PATH.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

fn target_folder() -> Result<PathBuf> {
    let mut command = cargo();
    command.args(["metadata", "--format-version", "1", "--no-deps", "--offline"]);
    let metadata = capture(command.current_dir(workspace()))?;
    let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
    let folder = metadata["target_directory"].as_str().context("cargo names no target folder")?;
    Ok(PathBuf::from(folder))
}
