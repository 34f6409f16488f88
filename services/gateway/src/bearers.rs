//! Whose connections this pod holds: what is said to a user reaches them all, and a revocation ends them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::ask::RevokedAsk;
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::event::{Resync, ResyncReason};
use parley_domain::ids::UserId;
use parley_domain::token::{Revocation, is_revoked};
use parley_domain::user::Role;
use parley_relay::Bus;
use parley_socketio::{CloseReason, Frame, Socket};
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use crate::asks::{self, Token};

/// The longest pause after an ask in vain; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The connections of this pod by their bearers; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Bearers(Arc<Mutex<HashMap<UserId, Vec<Held>>>>);

struct Held {
    hearing: Hearing,
    role: Role,
    issued_at: Option<DateTime<Utc>>,
    socket: Socket,
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
}

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
    fn hear(&mut self, version: u64) -> Fate {
        if version <= self.told {
            return Fate::Dropped;
        }
        self.told = version;
        let next = self.known.is_none_or(|known| version <= known + 1);
        self.known = self.known.max(Some(version));
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
    /// Keeps a connection in mind.
    pub(crate) fn hold(
        &self,
        user: &UserId,
        role: Role,
        issued_at: Option<DateTime<Utc>>,
        socket: &Socket,
    ) -> Place {
        let held = Held {
            hearing: Hearing::Nothing { missed: false },
            role,
            issued_at,
            socket: socket.clone(),
        };
        self.0.lock().entry(user.clone()).or_default().push(held);
        Place { bearers: self.clone(), user: user.clone(), key: socket.key() }
    }

    /// Passes an event on to the connections that it is for.
    pub(crate) fn tell(&self, event: &RoomEvent) {
        let frame = Frame::event("/", &event.event);
        let mut held = self.0.lock();
        if event.kind == Kind::SupportOpened {
            let pool = held.values_mut().flatten().filter(|held| held.role.is_in_support_pool());
            pool.for_each(|held| held.hear(&frame, None));
        } else {
            for (user, version) in event.affected.iter().zip(&event.membership_versions) {
                let connections = held.get_mut(user).into_iter().flatten();
                connections.for_each(|held| held.hear(&frame, Some(*version)));
            }
        }
    }

    /// Everybody who has a connection here.
    pub(crate) fn users(&self) -> Vec<UserId> {
        self.0.lock().keys().cloned().collect()
    }

    /// Whether a user's connections have heard of every change of the set of the user's chats.
    pub(crate) fn has_heard(&self, user: &UserId, membership_version: u64) -> bool {
        let held = self.0.lock();
        let mut hearings = held.get(user).into_iter().flatten().map(|held| held.hearing);
        hearings.all(|hearing| match hearing {
            Hearing::Nothing { .. } => true,
            Hearing::Everything(heard) => heard.known >= Some(membership_version),
        })
    }

    /// Has a user's connections reload which chats there are, unless they have heard of every change.
    pub(crate) fn catch_up(&self, user: &UserId, membership_version: u64) {
        let mut held = self.0.lock();
        for held in held.get_mut(user).into_iter().flatten() {
            if let Hearing::Everything(heard) = &mut held.hearing
                && heard.known < Some(membership_version)
            {
                *heard = Heard { known: Some(membership_version), told: membership_version };
                held.reload();
            }
        }
    }

    /// Has the pool's connections reload which chats there are: what is opened for the pool is not counted.
    pub(crate) fn catch_up_pool(&self) {
        let held = self.0.lock();
        let pool = held.values().flatten().filter(|held| held.role.is_in_support_pool());
        pool.filter(|held| matches!(held.hearing, Hearing::Everything(_))).for_each(Held::reload);
    }

    fn counts(&self, user: &UserId, key: u64, membership_version: Option<u64>) {
        let mut held = self.0.lock();
        let sockets = held.get_mut(user).into_iter().flatten();
        for held in sockets.filter(|held| held.socket.key() == key) {
            let Hearing::Nothing { missed } = held.hearing else { continue };
            held.hearing = Hearing::Everything(Heard { known: membership_version, told: 0 });
            if missed {
                held.reload();
            }
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
        let mut held = self.0.lock();
        let sockets = held.get_mut(user).into_iter().flatten();
        for held in sockets.filter(|held| held.socket.key() == key) {
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
                },
            });
            if !is_whole {
                held.reload();
            }
        }
    }

    /// Forgets a connection that goes to another gateway, and says what it has heard.
    fn depart(&self, user: &UserId, key: u64) -> Option<Heard> {
        let mut held = self.0.lock();
        let place = held.get(user)?.iter().position(|held| held.socket.key() == key)?;
        match held.get_mut(user)?.swap_remove(place).hearing {
            Hearing::Everything(heard) => Some(heard),
            Hearing::Nothing { .. } => None,
        }
    }

    /// Closes what was opened with a token that is revoked now. A stock client comes back by itself, and is told why it
    /// may not.
    pub(crate) fn revoke(&self, revocation: &Revocation) {
        let held = self.0.lock();
        for held in held.get(&revocation.user_id).into_iter().flatten() {
            if is_revoked(held.issued_at, Some(revocation.valid_after)) {
                held.socket.close(CloseReason::GoingAway);
            }
        }
    }
}

impl Held {
    /// One that is closed comes back, and reads which chats it has.
    fn hear(&mut self, frame: &Frame, version: Option<u64>) {
        let fate = match (&mut self.hearing, version) {
            (Hearing::Nothing { missed }, _) => return *missed = true,
            (Hearing::Everything(_), None) => Fate::Passed,
            (Hearing::Everything(heard), Some(version)) => heard.hear(version),
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
        bus: Bus,
        ask: RevokedAsk,
        socket: Socket,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (bearers, user, key) = (self.bearers.clone(), self.user.clone(), self.key);
        async move {
            let mut pause = asks::PAUSE;
            while !socket.is_closed() {
                match asks::ask_revoked(&bus, &ask).await {
                    Some(Token::Counts(version)) => return bearers.counts(&user, key, version),
                    // Closed, it comes back, and is told why it may not.
                    Some(Token::Revoked) => return socket.close(CloseReason::GoingAway),
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
        let mut held = self.bearers.0.lock();
        if let Some(sockets) = held.get_mut(&self.user) {
            sockets.retain(|held| held.socket.key() != self.key);
            if sockets.is_empty() {
                held.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_is_told_once_and_one_that_was_not_heard_shows() {
        let mut heard = Heard { known: Some(4), told: 0 };
        assert_eq!(heard.hear(4), Fate::Passed, "on its way while the connection came");
        assert_eq!(heard.hear(4), Fate::Dropped, "told again");
        assert_eq!(heard.hear(5), Fate::Passed);
        assert_eq!(heard.hear(7), Fate::Missed);
        assert_eq!(heard.hear(6), Fate::Dropped, "the reload has brought it");
        assert_eq!(heard.hear(8), Fate::Passed);
        assert_eq!(heard, Heard { known: Some(8), told: 8 });
        let mut unknown = Heard { known: None, told: 0 };
        assert_eq!(unknown.hear(3), Fate::Passed);
        assert_eq!(unknown.hear(5), Fate::Missed);
    }
}
