//! How long it takes after a fault until everybody has everything again.

use std::collections::HashMap;

use super::room::Room;
use super::verdict::Recovery;

/// Something that was broken on purpose.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) number: u32,
    what: String,
    begun: u64,
    ended: Option<u64>,
}

impl Fault {
    pub(super) fn begins(number: u32, what: String, at: u64) -> Self {
        Self { number, what, begun: at, ended: None }
    }

    pub(super) fn ends(&mut self, at: u64) {
        self.ended = Some(at);
    }

    /// From the fault's end until the last client was in its rooms and had everything that was answered before that end.
    pub(super) fn recovery(
        &self,
        places: &HashMap<(u32, u32), Place>,
        head: impl Fn(u32, u64) -> u64,
    ) -> Recovery {
        let end = self.ended.unwrap_or(self.begun);
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
    stays: Vec<(u64, Option<u64>)>,
}

impl Place {
    pub(super) fn visit(&mut self, room: &Room, closed: Option<u64>) {
        self.known.extend(room.heard());
        self.stays.extend(room.joined_at.map(|joined| (joined, closed)));
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
        let stay =
            self.stays.iter().find(|(_, closed)| closed.is_none_or(|closed| closed > ready))?;
        Some(ready.max(stay.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_is_who_is_in_and_knows() {
        let mut place = Place {
            known: vec![(50, 7), (10, 5), (40, 6)],
            stays: vec![(45, None), (5, Some(30))],
        };
        place.settle(&[(12, 6)]);
        assert_eq!(place.whole_at(20, 6), Some(20));
        assert_eq!(place.whole_at(32, 6), Some(45));
        assert_eq!(place.whole_at(20, 7), Some(50));
        assert_eq!(place.whole_at(20, 8), None);
        assert_eq!(place.whole_at(60, 0), Some(60));
    }
}
