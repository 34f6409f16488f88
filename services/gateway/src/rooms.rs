//! The rooms of this pod: one task and one subscription each, from the first local connection to a second after the
//! last. What is decided is decided in [`crate::room`]; here bytes are moved.

mod task;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::delivery::{DeliveryAsk, KnownBy, MembershipAccount, Telling};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::time::Clock;
use parley_domain::typing::Typist;
use parley_domain::version::Version;
use parley_relay::{Bus, Presence, TypingPublisher};
use parley_socketio::{Ack, Socket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::Instant;

use crate::asks::{Admission, Asks, Patience};
use crate::metrics::Metrics;
use crate::protocol::Join;
use crate::recent::Recent;
use crate::room::{Standing, Turn};
use task::RoomTask;

/// Joins and leaves that may wait for one room; more wait in their connections, each in its own.
const COMMANDS: usize = 256;
/// Rooms of this pod that catch up at a time; more wait for their turn.
const CATCH_UPS: usize = 64;

/// Every room of this pod.
#[derive(Clone)]
pub(crate) struct Rooms(Arc<Shared>);

struct Shared {
    bus: Bus,
    asks: Asks,
    metrics: Metrics,
    pod: String,
    clock: Arc<dyn Clock>,
    typing: TypingPublisher,
    presence: Presence,
    recent: Recent,
    open: Mutex<HashMap<ChatId, Open>>,
    catch_ups: Arc<Semaphore>,
    /// How long a join stays pending.
    patience: Duration,
    /// How much a room tells together.
    turn: Turn,
    /// To how many members a room's own task writes.
    alone: usize,
}

/// An open room, as others see it.
struct Open {
    commands: mpsc::Sender<Command>,
    at: Arc<Place>,
}

/// Where a room stands, for whoever looks from outside; 0 before the first snapshot.
#[derive(Debug, Default)]
struct Place {
    version: AtomicU64,
    epoch: AtomicU64,
}

impl Place {
    fn set(&self, at: Option<Standing>) {
        self.version.store(at.map_or(0, |at| at.version.0), Ordering::Relaxed);
        self.epoch.store(at.map_or(0, |at| at.epoch.0), Ordering::Relaxed);
    }

    fn version(&self) -> Version {
        Version(self.version.load(Ordering::Relaxed))
    }

    /// Whether this would be news: what is further, or of another history.
    fn is_behind(&self, head: Standing) -> bool {
        self.version.load(Ordering::Relaxed) < head.version.0
            || self.epoch.load(Ordering::Relaxed) != head.epoch.0
    }
}

pub(crate) enum Command {
    /// A join begins: keep what passes from now on. Answered once the room is subscribed.
    Begin { ticket: Weak<()>, key: u64, ready: oneshot::Sender<Welcome> },
    /// A member joins again, and has been looked up. Answered with the ack, if it was not sent because the connection is no
    /// member any more.
    Rejoin { rejoiner: Box<Rejoiner>, answered: oneshot::Sender<Result<(), Option<Ack>>> },
    /// A joiner has caught up.
    End { joiner: Box<Joiner>, ended: oneshot::Sender<Ended> },
    /// A connection leaves.
    Leave { key: u64, left: Option<oneshot::Sender<()>> },
    /// A connection goes to another gateway, where it goes on with what it does. Answered with where it
    /// was, if it was a member.
    Depart { key: u64, left: oneshot::Sender<Option<Departure>> },
    /// A member writes, or has stopped.
    Typing { key: u64, name: Option<Box<str>>, is_typing: bool },
    /// What is known of a user and a version.
    Account { ask: Box<DeliveryAsk>, answer: oneshot::Sender<RoomAccount> },
    /// Which of these are members.
    Here { users: Vec<UserId>, answer: oneshot::Sender<Vec<UserId>> },
    /// Somebody says where the chat stands; when it was asked, if it was.
    Head { head: Standing, read_after: Option<Instant> },
}

/// What a room knows of a user and a version.
pub(crate) struct RoomAccount {
    /// Where the room stands.
    pub(crate) at: Version,
    /// How it has passed the version.
    pub(crate) told: Option<Telling>,
    pub(crate) memberships: Vec<MembershipAccount>,
}

/// Where a member was that leaves.
pub(crate) struct Departure {
    /// Up to where it has heard everything.
    pub(crate) place: Standing,
    /// Who writes, as it was told.
    pub(crate) typing: Vec<Typist>,
}

/// What a join meets.
pub(crate) struct Welcome {
    /// Whether the connection is a member already.
    pub(crate) is_in: bool,
    /// Who writes now.
    pub(crate) typing: Vec<Typist>,
}

/// A connection that joins a room in which it was a member a moment ago.
pub(crate) struct Rejoiner {
    pub(crate) socket: Socket,
    pub(crate) join: Join,
    pub(crate) admission: Admission,
    pub(crate) ack: Option<Ack>,
}

/// Somebody who knows everything up to a place.
pub(crate) struct Joiner {
    pub(crate) socket: Socket,
    pub(crate) user: UserId,
    pub(crate) place: Standing,
    /// Who writes, as its ack says.
    pub(crate) typing: Vec<Typist>,
    /// What it was not told because it was known, and why it was.
    pub(crate) known: (Version, KnownBy),
}

pub(crate) enum Ended {
    /// It is in, or has heard that it is not in the chat any more.
    Member,
    /// The room does not have everything that came after the joiner's place.
    Behind,
}

impl Rooms {
    pub(crate) fn new(
        bus: Bus,
        asks: Asks,
        (typing, presence): (TypingPublisher, Presence),
        (metrics, recent): (Metrics, Recent),
        (pod, clock): (String, Arc<dyn Clock>),
        (patience, turn): (Duration, Turn),
    ) -> Self {
        let alone = task::alone(tokio::runtime::Handle::current().metrics().num_workers());
        let (open, catch_ups) = (Mutex::default(), Arc::new(Semaphore::new(CATCH_UPS)));
        let shared = Shared {
            bus,
            asks,
            metrics,
            pod,
            clock,
            typing,
            presence,
            recent,
            open,
            catch_ups,
            patience,
            turn,
            alone,
        };
        Self(Arc::new(shared))
    }

    pub(crate) fn asks(&self) -> &Asks {
        &self.0.asks
    }

    pub(crate) fn bus(&self) -> &Bus {
        &self.0.bus
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.0.metrics
    }

    pub(crate) fn recent(&self) -> &Recent {
        &self.0.recent
    }

    /// How long something is worth asking for this connection.
    pub(crate) fn patience(&self, asker: &Socket) -> Patience {
        Patience::of(asker, self.0.patience)
    }

    pub(crate) fn pod(&self) -> &str {
        &self.0.pod
    }

    /// Ends a membership. When this returns, nothing more of the room reaches the socket. Says up to where it has heard
    /// everything, if it was a member.
    pub(crate) async fn leave(&self, chat: ChatId, socket: &Socket) {
        let (left, done) = oneshot::channel();
        if self.send(chat, Command::Leave { key: socket.key(), left: Some(left) }).await {
            let _ = done.await;
        }
    }

    /// The same for one that goes to another gateway: where it was, if it was a member.
    pub(crate) async fn depart(&self, chat: ChatId, socket: &Socket) -> Option<Departure> {
        let (left, done) = oneshot::channel();
        if self.send(chat, Command::Depart { key: socket.key(), left }).await {
            done.await.ok().flatten()
        } else {
            None
        }
    }

    /// A connection writes, or has stopped. Of whoever is no member, nothing is told.
    pub(crate) async fn typing(
        &self,
        chat: ChatId,
        socket: &Socket,
        name: Option<&str>,
        is_typing: bool,
    ) {
        let (key, name) = (socket.key(), name.map(Box::from));
        self.send(chat, Command::Typing { key, name, is_typing }).await;
    }

    /// What the room knows of a user and a version, if it is open.
    pub(crate) async fn account(&self, ask: &DeliveryAsk) -> Option<RoomAccount> {
        let (answer, answered) = oneshot::channel();
        let command = Command::Account { ask: Box::new(ask.clone()), answer };
        if self.send(ask.chat_id, command).await { answered.await.ok() } else { None }
    }

    /// Which of these have a connection that is a member of the room.
    pub(crate) async fn here(&self, chat: ChatId, users: Vec<UserId>) -> Vec<UserId> {
        let (answer, answered) = oneshot::channel();
        if self.send(chat, Command::Here { users, answer }).await {
            answered.await.unwrap_or_default()
        } else {
            Vec::new()
        }
    }

    /// The connection is gone.
    pub(crate) async fn forget(&self, chat: ChatId, socket: &Socket) {
        self.send(chat, Command::Leave { key: socket.key(), left: None }).await;
    }

    /// Which rooms are open.
    pub(crate) fn chats(&self) -> Vec<ChatId> {
        self.0.open.lock().keys().copied().collect()
    }

    /// Somebody says, unasked, that a chat is at least there. Most often the room has heard as much.
    pub(crate) async fn announced(&self, chat: ChatId, head: Standing) {
        let is_behind = |room: &Open| room.at.is_behind(head);
        if self.0.open.lock().get(&chat).is_some_and(is_behind) {
            self.send(chat, Command::Head { head, read_after: None }).await;
        }
    }

    /// An api pod was asked where a chat stands.
    pub(crate) async fn compared(&self, chat: ChatId, head: Standing, asked: Instant) {
        self.send(chat, Command::Head { head, read_after: Some(asked) }).await;
    }

    async fn send(&self, chat: ChatId, command: Command) -> bool {
        let room = self.0.open.lock().get(&chat).map(|open| open.commands.clone());
        match room {
            Some(room) => room.send(command).await.is_ok(),
            None => false,
        }
    }

    pub(crate) fn is_open(&self, chat: ChatId) -> bool {
        self.0.open.lock().contains_key(&chat)
    }

    /// The room's task, started if there is none.
    pub(crate) fn open(&self, chat: ChatId) -> mpsc::Sender<Command> {
        let mut open = self.0.open.lock();
        if let Some(room) = open.get(&chat).filter(|room| !room.commands.is_closed()) {
            return room.commands.clone();
        }
        let (sender, commands) = mpsc::channel(COMMANDS);
        let at = Arc::new(Place::default());
        open.insert(chat, Open { commands: sender.clone(), at: at.clone() });
        self.0.metrics.rooms.inc();
        let rooms = self.clone();
        tokio::spawn(async move {
            RoomTask::new(rooms.clone(), chat, commands, at).run().await;
            rooms.0.metrics.rooms.dec();
        });
        sender
    }
}

#[cfg(test)]
mod tests {
    use parley_domain::version::Epoch;

    use super::*;

    #[test]
    fn what_is_further_or_of_another_history_is_news() {
        let standing = |version, epoch| Standing { version: Version(version), epoch: Epoch(epoch) };
        let place = Place::default();
        place.set(Some(standing(100, 1)));
        assert!(!place.is_behind(standing(100, 1)) && !place.is_behind(standing(99, 1)));
        assert!(place.is_behind(standing(101, 1)));
        assert!(place.is_behind(standing(91, 2)), "put back");
    }
}
