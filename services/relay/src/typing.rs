//! Who is writing, from gateway to gateway: told on a subject of the chat's own, and kept for those who come later. Whatever
//! of it is lost, is over by itself.

use std::time::Duration;

use async_nats::Subscriber;
use futures_util::StreamExt;
use futures_util::future::join_all;
use parley_domain::ids::ChatId;
use parley_domain::typing::TypingSignal;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::bus::{Bus, BusState, DEADLINE, RoomSubscription};
use crate::metrics::Metrics;
use crate::presence::Presence;
use crate::{RelayError, subject};

/// Signals that may wait; more are dropped.
const QUEUE: usize = 1_024;
/// Signals that go out together.
const TOGETHER: usize = 64;
/// How long one may hold the others up.
const PATIENCE: Duration = Duration::from_millis(200);

/// What is told of typing in one chat. Dropping it ends the subscription.
pub struct TypingSubscription {
    chat: ChatId,
    subscriber: Subscriber,
    metrics: Metrics,
}

/// Takes signals from rooms, and never waits. Clones feed the same queue.
#[derive(Clone)]
pub struct TypingPublisher {
    queue: mpsc::Sender<TypingSignal>,
    metrics: Metrics,
}

/// The other end of the queue; it has to be run.
pub struct TypingPublisherTask {
    queue: mpsc::Receiver<TypingSignal>,
    bus: Bus,
    state: watch::Receiver<BusState>,
    presence: Presence,
}

impl Bus {
    /// [`Bus::subscribe`], and who writes there: a room as a gateway has it. When this returns, the server has both
    /// subscriptions.
    pub async fn subscribe_room(
        &self,
        chat: ChatId,
    ) -> Result<(RoomSubscription, TypingSubscription), RelayError> {
        let subscribed = timeout(DEADLINE, self.client.subscribe(subject::typing(chat))).await;
        let subscriber =
            subscribed.map_err(RelayError::unavailable)?.map_err(RelayError::unavailable)?;
        let typing = TypingSubscription { chat, subscriber, metrics: self.metrics.clone() };
        // Its barrier comes behind both.
        Ok((self.subscribe(chat).await?, typing))
    }

    /// A publisher and the task that serves it.
    pub fn typing_publisher(&self, presence: Presence) -> (TypingPublisher, TypingPublisherTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let publisher = TypingPublisher { queue: sender, metrics: self.metrics.clone() };
        let (bus, state) = (self.clone(), self.state());
        (publisher, TypingPublisherTask { queue, bus, state, presence })
    }
}

impl TypingSubscription {
    /// The next signal; `None` when the connection is closed for good. What cannot be read is counted and left out.
    pub async fn next(&mut self) -> Option<TypingSignal> {
        loop {
            let message = self.subscriber.next().await?;
            match serde_json::from_slice::<TypingSignal>(&message.payload) {
                Ok(signal) if signal.chat_id == self.chat => return Some(signal),
                _ => self.metrics.unreadable.inc(),
            }
        }
    }
}

impl TypingPublisher {
    /// Queues a signal; a full queue drops and counts it.
    pub fn tell(&self, signal: TypingSignal) {
        if self.queue.try_send(signal).is_err() {
            self.metrics.typing_dropped.inc();
        }
    }
}

impl TypingPublisherTask {
    /// Tells until every [`TypingPublisher`] is gone and the queue is empty.
    pub async fn run(mut self) {
        let mut together = Vec::with_capacity(TOGETHER);
        while self.queue.recv_many(&mut together, TOGETHER).await > 0 {
            // The trace of who stops goes first: a room that has missed the signal must not read it.
            let (begun, stopped): (Vec<_>, Vec<_>) = together.iter().partition(|it| it.is_typing);
            join_all(stopped.iter().map(|signal| self.keep(signal))).await;
            for signal in &together {
                self.publish(signal).await;
            }
            join_all(begun.iter().map(|signal| self.keep(signal))).await;
            together.clear();
        }
    }

    /// What is published without a connection would wait, and come when it is no longer true.
    async fn publish(&self, signal: &TypingSignal) {
        let told = async {
            if !self.state.borrow().connected {
                return false;
            }
            let Ok(bytes) = serde_json::to_vec(signal) else { return false };
            let publishing = self.bus.client.publish(subject::typing(signal.chat_id), bytes.into());
            matches!(timeout(PATIENCE, publishing).await, Ok(Ok(())))
        };
        if !told.await {
            self.bus.metrics.typing_dropped.inc();
        }
    }

    async fn keep(&self, signal: &TypingSignal) {
        if signal.is_typing {
            self.presence.writes(signal.chat_id, &signal.typist).await;
        } else {
            self.presence.stops(signal.chat_id, &signal.typist.user_id).await;
        }
    }
}
