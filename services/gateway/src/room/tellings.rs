//! How a room has passed its latest versions on, for whoever asks later: runs of versions, not each one.

use std::collections::VecDeque;

use chrono::{DateTime, TimeDelta, Utc};
use parley_domain::delivery::{Telling, Way};
use parley_domain::version::Version;

/// Runs that are remembered; of what is older, nobody can say any more how it came.
const RUNS: usize = 32;
/// A run is no longer than this, so that it says when.
const LONGEST: TimeDelta = TimeDelta::minutes(1);

/// The latest runs, the oldest first.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tellings(VecDeque<Run>);

#[derive(Debug, Clone, Copy)]
struct Run {
    first: Version,
    last: Version,
    telling: Telling,
}

impl Tellings {
    /// This version was passed. A catch-up leaves versions out, which a later change has stood for.
    pub(crate) fn note(&mut self, version: Version, way: Way, now: DateTime<Utc>) {
        // Another history begins below.
        if self.0.back().is_some_and(|run| version <= run.last) {
            self.0.clear();
        }
        let next = self.0.back().map_or(version, |run| run.last.next());
        if let Some(run) = self.0.back_mut()
            && run.telling.way == way
            && (way == Way::CatchUp || version == next)
            && now - run.telling.from < LONGEST
        {
            (run.last, run.telling.until) = (version, now);
            return;
        }
        let first = if way == Way::CatchUp { next } else { version };
        if self.0.len() == RUNS {
            self.0.pop_front();
        }
        self.0.push_back(Run {
            first,
            last: version,
            telling: Telling { way, from: now, until: now },
        });
    }

    /// How a version was passed.
    pub(crate) fn of(&self, version: Version) -> Option<Telling> {
        let run = self.0.iter().rev().find(|run| (run.first..=run.last).contains(&version))?;
        Some(run.telling)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn a_run_says_how_and_when_a_version_was_passed() {
        let mut tellings = Tellings::default();
        for (version, way, second) in [
            (5, Way::Live, 0),
            (6, Way::Live, 30),
            (9, Way::CatchUp, 40), // 7 and 8 were changed again
            (10, Way::Live, 50),
        ] {
            tellings.note(Version(version), way, at(second));
        }
        let of = |version| tellings.of(Version(version)).map(|it| (it.way, it.from, it.until));
        assert_eq!(of(4), None);
        assert_eq!(of(5), Some((Way::Live, at(0), at(30))));
        assert_eq!(of(7), Some((Way::CatchUp, at(40), at(40))));
        assert_eq!(of(9), of(8));
        assert_eq!(of(10), Some((Way::Live, at(50), at(50))));
        assert_eq!(of(11), None);
    }

    #[test]
    fn i9_only_the_latest_runs_are_remembered_and_none_is_long() {
        let mut tellings = Tellings::default();
        for version in 1..=100 {
            tellings.note(Version(version), Way::Live, at(60 * i64::try_from(version).unwrap()));
        }
        assert_eq!(tellings.0.len(), RUNS);
        assert_eq!((tellings.of(Version(68)), tellings.0[0].first), (None, Version(69)));
        assert_eq!(tellings.of(Version(100)).unwrap().from, at(6_000));
    }

    #[test]
    fn another_history_begins_anew() {
        let mut tellings = Tellings::default();
        tellings.note(Version(9), Way::Live, at(1));
        tellings.note(Version(4), Way::Live, at(2));
        assert_eq!((tellings.of(Version(9)), tellings.of(Version(4)).unwrap().from), (None, at(2)));
    }
}
