//! What a room remembers of its telling, for whoever asks why somebody did not get a message.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use parley_domain::delivery::{
    DeliveryAsk, KnownBy, Leaving, MAX_ACCOUNTS, MembershipAccount, MembershipEnded, Way,
};
use parley_domain::ids::UserId;
use parley_domain::version::Version;
use parley_socketio::{Frame, Socket, SocketId};

use super::RoomTask;
use crate::room::{Came, Event, Left, Tellings};
use crate::rooms::RoomAccount;

/// Who came in, when, and what they knew; and how versions were passed.
#[derive(Default)]
pub(super) struct Accounts {
    entries: HashMap<u64, Entry>,
    tellings: Tellings,
}

/// How a member came in.
pub(super) struct Entry {
    user: UserId,
    socket: SocketId,
    joined_at: DateTime<Utc>,
    known: (Version, KnownBy),
    entered_at: Version,
}

impl Entry {
    fn account(&self, up_to: Version, ended: Option<MembershipEnded>) -> MembershipAccount {
        let (known, known_by) = self.known;
        MembershipAccount {
            socket: self.socket.to_string(),
            joined_at: self.joined_at,
            known,
            known_by,
            entered_at: self.entered_at,
            up_to,
            ended,
        }
    }
}

impl RoomTask {
    /// What is known of a user and a version.
    pub(super) fn account(&self, ask: &DeliveryAsk) -> RoomAccount {
        let at = self.room.order.at().map_or(Version::default(), |at| at.version);
        let entries = self.accounts.entries.iter().filter(|(_, it)| it.user == ask.user_id);
        let account = |(key, entry): (&u64, &Entry)| {
            entry.account(self.room.heard_by(*key).unwrap_or(entry.entered_at), None)
        };
        let mut memberships: Vec<_> = entries.map(account).collect();
        memberships.sort_by_key(|membership| membership.joined_at);
        let rest = memberships.len().saturating_sub(MAX_ACCOUNTS);
        memberships.drain(..rest);
        RoomAccount { at, told: self.accounts.tellings.of(ask.version), memberships }
    }

    /// Which of these are members now.
    pub(super) fn here(&self, mut users: Vec<UserId>) -> Vec<UserId> {
        users.retain(|user| self.accounts.entries.values().any(|entry| entry.user == *user));
        users
    }

    /// Somebody is about to come in.
    pub(super) fn entry(
        &self,
        (socket, user): (&Socket, &UserId),
        known: (Version, KnownBy),
    ) -> Entry {
        let (socket, joined_at) = (socket.id(), self.rooms.0.clock.now());
        Entry { user: user.clone(), socket, joined_at, known, entered_at: Version::default() }
    }

    /// It was told everything up to `told`, and is a member, or was removed with that.
    pub(super) fn note_entry(&mut self, key: u64, entry: Entry, (told, is_in): (Version, bool)) {
        let entry = Entry { entered_at: told, ..entry };
        self.accounts.entries.insert(key, entry);
        if !is_in {
            self.note_ending(key, told, Leaving::Removed);
        }
    }

    /// A durable event has passed.
    pub(super) fn note_telling(&mut self, event: &Event<Frame>) {
        if let Some(version) = event.version {
            let way = if event.came == Came::CaughtUp { Way::CatchUp } else { Way::Live };
            self.accounts.tellings.note(version, way, self.rooms.0.clock.now());
        }
    }

    /// A member is about to leave.
    pub(super) fn note_leaving(&mut self, key: u64, why: Leaving) {
        let entered_at = self.accounts.entries.get(&key).map(|entry| entry.entered_at);
        // One that was closed while it came in is no member any more.
        if let Some(up_to) = self.room.heard_by(key).or(entered_at) {
            self.note_ending(key, up_to, why);
        }
    }

    /// A member is closed, and did not hear this.
    pub(super) fn note_closed(&mut self, key: u64, event: &Event<Frame>) {
        let before = event.version.map(|version| Version(version.0.saturating_sub(1)));
        let heard = self.room.heard_by(key).unwrap_or_default();
        self.note_ending(key, before.map_or(heard, |before| before.min(heard)), Leaving::Closed);
    }

    /// Who left with an event has heard it, or was not to hear it.
    pub(super) fn note_passed(&mut self, event: &Event<Frame>, left: &Left<Socket>) {
        if left.removed == 0 && left.closed.is_empty() {
            return;
        }
        let version = event.version.unwrap_or_default();
        let before = Version(version.0.saturating_sub(1));
        let is_out = |(key, entry): (&u64, &Entry)| {
            let removed = event.removed.contains(&entry.user);
            let how =
                if removed { (version, Leaving::Removed) } else { (before, Leaving::SentAway) };
            self.room.user_of(*key).is_none().then_some((*key, how))
        };
        let out: Vec<_> = self.accounts.entries.iter().filter_map(is_out).collect();
        for (key, (up_to, why)) in out {
            self.note_ending(key, up_to, why);
        }
    }

    /// Nobody can be told what comes next.
    pub(super) fn note_all_sent_away(&mut self) {
        let up_to = self.at.version();
        let keys: Vec<u64> = self.accounts.entries.keys().copied().collect();
        for key in keys {
            self.note_ending(key, up_to, Leaving::SentAway);
        }
    }

    /// The room ends. What it has told stays known for a while.
    pub(super) fn note_end(&mut self) {
        let now = self.rooms.0.clock.now();
        self.rooms.0.recent.room_closed(
            self.chat,
            std::mem::take(&mut self.accounts.tellings),
            now,
        );
    }

    fn note_ending(&mut self, key: u64, up_to: Version, why: Leaving) {
        if let Some(entry) = self.accounts.entries.remove(&key) {
            let at = self.rooms.0.clock.now();
            let account = entry.account(up_to, Some(MembershipEnded { at, why }));
            self.rooms.0.recent.left(self.chat, entry.user, account);
        }
    }
}
