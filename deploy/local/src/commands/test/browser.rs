//! A browser for the demo's test.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::bench::Bench;
use crate::process::on_path;
use crate::say;
use crate::tools::logged;

/// Chromium, if this machine has it.
pub(super) fn installed() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|name| on_path(name))
}

/// Chromium, installed by root on Debian when it is missing.
pub(super) fn find_or_install(bench: &Bench<'_>) -> Result<PathBuf> {
    if let Some(found) = installed() {
        return Ok(found);
    }
    if !rustix::process::getuid().is_root() {
        bail!("chromium is missing and only root can install it: install it, or give --no-root");
    }
    let apt = on_path("apt-get").context("chromium is missing, and there is no apt-get")?;
    say::line("installing chromium");
    let log = bench.folder.join("apt.log");
    for arguments in [&["update"][..], &["install", "-y", "--no-install-recommends", "chromium"]] {
        let mut command = Command::new(&apt);
        command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        logged(&mut command, &log, bench.interrupt).context("apt-get")?;
    }
    installed().context("apt-get has installed no chromium")
}
