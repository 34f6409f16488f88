//! How a connection comes up to its room: it has a place in the history, and is told page by page what came after it.

use parley_domain::ids::UserId;
use parley_domain::version::Version;

use super::order::{Answer, Event, Standing};

/// A chat as an api pod answers a joiner: one snapshot, in which the joiner is a participant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Snapshot<F> {
    pub(crate) head: Standing,
    /// What came after the position that was asked about, if there was one.
    pub(crate) missed: Option<Answer<F>>,
}

/// A connection on its way into a room.
#[derive(Debug)]
pub(crate) struct Replay {
    user: UserId,
    at: Standing,
}

/// What the connection is told next, and what happens then.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Step<F> {
    /// Nothing of what lies between is told: the client reloads.
    pub(crate) resync: bool,
    pub(crate) events: Vec<Event<F>>,
    pub(crate) then: Then,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Then {
    /// It knows everything of the snapshot, and may enter.
    Enter(Standing),
    /// There is another page.
    Ask(Standing),
    /// It was removed; the last event says so.
    Removed,
}

impl Replay {
    /// The first snapshot. `since`: where the client was, if it says so.
    pub(crate) fn begin<F: Clone>(
        user: UserId,
        since: Option<Version>,
        snapshot: Snapshot<F>,
    ) -> (Self, Step<F>) {
        let head = snapshot.head;
        let version = since.unwrap_or(head.version);
        let mut replay = Self { user, at: Standing { version, epoch: head.epoch } };
        let step = replay.on_snapshot(snapshot);
        (replay, step)
    }

    /// Where the connection is.
    pub(crate) const fn at(&self) -> Standing {
        self.at
    }

    /// The answer to an ask with the position of [`Replay::at`].
    pub(crate) fn on_snapshot<F>(&mut self, snapshot: Snapshot<F>) -> Step<F> {
        let head = snapshot.head;
        match snapshot.missed {
            Some(Answer::Page { mut events, up_to, head })
                if head.epoch == self.at.epoch && self.at.version <= up_to =>
            {
                events.retain(|event| event.version > Some(self.at.version));
                self.at.version = up_to;
                let out = events.iter().position(|event| event.removed.contains(&self.user));
                let then = match out {
                    Some(out) => {
                        events.truncate(out + 1);
                        Then::Removed
                    }
                    None if up_to < head.version => Then::Ask(self.at),
                    None => Then::Enter(self.at),
                };
                Step { resync: false, events, then }
            }
            // Without a position in the ask there is nothing to be told; with one, whoever answers has to say.
            None if head == self.at => self.go_on_from(head, false),
            Some(_) | None => self.go_on_from(head, true),
        }
    }

    fn go_on_from<F>(&mut self, head: Standing, resync: bool) -> Step<F> {
        self.at = head;
        Step { resync, events: Vec::new(), then: Then::Enter(head) }
    }
}
