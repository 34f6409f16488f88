//! Whose connections this pod holds: what is said to a user reaches them all, and a revocation ends them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::ask::RevokedAsk;
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::event::{Resync, ResyncReason};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::token::{Caller, Revocation, is_revoked};
use parley_domain::user::Role;
use parley_socketio::{CloseReason, Frame, Socket};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::asks::{self, Asks, Token};
use crate::metrics::{Metrics, SentAway};
use crate::presence::Comings;

/// The longest pause after an ask in vain; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The connections of this pod by their bearers; clones share them.
#[derive(Clone)]
pub(crate) struct Bearers(Arc<Shared>);

struct Shared {
    held: Mutex<HashMap<UserId, Vec<Held>>>,
    /// Whose first connection has come, or last one has gone.
    comings: Comings,
    /// Of one user.
    max_connections: usize,
    metrics: Metrics,
}

struct Held {
    hearing: Hearing,
    role: Role,
    issued_at: Option<DateTime<Utc>>,
    /// What was said of the user's tokens since the connection is there: a newer token may be older than that.
    valid_after: Option<DateTime<Utc>>,
    socket: Socket,
    connected_at: DateTime<Utc>,
}

/// What a connection hears of what is said to its user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hearing {
    /// Its token was not asked about yet: nothing is said to it.
    Nothing {
        /// Whether there was something.
        missed: bool,
    },
    /// Everything.
    Everything(Heard),
}

/// Which changes of the set of the user's chats a connection knows of, by their membership versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heard {
    /// All up to here happened before it came, or were told; `None` while nobody has said where that is.
    known: Option<u64>,
    /// The last one that it was told. What happened shortly before it came may still be on its way, and is told as well.
    told: u64,
    /// What that was; `None`: a reload, which has brought everything up to there.
    what: Option<What>,
}

/// A change of the set of a user's chats. Two of them may carry the same membership version: it is read when they are
/// told, and a later change may be committed by then. The kind is a number: it travels between gateways of different releases.
type What = (ChatId, u8);

/// What becomes of an event for a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Passed,
    /// It was told before: by its pod, and then by one that thought that nobody had.
    Dropped,
    /// One before it was not heard.
    Missed,
}

impl Heard {
    fn hear(&mut self, version: u64, what: What) -> Fate {
        let again = version == self.told && self.what.is_none_or(|told| told == what);
        if version < self.told || again {
            return Fate::Dropped;
        }
        let next = version > self.told && self.known.is_none_or(|known| version <= known + 1);
        self.told = version;
        self.known = self.known.max(Some(version));
        self.what = next.then_some(what);
        if next { Fate::Passed } else { Fate::Missed }
    }
}

/// One connection in the list; it leaves it with this value.
pub(crate) struct Place {
    bearers: Bearers,
    user: UserId,
    key: u64,
}

impl Bearers {
    /// Nobody yet.
    pub(crate) fn new(max_connections: u32, metrics: Metrics) -> Self {
        let max_connections = usize::try_from(max_connections).unwrap_or(usize::MAX);
        let (held, comings) = Default::default();
        Self(Arc::new(Shared { held, comings, max_connections, metrics }))
    }

    /// Keeps a connection in mind; `None` if its user has as many as allowed.
    pub(crate) fn hold(
        &self,
        user: &UserId,
        role: Role,
        issued_at: Option<DateTime<Utc>>,
        (socket, connected_at): (&Socket, DateTime<Utc>),
    ) -> Option<Place> {
        let held = Held {
            hearing: Hearing::Nothing { missed: false },
            role,
            issued_at,
            valid_after: None,
            socket: socket.clone(),
            connected_at,
        };
        let mut all = self.0.held.lock();
        let connections = all.entry(user.clone()).or_default();
        let open = connections.iter().filter(|held| !held.socket.is_closed()).count();
        if open >= self.0.max_connections {
            return None;
        }
        // Most users have one, and a vector that grows by itself makes room for four.
        connections.reserve_exact(1);
        connections.push(held);
        Some(Place { bearers: self.clone(), user: user.clone(), key: socket.key() })
    }

    /// Passes an event on to the connections that it is for.
    pub(crate) fn tell(&self, event: &RoomEvent) {
        let frame = Frame::event("/", &event.event);
        let mut held = self.0.held.lock();
        if event.kind == Kind::SupportOpened {
            let pool = held.values_mut().flatten().filter(|held| held.role.is_in_support_pool());
            pool.for_each(|held| held.hear(&frame, None));
        } else {
            for (user, version) in event.affected.iter().zip(&event.membership_versions) {
                let connections = held.get_mut(user).into_iter().flatten();
                let what = (event.chat_id, event.kind.code());
                connections.for_each(|held| held.hear(&frame, Some((*version, what))));
            }
        }
    }

    /// Who has come and gone since it was last told.
    pub(crate) fn comings(&self) -> &Comings {
        &self.0.comings
    }

    /// Everybody who is here with a token that counts.
    pub(crate) fn users_here(&self) -> Vec<UserId> {
        let held = self.0.held.lock();
        let here = held.iter().filter(|(_, connections)| is_here(connections));
        here.map(|(user, _)| user.clone()).collect()
    }

    /// Everybody who has a connection here.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.0.held.lock().keys().cloned().collect()
    }

    /// A user's open connections, and when they came.
    pub(crate) fn connections(&self, user: &UserId) -> Vec<(Socket, DateTime<Utc>)> {
        let held = self.0.held.lock();
        let connections = held.get(user).into_iter().flatten();
        let open = connections.filter(|held| !held.socket.is_closed());
        open.map(|held| (held.socket.clone(), held.connected_at)).collect()
    }

    /// Whether a user's connections have heard of every change of the set of the user's chats.
    pub(crate) fn has_heard(&self, user: &UserId, membership_version: u64) -> bool {
        let held = self.0.held.lock();
        let mut hearings = held.get(user).into_iter().flatten().map(|held| held.hearing);
        hearings.all(|hearing| match hearing {
            Hearing::Nothing { .. } => true,
            Hearing::Everything(heard) => heard.known >= Some(membership_version),
        })
    }

    /// Has a user's connections reload which chats there are, unless they have heard of every change.
    pub(crate) fn catch_up(&self, user: &UserId, membership_version: u64) {
        let mut held = self.0.held.lock();
        for held in held.get_mut(user).into_iter().flatten() {
            if let Hearing::Everything(heard) = &mut held.hearing
                && heard.known < Some(membership_version)
            {
                let known = Some(membership_version);
                *heard = Heard { known, told: membership_version, what: None };
                held.reload();
            }
        }
    }

    /// Has the pool's connections reload which chats there are: what is opened for the pool is not counted.
    pub(crate) fn catch_up_pool(&self) {
        let held = self.0.held.lock();
        let pool = held.values().flatten().filter(|held| held.role.is_in_support_pool());
        pool.filter(|held| matches!(held.hearing, Hearing::Everything(_))).for_each(Held::reload);
    }

    fn counts(&self, user: &UserId, key: u64, membership_version: Option<u64>) {
        let mut held = self.0.held.lock();
        let Some(sockets) = held.get_mut(user) else { return };
        self.note_here(user, sockets);
        for held in sockets.iter_mut().filter(|held| held.socket.key() == key) {
            let Hearing::Nothing { missed } = held.hearing else { continue };
            let heard = Heard { known: membership_version, told: 0, what: None };
            held.hearing = Hearing::Everything(heard);
            if missed {
                held.reload();
            }
        }
    }

    /// A connection's token is about to count: with the first such one, its user is here.
    fn note_here(&self, user: &UserId, connections: &[Held]) {
        if !is_here(connections) {
            self.0.comings.note(user, true);
        }
    }

    /// Of a connection that came from another gateway: whatever was said on the way there, it may have missed.
    fn resumes(
        &self,
        user: &UserId,
        key: u64,
        heard: Option<Heard>,
        membership_version: Option<u64>,
    ) {
        let mut held = self.0.held.lock();
        let Some(sockets) = held.get_mut(user) else { return };
        self.note_here(user, sockets);
        for held in sockets.iter_mut().filter(|held| held.socket.key() == key) {
            let came_along = heard.and_then(|heard| heard.known);
            // What is opened for the pool is not counted.
            let is_whole = came_along.is_some()
                && came_along >= membership_version
                && held.hearing == (Hearing::Nothing { missed: false })
                && !held.role.is_in_support_pool();
            held.hearing = Hearing::Everything(match heard {
                Some(heard) if is_whole => heard,
                _ => Heard {
                    known: membership_version,
                    told: membership_version.unwrap_or_default(),
                    what: None,
                },
            });
            if !is_whole {
                held.reload();
            }
        }
    }

    /// Forgets a connection that goes to another gateway, and says what it has heard.
    fn depart(&self, user: &UserId, key: u64) -> Option<Heard> {
        let mut held = self.0.held.lock();
        let sockets = held.get_mut(user)?;
        let place = sockets.iter().position(|held| held.socket.key() == key)?;
        let Hearing::Everything(heard) = sockets.swap_remove(place).hearing else { return None };
        if !is_here(sockets) {
            self.0.comings.note(user, false);
        }
        Some(heard)
    }

    /// Closes what was opened with a token that is revoked now. A stock client comes back by itself, and is told why it
    /// may not.
    pub(crate) fn revoke(&self, revocation: &Revocation) {
        let mut held = self.0.held.lock();
        for held in held.get_mut(&revocation.user_id).into_iter().flatten() {
            held.valid_after = held.valid_after.max(Some(revocation.valid_after));
            if is_revoked(held.issued_at, Some(revocation.valid_after)) && !held.socket.is_closed()
            {
                self.0.metrics.sent_away(SentAway::TokenRevoked);
                held.socket.close(CloseReason::GoingAway);
            }
        }
    }

    fn renew(&self, key: u64, caller: &Caller) -> bool {
        let mut held = self.0.held.lock();
        let mut connections = held.get_mut(&caller.id).into_iter().flatten();
        let Some(held) = connections.find(|held| held.socket.key() == key) else { return false };
        if is_revoked(caller.issued_at, held.valid_after) {
            return false;
        }
        held.issued_at = caller.issued_at;
        let was = std::mem::replace(&mut held.role, caller.role);
        if was.is_in_support_pool() != caller.role.is_in_support_pool() {
            held.reload();
        }
        true
    }
}

/// Whether any of a user's connections has a token that counts.
fn is_here(connections: &[Held]) -> bool {
    connections.iter().any(|held| matches!(held.hearing, Hearing::Everything(_)))
}

impl Held {
    /// One that is closed comes back, and reads which chats it has.
    fn hear(&mut self, frame: &Frame, version: Option<(u64, What)>) {
        let fate = match (&mut self.hearing, version) {
            (Hearing::Nothing { missed }, _) => return *missed = true,
            (Hearing::Everything(_), None) => Fate::Passed,
            (Hearing::Everything(heard), Some((version, what))) => heard.hear(version, what),
        };
        match fate {
            Fate::Passed => drop(self.socket.send(frame)),
            Fate::Dropped => {}
            Fate::Missed => self.reload(),
        }
    }

    fn reload(&self) {
        let resync = Resync { chat_id: None, reason: ResyncReason::Chats };
        let _ = self.socket.send(&Frame::event("/", &resync.encode()));
    }
}

impl Place {
    /// The token counts: from here on the connection hears what is said to its user. `membership_version` is as of the
    /// moment at which that was asked.
    pub(crate) fn counts(&self, membership_version: Option<u64>) {
        self.bearers.counts(&self.user, self.key, membership_version);
    }

    /// The connection goes on with another token of the same user; `false` if that was revoked while it was asked about.
    pub(crate) fn renew(&self, caller: &Caller) -> bool {
        self.bearers.renew(self.key, caller)
    }

    /// The same at the gateway that a connection came to.
    pub(crate) fn resumes(&self, heard: Option<Heard>, membership_version: Option<u64>) {
        self.bearers.resumes(&self.user, self.key, heard, membership_version);
    }

    /// The connection goes to another gateway: what it has heard here, and hears nothing more of.
    pub(crate) fn depart(&self) -> Option<Heard> {
        self.bearers.depart(&self.user, self.key)
    }

    /// Finds out about the token where nobody could say at once: a connection that enters no room is to hear what is said
    /// to its user all the same. Ends with the connection.
    pub(crate) fn later(
        &self,
        asks: Asks,
        ask: RevokedAsk,
        socket: Socket,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (bearers, user, key) = (self.bearers.clone(), self.user.clone(), self.key);
        async move {
            let mut pause = asks::PAUSE;
            while !socket.is_closed() {
                match asks::ask_revoked(&asks, &ask).await {
                    Some(Token::Counts(version)) => return bearers.counts(&user, key, version),
                    // Closed, it comes back, and is told why it may not.
                    Some(Token::Revoked) => {
                        bearers.0.metrics.sent_away(SentAway::TokenRevoked);
                        return socket.close(CloseReason::GoingAway);
                    }
                    None => {}
                }
                let chance = Duration::from_millis(rand::random_range(0..250));
                sleep(pause + chance).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.bearers.0.held.lock();
        if let Some(sockets) = held.get_mut(&self.user) {
            let was_here = is_here(sockets);
            sockets.retain(|held| held.socket.key() != self.key);
            if was_here && !is_here(sockets) {
                self.bearers.0.comings.note(&self.user, false);
            }
            if sockets.is_empty() {
                held.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chat(number: u8) -> ChatId {
        ChatId::parse(&format!("0192f0a4-7c3b-7d2e-8a1b-0000000000{number:02x}")).unwrap()
    }

    #[test]
    fn a_change_is_told_once_and_one_that_was_not_heard_shows() {
        let what = |number| (chat(number), Kind::ChatCreated.code());
        let mut heard = Heard { known: Some(4), told: 0, what: None };
        assert_eq!(heard.hear(4, what(4)), Fate::Passed, "on its way while the connection came");
        assert_eq!(heard.hear(4, what(4)), Fate::Dropped, "told again");
        assert_eq!(heard.hear(5, what(5)), Fate::Passed);
        assert_eq!(heard.hear(7, what(7)), Fate::Missed);
        assert_eq!(heard.hear(6, what(6)), Fate::Dropped, "the reload has brought it");
        assert_eq!(heard.hear(7, what(8)), Fate::Dropped, "and this one");
        assert_eq!(heard.hear(8, what(9)), Fate::Passed);
        assert_eq!(heard, Heard { known: Some(8), told: 8, what: Some(what(9)) });
        let mut unknown = Heard { known: None, told: 0, what: None };
        assert_eq!(unknown.hear(3, what(3)), Fate::Passed);
        assert_eq!(unknown.hear(5, what(5)), Fate::Missed);
    }

    #[test]
    fn a_change_that_was_told_late_carries_the_number_of_a_later_one_and_hides_it_from_nobody() {
        let (made, gone) =
            ((chat(1), Kind::ChatCreated.code()), (chat(1), Kind::ChatRemoved.code()));
        let connected = Heard { known: Some(1), told: 0, what: None };
        let mut heard = connected;
        assert_eq!(heard.hear(2, made), Fate::Passed, "counted after the removal");
        assert_eq!(heard.hear(2, gone), Fate::Missed);
        assert_eq!(heard.hear(2, gone), Fate::Dropped, "the reload has brought it");
        let mut other = connected;
        assert_eq!(other.hear(2, made), Fate::Passed);
        assert_eq!(other.hear(2, (chat(2), Kind::ChatCreated.code())), Fate::Missed);
    }
}
