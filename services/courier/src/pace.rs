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

    /// Waits for one's turn.
    pub(crate) async fn turn(&self) {
        let turn = self.take(Instant::now());
        sleep_until(turn).await;
    }

    fn take(&self, now: Instant) -> Instant {
        let mut next = self.next.lock();
        let turn = (*next).max(now.checked_sub(BURST).unwrap_or(now));
        *next = turn + self.step;
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_at_the_pace_after_a_short_burst() {
        let pace = Pace::per_second(100);
        let now = Instant::now() + Duration::from_secs(10);
        let turns: Vec<_> = (0..30).map(|_| pace.take(now)).collect();
        assert_eq!(turns.iter().filter(|turn| **turn <= now).count(), 11);
        assert_eq!(turns[29] - now, Duration::from_millis(190));
    }
}
