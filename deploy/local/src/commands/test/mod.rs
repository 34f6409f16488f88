//! `cargo parley test`: every check and test there is, with real components, in one summary.

mod bench;
mod browser;
mod clients;
mod counting;
mod steps;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::process::stop_noted;
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
    sweep(home, &folder)?;
    let mut bench = Bench::new(home, &folder, interrupt);
    steps::run(&mut bench, arguments);
    sweep(home, &folder)?;
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

/// Stops what tests have left running, in this run or in an earlier one that was killed. The logs
/// of this run stay until the next.
fn sweep(home: &Home, folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        if path.is_dir() && !stop_noted(&home.beside(path.clone()))? && is_of_earlier_run(&path) {
            remove_folder(&path)?;
        }
    }
    Ok(())
}

fn is_of_earlier_run(folder: &Path) -> bool {
    let modified = fs::metadata(folder).and_then(|meta| meta.modified());
    let age = modified.ok().and_then(|time| time.elapsed().ok());
    age.is_some_and(|age| age.as_secs() > 24 * 3600)
}
