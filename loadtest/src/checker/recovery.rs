//! How long it takes after a fault until everybody has everything again.

use std::collections::HashMap;

use super::room::Room;
use super::verdict::Recovery;

/// Something that was broken on purpose.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) number: u32,
    what: String,
    pub(super) begun: u64,
    ended: Option<u64>,
}

impl Fault {
    pub(super) fn begins(number: u32, what: String, at: u64) -> Self {
        Self { number, what, begun: at, ended: None }
    }

    pub(super) fn ends(&mut self, at: u64) {
        self.ended = Some(at);
    }

    /// When it was over; one that never was is taken for one that was over at once.
    pub(super) fn over(&self) -> u64 {
        self.ended.unwrap_or(self.begun)
    }

    /// From the fault's end until the last client was in its rooms and had everything that was answered before that end.
    pub(super) fn recovery(
        &self,
        places: &HashMap<(u32, u32), Place>,
        head: impl Fn(u32, u64) -> u64,
    ) -> Recovery {
        let end = self.over();
        let mut took = Some(0);
        for ((_, chat), place) in places {
            let whole = place.whole_at(end, head(*chat, end)).map(|at| at - end);
            took = took.zip(whole).map(|(one, other): (u64, u64)| one.max(other));
        }
        Recovery { what: self.what.clone(), begun: self.begun, lasted: end - self.begun, took }
    }
}

/// One client in one chat, over all of its connections.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// When it came to know which version; sorted, and rising, once settled.
    known: Vec<(u64, u64)>,
    /// When it was in the room.
    stays: Vec<Stay>,
}

/// A connection's time in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Stay {
    joined: u64,
    left: Option<u64>,
    /// It was not the client's own habit that ended it.
    lost: bool,
}

/// A connection that is lost so soon after a fault has been lost by it: what is dead is not noticed at once.
const NOTICED: u64 = 1_000_000;

impl Place {
    pub(super) fn visit(&mut self, room: &Room, left: Option<u64>, lost: bool) {
        self.known.extend(room.heard());
        self.stays.extend(room.joined_at.map(|joined| Stay { joined, left, lost }));
    }

    pub(super) fn settle(&mut self, reloads: &[(u64, u64)]) {
        self.known.extend(reloads);
        self.known.sort_unstable();
        let mut highest = 0;
        for (_, version) in &mut self.known {
            highest = highest.max(*version);
            *version = highest;
        }
        self.stays.sort_unstable();
    }

    /// The first moment from `from` on at which it is in the room and has this version.
    fn whole_at(&self, from: u64, version: u64) -> Option<u64> {
        let knows = if version == 0 {
            from
        } else {
            self.known.get(self.known.partition_point(|(_, known)| *known < version))?.0
        };
        let ready = from.max(knows);
        let holds = |stay: &&Stay| {
            let until = if stay.lost { from + NOTICED } else { 0 };
            stay.left.is_none_or(|left| left > ready.max(until))
        };
        Some(ready.max(self.stays.iter().find(holds)?.joined))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_is_who_is_in_and_knows() {
        let mut place = Place {
            known: vec![(50, 7), (10, 5), (40, 6)],
            stays: vec![
                Stay { joined: 45, left: None, lost: false },
                Stay { joined: 5, left: Some(30), lost: false },
            ],
        };
        place.settle(&[(12, 6)]);
        assert_eq!(place.whole_at(20, 6), Some(20));
        assert_eq!(place.whole_at(32, 6), Some(45));
        assert_eq!(place.whole_at(20, 7), Some(50));
        assert_eq!(place.whole_at(20, 8), None);
        assert_eq!(place.whole_at(60, 0), Some(60));
    }

    #[test]
    fn a_connection_that_a_fault_has_ended_does_not_count() {
        let mut place = Place {
            known: vec![(10, 5)],
            stays: vec![
                Stay { joined: 5, left: Some(25), lost: true },
                Stay { joined: 40, left: None, lost: false },
            ],
        };
        assert_eq!(place.whole_at(20, 5), Some(40));
        place.stays[0].lost = false;
        assert_eq!(place.whole_at(20, 5), Some(20));
    }
}
