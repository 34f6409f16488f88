//! Which cores may run what, so that a server does not share its own with those who measure it.

use std::fs;

use anyhow::{Context, Result, bail};
use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

use crate::proc::Processes;

/// A core for the server that is measured, and the others for everything else.
#[derive(Debug, Clone)]
pub(crate) struct Cores {
    server: usize,
    others: Vec<usize>,
}

impl Cores {
    /// Of those that this process may use.
    pub(crate) fn here() -> Result<Self> {
        let allowed = sched_getaffinity(None)?;
        let mut cores: Vec<_> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
        if cores.len() < 2 {
            bail!("the server and its load need a core each");
        }
        let server = cores.remove(0);
        Ok(Self { server, others: cores })
    }

    /// Runs what starts the server: its threads, and so many of them, are for the one core.
    pub(crate) fn start<T>(&self, start: impl FnOnce() -> Result<T>) -> Result<T> {
        let before = sched_getaffinity(None)?;
        sched_setaffinity(None, &set(&[self.server]))?;
        let started = start();
        sched_setaffinity(None, &before)?;
        started
    }

    /// Keeps these processes, with their children, away from the server's core.
    pub(crate) fn keep_away(&self, roots: &[u32]) -> Result<()> {
        let others = set(&self.others);
        for process in Processes::now()?.below(roots) {
            // One that has ended meanwhile runs nowhere.
            let Ok(threads) = fs::read_dir(format!("/proc/{process}/task")) else { continue };
            for thread in threads.flatten() {
                let id = thread.file_name().to_str().and_then(|id| id.parse().ok());
                let id = id.and_then(Pid::from_raw).context("a thread without a number")?;
                match sched_setaffinity(Some(id), &others) {
                    Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                    Err(error) => return Err(error).context("cannot choose cores"),
                }
            }
        }
        Ok(())
    }
}

fn set(cores: &[usize]) -> CpuSet {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    set
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_starts_on_its_core_and_the_thread_goes_on_where_it_was() {
        let before = sched_getaffinity(None).unwrap();
        let cores = Cores::here().unwrap();
        let there = cores.start(|| Ok(sched_getaffinity(None)?)).unwrap();
        assert_eq!(there.count(), 1);
        assert!(there.is_set(cores.server));
        assert_eq!(sched_getaffinity(None).unwrap(), before);
        cores.keep_away(&[]).unwrap();
    }
}
