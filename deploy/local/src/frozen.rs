//! A process that hangs with all that it has started.

use std::collections::BTreeSet;
use std::process::Command;

use anyhow::{Result, bail};
use rustix::process::Signal;

use crate::process::{Process, capture, pid};

/// A process and its descendants, all of them stopped. They go on when this is dropped.
#[derive(Debug)]
pub struct Frozen {
    pids: BTreeSet<u32>,
}

impl Frozen {
    /// Parents first: who is stopped starts nothing more.
    pub(crate) fn freeze(process: &Process) -> Result<Self> {
        process.signal(Signal::STOP)?;
        let mut frozen = Self { pids: BTreeSet::from([process.pid]) };
        loop {
            let mut found = children(&frozen.pids)?;
            found.retain(|pid| !frozen.pids.contains(pid));
            if found.is_empty() {
                return Ok(frozen);
            }
            for pid in found {
                frozen.pids.insert(pid);
                signal(pid, Signal::STOP);
            }
        }
    }

    /// How many processes hang.
    pub fn count(&self) -> usize {
        self.pids.len()
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        for pid in &self.pids {
            signal(*pid, Signal::CONT);
        }
    }
}

fn signal(raw: u32, signal: Signal) {
    if let Ok(pid) = pid(raw) {
        // One that has ended in this moment needs no signal.
        let _ = rustix::process::kill_process(pid, signal);
    }
}

fn children(parents: &BTreeSet<u32>) -> Result<Vec<u32>> {
    let all = capture(Command::new("ps").args(["-A", "-o", "pid=,ppid="]))?;
    let mut found = Vec::new();
    for line in all.lines() {
        let mut numbers = line.split_whitespace().map(str::parse);
        let (Some(Ok(pid)), Some(Ok(parent))) = (numbers.next(), numbers.next()) else {
            bail!("ps says something else: {line}");
        };
        if parents.contains(&parent) {
            found.push(pid);
        }
    }
    Ok(found)
}
