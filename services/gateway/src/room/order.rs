//! A room's positions: which event passes, which waits, which was heard already. No I/O and no clock of its own.
//!
//! The bus may lose and reorder; versions show it. An event passes when it is the next version, is dropped when it was
//! passed before, and is held for a moment when it is ahead, because two api pods may well publish v + 1 before v. What
//! is still missing then is missed: the room is told to resync, and goes on behind the gap.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use parley_domain::event::ResyncReason;
use parley_domain::version::Version;

/// How long an event from the future waits for the ones before it.
pub(crate) const HOLD: Duration = Duration::from_millis(150);
/// Events that may be held; more than this is no reordering, but a loss.
const MAX_HELD: usize = 1_024;
/// Passed events kept for joins under way.
const MAX_RING: usize = 1_024;

/// What the room's members are to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<F> {
    /// An event; a durable one goes only to members whose floor lies below its version.
    Event(Option<Version>, F),
    /// Something was missed.
    Resync(ResyncReason),
}

/// What a join has to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Joined<F> {
    /// What passed after the joiner's snapshot, in order.
    At(Vec<F>),
    /// Not everything that came after the snapshot is at hand; the join has to begin again.
    Overran,
}

/// Where a room stands. `F` is a finished frame.
#[derive(Debug)]
pub(crate) struct Room<F> {
    position: Position,
    held: BTreeMap<Version, F>,
    /// When what is held is given up waiting.
    deadline: Option<Instant>,
    ring: VecDeque<(Version, F)>,
    /// The highest version that the ring does not hold, although a join under way may need it.
    ring_lost: Version,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Position {
    /// Nobody has joined yet: events are held until the first snapshot says what they are worth.
    Unknown,
    /// The last version passed on.
    At(Version),
    /// It stood there when the bus was interrupted; events are held until somebody has looked.
    Unsure(Version),
}

impl<F: Clone> Room<F> {
    pub(crate) fn new() -> Self {
        Self {
            position: Position::Unknown,
            held: BTreeMap::new(),
            deadline: None,
            ring: VecDeque::new(),
            ring_lost: Version::default(),
        }
    }

    /// An event arrived. `joins_pending`: whether the ring has to keep it for a join under way.
    pub(crate) fn on_event(
        &mut self,
        version: Option<Version>,
        frame: F,
        now: Instant,
        joins_pending: bool,
    ) -> Vec<Heard<F>> {
        if !joins_pending {
            self.forget_ring();
        }
        let Some(version) = version else { return vec![Heard::Event(None, frame)] };
        let mut heard = Vec::new();
        match self.position {
            Position::At(last) if version <= last => {}
            Position::At(last) if version == last.next() => {
                self.pass(version, frame, &mut heard, joins_pending);
                self.pass_consecutive(&mut heard, joins_pending);
            }
            _ => self.hold(version, frame, now, &mut heard, joins_pending),
        }
        heard
    }

    /// When [`Room::on_deadline`] is to be called; `None` while nothing waits.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// The wait for missing events is over.
    pub(crate) fn on_deadline(&mut self, now: Instant, joins_pending: bool) -> Vec<Heard<F>> {
        let mut heard = Vec::new();
        if self.deadline.is_some_and(|deadline| deadline <= now) {
            self.skip_gap(&mut heard, joins_pending);
        }
        heard
    }

    /// A joiner's snapshot of the chat at `head`, taken after the join had begun and after the last interruption.
    pub(crate) fn on_join(&mut self, head: Version, now: Instant) -> (Joined<F>, Vec<Heard<F>>) {
        let mut heard = Vec::new();
        match self.position {
            Position::Unknown => self.settle(head, now, &mut heard),
            // The joiner's snapshot is as good as the one that is being asked for.
            Position::Unsure(_) => heard = self.on_head(head, now),
            Position::At(_) => {}
        }
        let replay = if self.ring_lost > head {
            Joined::Overran
        } else {
            let later = self.ring.iter().filter(|(version, _)| *version > head);
            Joined::At(later.map(|(_, frame)| frame.clone()).collect())
        };
        (replay, heard)
    }

    /// The bus was interrupted: nothing passes until [`Room::on_head`].
    pub(crate) const fn on_interruption(&mut self) {
        if let Position::At(last) = self.position {
            self.position = Position::Unsure(last);
            self.deadline = None;
        }
    }

    /// Whether [`Room::on_head`] is waited for.
    pub(crate) const fn is_unsure(&self) -> bool {
        matches!(self.position, Position::Unsure(_))
    }

    /// After an interruption, an api pod says that the chat stands at `head`.
    pub(crate) fn on_head(&mut self, head: Version, now: Instant) -> Vec<Heard<F>> {
        let mut heard = Vec::new();
        if let Position::Unsure(last) = self.position {
            if head != last {
                heard.push(Heard::Resync(ResyncReason::BusInterrupted));
            }
            // What was held while unsure and is at or below the head is covered by the resync; with the head at the
            // last position there is nothing below it.
            self.settle(head, now, &mut heard);
        }
        heard
    }

    /// From here on the position is known; what was held is judged by it.
    fn settle(&mut self, head: Version, now: Instant, heard: &mut Vec<Heard<F>>) {
        self.position = Position::At(head);
        self.held = self.held.split_off(&head.next());
        // Another join under way may have an older snapshot; what it would need was not passed.
        self.ring_lost = self.ring_lost.max(head);
        self.pass_consecutive(heard, true);
        self.deadline = (!self.held.is_empty()).then(|| now + HOLD);
    }

    fn hold(
        &mut self,
        version: Version,
        frame: F,
        now: Instant,
        heard: &mut Vec<Heard<F>>,
        joins_pending: bool,
    ) {
        self.held.insert(version, frame);
        if matches!(self.position, Position::At(_)) {
            self.deadline.get_or_insert(now + HOLD);
        }
        if self.held.len() > MAX_HELD {
            if matches!(self.position, Position::At(_)) {
                self.skip_gap(heard, joins_pending);
            } else {
                // Its absence is noticed once the position is known.
                self.held.pop_first();
            }
        }
    }

    /// Gives up on what lies before the first held event.
    fn skip_gap(&mut self, heard: &mut Vec<Heard<F>>, joins_pending: bool) {
        let Some((version, frame)) = self.held.pop_first() else { return };
        heard.push(Heard::Resync(ResyncReason::Gap));
        self.pass(version, frame, heard, joins_pending);
        // A second gap behind this one is covered by the same resync.
        while let Some((version, frame)) = self.held.pop_first() {
            self.pass(version, frame, heard, joins_pending);
        }
        self.deadline = None;
    }

    fn pass_consecutive(&mut self, heard: &mut Vec<Heard<F>>, joins_pending: bool) {
        while let Position::At(last) = self.position
            && let Some(frame) = self.held.remove(&last.next())
        {
            self.pass(last.next(), frame, heard, joins_pending);
        }
        if self.held.is_empty() {
            self.deadline = None;
        }
    }

    fn pass(&mut self, version: Version, frame: F, heard: &mut Vec<Heard<F>>, joins_pending: bool) {
        if let Position::At(last) = self.position
            && last.next() < version
        {
            // The resync does not reach those who are still joining.
            self.ring_lost = Version(version.0 - 1);
        }
        self.position = Position::At(version);
        if joins_pending {
            if self.ring.len() == MAX_RING
                && let Some((lost, _)) = self.ring.pop_front()
            {
                self.ring_lost = self.ring_lost.max(lost);
            }
            self.ring.push_back((version, frame.clone()));
        }
        heard.push(Heard::Event(Some(version), frame));
    }

    fn forget_ring(&mut self) {
        self.ring.clear();
        self.ring_lost = Version::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const V: fn(u64) -> Version = Version;

    fn at(head: u64) -> Room<u64> {
        let mut room = Room::new();
        let (joined, heard) = room.on_join(V(head), Instant::now());
        assert_eq!((joined, heard), (Joined::At(vec![]), vec![]));
        room
    }

    fn event(version: u64) -> Heard<u64> {
        Heard::Event(Some(V(version)), version)
    }

    fn feed(room: &mut Room<u64>, versions: &[u64], now: Instant) -> Vec<Heard<u64>> {
        versions.iter().flat_map(|v| room.on_event(Some(V(*v)), *v, now, false)).collect()
    }

    #[test]
    fn i3_the_next_passes_and_what_was_passed_is_dropped() {
        let mut room = at(5);
        assert_eq!(feed(&mut room, &[5, 6, 6, 4, 7], Instant::now()), [event(6), event(7)]);
    }

    #[test]
    fn i3_reordering_is_undone_without_a_resync() {
        let mut room = at(0);
        assert_eq!(feed(&mut room, &[2, 4, 1, 3], Instant::now()), [1, 2, 3, 4].map(event));
        assert_eq!(room.deadline(), None);
    }

    #[test]
    fn i4_a_gap_is_told_after_the_hold_and_not_before() {
        let mut room = at(0);
        let now = Instant::now();
        assert!(feed(&mut room, &[3, 5], now).is_empty());
        let deadline = room.deadline().unwrap();
        assert_eq!(deadline, now + HOLD);
        assert!(room.on_deadline(now, false).is_empty(), "too early");
        let heard = room.on_deadline(deadline, false);
        assert_eq!(heard, [Heard::Resync(ResyncReason::Gap), event(3), event(5)]);
        assert!(feed(&mut room, &[1, 2, 4], deadline).is_empty(), "covered by the resync");
    }

    #[test]
    fn i4_a_join_hears_what_passed_after_its_snapshot() {
        let mut room = at(1);
        let now = Instant::now();
        for version in 2..=4 {
            room.on_event(Some(V(version)), version, now, true);
        }
        assert_eq!(room.on_join(V(2), now).0, Joined::At(vec![3, 4]));
        assert_eq!(room.on_join(V(9), now).0, Joined::At(vec![]), "a snapshot ahead of the room");
    }

    #[test]
    fn i4_events_before_the_first_snapshot_are_judged_by_it() {
        let mut room = Room::new();
        let now = Instant::now();
        assert!(feed(&mut room, &[4, 5, 6], now).is_empty());
        let (joined, heard) = room.on_join(V(4), now);
        assert_eq!(
            heard,
            [event(5), event(6)],
            "the joiner is no member yet and gets them by replay"
        );
        assert_eq!(joined, Joined::At(vec![5, 6]));
    }

    #[test]
    fn i9_a_ring_that_overran_asks_again() {
        let mut room = at(0);
        let now = Instant::now();
        for version in 1..=MAX_RING as u64 + 2 {
            room.on_event(Some(V(version)), version, now, true);
        }
        assert_eq!(room.on_join(V(1), now).0, Joined::Overran);
        assert!(matches!(room.on_join(V(2), now).0, Joined::At(later) if later.len() == MAX_RING));
    }

    #[test]
    fn i4_a_joiner_behind_the_one_who_settled_the_room_asks_again() {
        let now = Instant::now();
        let mut room = Room::new();
        for version in [6, 7, 8] {
            room.on_event(Some(V(version)), version, now, true);
        }
        assert_eq!(room.on_join(V(7), now), (Joined::At(vec![8]), vec![event(8)]));
        assert_eq!(room.on_join(V(5), now).0, Joined::Overran, "6 and 7 were never passed");
        assert_eq!(room.on_join(V(7), now).0, Joined::At(vec![8]));
        assert_eq!(room.on_join(V(8), now).0, Joined::At(vec![]));
    }

    #[test]
    fn i4_a_joiner_behind_a_gap_that_was_told_before_it_came_asks_again() {
        let now = Instant::now();
        let mut room = at(0);
        for version in [1, 3] {
            room.on_event(Some(V(version)), version, now, true);
        }
        assert_eq!(room.on_deadline(now + HOLD, true).len(), 2);
        assert_eq!(room.on_join(V(1), now).0, Joined::Overran, "2 is missing");
        assert_eq!(room.on_join(V(2), now).0, Joined::At(vec![3]));
        // Now the ring lets 1 go, and 2 is missing all the same.
        for version in 4..=MAX_RING as u64 + 2 {
            room.on_event(Some(V(version)), version, now, true);
        }
        assert_eq!(room.on_join(V(1), now).0, Joined::Overran);
        assert!(matches!(room.on_join(V(2), now).0, Joined::At(later) if later[0] == 3));
    }

    #[test]
    fn i9_what_is_held_is_bounded() {
        let mut room = at(0);
        let ahead: Vec<u64> = (2..=MAX_HELD as u64 + 2).collect();
        let heard = feed(&mut room, &ahead, Instant::now());
        assert_eq!(heard[0], Heard::Resync(ResyncReason::Gap));
        assert_eq!(heard.len(), 1 + ahead.len());
        assert!(room.held.is_empty());
    }

    #[test]
    fn i4_after_an_interruption_nothing_passes_until_the_head_is_known() {
        let now = Instant::now();
        let mut room = at(3);
        room.on_interruption();
        assert!(feed(&mut room, &[4, 5, 7], now).is_empty());
        assert!(room.is_unsure());
        assert_eq!(
            room.on_head(V(5), now),
            [Heard::Resync(ResyncReason::BusInterrupted)],
            "4 and 5 are covered, 7 waits for 6"
        );
        assert_eq!(feed(&mut room, &[6], now), [event(6), event(7)]);
    }

    #[test]
    fn i4_an_interruption_that_missed_nothing_is_not_told() {
        let mut room = at(3);
        room.on_interruption();
        assert!(feed(&mut room, &[4], Instant::now()).is_empty());
        assert_eq!(room.on_head(V(3), Instant::now()), [event(4)]);
    }

    proptest! {
        /// Whatever is lost, doubled and reordered: versions rise, and what is missing has a resync before it.
        #[test]
        fn i3_i4_any_history(arrivals in prop::collection::vec(1u64..40, 0..120)) {
            let mut room = at(0);
            let mut now = Instant::now();
            let mut last = 0;
            for version in arrivals {
                now += Duration::from_millis(7);
                let mut heard = room.on_deadline(now, false);
                heard.extend(room.on_event(Some(V(version)), version, now, false));
                // A resync covers whatever follows it at once.
                let mut told = false;
                for heard in heard {
                    match heard {
                        Heard::Resync(_) => told = true,
                        Heard::Event(Some(Version(version)), _) => {
                            prop_assert!(version > last);
                            prop_assert!(version == last + 1 || told);
                            last = version;
                        }
                        Heard::Event(None, _) => {}
                    }
                }
            }
        }
    }
}
