//! What has ended here a short while ago, for "why did this user not get that message?". No contents, and bounded: what
//! is oldest is forgotten first, and from when on nothing is forgotten is part of every answer.

use std::collections::VecDeque;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::delivery::{
    ConnectionAccount, ConnectionEnded, DeliveryAsk, MAX_ACCOUNTS, MembershipAccount, Telling,
};
use parley_domain::ids::{ChatId, UserId};
use prometheus::IntCounter;

use crate::room::Tellings;

/// The endings that this pod remembers. Clones share them.
#[derive(Clone)]
pub(crate) struct Recent(Arc<Shared>);

struct Shared {
    started_at: DateTime<Utc>,
    forgotten: IntCounter,
    endings: Mutex<Endings>,
}

struct Endings {
    memberships: Ring<(ChatId, UserId, MembershipAccount)>,
    connections: Ring<(UserId, ConnectionAccount)>,
    rooms: Ring<(ChatId, Tellings)>,
}

/// What is remembered about one question.
pub(crate) struct Remembered {
    pub(crate) started_at: DateTime<Utc>,
    /// From here on nothing was forgotten.
    pub(crate) from: DateTime<Utc>,
    /// How a room that is closed by now has passed the version.
    pub(crate) told: Option<Telling>,
    /// The oldest first, as all of them.
    pub(crate) memberships: Vec<MembershipAccount>,
    pub(crate) connections: Vec<ConnectionAccount>,
}

impl Recent {
    /// Remembers so many endings of each kind.
    pub(crate) fn new(most: usize, now: DateTime<Utc>, forgotten: IntCounter) -> Self {
        let endings = Endings {
            memberships: Ring::new(most),
            connections: Ring::new(most),
            rooms: Ring::new(most),
        };
        Self(Arc::new(Shared { started_at: now, forgotten, endings: Mutex::new(endings) }))
    }

    /// A connection has left a room.
    pub(crate) fn left(&self, chat: ChatId, user: UserId, account: MembershipAccount) {
        let Some(ended) = account.ended else { return };
        let forgotten = self.0.endings.lock().memberships.push(ended.at, (chat, user, account));
        self.0.forgotten.inc_by(forgotten);
    }

    /// A connection has ended.
    pub(crate) fn closed(&self, user: UserId, account: ConnectionAccount) {
        let Some(ConnectionEnded { at, .. }) = account.ended else { return };
        let forgotten = self.0.endings.lock().connections.push(at, (user, account));
        self.0.forgotten.inc_by(forgotten);
    }

    /// A room has ended.
    pub(crate) fn room_closed(&self, chat: ChatId, tellings: Tellings, at: DateTime<Utc>) {
        let forgotten = self.0.endings.lock().rooms.push(at, (chat, tellings));
        self.0.forgotten.inc_by(forgotten);
    }

    /// What is remembered of this user and this version.
    pub(crate) fn of(&self, ask: &DeliveryAsk) -> Remembered {
        let endings = self.0.endings.lock();
        let mut rooms = endings.rooms.latest().filter(|(chat, _)| *chat == ask.chat_id);
        let memberships = endings.memberships.latest();
        let memberships =
            memberships.filter(|(chat, user, _)| *chat == ask.chat_id && *user == ask.user_id);
        let connections = endings.connections.latest().filter(|(user, _)| *user == ask.user_id);
        let forgotten_until = endings.forgotten_until();
        Remembered {
            started_at: self.0.started_at,
            from: forgotten_until.map_or(self.0.started_at, |at| at.max(self.0.started_at)),
            told: rooms.find_map(|(_, tellings)| tellings.of(ask.version)),
            memberships: oldest_first(memberships.map(|(_, _, account)| account)),
            connections: oldest_first(connections.map(|(_, account)| account)),
        }
    }
}

/// The latest ones that an answer has room for.
fn oldest_first<'a, T: Clone + 'a>(latest: impl Iterator<Item = &'a T>) -> Vec<T> {
    let mut accounts: Vec<T> = latest.take(MAX_ACCOUNTS).cloned().collect();
    accounts.reverse();
    accounts
}

impl Endings {
    fn forgotten_until(&self) -> Option<DateTime<Utc>> {
        let rings = [self.memberships.forgotten, self.connections.forgotten, self.rooms.forgotten];
        rings.into_iter().flatten().max()
    }
}

/// The latest of something.
struct Ring<T> {
    most: usize,
    kept: VecDeque<(DateTime<Utc>, T)>,
    /// When the last one ended that was forgotten.
    forgotten: Option<DateTime<Utc>>,
}

impl<T> Ring<T> {
    fn new(most: usize) -> Self {
        Self { most, kept: VecDeque::new(), forgotten: None }
    }

    /// Keeps one more; says how many were forgotten for it.
    fn push(&mut self, at: DateTime<Utc>, item: T) -> u64 {
        self.kept.push_back((at, item));
        let over = self.kept.len().saturating_sub(self.most);
        for (at, _) in self.kept.drain(..over) {
            self.forgotten = self.forgotten.max(Some(at));
        }
        over as u64
    }

    fn latest(&self) -> impl Iterator<Item = &T> {
        self.kept.iter().rev().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use parley_domain::version::Version;
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn ended(second: i64) -> ConnectionAccount {
        let ended = Some(ConnectionEnded { at: at(second), why: "transport_close".to_owned() });
        ConnectionAccount { socket: second.to_string(), connected_at: at(0), waiting: 0, ended }
    }

    #[test]
    fn i9_the_oldest_endings_are_forgotten_counted_and_named() {
        let forgotten = IntCounter::new("forgotten", "Forgotten.").unwrap();
        let recent = Recent::new(3, at(5), forgotten.clone());
        let (alice, bob) = (UserId::parse("alice").unwrap(), UserId::parse("bob").unwrap());
        let chat_id = ChatId::from(Uuid::from_u128(7));
        let ask = DeliveryAsk { chat_id, user_id: alice.clone(), version: Version(1) };
        assert_eq!(recent.of(&ask).from, at(5), "since it started");
        for second in 10..15 {
            let user = if second == 13 { &bob } else { &alice };
            recent.closed(user.clone(), ended(second));
        }
        let remembered = recent.of(&ask);
        let sockets: Vec<_> = remembered.connections.iter().map(|it| it.socket.as_str()).collect();
        assert_eq!(sockets, ["12", "14"], "hers, the oldest first");
        assert_eq!((remembered.from, forgotten.get()), (at(11), 2));
    }

    #[test]
    fn nothing_is_remembered_where_nothing_may_be() {
        let forgotten = IntCounter::new("forgotten", "Forgotten.").unwrap();
        let recent = Recent::new(0, at(5), forgotten);
        let alice = UserId::parse("alice").unwrap();
        recent.closed(alice.clone(), ended(10));
        let chat_id = ChatId::from(Uuid::from_u128(7));
        let remembered = recent.of(&DeliveryAsk { chat_id, user_id: alice, version: Version(1) });
        assert_eq!((remembered.from, remembered.connections.len()), (at(10), 0));
    }
}
