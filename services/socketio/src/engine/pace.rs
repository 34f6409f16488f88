//! One after the other, at a steady rate.

use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// What a turn that came late may be made up for. More is not: a process that stood still for a while is
/// not to do everything at once afterwards.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Gives each item its turn, one `every` after the other. The clock counts, and not the time that `act`
/// takes. Where `act` says that there was nothing to do, the next item takes the turn.
pub(crate) async fn paced<T>(
    items: impl IntoIterator<Item = T>,
    every: Duration,
    mut act: impl FnMut(T) -> bool,
) {
    let mut turn = Instant::now();
    for item in items {
        sleep_until(turn).await;
        if act(item) {
            let now = Instant::now();
            turn = (turn + every).max(now.checked_sub(CATCH_UP).unwrap_or(now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::advance;

    /// When each of `count` items had its turn, since the beginning.
    async fn turns(count: usize, every: Duration) -> Vec<Duration> {
        let begun = Instant::now();
        let mut turns = Vec::new();
        paced(0..count, every, |_| {
            turns.push(begun.elapsed());
            true
        })
        .await;
        turns
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_held_within_a_tenth_in_every_second() {
        for (rate, count) in [(20_u32, 200_usize), (500, 5_000), (3_000, 30_000)] {
            let turns = turns(count, Duration::from_secs(1) / rate).await;
            let whole = turns.last().expect("turns").as_secs_f64();
            assert!((9.0..=11.0).contains(&whole), "{rate}/s: {count} took {whole} s");
            for second in 0..9 {
                let within = turns.iter().filter(|at| at.as_secs() == second).count();
                let tenth = usize::try_from(rate / 10).expect("small");
                let allowed = tenth * 9..=tenth * 11;
                assert!(allowed.contains(&within), "{rate}/s: {within} in second {second}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_nothing_to_be_done_takes_no_turn() {
        let begun = Instant::now();
        let mut acted = Vec::new();
        paced(0..100, Duration::from_secs(1), |item| {
            let due = item % 10 == 0;
            if due {
                acted.push(begun.elapsed().as_secs());
            }
            due
        })
        .await;
        assert_eq!(acted, (0..10).collect::<Vec<_>>());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_of_the_process_is_not_made_up_for_at_once() {
        let begun = Instant::now();
        let mut turns = Vec::new();
        let stall = Duration::from_secs(3);
        let pacing = tokio::spawn(async move {
            paced(0..40, Duration::from_millis(50), |_| {
                turns.push(begun.elapsed());
                true
            })
            .await;
            turns
        });
        tokio::time::sleep(Duration::from_millis(120)).await;
        advance(stall).await;
        let turns = pacing.await.expect("no panic");
        let at_once = turns.iter().filter(|at| at.as_millis().abs_diff(3_120) < 40).count();
        assert!((1..=4).contains(&at_once), "{turns:?}");
        assert!(*turns.last().expect("turns") > stall + Duration::from_millis(1_700), "{turns:?}");
    }
}
