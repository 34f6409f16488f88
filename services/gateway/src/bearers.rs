//! Whose connections this pod holds: what is said to a user reaches them all, and a revocation ends them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::UserId;
use parley_domain::token::{Caller, Revocation, is_revoked};
use parley_domain::user::Role;
use parley_socketio::{CloseReason, Frame, Socket};

/// The connections of this pod by their bearers; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Bearers(Arc<Mutex<HashMap<UserId, Vec<Held>>>>);

struct Held {
    /// Whether its token was asked about; before that, nothing is said to it.
    counts: bool,
    role: Role,
    issued_at: Option<DateTime<Utc>>,
    socket: Socket,
}

/// One connection in the list; it leaves it with this value.
pub(crate) struct Place {
    bearers: Bearers,
    user: UserId,
    key: u64,
}

impl Bearers {
    /// Keeps a connection in mind.
    pub(crate) fn hold(&self, caller: &Caller, socket: &Socket) -> Place {
        let held = Held {
            counts: false,
            role: caller.role,
            issued_at: caller.issued_at,
            socket: socket.clone(),
        };
        self.0.lock().entry(caller.id.clone()).or_default().push(held);
        Place { bearers: self.clone(), user: caller.id.clone(), key: socket.key() }
    }

    /// Passes an event on to the connections that it is for.
    pub(crate) fn tell(&self, event: &RoomEvent) {
        let frame = Frame::event("/", &event.event);
        let held = self.0.lock();
        let to = |held: &Held| {
            // One that is closed comes back, and reads which chats it has.
            let _ = held.socket.send(&frame);
        };
        if event.kind == Kind::SupportOpened {
            let pool = held.values().flatten().filter(|held| held.role.is_in_support_pool());
            pool.filter(|held| held.counts).for_each(to);
        } else {
            let affected = event.affected.iter().filter_map(|user| held.get(user)).flatten();
            affected.filter(|held| held.counts).for_each(to);
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

impl Place {
    /// The token counts: from here on the connection hears what is said to its user.
    pub(crate) fn counts(&self) {
        let mut held = self.bearers.0.lock();
        let sockets = held.get_mut(&self.user).into_iter().flatten();
        for held in sockets.filter(|held| held.socket.key() == self.key) {
            held.counts = true;
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
