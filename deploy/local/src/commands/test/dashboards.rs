//! The dashboards' files, without a cluster.

use std::fs;
use std::process::Command;

use anyhow::{Result, bail};

use super::bench::Bench;
use super::counting::Tally;
use crate::home::{make_folder, remove_folder, shown, workspace};
use crate::panels;
use crate::tools::{Group, install, venv_program};

/// Whether they are as their source writes them, and as Grafana reads them.
pub(super) fn check(bench: &Bench<'_>) -> Result<Tally> {
    install(bench.home, Group::Test, bench.interrupt)?;
    let source = workspace().join("deploy/grafana");
    let folder = bench.folder.join("dashboards");
    remove_folder(&folder)?;
    make_folder(&folder)?;
    let python = || {
        let mut python = Command::new(venv_program(bench.home, "python"));
        python.arg("-B").current_dir(&source);
        python
    };
    let mut tally = bench.check(python().arg("dashboards.py").arg(&folder))?;
    let files = panels::dashboards()?;
    if fs::read_dir(&folder)?.count() != files.len() {
        bail!("{} has dashboards that dashboards.py does not write", shown(&source));
    }
    for file in &files {
        let name = file.file_name().unwrap_or_default();
        if fs::read(file)? != fs::read(folder.join(name))? {
            bail!("{} is not what dashboards.py writes: run it", shown(file));
        }
    }
    tally.add(bench.check(python().arg("check.py").args(&files))?);
    Ok(tally)
}
