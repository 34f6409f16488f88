//! What of that which a room has heard can be told together: durable events for everybody, in a row.

use super::order::{Event, Heard, Lost};

/// How much is told together.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Turn {
    /// Most events.
    events: usize,
    /// Most bytes; a single event may have more.
    bytes: usize,
}

impl Turn {
    /// For an outbox of this size, of which at most half is filled at once.
    pub(crate) fn of(frames: usize, bytes: usize) -> Self {
        Self { events: (frames / 2).min(32), bytes: (bytes / 2).min(64 * 1024) }
    }

    /// Takes one of this length, if it still fits.
    pub(crate) fn takes(&mut self, bytes: usize) -> bool {
        let fits = self.events > 0 && bytes <= self.bytes;
        if fits {
            self.events -= 1;
            self.bytes -= bytes;
        }
        fits
    }

    /// What is left once one of this length was taken, whether it fits or not.
    fn after(mut self, bytes: usize) -> Self {
        if self.takes(bytes) { self } else { Self { events: 0, bytes: 0 } }
    }
}

/// A part of what was heard, in its order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Part<F> {
    /// For everybody; nobody leaves with it.
    Together(Vec<Event<F>>),
    /// Not for everybody, or not durable, or somebody leaves with it.
    Alone(Event<F>),
    Close(Lost),
}

/// The parts of what was heard. `length` is that of a frame.
pub(crate) fn parts<F>(
    heard: Vec<Heard<F>>,
    turn: Turn,
    length: impl Fn(&F) -> usize,
) -> Vec<Part<F>> {
    let mut parts = Vec::new();
    let mut left = turn;
    for heard in heard {
        match (heard, parts.last_mut()) {
            (Heard::Event(event), last) if event.is_durable_and_for_all() => {
                let bytes = length(&event.frame);
                match last {
                    Some(Part::Together(run)) if left.takes(bytes) => run.push(event),
                    _ => {
                        left = turn.after(bytes);
                        parts.push(Part::Together(vec![event]));
                    }
                }
            }
            (Heard::Event(event), _) => parts.push(Part::Alone(event)),
            (Heard::Close(why), _) => parts.push(Part::Close(why)),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parley_domain::ids::UserId;
    use parley_domain::version::{Epoch, Version};

    use super::*;

    fn event(version: u64) -> Event<usize> {
        let event = Event::passing(Epoch(1), 10);
        Event { version: Some(Version(version)), ..event }
    }

    /// The versions of each part; 0 for what has none.
    fn shown(parts: &[Part<usize>]) -> Vec<Vec<u64>> {
        let version = |event: &Event<usize>| event.version.map_or(0, |version| version.0);
        let shown = |part: &Part<usize>| match part {
            Part::Together(run) => run.iter().map(version).collect(),
            Part::Alone(event) => vec![version(event)],
            Part::Close(_) => vec![],
        };
        parts.iter().map(shown).collect()
    }

    #[test]
    fn what_is_for_all_is_told_together_and_the_order_is_kept() {
        let somebody: Arc<[UserId]> = [UserId::parse("bob").unwrap()].into();
        let heard = vec![
            event(1),
            event(2),
            Event { removed: somebody.clone(), ..event(3) },
            event(4),
            Event::passing(Epoch(1), 10),
            event(5),
            Event { only: somebody.clone(), ..event(6) },
            Event { hidden_from: somebody, ..event(7) },
            event(8),
            event(9),
        ];
        let heard = heard.into_iter().map(Heard::Event).collect();
        let parts = parts(heard, Turn::of(1000, 1_000_000), |length| *length);
        let wanted: [&[u64]; 8] = [&[1, 2], &[3], &[4], &[0], &[5], &[6], &[7], &[8, 9]];
        assert_eq!(shown(&parts), wanted);
    }

    #[test]
    fn i9_no_more_is_told_together_than_half_an_outbox_holds() {
        let heard = || (1..=7).map(event).map(Heard::Event).collect();
        let of = |frames, bytes| shown(&parts(heard(), Turn::of(frames, bytes), |length| *length));
        assert_eq!(of(6, 1000), [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);
        assert_eq!(of(100, 50), [vec![1, 2], vec![3, 4], vec![5, 6], vec![7]]);
        assert_eq!(of(100, 18).len(), 7, "one that is longer goes alone");
        assert_eq!(of(2, 1000).len(), 7);
    }
}
