//! Telling the rooms what was committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::change::Change;
use parley_domain::chat::{Chat, MAX_LISTED_PARTICIPANTS};
use parley_domain::event::{self, MessagesRead};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::message::Message;
use parley_domain::time::{Clock, Timestamp};
use parley_relay::Publisher;
use parley_runtime::{logs, trace};
use parley_store::{Committed, Head, Marked, Store};
use tracing::Span;

use crate::{memberships, traces};

/// The one that publishes. What it cannot tell stays noted in the database, and is found by a sweep.
#[derive(Clone)]
pub(crate) struct Teller {
    publisher: Publisher,
    store: Store,
    clock: Arc<dyn Clock>,
}

impl Teller {
    pub(crate) fn new(publisher: Publisher, store: Store, clock: Arc<dyn Clock>) -> Self {
        Self { publisher, store, clock }
    }

    /// Tells a commit's changes, and has its trace in the database removed once they are told. Returns at once.
    pub(crate) fn tell(&self, committed: &Committed) {
        let (events, store, head) = (self.events(committed), self.store.clone(), committed.head);
        self.publish_traced(&events, move || store.told_soon(head));
    }

    /// What was committed just now, as events.
    fn events(&self, committed: &Committed) -> Vec<(RoomEvent, Span)> {
        let committed_at = Some(self.clock.now());
        // What the appender commits is many senders'; everything else is whoever's request this is.
        let own = if trace::is_traced() { Span::current() } else { Span::none() };
        let span_of = |change: &Change| {
            let place = (change.chat_id, change.version);
            let sender = committed.traced.iter().find(|(chat, at, _)| (*chat, *at) == place);
            traces::publishing(sender.map_or(&own, |(.., span)| span), change)
        };
        let event = |change: &Change| {
            let span = span_of(change);
            let origin = Origin { committed_at, trace: traces::on_the_bus(&span) };
            (change.event(committed.epoch, origin), span)
        };
        committed.changes.iter().map(event).collect()
    }

    fn publish_traced(&self, events: &[(RoomEvent, Span)], then: impl FnOnce() + Send + 'static) {
        let events = events.iter().map(|(event, span)| (event, span.clone()));
        self.publisher.publish_traced(events, then);
    }

    /// Tells who came and went: the room at once, and then those who did, of whom more has to be read. Returns at once.
    pub(crate) fn tell_membership(&self, committed: &Committed) {
        let told = self.when_told_twice(committed.head);
        self.publish_traced(&self.events(committed), told.clone());
        let (teller, changes) = (self.clone(), committed.changes.clone());
        tokio::spawn(logs::of_this_request(async move {
            match memberships::of_changes(&teller.store, &changes).await {
                Ok(events) => teller.publisher.publish_all(&events, told),
                // Its trace stays: a sweep tells it.
                Err(error) => tracing::warn!(%error, "whom a change concerns could not be read"),
            }
        }));
    }

    /// What both halves of a telling do once the bus has them: the second one removes the trace.
    fn when_told_twice(&self, head: Head) -> impl FnOnce() + Clone + Send + 'static {
        let (store, missing) = (self.store.clone(), Arc::new(AtomicUsize::new(2)));
        move || {
            if missing.fetch_sub(1, Ordering::AcqRel) == 1 {
                store.told_soon(head);
            }
        }
    }

    /// Tells everybody in a new chat that they have it. `chat` has its unread counts. Returns at once.
    pub(crate) fn tell_created(&self, chat: Chat, head: Head) {
        let teller = self.clone();
        tokio::spawn(logs::of_this_request(async move {
            match memberships::created(&teller.store, chat).await {
                Ok(events) => teller.publish(&events, head),
                // Its trace stays: a sweep tells it.
                Err(error) => tracing::warn!(%error, "whom a new chat concerns could not be read"),
            }
        }));
    }

    fn publish(&self, events: &[RoomEvent], head: Head) {
        let store = self.store.clone();
        self.publisher.publish_all(events, move || store.told_soon(head));
    }

    /// Tells a message that may have been told before: whoever has heard it drops its version. One that was changed
    /// since is not for everybody who was in the chat when it was sent: rooms that miss it ask for what is theirs.
    pub(crate) fn tell_again(&self, message: &Message) {
        let epoch = self.store.epoch();
        if message.changed_version.is_some() {
            self.publisher.announce(message.chat_id, message.version, epoch);
        } else {
            let sent = Change::sent(message.clone());
            self.publisher.publish(&sent.event(epoch, sent.origin()));
        }
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
            membership_versions: Vec::new(),
            origin: Origin::default(),
            event: event::encode(event::server::MESSAGES_READ, &payload).into(),
        });
    }
}
