//! Telling the rooms what was committed.

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::change::Change;
use parley_domain::chat::{Chat, MAX_LISTED_PARTICIPANTS};
use parley_domain::event::{self, MessagesRead};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::time::Timestamp;
use parley_relay::Publisher;
use parley_store::{Committed, Head, Marked, Store, StoreError};

use crate::memberships;

/// The one that publishes. What it cannot tell stays noted in the database, and is found by a sweep.
#[derive(Clone)]
pub(crate) struct Teller {
    publisher: Publisher,
    store: Store,
}

impl Teller {
    pub(crate) const fn new(publisher: Publisher, store: Store) -> Self {
        Self { publisher, store }
    }

    /// Tells a commit's changes, and has its trace in the database removed once they are told. Returns at once.
    pub(crate) fn tell(&self, committed: &Committed) {
        let events: Vec<RoomEvent> =
            committed.changes.iter().map(|change| change.event(committed.epoch)).collect();
        self.publish(&events, committed.head);
    }

    /// Tells who came and went, also to those who did.
    pub(crate) async fn tell_membership(&self, committed: &Committed) {
        let mut events: Vec<RoomEvent> =
            committed.changes.iter().map(|change| change.event(committed.epoch)).collect();
        match memberships::of_changes(&self.store, &committed.changes).await {
            Ok(more) => {
                events.extend(more);
                self.publish(&events, committed.head);
            }
            Err(error) => self.leave_to_a_sweep(&events, &error),
        }
    }

    /// Tells everybody in a new chat that they have it. `chat` has its unread counts.
    pub(crate) async fn tell_created(&self, chat: &Chat, head: Head) {
        match memberships::created(&self.store, chat.clone()).await {
            Ok(events) => self.publish(&events, head),
            Err(error) => self.leave_to_a_sweep(&[], &error),
        }
    }

    fn publish(&self, events: &[RoomEvent], head: Head) {
        let store = self.store.clone();
        self.publisher.publish_all(events, move || store.told_soon(head));
    }

    /// It is committed, and its trace stays: a sweep tells the whole.
    fn leave_to_a_sweep(&self, events: &[RoomEvent], error: &StoreError) {
        tracing::warn!(%error, "whom a change concerns could not be read");
        self.publisher.publish_all(events, || {});
    }

    /// Tells a change that may have been told before: whoever has heard it drops its version.
    pub(crate) fn tell_again(&self, change: &Change) {
        self.publisher.publish(&change.event(self.store.epoch()));
    }

    /// Tells that somebody has read; in a big chat only the reader and the authors.
    pub(crate) fn tell_read(
        &self,
        chat_id: ChatId,
        reader: &UserId,
        marked: &Marked,
        at: Timestamp,
    ) {
        let payload = MessagesRead {
            chat_id,
            user_id: reader,
            message_ids: marked.messages.as_deref(),
            read_up_to: marked.read_up_to,
            read_at: at,
        };
        let big = marked.participant_count > MAX_LISTED_PARTICIPANTS as u64;
        let mut affected = Vec::new();
        if big {
            affected.push(reader.clone());
            affected.extend(marked.authors.iter().cloned());
        }
        self.publisher.publish(&RoomEvent {
            kind: Kind::MessagesRead,
            chat_id,
            version: None,
            epoch: self.store.epoch(),
            affected,
            event: event::encode(event::server::MESSAGES_READ, &payload).into(),
        });
    }
}
