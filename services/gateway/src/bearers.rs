//! Whose connections this pod holds, so that a revocation ends them.

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::ids::UserId;
use parley_domain::token::{Caller, Revocation, is_revoked};
use parley_socketio::{CloseReason, Socket};

/// The connections of this pod by their bearers; clones share them.
#[derive(Clone, Default)]
pub(crate) struct Bearers(Arc<Mutex<HashMap<UserId, Vec<Held>>>>);

struct Held {
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
        let held = Held { issued_at: caller.issued_at, socket: socket.clone() };
        self.0.lock().entry(caller.id.clone()).or_default().push(held);
        Place { bearers: self.clone(), user: caller.id.clone(), key: socket.key() }
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
