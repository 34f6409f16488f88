//! Parley's own binaries: built in release, or taken from `PARLEY_BIN_DIR`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::workspace;
use crate::interrupt::Interrupt;
use crate::process::{capture, on_path, run};
use crate::say;

/// The folder with `parley-api` and `parley-gateway`, built just now or given ready-made.
pub(crate) fn binaries(interrupt: &Interrupt) -> Result<PathBuf> {
    match std::env::var_os("PARLEY_BIN_DIR") {
        Some(folder) => given(&std::path::absolute(folder)?),
        None => build(interrupt),
    }
}

fn given(folder: &Path) -> Result<PathBuf> {
    for name in ["parley-api", "parley-gateway"] {
        if !folder.join(name).is_file() {
            bail!("PARLEY_BIN_DIR is {}, which has no {name}", folder.display());
        }
    }
    Ok(folder.to_owned())
}

/// Builds both services in release.
pub(crate) fn build(interrupt: &Interrupt) -> Result<PathBuf> {
    let folder = target_folder()?.join("release");
    if !folder.join("parley-gateway").exists() {
        if !["cc", "gcc", "clang"].iter().any(|name| on_path(name).is_some()) {
            bail!("a C compiler is missing (Debian: apt-get install gcc)");
        }
        say::note("building the services; first build: about 8 minutes on 2 cores");
    }
    let mut build = cargo();
    build.args(["build", "--release", "-p", "parley-api", "-p", "parley-gateway"]);
    if !run(build.current_dir(workspace()), interrupt)?.success() {
        bail!("the services do not build: see cargo's words above");
    }
    Ok(folder)
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
