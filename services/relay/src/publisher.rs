//! Publishing what was committed: in order, and never in the way of an answer.

use std::time::Duration;

use bytes::Bytes;
use parley_domain::bus::RoomEvent;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use crate::bus::Bus;
use crate::metrics::{Dropped, Metrics};
use crate::{BusState, subject};

/// Events that may wait for the bus.
const QUEUE: usize = 8_192;
/// How long one event may hold the others up.
const DEADLINE: Duration = Duration::from_millis(500);

/// Takes events from request handlers. Clones feed the same queue.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<(String, Bytes)>,
    metrics: Metrics,
}

/// The other end of the queue; it has to be run.
pub struct PublisherTask {
    queue: mpsc::Receiver<(String, Bytes)>,
    bus: Bus,
    state: watch::Receiver<BusState>,
}

impl Bus {
    /// A publisher and the task that serves it.
    pub fn publisher(&self) -> (Publisher, PublisherTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let publisher = Publisher { queue: sender, metrics: self.metrics.clone() };
        (publisher, PublisherTask { queue, bus: self.clone(), state: self.state() })
    }
}

impl Publisher {
    /// Queues an event; returns at once. A full queue drops and counts it: listeners see the gap and repair it.
    pub fn publish(&self, event: &RoomEvent) {
        if self.queue.try_send((subject::chat(event.chat_id), event.encode())).is_err() {
            self.metrics.dropped(Dropped::QueueFull);
        }
    }
}

impl PublisherTask {
    /// Publishes until every [`Publisher`] is gone and the queue is empty.
    pub async fn run(mut self) {
        while let Some((subject, event)) = self.queue.recv().await {
            self.publish(subject, event).await;
        }
        self.bus.close().await;
    }

    /// While disconnected, the client would first buffer and then block for good; neither is wanted.
    async fn publish(&self, subject: String, event: Bytes) {
        let metrics = &self.bus.metrics;
        if !self.state.borrow().connected {
            metrics.dropped(Dropped::Disconnected);
            return;
        }
        match timeout(DEADLINE, self.bus.client.publish(subject, event)).await {
            Ok(Ok(())) => metrics.published.inc(),
            Ok(Err(error)) => {
                metrics.dropped(Dropped::Disconnected);
                tracing::warn!(%error, "an event could not be published");
            }
            Err(_) => metrics.dropped(Dropped::TimedOut),
        }
    }
}
