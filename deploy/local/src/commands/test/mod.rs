//! `cargo parley test`: every check and test there is, with real components, in one summary.

mod bench;
mod browser;
mod chart;
mod clients;
mod counting;
mod dashboards;
mod errands;
mod steps;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::process::stop_noted;
use crate::prometheus::stop_beside;
use bench::Bench;

/// What `test` can be told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// Add what takes longer
    #[arg(long)]
    full: bool,
    /// Leave out, and name, what needs root
    #[arg(long)]
    no_root: bool,
}

/// Runs everything; true when nothing has failed.
pub fn test(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let folder = home.file("test");
    make_folder(&folder)?;
    let _lock = lock(&folder)?;
    remove_left_overs(home, &folder)?;
    let mut bench = Bench::new(home, &folder, interrupt);
    steps::run(&mut bench, arguments);
    stop_left_overs(home, &folder)?;
    Ok(bench.summarise())
}

fn lock(folder: &Path) -> Result<fs::File> {
    let path = folder.join("lock");
    let file = fs::File::create(&path).with_context(|| format!("cannot write {}", shown(&path)))?;
    if file.try_lock().is_err() {
        bail!("another `cargo parley test` is at work in this clone");
    }
    Ok(file)
}

/// Stops what tests have left running, also in an earlier run that was killed.
fn stop_left_overs(home: &Home, folder: &Path) -> Result<()> {
    for cluster in folders(folder)? {
        let cluster = home.beside(cluster);
        stop_beside(&cluster)?;
        stop_noted(&cluster)?;
    }
    Ok(())
}

/// Removes what an earlier run has left for a look.
fn remove_left_overs(home: &Home, folder: &Path) -> Result<()> {
    stop_left_overs(home, folder)?;
    folders(folder)?.iter().try_for_each(|folder| remove_folder(folder))
}

fn folders(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("no {}", shown(folder)))?;
    Ok(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect())
}
