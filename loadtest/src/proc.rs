//! What the kernel says of processes and of the machine, in `/proc`.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Every process of this moment.
#[derive(Debug)]
pub(crate) struct Processes(HashMap<u32, Process>);

/// One process; times in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Process {
    parent: u32,
    /// What it spent itself, with all its threads.
    own: u64,
    /// What children spent that have ended and that it has noticed.
    reaped: u64,
}

impl Processes {
    /// Reads all of `/proc`.
    pub(crate) fn now() -> Result<Self> {
        let mut all = HashMap::new();
        for entry in fs::read_dir("/proc").context("/proc: the bench needs Linux")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            // One that ends in this moment is found in its parent's account the next time.
            let stat = fs::read_to_string(entry.path().join("stat")).ok();
            if let Some(process) = stat.as_deref().and_then(Process::parse) {
                all.insert(pid, process);
            }
        }
        Ok(Self(all))
    }

    /// What one process has spent since its start, without its children.
    pub(crate) fn own(&self, pid: u32) -> Duration {
        ticks(self.0.get(&pid).map_or(0, |process| process.own))
    }

    /// What these processes have spent since their start with all their children, ended ones too: a
    /// Postgres is one process for each of its connections.
    pub(crate) fn trees(&self, roots: &[u32]) -> Duration {
        ticks(
            self.0
                .keys()
                .filter(|pid| self.is_below(**pid, roots))
                .map(|pid| self.total(*pid))
                .sum(),
        )
    }

    /// These processes and all that are below them.
    pub(crate) fn below(&self, roots: &[u32]) -> Vec<u32> {
        self.0.keys().copied().filter(|pid| self.is_below(*pid, roots)).collect()
    }

    fn total(&self, pid: u32) -> u64 {
        self.0.get(&pid).map_or(0, |process| process.own + process.reaped)
    }

    fn is_below(&self, pid: u32, roots: &[u32]) -> bool {
        let mut pid = pid;
        loop {
            if roots.contains(&pid) {
                return true;
            }
            // The first process has the parent 0, which is none.
            let Some(process) = self.0.get(&pid) else { return false };
            pid = process.parent;
        }
    }
}

impl Process {
    fn parse(stat: &str) -> Option<Self> {
        // The command stands in brackets and may hold anything; fields count from behind it.
        let (_, fields) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        Some(Self {
            parent: u32::try_from(number(1)?).ok()?,
            own: number(11)? + number(12)?,
            reaped: number(13)? + number(14)?,
        })
    }
}

/// The most memory that these processes have had so far, together, in MiB; shared pages count for each.
pub(crate) fn largest(pids: &[u32]) -> f64 {
    let status = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/status")).ok();
    pids.iter().filter_map(status).filter_map(|status| high_water(&status)).sum::<f64>() / 1024.0
}

/// In KiB.
fn high_water(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// All cores together, since the machine's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Not idle.
    pub(crate) busy: Duration,
    /// Idle or not.
    pub(crate) total: Duration,
}

impl Machine {
    /// Reads `/proc/stat`.
    pub(crate) fn now() -> Result<Self> {
        Self::parse(&fs::read_to_string("/proc/stat")?).context("/proc/stat is not understood")
    }

    fn parse(stat: &str) -> Option<Self> {
        let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guests are counted in user already.
        let times: Option<Vec<u64>> =
            line.split_whitespace().take(8).map(|time| time.parse().ok()).collect();
        let times = times.filter(|times| times.len() >= 5)?;
        let total: u64 = times.iter().sum();
        Some(Self { busy: ticks(total - times[3] - times[4]), total: ticks(total) })
    }
}

/// How many cores there are, and which.
pub(crate) fn processor() -> (usize, String) {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    // Not those of this process alone: it may keep away from some.
    let cores = info.lines().filter(|line| line.starts_with("processor")).count();
    let model = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    (cores, model.map_or("an unnamed processor", |(_, name)| name.trim()).to_owned())
}

fn ticks(count: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_nanos(count.saturating_mul(1_000_000_000 / per_second))
}

/// Bytes of memory that a process holds at this moment.
pub(crate) fn resident(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))
        .with_context(|| format!("no process {pid}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
    Ok(kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str =
        "42 (a) name (x) S 7 42 42 0 -1 4194560 1 2 3 4 50 60 70 80 20 0 9 0 100 5 6";

    #[test]
    fn memory_is_counted_in_bytes() {
        let own = resident(std::process::id()).unwrap();
        assert!((100_000..100_000_000_000).contains(&own), "{own}");
        assert!(resident(u32::MAX).is_err());
    }

    #[test]
    fn a_stat_line_is_read_behind_the_name() {
        assert_eq!(Process::parse(STAT), Some(Process { parent: 7, own: 110, reaped: 150 }));
        assert_eq!(Process::parse("42 (short) S 7"), None);
        assert_eq!(Process::parse(""), None);
    }

    #[test]
    fn a_tree_is_counted_with_what_has_ended() {
        let process = |parent, own, reaped| Process { parent, own, reaped };
        let all = [
            (1, process(0, 1, 1_000)),
            (10, process(1, 5, 20)),
            (11, process(10, 100, 0)),
            (12, process(11, 200, 0)),
            (13, process(1, 400, 0)),
        ];
        let processes = Processes(all.into_iter().collect());
        assert_eq!(processes.trees(&[10]), ticks(325));
        assert_eq!(processes.trees(&[10, 13]), ticks(725));
        assert_eq!(processes.own(10), ticks(5));
        assert_eq!(processes.trees(&[99]), Duration::ZERO);
    }

    #[test]
    fn a_busy_machine_is_told_from_an_idle_one() {
        let stat = "cpu  10 20 30 400 50 6 7 8 9 9\ncpu0 1 1 1 1\n";
        let machine = Machine::parse(stat).unwrap();
        assert_eq!(machine, Machine { busy: ticks(81), total: ticks(531) });
        assert_eq!(Machine::parse("intr 5"), None);
    }

    #[test]
    fn memory_is_read_at_its_highest() {
        assert_eq!(high_water("VmPeak:\t 9 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1 kB\n"), Some(2048.0));
        assert!(largest(&[std::process::id()]) > 1.0);
    }

    #[test]
    fn this_process_is_there_and_has_a_parent() {
        let before = Processes::now().unwrap();
        let own = std::process::id();
        assert!(before.trees(&[std::os::unix::process::parent_id()]) >= before.own(own));
        let (cores, model) = processor();
        assert!(cores > 0 && !model.is_empty());
    }
}
