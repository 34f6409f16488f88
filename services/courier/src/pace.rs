//! How many deliveries to one webhook begin in a second.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

/// A steady pace: whoever comes too early waits for its turn. What was not used for a tenth of a second is lost.
pub(crate) struct Pace {
    step: Duration,
    next: Mutex<Instant>,
}

/// How much may come at once after a silence.
const BURST: Duration = Duration::from_millis(100);

impl Pace {
    pub(crate) fn per_second(number: u32) -> Self {
        Self { step: Duration::from_secs(1) / number.max(1), next: Mutex::new(Instant::now()) }
    }

    /// Waits for one's turn if it comes by then, and takes none otherwise: then it says how much too late that would be.
    pub(crate) async fn turn(&self, until: Instant) -> Result<(), Duration> {
        let turn = self.take(Instant::now(), until)?;
        sleep_until(turn).await;
        Ok(())
    }

    /// Whether everybody who has had a turn has used it.
    pub(crate) fn rests(&self) -> bool {
        *self.next.lock() <= Instant::now()
    }

    fn take(&self, now: Instant, until: Instant) -> Result<Instant, Duration> {
        let mut next = self.next.lock();
        let turn = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        if turn.max(now) > until {
            return Err(turn.max(now) - until);
        }
        *next = turn + self.step;
        Ok(turn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_the_pace_after_a_short_burst() {
        let pace = Pace::per_second(100);
        let now = Instant::now() + Duration::from_secs(10);
        let turns: Vec<_> = (0..30).map(|_| pace.take(now, now + BURST * 9).unwrap()).collect();
        assert_eq!(turns.iter().filter(|turn| **turn <= now).count(), 11);
        assert_eq!(turns[29] - now, Duration::from_millis(190));
    }

    #[test]
    fn who_cannot_wait_for_a_turn_leaves_it_to_others() {
        let pace = Pace::per_second(1);
        let now = Instant::now() + Duration::from_secs(10);
        let seconds = Duration::from_secs;
        // Three turns come within two seconds, however many want one.
        let turns: Vec<_> = (0..9).map(|_| pace.take(now, now + seconds(2))).collect();
        assert_eq!(turns.iter().flatten().count(), 3);
        let late = turns[8].unwrap_err();
        assert!(late <= seconds(1), "{late:?}");
        let next = pace.take(now, now + seconds(9)).unwrap();
        assert_eq!(next, turns[2].unwrap() + seconds(1), "none of them is lost");
        assert_eq!(pace.take(now + seconds(60), now), Err(seconds(60)));
    }
}
