//! One room, its connections, a bus and a database; and the faults of all of them.

use std::time::{Duration, Instant};

use parley_domain::ask::Position;
use parley_domain::version::{Epoch, Version};

use super::Op;
use super::oracle::Witness;
use super::store::{Store, Told, USERS, user_id};
use crate::room::order::Limits;
use crate::room::{
    Answer, CatchUp, Entered, Event, Heard, Part, Replay, Room, Snapshot, Standing, Step, Then,
    Turn, parts,
};

const CONNECTIONS: usize = 5;
/// Smaller than in life, so that they are reached.
const LIMITS: Limits = Limits { held: 4, ring: 4 };

/// How often things happened.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Tally {
    told: u64,
    catch_ups: u64,
    pages: u64,
    closed: u64,
    evicted: u64,
    replayed: u64,
    behind: u64,
    resyncs: u64,
    refused: u64,
    whole: u64,
    overflowed: u64,
    hidden: u64,
}

impl Tally {
    pub(super) fn counts(&self) -> [(&'static str, u64); 12] {
        [
            ("told", self.told),
            ("catch_ups", self.catch_ups),
            ("pages", self.pages),
            ("closed", self.closed),
            ("evicted", self.evicted),
            ("replayed", self.replayed),
            ("behind", self.behind),
            ("resyncs", self.resyncs),
            ("refused", self.refused),
            ("whole", self.whole),
            ("overflowed", self.overflowed),
            ("hidden", self.hidden),
        ]
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.told += other.told;
        self.catch_ups += other.catch_ups;
        self.pages += other.pages;
        self.closed += other.closed;
        self.evicted += other.evicted;
        self.replayed += other.replayed;
        self.behind += other.behind;
        self.resyncs += other.resyncs;
        self.refused += other.refused;
        self.whole += other.whole;
        self.overflowed += other.overflowed;
        self.hidden += other.hidden;
    }
}

enum Arriving {
    Event(Event<Told>),
    Head { head: Standing, read_after: Option<Instant> },
}

/// A connection.
struct Connection {
    user: usize,
    witness: Witness,
    way: Way,
}

enum Way {
    Outside,
    /// It has asked; what was read, once it was read.
    Asking {
        join: Join,
        read: Read,
    },
    /// It has been told everything up to there.
    Entering {
        join: Join,
        place: Standing,
    },
    Inside,
}

/// What became of an ask.
enum Read {
    NotYet,
    Refused,
    Answer(Snapshot<Told>),
}

#[derive(Default)]
struct Join {
    since: Option<(u64, Option<Epoch>)>,
    replay: Option<Replay>,
}

pub(super) struct World {
    now: Instant,
    store: Store,
    bus: Vec<(Instant, Arriving)>,
    room: Room<usize, Told>,
    /// The catch-up under way, and what was read for it.
    asked: Option<(CatchUp, Option<Answer<Told>>)>,
    connections: Vec<Connection>,
    tally: Tally,
}

impl World {
    pub(super) fn new() -> Self {
        let connection = |number| Connection {
            user: number % USERS,
            witness: Witness::new(number % USERS),
            way: Way::Outside,
        };
        Self {
            now: Instant::now(),
            store: Store::default(),
            bus: Vec::new(),
            room: Room::with(LIMITS),
            asked: None,
            connections: (0..CONNECTIONS).map(connection).collect(),
            tally: Tally::default(),
        }
    }

    pub(super) fn step(&mut self, op: Op) -> Result<(), String> {
        match op {
            Op::Commit(number) => self.commit(number),
            Op::Wait(number) => {
                let long = number % 8 == 0;
                let most = if long { 2_000 } else { 40 };
                self.wait(u64::from(number >> 8) % most)?;
            }
            Op::Read => self.read(),
            Op::Answer => {
                self.read();
                if let Some((_, Some(answer))) = self.asked.take() {
                    self.tally.pages += 1;
                    let heard = self.room.order.on_answer(answer, self.now);
                    self.fan_out(heard)?;
                }
            }
            Op::NoAnswer => {
                if self.asked.take().is_some() {
                    self.room.order.on_no_answer(self.now);
                }
            }
            Op::Join(number) => self.join(number),
            Op::Proceed(number) => self.proceed(number as usize % CONNECTIONS)?,
            Op::Fail(number) => {
                if let Way::Asking { read, .. } =
                    &mut self.connections[number as usize % CONNECTIONS].way
                {
                    *read = Read::NotYet;
                }
            }
            Op::Leave(number) | Op::Cut(number) => {
                self.go(number as usize % CONNECTIONS, matches!(op, Op::Cut(_)));
            }
            Op::Interrupt(number) => self.interrupt(number),
            Op::Announce(number) => {
                let head = self.store.head();
                self.send(Arriving::Head { head, read_after: None }, u64::from(number) % 600);
            }
            Op::Compare(number) => self.compare(u64::from(number) % 200),
            Op::Restore(number) => self.store.restore(number),
        }
        self.go_on();
        Ok(())
    }

    fn commit(&mut self, number: u32) {
        let event = self.store.commit(number >> 12);
        let (fate, delay) = (number % 32, u64::from(number >> 5));
        let delay = if fate % 4 == 0 { delay % 400 } else { delay % 30 };
        match fate {
            0 | 1 => {}
            2 | 3 => {
                self.send(Arriving::Event(event.clone()), delay);
                self.send(Arriving::Event(event), delay * 3);
            }
            _ => self.send(Arriving::Event(event), delay),
        }
    }

    fn send(&mut self, what: Arriving, delay: u64) {
        self.bus.push((self.now + Duration::from_millis(delay), what));
    }

    fn compare(&mut self, delay: u64) {
        let (head, read_after) = (self.store.head(), Some(self.now));
        self.send(Arriving::Head { head, read_after }, delay);
    }

    /// Time goes on; what is due happens in its order.
    fn wait(&mut self, milliseconds: u64) -> Result<(), String> {
        let end = self.now + Duration::from_millis(milliseconds);
        loop {
            let arrival = (0..self.bus.len()).min_by_key(|at| self.bus[*at].0);
            let arrives = arrival.map(|at| self.bus[at].0);
            let deadline = self.room.order.deadline();
            let Some(next) = arrives.into_iter().chain(deadline).min().filter(|next| *next <= end)
            else {
                self.now = self.now.max(end);
                return Ok(());
            };
            self.now = self.now.max(next);
            if arrives == Some(next)
                && let Some(at) = arrival
            {
                let (_, arriving) = self.bus.remove(at);
                self.arrive(arriving)?;
            } else {
                self.room.order.on_deadline(self.now);
            }
            self.go_on();
        }
    }

    fn arrive(&mut self, arriving: Arriving) -> Result<(), String> {
        self.expect_joins();
        match arriving {
            Arriving::Event(event) => {
                let heard = self.room.order.on_event(event, self.now);
                self.fan_out(heard)
            }
            Arriving::Head { head, read_after } => {
                self.room.order.on_head(head, read_after, self.now);
                Ok(())
            }
        }
    }

    fn expect_joins(&mut self) {
        let joining = |it: &Connection| matches!(it.way, Way::Asking { .. } | Way::Entering { .. });
        let joins = self.connections.iter().any(joining);
        self.room.order.expect_joins(joins);
    }

    fn go_on(&mut self) {
        self.expect_joins();
        self.tally.overflowed += self.room.order.take_overflowed();
        if self.asked.is_none()
            && let Some(catch_up) = self.room.order.ask()
        {
            self.tally.catch_ups += 1;
            self.asked = Some((catch_up, None));
        }
    }

    fn read(&mut self) {
        if let Some((catch_up, read @ None)) = &mut self.asked {
            let Position { since, epoch } = catch_up.position;
            *read = Some(self.store.missed(since.0, epoch));
        }
    }

    fn fan_out(&mut self, heard: Vec<Heard<Told>>) -> Result<(), String> {
        for part in parts(heard, Turn::of(8, 1000), |_| 1) {
            match part {
                Part::Together(events) => self.pass_on(&events)?,
                Part::Alone(event) => {
                    self.pass_on(std::slice::from_ref(&event))?;
                    let left = self.room.passed(&event);
                    self.tally.evicted += left.removed as u64;
                    self.tally.hidden += left.closed.len() as u64;
                    for member in left.closed {
                        self.connections[member].way = Way::Outside;
                        self.connections[member].witness.left();
                    }
                }
                Part::Close(_) => {
                    let members: Vec<usize> = self.room.clear().collect();
                    for member in members {
                        self.tally.closed += 1;
                        self.connections[member].way = Way::Outside;
                        self.connections[member].witness.left();
                    }
                }
            }
        }
        Ok(())
    }

    fn pass_on(&mut self, events: &[Event<Told>]) -> Result<(), String> {
        let hearers = self.room.hearers(events).map(|(_, socket, known)| (*socket, known));
        for (hearer, known) in hearers.collect::<Vec<_>>() {
            for event in &events[known..] {
                self.tell(hearer, event)?;
            }
        }
        Ok(())
    }

    fn tell(&mut self, connection: usize, event: &Event<Told>) -> Result<(), String> {
        self.tally.told += 1;
        let connection = &mut self.connections[connection];
        connection.witness.told(event.frame, &self.store)?;
        if connection.witness.session.is_none() {
            connection.way = Way::Outside;
        }
        Ok(())
    }

    /// With its place, with an older one, without one, from the future or from elsewhere.
    fn join(&mut self, number: u32) {
        let connection = &mut self.connections[number as usize % CONNECTIONS];
        if !matches!(connection.way, Way::Outside) {
            return;
        }
        let (choice, far) = (number >> 4, u64::from(number >> 8) % 12);
        let since = connection.witness.place.and_then(|(version, epoch)| match choice % 8 {
            0 => None,
            1 => Some((version + far, Some(Epoch(epoch)))),
            2 => Some((version.saturating_sub(far), None)),
            3 => Some((version, Some(Epoch(epoch + 7)))),
            4 => Some((version.saturating_sub(far), Some(Epoch(epoch)))),
            _ => Some((version, Some(Epoch(epoch)))),
        });
        connection.way = Way::Asking { join: Join { since, replay: None }, read: Read::NotYet };
    }

    fn proceed(&mut self, number: usize) -> Result<(), String> {
        let user = self.connections[number].user;
        match std::mem::replace(&mut self.connections[number].way, Way::Outside) {
            Way::Asking { join, read: Read::NotYet } => {
                let answer = self.snapshot(user, &join);
                let read = answer.map_or(Read::Refused, Read::Answer);
                self.connections[number].way = Way::Asking { join, read };
                Ok(())
            }
            Way::Asking { join, read: Read::Answer(snapshot) } => {
                self.come_up(number, join, snapshot)
            }
            Way::Asking { read: Read::Refused, .. } => {
                self.tally.refused += 1;
                self.connections[number].witness.left();
                Ok(())
            }
            Way::Entering { join, place } => self.enter(number, join, place),
            way => {
                self.connections[number].way = way;
                Ok(())
            }
        }
    }

    /// What an api pod answers a joiner; nothing to whom may not enter.
    fn snapshot(&self, user: usize, join: &Join) -> Option<Snapshot<Told>> {
        let position = match &join.replay {
            Some(replay) => Some((replay.at().version.0, Some(replay.at().epoch))),
            None => join.since,
        };
        let missed = position.map(|(since, epoch)| self.store.missed(since, epoch));
        self.store.is_in(user).then(|| Snapshot { head: self.store.head(), missed })
    }

    fn come_up(
        &mut self,
        number: usize,
        mut join: Join,
        snapshot: Snapshot<Told>,
    ) -> Result<(), String> {
        let (user, head) = (self.connections[number].user, snapshot.head);
        let witness = &mut self.connections[number].witness;
        let step: Step<Told> = match &mut join.replay {
            Some(replay) => {
                let step = replay.on_snapshot(snapshot);
                if step.resync {
                    self.tally.resyncs += 1;
                    witness.told_resync(head.version.0, head.epoch.0)?;
                }
                step
            }
            replay @ None => {
                let since = join.since.map(|(since, _)| Version(since));
                let (begun, step) = Replay::begin(user_id(user), since, snapshot);
                *replay = Some(begun);
                let base = since.filter(|_| !step.resync).unwrap_or(head.version);
                witness.acknowledged(base.0, head.epoch.0);
                step
            }
        };
        for event in &step.events {
            self.tally.replayed += 1;
            self.tell(number, event)?;
        }
        self.connections[number].way = match step.then {
            Then::Enter(place) => Way::Entering { join, place },
            Then::Ask(_) => Way::Asking { join, read: Read::NotYet },
            Then::Removed => Way::Outside,
        };
        Ok(())
    }

    fn enter(&mut self, number: usize, join: Join, place: Standing) -> Result<(), String> {
        let joiner = (number as u64, number, user_id(self.connections[number].user));
        let (entered, heard) = self.room.enter(joiner, place, self.now);
        self.fan_out(heard)?;
        let (events, way) = match entered {
            Entered::Member(events) => (events, Way::Inside),
            Entered::Removed(events) => (events, Way::Outside),
            Entered::Behind => {
                self.tally.behind += 1;
                self.connections[number].way = Way::Asking { join, read: Read::NotYet };
                return Ok(());
            }
        };
        self.connections[number].way = way;
        for event in &events {
            self.tell(number, event)?;
        }
        Ok(())
    }

    fn go(&mut self, number: usize, cut: bool) {
        let connection = &mut self.connections[number];
        let joining = matches!(connection.way, Way::Asking { .. } | Way::Entering { .. });
        // A join is finished before a leave is read; a cut ends it.
        if joining && !cut {
            return;
        }
        connection.way = Way::Outside;
        connection.witness.left();
        self.room.leave(number as u64);
    }

    /// What is on its way is lost. Once the bus is back, the gateway compares.
    fn interrupt(&mut self, number: u32) {
        self.bus.clear();
        self.asked = None;
        for connection in &mut self.connections {
            if let Way::Asking { read, .. } = &mut connection.way {
                *read = Read::NotYet;
            }
        }
        self.room.order.on_interruption();
        self.compare(u64::from(number) % 500);
    }

    /// Nothing fails any more. Everybody has to become whole, and then nothing may be asked.
    pub(super) fn come_to_rest(mut self) -> Result<Tally, String> {
        self.compare(0);
        for _ in 0..200 {
            self.wait(100)?;
            self.step(Op::Answer)?;
            for number in 0..CONNECTIONS {
                self.proceed(number)?;
                self.go_on();
            }
        }
        let joining = |it: &Connection| matches!(it.way, Way::Asking { .. } | Way::Entering { .. });
        if self.connections.iter().any(joining) {
            return Err("a join does not come to its end".to_owned());
        }
        for connection in &self.connections {
            connection.witness.is_whole(&self.store)?;
            self.tally.whole += u64::from(connection.witness.session.is_some());
        }
        if self.connections.iter().any(|it| it.witness.session.is_some())
            && self.room.order.at() != Some(self.store.head())
        {
            return Err(format!("the room stands at {:?}", self.room.order.at()));
        }
        let asked = self.tally.catch_ups;
        self.compare(0);
        for _ in 0..20 {
            self.wait(1_000)?;
            self.step(Op::Answer)?;
        }
        if self.tally.catch_ups != asked || self.room.order.deadline().is_some() {
            return Err("the room does not come to rest".to_owned());
        }
        Ok(self.tally)
    }
}
