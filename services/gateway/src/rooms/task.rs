//! The task of one room: what comes, one thing after the other, and who is told.

mod accounts;
mod telling;
mod typing;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::Weak;
use std::time::Duration;

use parley_domain::ask::CatchUpAsk;
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::delivery::Leaving;
use parley_domain::ids::ChatId;
use parley_relay::{BusState, RoomSubscription, TypingSubscription};
use parley_socketio::{Ack, Frame, Socket};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout_at};

use self::accounts::Accounts;
pub(super) use self::telling::alone;
use super::{Command, Departure, Ended, Joiner, Place, Rejoiner, Rooms, Welcome};
use crate::metrics::{Asking, Behind};
use crate::passing;
use crate::protocol;
use crate::room::{Answer, CatchUp, Entered, Room, Typists, Writers};

/// How long an empty room stays subscribed: a page that is reloaded comes back within it.
const LINGER: Duration = Duration::from_secs(1);
/// How long all pages of a catch-up together wait for members to read the ones before; then nobody waits for the slow.
const PACE: Duration = Duration::from_millis(500);

/// One room's task. Everything in the room happens here, one thing after the other.
pub(super) struct RoomTask {
    rooms: Rooms,
    chat: ChatId,
    commands: mpsc::Receiver<Command>,
    state: watch::Receiver<BusState>,
    /// Whether there is a connection, and how often it had broken.
    connection: (bool, u64),
    room: Room<Socket, Frame>,
    at: Arc<Place>,
    accounts: Accounts,
    /// Joins that have begun and not ended; a dead one was given up.
    pending: Vec<Weak<()>>,
    /// When the room ends, unless somebody comes.
    closes_at: Option<Instant>,
    /// Until when its pages wait for slow members.
    pace_ends: Instant,
    /// Since when something is missing.
    behind: Option<Behind>,
    /// The catch-up under way; it gives `None` when it was not answered.
    catching_up: Option<CatchingUp>,
    writers: Writers,
    typists: Typists,
    /// Who writes already, which is asked for once, when the room begins.
    reading: Option<typing::Reading>,
}

type CatchingUp = Pin<Box<dyn Future<Output = Option<Answer<Frame>>> + Send>>;

impl RoomTask {
    pub(super) fn new(
        rooms: Rooms,
        chat: ChatId,
        commands: mpsc::Receiver<Command>,
        at: Arc<Place>,
    ) -> Self {
        let state = rooms.0.bus.state();
        Self {
            rooms,
            chat,
            commands,
            connection: (false, 0),
            state,
            room: Room::new(),
            at,
            accounts: Accounts::default(),
            pending: Vec::new(),
            closes_at: Some(Instant::now() + LINGER),
            pace_ends: Instant::now(),
            behind: None,
            catching_up: None,
            writers: Writers::default(),
            typists: Typists::default(),
            reading: None,
        }
    }

    pub(super) async fn run(mut self) {
        let now = *self.state.borrow_and_update();
        self.connection = (now.connected, now.breaks);
        match self.rooms.0.bus.subscribe_room(self.chat).await {
            Ok((events, typing)) => {
                self.reading = Some(typing::read(self.rooms.0.presence.clone(), self.chat));
                self.serve(events, typing).await;
            }
            Err(error) => {
                tracing::warn!(chat.id = %self.chat, %error, "a room could not subscribe");
                // Whoever waits tries again; not at once.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        self.close();
    }

    async fn serve(&mut self, mut events: RoomSubscription, mut typing: TypingSubscription) {
        loop {
            tokio::select! {
                event = events.next() => match event {
                    Some(event) => self.on_events(event, &mut events).await,
                    None => return,
                },
                command = self.commands.recv() => match command {
                    // Aside: what happens seldom is not to make every room's task larger.
                    Some(command) => Box::pin(self.on_command(command)).await,
                    None => return,
                },
                changed = self.state.changed() => match changed {
                    Ok(()) => self.on_bus_change(),
                    Err(_) => return,
                },
                answer = answered(&mut self.catching_up) => Box::pin(self.on_caught_up(answer)).await,
                signal = typing.next() => match signal {
                    Some(signal) => self.on_typing(signal),
                    None => return,
                },
                known = typing::answered(&mut self.reading) => Box::pin(self.on_known_typists(known)).await,
                () = until(typing::deadline(&self.writers, &self.typists)) => Box::pin(self.on_typing_over()).await,
                () = until(self.room.order.deadline().map(Instant::from_std)) => {
                    self.room.order.on_deadline(now());
                }
                () = until(self.closes_at) => if self.may_close() { return },
            }
            self.go_on();
            self.release_typing().await;
        }
    }

    /// After anything that may have changed where the room stands.
    fn go_on(&mut self) {
        self.at.set(self.room.order.at());
        self.note_gap();
        if !self.room.order.is_due() {
            return;
        }
        let metrics = &self.rooms.0.metrics;
        metrics.overflowed.inc_by(self.room.order.take_overflowed());
        // While the bus is away, nobody can be asked.
        if self.catching_up.is_none()
            && self.state.borrow().connected
            && let Some(catch_up) = self.room.order.ask()
        {
            if let Some(cause) = catch_up.cause {
                metrics.catch_up(cause);
                self.pace_ends = Instant::now() + PACE;
            }
            let members = if catch_up.cause.is_none() { self.room.sockets() } else { Vec::new() };
            let paced = has_room(members, self.pace_ends);
            let asking = catch_up_with(self.rooms.clone(), self.chat, catch_up, paced);
            self.catching_up = Some(Box::pin(asking));
        }
    }

    /// A gap begins, or is closed: by what was late, by a catch-up, or by the loss of all that there was.
    fn note_gap(&mut self) {
        let gaps = &self.rooms.0.metrics.gaps;
        let held = self.room.order.take_kept_waiting();
        if held > 0 {
            gaps.held.inc_by(held);
        }
        if self.room.order.is_behind() {
            self.behind.get_or_insert_with(|| gaps.begin());
        } else if let Some(behind) = self.behind.take()
            && self.room.order.at().is_some()
        {
            behind.repaired();
        }
    }

    /// An event, and those that have come with it.
    async fn on_events(&mut self, event: RoomEvent, more: &mut RoomSubscription) {
        self.expect_joins();
        let (mut heard, mut turn) = (Vec::new(), self.rooms.0.turn);
        let mut next = Some(event);
        while let Some(event) = next {
            if event.kind == Kind::NewMessage {
                self.on_authors_message(&event);
            }
            heard.extend(self.room.order.on_event(passing::live(&event), now()));
            next = if turn.takes(event.event.len()) { more.next_at_once() } else { None };
        }
        self.fan_out(heard).await;
    }

    async fn on_caught_up(&mut self, answer: Option<Answer<Frame>>) {
        self.expect_joins();
        match answer {
            Some(answer) => {
                let heard = self.room.order.on_answer(answer, now());
                self.fan_out(heard).await;
            }
            None => self.room.order.on_no_answer(now()),
        }
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Begin { ticket, key, ready } => {
                self.expect_joins();
                self.pending.push(ticket);
                self.expect_joins();
                self.linger();
                // Whoever does not wait any more has dropped its ticket too.
                let is_in = self.room.heard_by(key).is_some();
                let _ = ready.send(Welcome { is_in, typing: self.typists.now() });
            }
            Command::Rejoin { rejoiner, answered } => {
                let _ = answered.send(self.on_rejoiner(*rejoiner));
            }
            Command::End { joiner, ended } => {
                let outcome = self.on_joiner(*joiner).await;
                let _ = ended.send(outcome);
            }
            Command::Typing { key, name, is_typing } => {
                self.on_writer(key, name.as_deref(), is_typing);
            }
            Command::Account { ask, answer } => {
                // Whoever asked may have given up.
                let _ = answer.send(self.account(&ask));
            }
            Command::Here { users, answer } => {
                let _ = answer.send(self.here(users));
            }
            Command::Leave { key, left } => {
                self.note_leaving(
                    key,
                    if left.is_some() { Leaving::Left } else { Leaving::Closed },
                );
                self.leave(key);
                self.linger();
                if let Some(left) = left {
                    let _ = left.send(());
                }
            }
            Command::Depart { key, left } => {
                let typing = self.typists.now();
                let place = self.room.place_of(key);
                self.note_leaving(key, Leaving::Moved);
                self.room.leave(key);
                // Whoever writes goes on there. If not, it is over when nothing more is heard of it.
                self.writers.stop(key);
                self.linger();
                let _ = left.send(place.map(|place| Departure { place, typing }));
            }
            Command::Head { head, read_after } => {
                self.room.order.on_head(head, read_after.map(Instant::into_std), now());
            }
        }
    }

    /// A member is told nothing twice, and keeps its place. Its ack must not come after its removal.
    fn on_rejoiner(&self, rejoiner: Rejoiner) -> Result<(), Option<Ack>> {
        let Rejoiner { socket, join, admission, ack } = rejoiner;
        let Some(heard) = self.room.heard_by(socket.key()) else { return Err(ack) };
        if let Some(ack) = ack {
            let resync = join.is_before(heard, &admission);
            let typing = self.typists.now();
            let also = (resync, typing.as_slice());
            let arguments = protocol::join_ack(&join, &admission.chat, also, self.rooms.pod());
            // A socket that is closed needs no answer.
            let _ = socket.ack(ack, &arguments);
        }
        Ok(())
    }

    async fn on_joiner(&mut self, joiner: Joiner) -> Ended {
        let Joiner { socket, user, place, typing, known } = joiner;
        let entry = self.entry((&socket, &user), known);
        let (entered, heard) = self.room.enter((socket.key(), socket.clone(), user), place, now());
        // For those who were here before.
        self.fan_out(heard).await;
        let (events, is_in) = match entered {
            Entered::Member(events) => (events, true),
            Entered::Removed(events) => (events, false),
            Entered::Behind => return Ended::Behind,
        };
        let told = events.last().and_then(|event| event.version).unwrap_or(place.version);
        self.note_entry(socket.key(), entry, (told, is_in));
        for event in &events {
            // One that is closed is found out at the next event.
            let _ = socket.send(&event.frame);
        }
        self.rooms.0.metrics.replayed.inc_by(events.len() as u64);
        if is_in {
            for remark in self.typists.since(&typing) {
                let _ = socket.send(&self.frame(&remark));
            }
        } else {
            self.rooms.0.metrics.evicted.inc();
        }
        self.linger();
        Ended::Member
    }

    fn leave(&mut self, key: u64) {
        self.room.leave(key);
        if let Some(typist) = self.writers.stop(key) {
            self.tell(typist, false);
        }
    }

    /// What was asked before a break is not answered any more, and once the bus is back it is asked again. Whether a
    /// subscription has overrun is found out by a comparison.
    fn on_bus_change(&mut self) {
        let now = *self.state.borrow_and_update();
        let now = (now.connected, now.breaks);
        if std::mem::replace(&mut self.connection, now) != now {
            self.catching_up = None;
            self.room.order.on_interruption();
        }
    }

    fn expect_joins(&mut self) {
        self.pending.retain(|ticket| ticket.strong_count() > 0);
        self.room.order.expect_joins(!self.pending.is_empty());
    }

    /// An empty room ends a while after it became empty; a room with members does not.
    fn linger(&mut self) {
        if !self.room.is_empty() {
            self.closes_at = None;
        } else if self.closes_at.is_none() {
            self.closes_at = Some(Instant::now() + LINGER);
        }
    }

    /// Whether the room may end now: empty, with nobody on the way in.
    fn may_close(&mut self) -> bool {
        self.expect_joins();
        if !self.pending.is_empty() || !self.commands.is_empty() {
            self.closes_at = Some(Instant::now() + LINGER);
            return false;
        }
        self.room.is_empty()
    }

    /// Takes the room off the list, unless a successor stands there already. Commands that come too late fail, and
    /// their senders begin again with a new room.
    fn close(&mut self) {
        self.note_end();
        self.commands.close();
        let mut open = self.rooms.0.open.lock();
        if open.get(&self.chat).is_some_and(|open| open.commands.is_closed()) {
            open.remove(&self.chat);
        }
    }
}

/// Waits until these connections have read most of what they were told; but not for long.
async fn has_room(members: Vec<Socket>, until: Instant) {
    let all = async {
        for member in members {
            member.has_room().await;
        }
    };
    let _ = timeout_at(until, all).await;
}

/// One ask, when it is the room's turn, and `paced` is over.
async fn catch_up_with(
    rooms: Rooms,
    chat_id: ChatId,
    catch_up: CatchUp,
    paced: impl Future<Output = ()>,
) -> Option<Answer<Frame>> {
    paced.await;
    // The semaphore is never closed.
    let _turn = rooms.0.catch_ups.acquire().await.ok()?;
    rooms.0.metrics.asked(Asking::CatchUp);
    let ask = CatchUpAsk { chat_id, position: catch_up.position };
    match rooms.0.bus.ask(&ask).await {
        Ok(answer) => passing::caught_up(answer),
        Err(error) => {
            tracing::debug!(chat.id = %chat_id, %error, "a catch-up in vain");
            None
        }
    }
}

async fn answered(running: &mut Option<CatchingUp>) -> Option<Answer<Frame>> {
    let Some(future) = running else { return std::future::pending().await };
    let answer = future.await;
    *running = None;
    answer
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
