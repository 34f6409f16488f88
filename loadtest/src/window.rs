//! The part of a round that counts: after the warm-up, before the end.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::Interrupt;

use crate::servers::{Servers, Spent, Usage};

/// How long a side runs before it is measured: plans, caches and clocks have settled by then.
pub(crate) const WARM_UP: Duration = Duration::from_secs(2);

/// Something that was done, and answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Done {
    /// When the answer was there, in microseconds since 1970.
    pub(crate) at: u64,
    /// How long it took, in microseconds.
    pub(crate) took: u32,
}

/// Two moments and what was spent up to each.
pub(crate) struct Window {
    from: Usage,
    to: Usage,
}

impl Window {
    /// Waits for the warm-up and then for the time that counts, while a load runs.
    pub(crate) fn take(
        servers: &Servers,
        load: u32,
        seconds: u64,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        wait_for(WARM_UP, interrupt)?;
        let from = servers.usage(load)?;
        wait_for(Duration::from_secs(seconds), interrupt)?;
        Ok(Self { from, to: servers.usage(load)? })
    }

    /// What was spent in it.
    pub(crate) fn spent(&self) -> Spent {
        self.to.since(&self.from)
    }

    /// How long each of those took that were answered in it, in microseconds, the shortest first.
    pub(crate) fn latencies(&self, done: &[Done]) -> Vec<u32> {
        latencies_between(done, self.from.at, self.to.at)
    }
}

fn latencies_between(done: &[Done], from: Duration, to: Duration) -> Vec<u32> {
    let (from, to) = (from.as_micros(), to.as_micros());
    let inside = done.iter().filter(|it| (from..to).contains(&u128::from(it.at)));
    let mut latencies: Vec<u32> = inside.map(|it| it.took).collect();
    latencies.sort_unstable();
    latencies
}

/// The value that this share of the sorted values does not exceed; 0 without any.
pub(crate) fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// Waits, unless it is interrupted.
pub(crate) fn wait_for(time: Duration, interrupt: &Interrupt) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        if interrupt.asked() {
            bail!("interrupted");
        }
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        std::thread::sleep(left.min(Duration::from_millis(200)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_ends_in_the_window_counts() {
        let done = [(999, 1), (1_000, 7), (1_500, 3), (1_999, 5), (2_000, 9)];
        let done = done.map(|(at, took)| Done { at, took });
        let (from, to) = (Duration::from_millis(1), Duration::from_millis(2));
        assert_eq!(latencies_between(&done, from, to), [3, 5, 7]);
    }

    #[test]
    fn percentiles_are_values_that_occurred() {
        let hundred: Vec<u32> = (1..=100).collect();
        assert_eq!(percentile(&hundred, 50), 50);
        assert_eq!(percentile(&hundred, 99), 99);
        assert_eq!(percentile(&[4, 6], 99), 6);
        assert_eq!(percentile(&[4], 50), 4);
        assert_eq!(percentile(&[], 50), 0);
    }
}
