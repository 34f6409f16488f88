//! Programs that no wheel has: Debian's packages, fetched and unpacked into the tools, never installed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::process::on_path;
use crate::say;
use crate::tools::{logged, once};

/// What watches a cluster, and what checks its configuration.
#[derive(Clone, Debug)]
pub struct Observers {
    /// The server that scrapes and evaluates.
    pub prometheus: PathBuf,
    /// Checks and tests rules.
    pub promtool: PathBuf,
    /// Groups, inhibits and passes on what fires.
    pub alertmanager: PathBuf,
    /// Checks its configuration.
    pub amtool: PathBuf,
    /// The unpacked packages; without, the programs are those on PATH.
    pub(crate) unpacked: Option<PathBuf>,
}

const PACKAGES: [&str; 2] = ["prometheus", "prometheus-alertmanager"];

/// Prometheus and alertmanager: those of the machine, or Debian's, fetched first if need be.
///
/// Not pinned by hash, as wheels are: a mirror keeps only the newest build of a package. Apt verifies what it fetches.
pub fn observers(home: &Home, interrupt: &Interrupt) -> Result<Observers> {
    if let Some(found) = from_path() {
        return Ok(found);
    }
    let (Some(apt), Some(dpkg)) = (on_path("apt-get"), on_path("dpkg-deb")) else {
        bail!("prometheus, promtool, alertmanager or amtool is missing: install them");
    };
    let root = home.tools().join("debian");
    once(home, &home.tools().join("debian.installed"), &PACKAGES.join(" "), || {
        say::note(format_args!("fetching {} into {}", PACKAGES.join(", "), shown(&root)));
        remove_folder(&root)?;
        let archives = root.join("archives");
        make_folder(&archives)?;
        fetch(&apt, &archives, interrupt)?;
        unpack(&dpkg, &archives, &root, interrupt)?;
        remove_folder(&archives)
    })?;
    let program = |name: &str| root.join("usr/bin").join(name);
    Ok(Observers {
        prometheus: program("prometheus"),
        promtool: program("promtool"),
        alertmanager: program("prometheus-alertmanager"),
        amtool: program("amtool"),
        unpacked: Some(root),
    })
}

fn from_path() -> Option<Observers> {
    Some(Observers {
        prometheus: on_path("prometheus")?,
        promtool: on_path("promtool")?,
        alertmanager: on_path("alertmanager").or_else(|| on_path("prometheus-alertmanager"))?,
        amtool: on_path("amtool")?,
        unpacked: None,
    })
}

/// By the machine's lists of packages, or, where those are missing or old, by lists of our own: only root may renew the
/// machine's.
fn fetch(apt: &Path, archives: &Path, interrupt: &Interrupt) -> Result<()> {
    let log = archives.join("apt.log");
    let download = |own_lists: bool| -> Result<()> {
        for arguments in [&["update"][..], &[&["download"][..], &PACKAGES].concat()] {
            let mut command = Command::new(apt);
            command.current_dir(archives).args(["-q", "-o", "APT::Sandbox::User=root"]);
            if own_lists {
                command.arg("-o").arg(format!("Dir::State={}", lists(archives)?.display()));
                command.args(["-o", "Dir::State::status=/var/lib/dpkg/status"]);
                command.arg("-o").arg(format!("Dir::Cache={}", archives.display()));
            } else if arguments == ["update"] {
                continue;
            }
            logged(command.args(arguments), &log, interrupt)?;
        }
        Ok(())
    };
    download(false).or_else(|_| {
        interrupt.check()?;
        download(true).context("apt-get cannot fetch Debian's packages")
    })
}

fn lists(archives: &Path) -> Result<PathBuf> {
    let state = archives.join("state");
    make_folder(&state.join("lists/partial"))?;
    Ok(state)
}

fn unpack(dpkg: &Path, archives: &Path, root: &Path, interrupt: &Interrupt) -> Result<()> {
    let entries = fs::read_dir(archives)?.flatten().map(|entry| entry.path());
    let packages: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
    if packages.len() != PACKAGES.len() {
        bail!("apt-get has fetched {} packages: see {}", packages.len(), shown(archives));
    }
    for package in packages {
        let mut command = Command::new(dpkg);
        logged(command.arg("-x").arg(package).arg(root), &archives.join("dpkg.log"), interrupt)?;
    }
    Ok(())
}
