//! How a connection enters a room: it is told where the chat stands, then page by page what it missed, and is in the
//! fan-out once it has caught up.

use std::sync::{Arc, Weak};

use parley_domain::ask::{JoinAsk, JoinRefusal, JoinSnapshot, Position};
use parley_domain::delivery::KnownBy;
use parley_domain::event::{Resync, ResyncReason};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::Typist;
use parley_domain::user::Role;
use parley_domain::version::Version;
use parley_socketio::{Ack, CloseReason, Frame, Socket};
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep;

use crate::asks::{self, Admission, Asked, PAUSE, Patience};
use crate::passing;
use crate::protocol::{self, Join};
use crate::room::{Replay, Standing, Step, Then};
use crate::rooms::{Command, Ended, Joiner, Rejoiner, Rooms, Welcome};

/// Before the first answer.
const NOTHING_KNOWN: (Version, KnownBy) = (Version(0), KnownBy::Join);

/// How a join came out.
pub(crate) enum JoinOutcome {
    /// The connection is a member and has its ack.
    Joined,
    /// It may not; the ack is still to be sent, unless it was refused on the way.
    Refused(JoinRefusal, Option<Ack>),
    /// Nobody could say for as long as it was worth asking.
    Unavailable,
}

/// A join that has begun: as long as the ticket lives, the room keeps what passes.
struct Begun {
    room: mpsc::Sender<Command>,
    _ticket: Arc<()>,
    welcome: Welcome,
}

/// One join.
struct Entrance<'a> {
    rooms: &'a Rooms,
    socket: &'a Socket,
    ask: JoinAsk,
    join: Join,
    ack: Option<Ack>,
    patience: Patience,
    /// Whether the client knows nothing of this: it is a member, as far as it knows.
    resumes: bool,
    /// Where the connection is; `None` before it has its ack.
    replay: Option<Replay>,
    /// Who writes, as its ack says.
    typing: Vec<Typist>,
    /// What it is not told because it is known, and why it is.
    known: (Version, KnownBy),
}

impl Rooms {
    /// Makes `socket` a member of the room, after its ack and what it has missed.
    pub(crate) async fn join(
        &self,
        socket: &Socket,
        (user, role): (&UserId, Role),
        join: Join,
        ack: Option<Ack>,
    ) -> JoinOutcome {
        let ask = JoinAsk { chat_id: join.chat, user_id: user.clone(), role, position: None };
        let patience = self.patience(socket);
        // Who may not enter must not make this pod subscribe.
        if !self.is_open(join.chat) {
            match asks::ask_join(self.asks(), &ask, &patience).await {
                Asked::Joined(_) => {}
                Asked::Refused(refusal) => return JoinOutcome::Refused(refusal, ack),
                Asked::Unavailable => return JoinOutcome::Unavailable,
            }
        }
        let position = join.since.map(|since| Position { since, epoch: join.epoch });
        let ask = JoinAsk { position, ..ask };
        let entrance = Entrance {
            rooms: self,
            socket,
            ask,
            join,
            ack,
            patience,
            resumes: false,
            replay: None,
            typing: Vec::new(),
            known: NOTHING_KNOWN,
        };
        entrance.run().await
    }

    /// Makes `socket` a member of a room in which its client was a member at another gateway, and has heard everything up
    /// to a place.
    pub(crate) async fn resume(
        &self,
        socket: &Socket,
        user: &UserId,
        chat: ChatId,
        (Standing { version, epoch }, typing): (Standing, Vec<Typist>),
    ) -> JoinOutcome {
        let join = Join { chat, since: Some(version), epoch: Some(epoch) };
        let position = Some(Position { since: version, epoch: Some(epoch) });
        // A participant, whatever the role: the pool must not enter a second time.
        let role = Role::User;
        let ask = JoinAsk { chat_id: chat, user_id: user.clone(), role, position };
        let entrance = Entrance {
            rooms: self,
            socket,
            ask,
            join,
            ack: None,
            patience: self.patience(socket),
            resumes: true,
            replay: None,
            typing,
            known: NOTHING_KNOWN,
        };
        entrance.run().await
    }
}

impl Entrance<'_> {
    async fn run(mut self) -> JoinOutcome {
        while !self.patience.is_over() {
            // The room ended just now, or could not subscribe; its task has paused for that.
            let Some(begun) = self.begin().await else { continue };
            if let Some(outcome) = self.come_up(&begun).await {
                return outcome;
            }
        }
        JoinOutcome::Unavailable
    }

    async fn begin(&self) -> Option<Begun> {
        let room = self.rooms.open(self.join.chat);
        let ticket = Arc::new(());
        let (ready, readied) = oneshot::channel();
        let (held, key): (Weak<()>, u64) = (Arc::downgrade(&ticket), self.socket.key());
        room.send(Command::Begin { ticket: held, key, ready }).await.ok()?;
        let welcome = readied.await.ok()?;
        Some(Begun { room, _ticket: ticket, welcome })
    }

    /// Asks and tells until the room takes the connection in; `None` when the room has ended meanwhile.
    async fn come_up(&mut self, begun: &Begun) -> Option<JoinOutcome> {
        loop {
            let admission = match asks::ask_join(self.rooms.asks(), &self.ask, &self.patience).await
            {
                Asked::Joined(admission) => admission,
                Asked::Refused(refusal) => {
                    return Some(JoinOutcome::Refused(refusal, self.ack.take()));
                }
                Asked::Unavailable => return Some(JoinOutcome::Unavailable),
            };
            if begun.welcome.is_in
                && self.replay.is_none()
                && self.rejoin(&begun.room, &admission).await?
            {
                return Some(JoinOutcome::Joined);
            }
            let step = self.next_step(admission, &begun.welcome.typing);
            if !step.events.is_empty() {
                self.patience = self.rooms.patience(self.socket);
            }
            for event in &step.events {
                self.socket.has_room().await;
                // A connection that is closed is found out by whoever asks next.
                let _ = self.socket.send(&event.frame);
            }
            self.rooms.metrics().replayed.inc_by(step.events.len() as u64);
            match step.then {
                Then::Removed => return Some(JoinOutcome::Joined),
                Then::Ask(_) => {}
                Then::Enter(place) => match self.enter(&begun.room, place).await? {
                    Ended::Member => return Some(JoinOutcome::Joined),
                    // Something passed that the room does not keep; if there is nothing to be had, not again at once.
                    Ended::Behind if step.events.is_empty() => sleep(PAUSE).await,
                    Ended::Behind => {}
                },
            }
            if self.patience.is_over() {
                return Some(JoinOutcome::Unavailable);
            }
        }
    }

    /// Acknowledged as the member that it is; `false` if it is none any more.
    async fn rejoin(
        &mut self,
        room: &mpsc::Sender<Command>,
        admission: &Admission,
    ) -> Option<bool> {
        let (answered, answer) = oneshot::channel();
        let (socket, admission) = (self.socket.clone(), admission.clone());
        let rejoiner = Rejoiner { socket, join: self.join, admission, ack: self.ack.take() };
        room.send(Command::Rejoin { rejoiner: Box::new(rejoiner), answered }).await.ok()?;
        match answer.await {
            Ok(Ok(())) => Some(true),
            Ok(Err(unused)) => {
                self.ack = unused;
                Some(false)
            }
            // The room's task broke with the ack in its hands. Closed, the client comes back.
            Err(_) => {
                self.socket.close(CloseReason::GoingAway);
                None
            }
        }
    }

    /// What the connection is told next. The first answer is its ack.
    fn next_step(&mut self, admission: Admission, typing: &[Typist]) -> Step<Frame> {
        let (step, at) = if let Some(replay) = &mut self.replay {
            let another = admission.chat.epoch != replay.at().epoch;
            let step = replay.on_snapshot(passing::snapshot(admission));
            let at = replay.at();
            if step.resync {
                self.known = (at.version, KnownBy::Resync);
                self.tell_resync(if another { ResyncReason::History } else { ResyncReason::Gap });
            }
            (step, at)
        } else {
            let (user, since) = (self.ask.user_id.clone(), self.join.since);
            let chat = admission.chat.clone();
            let (replay, step) = Replay::begin(user, since, passing::snapshot(admission));
            let at = replay.at();
            let another = self.join.is_of_another(&chat);
            let resync = step.resync || another;
            if resync && self.resumes {
                self.tell_resync(if another { ResyncReason::History } else { ResyncReason::Gap });
            }
            // One that resumes was told at the other gateway.
            if !self.resumes {
                self.typing = typing.to_vec();
            }
            self.known = match since {
                _ if resync => (at.version, KnownBy::Resync),
                Some(since) if self.resumes => (since, KnownBy::Moved),
                Some(since) => (since, KnownBy::Client),
                None => (at.version, KnownBy::Join),
            };
            self.acknowledge(&chat, resync);
            self.replay = Some(replay);
            (step, at)
        };
        self.ask.position = Some(Position { since: at.version, epoch: Some(at.epoch) });
        // A participant by now, whatever the role; the pool must not enter a second time.
        self.ask.role = Role::User;
        step
    }

    fn acknowledge(&mut self, snapshot: &JoinSnapshot, resync: bool) {
        if let Some(ack) = self.ack.take() {
            let also = (resync, self.typing.as_slice());
            let arguments = protocol::join_ack(&self.join, snapshot, also, self.rooms.pod());
            // A socket that is closed needs no answer.
            let _ = self.socket.ack(ack, &arguments);
        }
    }

    fn tell_resync(&self, reason: ResyncReason) {
        self.rooms.metrics().resync(reason);
        let resync = Resync { chat_id: Some(self.join.chat), reason };
        // A connection that is closed is found out by whoever asks next.
        let _ = self.socket.send(&Frame::event("/", &resync.encode()));
    }

    /// Into the fan-out; `None` when the room has ended.
    async fn enter(&self, room: &mpsc::Sender<Command>, place: Standing) -> Option<Ended> {
        // What the room has kept has to fit in.
        self.socket.has_room().await;
        let (ended, end) = oneshot::channel();
        let (socket, user) = (self.socket.clone(), self.ask.user_id.clone());
        let (typing, known) = (self.typing.clone(), self.known);
        let joiner = Joiner { socket, user, place, typing, known };
        room.send(Command::End { joiner: Box::new(joiner), ended }).await.ok()?;
        end.await.ok()
    }
}
