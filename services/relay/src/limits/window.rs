//! What this pod has granted one user: the whole truth while Redis is gone, and what Redis is told when it has forgotten.
//! No clock and no I/O in here.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::{Member, Policy};

/// Most members of one window that a pod remembers. Of a limit beyond it, a pod grants no more than this in a window while
/// Redis is gone, and can tell no more than this to a Redis that has forgotten.
pub(crate) const MOST_REMEMBERED: u32 = 1_000;

/// One user's window.
#[derive(Debug, Default)]
pub(crate) struct Window {
    /// By time; the newest at the back.
    entries: VecDeque<Entry>,
    /// Entries of which Redis may know nothing.
    untold: usize,
    /// Which window of Redis the others are in.
    birth: Option<u64>,
    /// Questions to Redis whose answer has not been noted here. Each may turn out to be a grant.
    in_flight: u32,
    /// When the attempts made so far will have been worked off.
    attempts_due: Option<Instant>,
    /// When nothing of it can matter any more, unless somebody comes.
    matters_until: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    member: Member,
    granted: Instant,
    /// When it came, by Redis's clock.
    score: Option<u64>,
}

/// An entry as Redis is told of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) member: Member,
    pub(crate) granted: Instant,
    pub(crate) score: Option<u64>,
    pub(crate) age: Duration,
}

/// What a question to Redis has to bring along.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Memory {
    /// This pod has granted nothing lately.
    Nothing,
    /// Redis must have the window that was born then, with this member in it, or it has forgotten.
    Newest { birth: u64, member: Member, score: u64 },
    /// Redis has to be told all of these.
    Everything(Vec<Told>),
}

/// What a pod decides by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Decision {
    /// It may be sent, and is in the window now.
    Granted { remaining: u32, reset: Duration },
    /// It may be sent, and was in the window before.
    Replay { remaining: u32, reset: Duration },
    /// The window is full.
    Full { wait: Duration },
    /// Too many attempts.
    Flood { wait: Duration },
}

impl Window {
    /// Forgets what is as old as the window.
    fn expire(&mut self, now: Instant, window: Duration) {
        let old = |entry: &Entry| now.saturating_duration_since(entry.granted) >= window;
        while self.entries.front().is_some_and(old) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if self.entries.pop_front().is_some_and(|entry| entry.score.is_none()) {
            self.untold -= 1;
        }
    }

    /// Before a question to Redis.
    pub(crate) fn ask(&mut self, now: Instant, window: Duration) -> Memory {
        self.in_flight = self.in_flight.saturating_add(1);
        self.expire(now, window);
        match (self.entries.back(), self.birth) {
            (None, _) => Memory::Nothing,
            (Some(&Entry { member, score: Some(score), .. }), Some(birth)) if self.untold == 0 => {
                Memory::Newest { birth, member, score }
            }
            _ => Memory::Everything(self.everything(now, window)),
        }
    }

    /// After the question, whatever came of it.
    pub(crate) fn answered(&mut self) {
        // Not below zero: this window may be newer than the question.
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// All of it.
    pub(crate) fn everything(&mut self, now: Instant, window: Duration) -> Vec<Told> {
        self.expire(now, window);
        let told = |entry: &Entry| Told {
            member: entry.member,
            granted: entry.granted,
            score: entry.score,
            age: now.saturating_duration_since(entry.granted),
        };
        self.entries.iter().map(told).collect()
    }

    /// Redis, when its clock showed `time`, has answered with this memory before it; its window was born at `birth`.
    pub(crate) fn told(&mut self, memory: &Memory, birth: u64, time: u64) {
        match memory {
            // Of what was noted meanwhile, nobody has asked whether it is in that window.
            Memory::Nothing if !self.entries.is_empty() => return,
            Memory::Nothing | Memory::Newest { .. } => {}
            Memory::Everything(all) => self.scored(all, time),
        }
        self.birth = Some(birth);
    }

    fn scored(&mut self, all: &[Told], time: u64) {
        for told in all.iter().filter(|told| told.score.is_none()) {
            if let Some(entry) = self.find(told.member, told.granted)
                && entry.score.is_none()
            {
                let age = u64::try_from(told.age.as_micros()).unwrap_or(u64::MAX);
                entry.score = Some(time.saturating_sub(age));
                self.untold -= 1;
            }
        }
    }

    /// Notes a grant; `score` if the Redis of now knows of it.
    pub(crate) fn note(&mut self, now: Instant, member: Member, score: Option<u64>) {
        if self.entries.len() >= MOST_REMEMBERED as usize {
            self.drop_oldest();
        }
        self.untold += usize::from(score.is_none());
        self.entries.push_back(Entry { member, granted: now, score });
    }

    /// Takes out what was granted then, and says when Redis believes that it came.
    pub(crate) fn take_out(&mut self, member: Member, granted: Instant) -> Option<u64> {
        let same = |entry: &Entry| entry.member == member && entry.granted == granted;
        let entry = self.entries.iter().rposition(same).and_then(|at| self.entries.remove(at))?;
        self.untold -= usize::from(entry.score.is_none());
        entry.score
    }

    pub(crate) fn contains(&self, member: Member) -> bool {
        self.entries.iter().any(|entry| entry.member == member)
    }

    fn find(&mut self, member: Member, granted: Instant) -> Option<&mut Entry> {
        let same = |entry: &&mut Entry| entry.member == member && entry.granted == granted;
        self.entries.iter_mut().rev().find(same)
    }

    /// Decides without Redis, by this pod's shares.
    pub(crate) fn decide(
        &mut self,
        now: Instant,
        messages: Policy,
        attempts: Policy,
        member: Member,
    ) -> Decision {
        if let Err(wait) = self.attempt(now, attempts) {
            return Decision::Flood { wait };
        }
        self.expire(now, messages.window);
        let limit = messages.limit.min(MOST_REMEMBERED);
        if self.contains(member) {
            let (remaining, reset) = self.room(now, messages.window, limit);
            return Decision::Replay { remaining, reset };
        }
        if self.count() >= limit {
            return Decision::Full { wait: self.wait(now, messages.window, limit) };
        }
        self.note(now, member, None);
        let (remaining, reset) = self.room(now, messages.window, limit);
        Decision::Granted { remaining, reset }
    }

    fn count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap_or(u32::MAX).saturating_add(self.in_flight)
    }

    fn room(&self, now: Instant, window: Duration, limit: u32) -> (u32, Duration) {
        (limit.saturating_sub(self.count()), self.wait(now, window, limit))
    }

    /// How long until a place comes free: after an outage's begin there may be more entries than this pod's share.
    fn wait(&self, now: Instant, window: Duration, limit: u32) -> Duration {
        let rank = self.entries.len().saturating_sub(limit as usize);
        let next = self.entries.get(rank).map_or(now, |entry| entry.granted);
        (next + window).saturating_duration_since(now)
    }

    /// The same account of attempts as the script keeps.
    fn attempt(&mut self, now: Instant, attempts: Policy) -> Result<(), Duration> {
        let due = self.attempts_due.map_or(now, |due| due.max(now)) + attempts.spacing();
        match (due - now).checked_sub(attempts.window) {
            Some(wait) if !wait.is_zero() => Err(wait),
            _ => {
                self.attempts_due = Some(due);
                Ok(())
            }
        }
    }

    /// Somebody comes, by a policy with a window of this length.
    pub(crate) fn touch(&mut self, now: Instant, length: Duration) {
        self.matters_until = self.matters_until.max(Some(now + length));
    }

    /// Whether forgetting it changes nothing.
    pub(crate) fn is_stale(&self, now: Instant) -> bool {
        let over = |end: Option<Instant>| end.is_none_or(|end| end <= now);
        self.in_flight == 0 && over(self.matters_until) && over(self.attempts_due)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    fn policy(limit: u32, window: Duration) -> Policy {
        Policy { limit, window }
    }

    fn freely() -> Policy {
        policy(1_000_000, Duration::from_secs(1))
    }

    #[test]
    fn a_window_slides() {
        let (mut window, begin) = (Window::default(), Instant::now());
        let two = policy(2, MINUTE);
        let mut at = |seconds: u64| {
            let now = begin + Duration::from_secs(seconds);
            window.decide(now, two, freely(), Member::unique())
        };
        assert_eq!(at(0), Decision::Granted { remaining: 1, reset: MINUTE });
        assert_eq!(at(20), Decision::Granted { remaining: 0, reset: Duration::from_secs(40) });
        assert_eq!(at(59), Decision::Full { wait: Duration::from_secs(1) });
        assert_eq!(at(60), Decision::Granted { remaining: 0, reset: Duration::from_secs(20) });
        assert_eq!(at(79), Decision::Full { wait: Duration::from_secs(1) });
    }

    #[test]
    fn what_redis_granted_counts_and_so_does_what_it_may_have_granted() {
        let (mut window, now) = (Window::default(), Instant::now());
        let three = policy(3, MINUTE);
        window.note(now, Member::unique(), Some(1));
        window.ask(now, MINUTE);
        let granted = window.decide(now, three, freely(), Member::unique());
        assert_eq!(granted, Decision::Granted { remaining: 0, reset: MINUTE });
        let full = window.decide(now, three, freely(), Member::unique());
        assert_eq!(full, Decision::Full { wait: MINUTE });
        window.answered();
        let granted = window.decide(now, three, freely(), Member::unique());
        assert_eq!(granted, Decision::Granted { remaining: 0, reset: MINUTE });
    }

    #[test]
    fn what_was_granted_alone_is_told_once_and_then_known() {
        let (mut window, begin) = (Window::default(), Instant::now());
        assert_eq!(window.ask(begin, MINUTE), Memory::Nothing);
        window.note(begin, Member::unique(), Some(5));
        let alone = Member::unique();
        window.decide(begin, policy(9, MINUTE), freely(), alone);
        let later = begin + Duration::from_secs(2);
        let Memory::Everything(all) = window.ask(later, MINUTE) else { panic!("untold") };
        assert_eq!(all.len(), 2);
        window.told(&Memory::Everything(all), 3, 7_000_000);
        let known = Memory::Newest { birth: 3, member: alone, score: 5_000_000 };
        assert_eq!(window.ask(later, MINUTE), known);
        assert_eq!(window.take_out(alone, begin), Some(5_000_000));
    }

    #[test]
    fn only_what_was_granted_then_is_taken_out() {
        let (mut window, begin) = (Window::default(), Instant::now());
        let member = Member::unique();
        window.note(begin, member, None);
        assert_eq!(window.take_out(member, begin + Duration::from_nanos(1)), None);
        assert!(window.contains(member));
        assert_eq!(window.take_out(member, begin), None);
        assert!(!window.contains(member));
        assert_eq!(window.ask(begin, MINUTE), Memory::Nothing);
    }

    #[test]
    fn a_huge_limit_is_cut_to_what_is_remembered() {
        let (mut window, now) = (Window::default(), Instant::now());
        for _ in 0..MOST_REMEMBERED + 10 {
            window.note(now, Member::unique(), Some(1));
        }
        assert_eq!(window.entries.len(), MOST_REMEMBERED as usize);
        let full = window.decide(now, policy(100_000, MINUTE), freely(), Member::unique());
        assert_eq!(full, Decision::Full { wait: MINUTE });
    }

    #[test]
    fn a_flood_is_stopped_and_attempts_come_back_evenly() {
        let (mut window, begin) = (Window::default(), Instant::now());
        let attempts = policy(60, MINUTE);
        for _ in 0..60 {
            assert_eq!(window.attempt(begin, attempts), Ok(()));
        }
        assert_eq!(window.attempt(begin, attempts), Err(Duration::from_secs(1)));
        let later = begin + Duration::from_secs(1);
        assert_eq!(window.attempt(later, attempts), Ok(()));
        assert_eq!(window.attempt(later, attempts), Err(Duration::from_secs(1)));
        assert!(!window.is_stale(later));
        assert!(window.is_stale(later + MINUTE));
    }

    proptest! {
        /// Against a list of everything ever granted.
        #[test]
        fn never_more_than_the_limit_and_never_less_if_tried(
            limit in 1_u32..6,
            steps in proptest::collection::vec((0_u64..400, 0_u8..12, any::<bool>()), 1..200),
        ) {
            let (mut window, begin) = (Window::default(), Instant::now());
            let messages = policy(limit, Duration::from_secs(1));
            let members: Vec<_> = (0..12).map(|_| Member::unique()).collect();
            let mut granted: HashMap<Member, Instant> = HashMap::new();
            let mut now = begin;
            for (pause, number, refused) in steps {
                now += Duration::from_millis(pause);
                granted.retain(|_, at| now - *at < messages.window);
                let member = members[usize::from(number)];
                let before = granted.len();
                match window.decide(now, messages, freely(), member) {
                    Decision::Replay { .. } => prop_assert!(granted.contains_key(&member)),
                    Decision::Granted { remaining, .. } => {
                        prop_assert!(before < limit as usize && !granted.contains_key(&member));
                        prop_assert_eq!(remaining as usize, limit as usize - before - 1);
                        granted.insert(member, now);
                        if refused {
                            window.take_out(member, now);
                            granted.remove(&member);
                        }
                    }
                    Decision::Full { wait } => {
                        prop_assert_eq!(before, limit as usize);
                        let oldest = granted.values().min().unwrap();
                        prop_assert_eq!(wait, *oldest + messages.window - now);
                    }
                    Decision::Flood { .. } => prop_assert!(false, "no flood here"),
                }
            }
        }
    }
}
