//! When a delivery that has failed is tried again, and when it is given up.

use std::time::Duration;

/// How failures are answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retry {
    /// The first pause.
    pub(crate) base: Duration,
    /// The longest.
    pub(crate) cap: Duration,
    /// For how long it is tried in all.
    pub(crate) within: Duration,
}

impl Retry {
    /// The pause after so many failures before this one: twice as long as the last, up to the cap, and of that the upper half by
    /// `chance` in 0 to 1, so that what has failed together does not come back together. `None` when it was tried for long
    /// enough.
    pub(crate) fn pause(&self, failed: u32, waited: Duration, chance: f64) -> Option<Duration> {
        if waited >= self.within {
            return None;
        }
        let doubled =
            self.base.saturating_mul(1_u32.checked_shl(failed.min(31)).unwrap_or(u32::MAX));
        Some(doubled.min(self.cap).mul_f64(f64::midpoint(1.0, chance)))
    }

    /// The same if the receiver has said when to come again: not before, as long as it is within the cap.
    pub(crate) fn no_earlier(&self, pause: Duration, asked: Option<Duration>) -> Duration {
        asked.map_or(pause, |asked| pause.max(asked.min(self.cap)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RETRY: Retry = Retry {
        base: Duration::from_secs(5),
        cap: Duration::from_mins(15),
        within: Duration::from_hours(24),
    };

    #[test]
    fn pauses_grow_up_to_the_cap_and_differ() {
        let pause =
            |failed, chance| RETRY.pause(failed, Duration::ZERO, chance).unwrap().as_secs_f64();
        let longest: Vec<_> = (0..10).map(|failed| pause(failed, 1.0)).collect();
        assert_eq!(longest, [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 900.0, 900.0]);
        assert_eq!((pause(0, 0.0), pause(99, 0.0)), (2.5, 450.0));
    }

    #[test]
    fn after_its_time_nothing_is_tried_again() {
        let day = RETRY.within;
        assert!(RETRY.pause(0, day.checked_sub(Duration::from_secs(1)).unwrap(), 0.5).is_some());
        assert_eq!(RETRY.pause(0, day, 0.5), None);
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_any() {
        let (pause, minute) = (Duration::from_secs(5), Duration::from_mins(1));
        assert_eq!(RETRY.no_earlier(pause, None), pause);
        assert_eq!(RETRY.no_earlier(pause, Some(minute)), minute);
        assert_eq!(RETRY.no_earlier(minute, Some(pause)), minute);
        assert_eq!(RETRY.no_earlier(pause, Some(Duration::MAX)), RETRY.cap);
    }
}
