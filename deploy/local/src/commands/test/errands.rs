//! What a test in another language has done to the cluster: it asks with a file, `<what> <process>`, which is taken away
//! once that is done.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::cluster::Cluster;
use crate::home::{make_folder, remove_folder, shown};
use crate::say;

const POLL: Duration = Duration::from_millis(20);

/// The folder in which a test asks.
pub(super) struct Errands(PathBuf);

impl Errands {
    pub(super) fn new(folder: PathBuf) -> Result<Self> {
        remove_folder(&folder)?;
        make_folder(&folder)?;
        Ok(Self(folder))
    }

    pub(super) fn folder(&self) -> &Path {
        &self.0
    }

    /// Does what is asked for while `work` runs. An errand that fails ends the others: the test waits in vain, and says
    /// for what.
    pub(super) fn run<T>(&self, cluster: &mut Cluster, work: impl FnOnce() -> T) -> T {
        let over = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    if let Err(error) = self.do_all(cluster) {
                        say::line(format_args!("error: {}", say::one_line(&error)));
                        return;
                    }
                    thread::sleep(POLL);
                }
            });
            let done = work();
            over.store(true, Ordering::Relaxed);
            done
        })
    }

    fn do_all(&self, cluster: &mut Cluster) -> Result<()> {
        for entry in fs::read_dir(&self.0).with_context(|| format!("no {}", shown(&self.0)))? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().context("an errand that is no text")?;
            match name.split_once(' ') {
                Some(("kill", process)) => cluster.kill(process)?,
                Some(("restart", process)) => cluster.restart(process)?,
                _ => bail!("no errand: {name}"),
            }
            fs::remove_file(entry.path())?;
        }
        Ok(())
    }
}
