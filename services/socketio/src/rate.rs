//! How often something may be done.

use std::num::NonZeroU32;
use std::time::Duration;
use tokio::time::Instant;

/// So many seconds' worth may come at once.
const BURST_SECONDS: u32 = 10;

/// At most so many a second over a while, and ten seconds' worth at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    each: Duration,
    burst: Duration,
}

/// What one client has used of a [`Rate`].
#[derive(Clone, Copy, Debug, Default)]
pub struct Used {
    /// When nothing of it is left. In a line of turns, `each` long, the next would begin here.
    until: Option<Instant>,
}

impl Rate {
    /// At most so many a second.
    pub fn per_second(number: NonZeroU32) -> Self {
        let each = Duration::from_secs(1) / number.get();
        Self { each, burst: each * number.get() * BURST_SECONDS }
    }

    /// Whether one more may be done now; if so, it counts.
    pub fn take(&self, used: &mut Used, now: Instant) -> bool {
        let free = used.until.map_or(now, |until| until.max(now));
        let until = free + self.each;
        let allowed = until - now <= self.burst;
        if allowed {
            used.until = Some(until);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(rate: Rate, used: &mut Used, now: Instant) -> usize {
        (0..1_000).take_while(|_| rate.take(used, now)).count()
    }

    #[test]
    fn ten_seconds_worth_may_come_at_once_and_then_so_many_a_second() {
        let (mut used, begun) = (Used::default(), Instant::now());
        let rate = Rate::per_second(NonZeroU32::new(3).expect("not 0"));
        assert_eq!(taken(rate, &mut used, begun), 30);
        assert_eq!(taken(rate, &mut used, begun), 0, "a refusal costs nothing");
        let mut within = 0;
        for tenths in 1..=100 {
            within += taken(rate, &mut used, begun + Duration::from_millis(100) * tenths);
        }
        assert!((29..=30).contains(&within), "{within}");
        assert_eq!(taken(rate, &mut used, begun + Duration::from_mins(1)), 30);
    }
}
