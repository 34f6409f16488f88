//! A room: who is in it, what they hear, and in which order. A state machine: no I/O, and no clock of its own.
//!
//! [`order`] decides what passes, [`replay`] how a connection that was away comes up to the room; here is who hears it.

mod order;
mod replay;
mod ring;
#[cfg(test)]
mod simulation;
mod tellings;
mod together;
mod typing;

use std::collections::HashMap;
use std::time::Instant;

use parley_domain::ids::UserId;
use parley_domain::version::Version;

use self::order::Order;
pub(crate) use self::order::{Answer, Came, CatchUp, Cause, Event, Heard, Lost, Standing};
pub(crate) use self::replay::{Replay, Snapshot, Step, Then};
use self::ring::Later;
pub(crate) use self::tellings::Tellings;
pub(crate) use self::together::{Part, Turn, parts};
pub(crate) use self::typing::{Remark, Typists, Writers, deadline as typing_deadline};

/// Somebody in a room. `S` is a connection.
#[derive(Debug)]
struct Member<S> {
    socket: S,
    user: UserId,
    /// What is at or below it is known there.
    floor: Version,
}

/// How an entry came out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entered<F> {
    /// It is a member from here on, and first hears these.
    Member(Vec<Event<F>>),
    /// It hears these, the last of which says that it is not in the chat any more.
    Removed(Vec<Event<F>>),
    /// The room cannot say what came after the joiner's place.
    Behind,
}

/// Who left with an event.
#[derive(Debug)]
pub(crate) struct Left<S> {
    /// How many connections of whoever was removed by it.
    pub(crate) removed: usize,
    /// They may not hear it, and so cannot go on: to be closed, to come back and to be looked up.
    pub(crate) closed: Vec<S>,
}

/// A room, with connections `S` and finished frames `F`.
#[derive(Debug)]
pub(crate) struct Room<S, F> {
    pub(crate) order: Order<F>,
    members: HashMap<u64, Member<S>>,
}

impl<S, F: Clone> Room<S, F> {
    pub(crate) fn new() -> Self {
        Self::with(order::LIMITS)
    }

    fn with(limits: order::Limits) -> Self {
        Self { order: Order::new(limits), members: HashMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.members.len()
    }

    /// Up to where a member has heard everything; `None` for others.
    pub(crate) fn heard_by(&self, key: u64) -> Option<Version> {
        let member = self.members.get(&key)?;
        Some(self.order.at().map_or(member.floor, |at| at.version.max(member.floor)))
    }

    /// Whose connection a member is.
    pub(crate) fn user_of(&self, key: u64) -> Option<&UserId> {
        self.members.get(&key).map(|member| &member.user)
    }

    /// The same as a place in the history.
    pub(crate) fn place_of(&self, key: u64) -> Option<Standing> {
        let version = self.heard_by(key)?;
        Some(Standing { version, epoch: self.order.at()?.epoch })
    }

    /// Somebody who knows everything up to `place` comes in. What is heard is for those who were here before.
    pub(crate) fn enter(
        &mut self,
        (key, socket, user): (u64, S, UserId),
        place: Standing,
        now: Instant,
    ) -> (Entered<F>, Vec<Heard<F>>) {
        let (later, heard) = self.order.on_joiner(place, now);
        let Later::Events(mut events) = later else { return (Entered::Behind, heard) };
        if events.iter().any(|event| event.hidden_from.contains(&user)) {
            // Removed since it was looked up; whoever is asked again knows whether it is back.
            return (Entered::Behind, heard);
        }
        if let Some(out) = events.iter().position(|event| event.removed.contains(&user)) {
            events.truncate(out + 1);
            return (Entered::Removed(events), heard);
        }
        // What passes while the room catches up with the joiner is known to it.
        let floor = events.last().and_then(|event| event.version).unwrap_or(place.version);
        self.members.insert(key, Member { socket, user, floor });
        (Entered::Member(events), heard)
    }

    /// A connection leaves.
    pub(crate) fn leave(&mut self, key: u64) {
        self.members.remove(&key);
    }

    /// Who hears these, which come in a row, and how many of them, from the first on, are known there.
    pub(crate) fn hearers<'a>(
        &'a self,
        events: &'a [Event<F>],
    ) -> impl Iterator<Item = (u64, &'a S, usize)> {
        let all = events.iter().all(Event::is_durable_and_for_all);
        self.members.iter().filter_map(move |(key, member)| {
            let is_known =
                |event: &&Event<F>| event.version.is_some_and(|version| version <= member.floor);
            let known = events.iter().take_while(is_known).count();
            let hears = known < events.len()
                && (all || events.iter().all(|event| event.is_for(&member.user)));
            hears.then_some((*key, &member.socket, known))
        })
    }

    /// The event was passed on. Whoever was removed by it hears nothing after it; one that came in at or after its
    /// version was let in again.
    pub(crate) fn passed(&mut self, event: &Event<F>) -> Left<S> {
        let mut left = Left { removed: 0, closed: Vec::new() };
        if event.removed.is_empty() && event.hidden_from.is_empty() {
            return left;
        }
        let concerns = |member: &mut Member<S>| {
            let knew = event.version.is_some_and(|version| version <= member.floor);
            let out = event.removed.contains(&member.user);
            !knew && (out || event.hidden_from.contains(&member.user))
        };
        for (_, member) in self.members.extract_if(|_, member| concerns(member)) {
            if event.removed.contains(&member.user) {
                left.removed += 1;
            } else {
                left.closed.push(member.socket);
            }
        }
        left
    }

    /// Everybody's connection.
    pub(crate) fn sockets(&self) -> Vec<S>
    where
        S: Clone,
    {
        self.members.values().map(|member| member.socket.clone()).collect()
    }

    /// Everybody leaves.
    pub(crate) fn clear(&mut self) -> impl Iterator<Item = S> + use<'_, S, F> {
        self.members.drain().map(|(_, member)| member.socket)
    }
}

#[cfg(test)]
mod tests;
