//! Who writes in a room: told to the rooms of all gateways, and passed on to this one's members.
//!
//! None of it waits for anything: it goes into a queue that drops, and what Redis knows comes when it comes.

use std::pin::Pin;
use std::time::Duration;

use parley_domain::bus::RoomEvent;
use parley_domain::event::UserTyping;
use parley_domain::ids::ChatId;
use parley_domain::typing::{TypingSignal, Typist};
use parley_relay::Presence;
use parley_socketio::Frame;
use tokio::time::Instant;

use super::{RoomTask, now};
use crate::room::{Event, Remark, Standing, Typists, Writers, typing_deadline};

/// Who wrote already when the room began, and for how long that holds.
pub(super) type Reading = Pin<Box<dyn Future<Output = Vec<(Typist, Duration)>> + Send>>;

pub(super) fn read(presence: Presence, chat: ChatId) -> Reading {
    Box::pin(async move { presence.typists(chat).await })
}

pub(super) async fn answered(running: &mut Option<Reading>) -> Vec<(Typist, Duration)> {
    let Some(future) = running else { return std::future::pending().await };
    let answer = future.await;
    *running = None;
    answer
}

pub(super) fn deadline(writers: &Writers, typists: &Typists) -> Option<Instant> {
    typing_deadline(writers, typists).map(Instant::from_std)
}

impl RoomTask {
    /// A member's typing, which is told to every gateway's room, this one too.
    pub(super) fn on_writer(&mut self, key: u64, name: Option<&str>, is_typing: bool) {
        let Some(user) = self.room.user_of(key) else { return };
        let changed = if is_typing {
            self.writers.start((key, user), name, now())
        } else {
            // One that began at another gateway stops here.
            let stopped = self.writers.stop(key);
            let elsewhere = stopped.is_none() && !self.writers.has(user);
            if elsewhere { self.typists.find(user) } else { stopped }
        };
        if let Some(typist) = changed {
            self.tell(typist, is_typing);
        }
    }

    pub(super) fn tell(&self, typist: Typist, is_typing: bool) {
        let Some(Standing { version, epoch }) = self.room.order.at() else { return };
        let chat_id = self.chat;
        self.rooms.0.typing.tell(TypingSignal { chat_id, typist, is_typing, version, epoch });
    }

    /// Heard at once, or when the room is as far as its writer's.
    pub(super) fn on_typing(&mut self, signal: TypingSignal) {
        let at = self.room.order.at();
        self.typists.hear(signal, at);
        self.rooms.0.metrics.overflowed.inc_by(self.typists.take_overflowed());
        if let (Some(at), Some(version)) = (at, self.typists.furthest())
            && version > at.version
        {
            self.room.order.on_head(Standing { version, ..at }, None, now());
        }
    }

    /// Who wrote already when the room began.
    pub(super) async fn on_known_typists(&mut self, known: Vec<(Typist, Duration)>) {
        let known = known.into_iter().map(|(typist, left)| (typist, now() + left)).collect();
        for remark in self.typists.wrote_before(known) {
            self.remark(&remark).await;
        }
    }

    /// Whoever says what they wrote does not write it any more.
    pub(super) fn on_authors_message(&mut self, event: &RoomEvent) {
        if let (Some(author), Some(version)) = (event.affected.first(), event.version) {
            self.typists.message(author, version, self.room.order.at());
            if let Some(typist) = self.writers.end(author) {
                self.tell(typist, false);
            }
        }
    }

    pub(super) async fn on_removed(&mut self, event: &Event<Frame>) {
        let Some(version) = event.version else { return };
        for user in event.removed.iter() {
            if let Some(typist) = self.writers.end(user) {
                self.tell(typist, false);
            }
            if let Some(remark) = self.typists.remove(user, version) {
                self.remark(&remark).await;
            }
        }
    }

    pub(super) async fn on_typing_over(&mut self) {
        for typist in self.writers.overdue(now()) {
            self.tell(typist, false);
        }
        for remark in self.typists.overdue(now()) {
            self.remark(&remark).await;
        }
    }

    /// What the room is far enough for.
    pub(super) async fn release_typing(&mut self) {
        let Some(at) = self.room.order.at() else { return };
        for remark in self.typists.release(at, now()) {
            self.remark(&remark).await;
        }
    }

    async fn remark(&mut self, remark: &Remark) {
        // Without a place, nobody is in it.
        let Some(at) = self.room.order.at() else { return };
        let event = Event::passing(at.epoch, self.frame(remark));
        // Aside, as whatever is not an event of the chat.
        Box::pin(self.deliver(std::slice::from_ref(&event))).await;
    }

    pub(super) fn frame(&self, Remark { typist, is_typing }: &Remark) -> Frame {
        let (user_id, name) = (&typist.user_id, typist.name.as_deref());
        let event = UserTyping { chat_id: self.chat, user_id, name, is_typing: *is_typing };
        Frame::event("/", &event.encode())
    }
}
