//! The rooms of this pod: one task and one subscription each, from the first local connection to a second after the
//! last.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::ask::{JoinAsk, JoinSnapshot};
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::event::Resync;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use parley_domain::version::Version;
use parley_relay::{Bus, BusState, RoomSubscription};
use parley_socketio::{Ack, Frame, Socket};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until};

use crate::asks::{self, Asked, Patience};
use crate::metrics::Metrics;
use crate::planted;
use crate::protocol::{self, Join};
use crate::room::{Heard, Joined, Room};

/// Joins and leaves that may wait for one room; more wait in their connections, each in its own.
const COMMANDS: usize = 256;
/// How long an empty room stays subscribed: a page that is reloaded comes back within it.
const LINGER: Duration = Duration::from_secs(1);
/// Sockets served before other tasks get a turn.
const FAN_OUT_TURN: usize = 256;

/// Every room of this pod.
#[derive(Clone)]
pub(crate) struct Rooms(Arc<Shared>);

struct Shared {
    bus: Bus,
    metrics: Metrics,
    pod: String,
    open: Mutex<HashMap<ChatId, mpsc::Sender<Command>>>,
}

enum Command {
    /// A join begins: keep what passes from now on. Answered once the room is subscribed.
    Begin { ticket: Weak<()>, ready: oneshot::Sender<Interruptions> },
    /// The join's snapshot is there.
    End { joiner: Joiner, ended: oneshot::Sender<Ended> },
    /// A connection leaves.
    Leave { key: u64, left: Option<oneshot::Sender<()>> },
}

/// How often the bus had been interrupted when a join began; a snapshot that an interruption may have overtaken is
/// worth nothing.
type Interruptions = u64;

struct Joiner {
    socket: Socket,
    user: UserId,
    join: Join,
    begun: Interruptions,
    snapshot: JoinSnapshot,
    ack: Option<Ack>,
}

enum Ended {
    Member,
    /// The room passed more than it keeps, or was interrupted; here is the ack for the next try.
    Again(Option<Ack>),
}

/// How a join came out.
pub(crate) enum JoinOutcome {
    /// The connection is a member and has its ack.
    Joined,
    /// It may not; the ack is still to be sent.
    Refused(parley_domain::ask::JoinRefusal, Option<Ack>),
    /// Nobody could say for as long as it was worth asking.
    Unavailable,
}

impl Rooms {
    pub(crate) fn new(bus: Bus, metrics: Metrics, pod: String) -> Self {
        Self(Arc::new(Shared { bus, metrics, pod, open: Mutex::default() }))
    }

    /// Makes `socket` a member of the room, sends its ack, and then what passed after its snapshot.
    pub(crate) async fn join(
        &self,
        socket: &Socket,
        (user, role): (&UserId, Role),
        join: Join,
        mut ack: Option<Ack>,
    ) -> JoinOutcome {
        let patience = Patience::of(socket);
        let ask = JoinAsk { chat_id: join.chat, user_id: user.clone(), role, position: None };
        // Who may not enter must not make this pod subscribe.
        if !self.is_open(join.chat) {
            match asks::ask_join(&self.0.bus, &ask, &patience).await {
                Asked::Joined(_) => {}
                Asked::Refused(refusal) => return JoinOutcome::Refused(refusal, ack),
                Asked::Unavailable => return JoinOutcome::Unavailable,
            }
        }
        while !patience.is_over() {
            let room = self.open(join.chat);
            // While the ticket lives, the room keeps what passes.
            let ticket = Arc::new(());
            let (ready, readied) = oneshot::channel();
            let begin = Command::Begin { ticket: Arc::downgrade(&ticket), ready };
            if room.send(begin).await.is_err() {
                continue;
            }
            // The room ended just now, or could not subscribe; its task has paused for that.
            let Ok(begun) = readied.await else { continue };
            let snapshot = match asks::ask_join(&self.0.bus, &ask, &patience).await {
                Asked::Joined(snapshot) => snapshot,
                Asked::Refused(refusal) => return JoinOutcome::Refused(refusal, ack),
                Asked::Unavailable => return JoinOutcome::Unavailable,
            };
            let (ended, end) = oneshot::channel();
            let joiner =
                Joiner { socket: socket.clone(), user: user.clone(), join, begun, snapshot, ack };
            // Should the room's task break with the ack in its hands, both of these fail.
            let _ = room.send(Command::End { joiner, ended }).await;
            match end.await {
                Ok(Ended::Member) => return JoinOutcome::Joined,
                Ok(Ended::Again(unused)) => ack = unused,
                Err(_) => return JoinOutcome::Unavailable,
            }
        }
        JoinOutcome::Unavailable
    }

    /// Ends a membership. When this returns, nothing more of the room reaches the socket.
    pub(crate) async fn leave(&self, chat: ChatId, socket: &Socket) {
        let (left, done) = oneshot::channel();
        if self.send(chat, Command::Leave { key: socket.key(), left: Some(left) }).await {
            let _ = done.await;
        }
    }

    /// The connection is gone.
    pub(crate) async fn forget(&self, chat: ChatId, socket: &Socket) {
        self.send(chat, Command::Leave { key: socket.key(), left: None }).await;
    }

    async fn send(&self, chat: ChatId, command: Command) -> bool {
        let room = self.0.open.lock().get(&chat).cloned();
        match room {
            Some(room) => room.send(command).await.is_ok(),
            None => false,
        }
    }

    fn is_open(&self, chat: ChatId) -> bool {
        self.0.open.lock().contains_key(&chat)
    }

    /// The room's task, started if there is none.
    fn open(&self, chat: ChatId) -> mpsc::Sender<Command> {
        let mut open = self.0.open.lock();
        if let Some(room) = open.get(&chat).filter(|room| !room.is_closed()) {
            return room.clone();
        }
        let (sender, commands) = mpsc::channel(COMMANDS);
        open.insert(chat, sender.clone());
        self.0.metrics.rooms.inc();
        let rooms = self.clone();
        tokio::spawn(async move {
            RoomTask::new(rooms.clone(), chat, commands).run().await;
            rooms.0.metrics.rooms.dec();
        });
        sender
    }
}

struct Member {
    socket: Socket,
    /// The version of the member's snapshot: what is at or below it is known there.
    floor: Version,
    /// Whose head is asked for after an interruption.
    user: UserId,
}

/// What passes through a room.
#[derive(Clone)]
struct Passing {
    frame: Frame,
    /// Who is not in the chat from here on.
    removed: Arc<[UserId]>,
}

impl Passing {
    fn of(event: &RoomEvent) -> Self {
        let removed = match event.kind {
            Kind::ParticipantRemoved => event.affected.as_slice().into(),
            _ => Arc::default(),
        };
        Self { frame: Frame::event("/", &event.event), removed }
    }
}

/// One room's task. Everything in the room happens here, one thing after the other.
struct RoomTask {
    rooms: Rooms,
    chat: ChatId,
    commands: mpsc::Receiver<Command>,
    state: watch::Receiver<BusState>,
    room: Room<Passing>,
    members: HashMap<u64, Member>,
    /// Joins that have begun and not ended; a dead one was given up.
    pending: Vec<Weak<()>>,
    /// When the room ends, unless somebody comes.
    closes_at: Option<Instant>,
    /// After an interruption: finding out where the chat stands.
    check: Option<Check>,
}

type Check = Pin<Box<dyn Future<Output = Asked> + Send>>;

impl RoomTask {
    fn new(rooms: Rooms, chat: ChatId, commands: mpsc::Receiver<Command>) -> Self {
        let state = rooms.0.bus.state();
        Self {
            rooms,
            chat,
            commands,
            state,
            room: Room::new(),
            members: HashMap::new(),
            pending: Vec::new(),
            closes_at: Some(Instant::now() + LINGER),
            check: None,
        }
    }

    async fn run(mut self) {
        self.state.mark_unchanged();
        match self.rooms.0.bus.subscribe(self.chat).await {
            Ok(subscription) => self.serve(subscription).await,
            Err(error) => {
                tracing::warn!(chat.id = %self.chat, %error, "a room could not subscribe");
                // Whoever waits tries again; not at once.
                tokio::time::sleep(Duration::from_millis(250)).await;
            }
        }
        self.close();
    }

    async fn serve(&mut self, mut subscription: RoomSubscription) {
        loop {
            tokio::select! {
                event = subscription.next() => match event {
                    Some(event) => self.on_event(event).await,
                    None => return,
                },
                command = self.commands.recv() => match command {
                    Some(command) => self.on_command(command).await,
                    None => return,
                },
                changed = self.state.changed() => match changed {
                    Ok(()) => self.on_bus_change(),
                    Err(_) => return,
                },
                asked = checked(&mut self.check) => self.on_checked(asked).await,
                () = until(self.room.deadline().map(Instant::from_std)) => self.on_hold_over().await,
                () = until(self.closes_at) => if self.may_close() { return },
            }
        }
    }

    async fn on_event(&mut self, event: RoomEvent) {
        let passing = Passing::of(&event);
        if event.kind == Kind::MessagesRead && !event.affected.is_empty() {
            return self.deliver(None, &passing.frame, Some(&event.affected)).await;
        }
        let pending = self.joins_pending();
        let heard = self.room.on_event(event.version, passing, std::time::Instant::now(), pending);
        self.fan_out(heard).await;
    }

    async fn on_hold_over(&mut self) {
        let pending = self.joins_pending();
        let heard = self.room.on_deadline(std::time::Instant::now(), pending);
        self.fan_out(heard).await;
    }

    async fn on_command(&mut self, command: Command) {
        match command {
            Command::Begin { ticket, ready } => {
                self.pending.push(ticket);
                self.linger();
                // Whoever does not wait any more has dropped its ticket too.
                let _ = ready.send(self.state.borrow().interruptions);
            }
            Command::End { joiner, ended } => {
                let outcome = self.on_joined(joiner).await;
                let _ = ended.send(outcome);
            }
            Command::Leave { key, left } => {
                self.members.remove(&key);
                self.linger();
                if let Some(left) = left {
                    let _ = left.send(());
                }
            }
        }
    }

    async fn on_joined(&mut self, joiner: Joiner) -> Ended {
        let Joiner { socket, user, join, begun, snapshot, ack } = joiner;
        if begun != self.state.borrow().interruptions {
            return Ended::Again(ack);
        }
        let (joined, heard) = self.room.on_join(snapshot.version, std::time::Instant::now());
        // For those who were here before; the joiner gets it by replay.
        self.fan_out(heard).await;
        let Joined::At(replay) = joined else { return Ended::Again(ack) };
        if let Some(ack) = ack {
            let arguments = protocol::join_ack(&join, &snapshot, &self.rooms.0.pod);
            let _ = socket.ack(ack, &arguments);
        }
        if let Entry::Vacant(place) = self.members.entry(socket.key()) {
            let mut is_in = true;
            for passing in &replay {
                let _ = socket.send(&passing.frame);
                if passing.removed.contains(&user) {
                    // It came while the join was under way.
                    self.rooms.0.metrics.evicted.inc();
                    is_in = false;
                    break;
                }
            }
            if is_in {
                place.insert(Member { socket: socket.clone(), floor: snapshot.version, user });
            }
        }
        self.linger();
        Ended::Member
    }

    /// Passes on, and lets go of members whose connection is closed.
    async fn fan_out(&mut self, heard: Vec<Heard<Passing>>) {
        for heard in heard {
            match heard {
                Heard::Event(version, Passing { frame, removed }) => {
                    self.deliver(version, &frame, None).await;
                    self.evict(version, &removed);
                }
                Heard::Resync(reason) => {
                    self.rooms.0.metrics.resync(reason);
                    let resync = Resync { chat_id: self.chat, reason };
                    self.deliver(None, &Frame::event("/", &resync.encode()), None).await;
                }
            }
        }
    }

    /// The connections of whoever was removed at this version hear that, and nothing after it. One that joined later was
    /// let in again.
    fn evict(&mut self, version: Option<Version>, removed: &[UserId]) {
        if removed.is_empty() {
            return;
        }
        let before = self.members.len();
        self.members.retain(|_, member| {
            let knew = version.is_some_and(|version| version <= member.floor);
            knew || !removed.contains(&member.user)
        });
        self.rooms.0.metrics.evicted.inc_by((before - self.members.len()) as u64);
        self.linger();
    }

    /// Gives a frame to every member, or only to some people's connections.
    async fn deliver(&mut self, version: Option<Version>, frame: &Frame, only: Option<&[UserId]>) {
        let mut delivered = 0;
        let mut closed = Vec::new();
        for (key, member) in &self.members {
            let known = version.is_some_and(|version| version <= member.floor);
            if known || only.is_some_and(|users| !users.contains(&member.user)) {
                continue;
            }
            if planted::send(self.chat, &member.socket, frame).is_err() {
                closed.push(*key);
                continue;
            }
            delivered += 1;
            if delivered % FAN_OUT_TURN == 0 {
                tokio::task::yield_now().await;
            }
        }
        self.rooms.0.metrics.delivered.inc_by(delivered as u64);
        for key in closed {
            self.members.remove(&key);
        }
        self.linger();
    }

    /// After an interruption nothing passes until somebody has looked where the chat stands.
    fn on_bus_change(&mut self) {
        self.room.on_interruption();
        // What was being found out before is worth nothing; while the bus is away, nothing can be.
        self.check = None;
        let connected = self.state.borrow_and_update().connected;
        let somebody = self.members.values().next().map(|member| member.user.clone());
        let (true, true, Some(user_id)) = (connected, self.room.is_unsure(), somebody) else {
            return;
        };
        let bus = self.rooms.0.bus.clone();
        // Where the chat stands is what is asked; a member is a participant by now, whatever the role.
        let ask = JoinAsk { chat_id: self.chat, user_id, role: Role::User, position: None };
        self.check = Some(Box::pin(asks::ask_head(bus, ask)));
    }

    async fn on_checked(&mut self, asked: Asked) {
        match asked {
            Asked::Joined(snapshot) => {
                let heard = self.room.on_head(snapshot.version, std::time::Instant::now());
                self.fan_out(heard).await;
            }
            // Nobody can say: the members come back by themselves and reload.
            Asked::Refused(_) | Asked::Unavailable => self.drop_members(),
        }
    }

    fn drop_members(&mut self) {
        tracing::warn!(chat.id = %self.chat, "nobody could say where a room stands; its connections are closed");
        for (_, member) in self.members.drain() {
            member.socket.close(parley_socketio::CloseReason::GoingAway);
        }
        self.linger();
    }

    fn joins_pending(&mut self) -> bool {
        self.pending.retain(|ticket| ticket.strong_count() > 0);
        !self.pending.is_empty()
    }

    /// An empty room ends a while after it became empty; a room with members does not.
    fn linger(&mut self) {
        if !self.members.is_empty() {
            self.closes_at = None;
        } else if self.closes_at.is_none() {
            self.closes_at = Some(Instant::now() + LINGER);
        }
    }

    /// Whether the room may end now: empty, with nobody on the way in.
    fn may_close(&mut self) -> bool {
        if self.joins_pending() || !self.commands.is_empty() {
            self.closes_at = Some(Instant::now() + LINGER);
            return false;
        }
        self.members.is_empty()
    }

    /// Takes the room off the list, unless a successor stands there already. Commands that come too late fail, and
    /// their senders begin again with a new room.
    fn close(&mut self) {
        self.commands.close();
        let mut open = self.rooms.0.open.lock();
        if open.get(&self.chat).is_some_and(mpsc::Sender::is_closed) {
            open.remove(&self.chat);
        }
    }
}

async fn checked(check: &mut Option<Check>) -> Asked {
    let Some(running) = check else { return std::future::pending().await };
    let asked = running.await;
    *check = None;
    asked
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
