//! Publishing what was committed: in order, and never in the way of an answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use tokio::sync::{mpsc, watch};
use tokio::time::{timeout, timeout_at};
use tracing::Span;

use crate::bus::Bus;
use crate::heads::Heads;
use crate::metrics::{Dropped, Metrics};
use crate::{BusState, subject};

/// Events that may wait for the bus.
const QUEUE: usize = 8_192;
/// How long one event may hold the others up.
const DEADLINE: Duration = Duration::from_millis(500);
/// Most events whose arrival is made sure of at once.
const FLUSH: usize = 512;
/// How long events are gathered before their arrival is made sure of: it costs a round trip, however many they are. What
/// waits for it is only the removal of their trace in the database, for which nobody looks before two seconds have passed.
const GATHER: Duration = Duration::from_millis(5);

/// Takes events from request handlers. Clones feed the same queue.
#[derive(Clone)]
pub struct Publisher {
    queue: mpsc::Sender<Queued>,
    metrics: Metrics,
    heads: Heads,
}

/// The other end of the queue; it has to be run.
pub struct PublisherTask {
    queue: mpsc::Receiver<Queued>,
    bus: Bus,
    state: watch::Receiver<BusState>,
    /// Given to the client, perhaps not yet to the bus.
    leaving: Vec<Arc<Receipt>>,
}

struct Queued {
    subject: String,
    event: Bytes,
    receipt: Option<Arc<Receipt>>,
    /// Of the publishing, if it is traced; it ends when the client has the event.
    span: Span,
}

/// What to do once the server has all of some events. Of a lost event nothing is ever said, so then it is not done.
struct Receipt {
    missing: AtomicUsize,
    then: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

impl Receipt {
    fn one_left(&self) {
        if self.missing.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(then) = self.then.lock().take()
        {
            then();
        }
    }
}

impl Bus {
    /// A publisher and the task that serves it.
    pub fn publisher(&self) -> (Publisher, PublisherTask) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let (metrics, heads) = (self.metrics.clone(), self.heads.clone());
        let publisher = Publisher { queue: sender, metrics, heads };
        let (bus, state, leaving) = (self.clone(), self.state(), Vec::new());
        (publisher, PublisherTask { queue, bus, state, leaving })
    }
}

impl Publisher {
    /// Queues an event; returns at once. A full queue drops and counts it: listeners see the gap and repair it.
    pub fn publish(&self, event: &RoomEvent) {
        self.enqueue(event, Span::none(), None);
    }

    /// Queues events; returns at once. When the server has every one of them, and only then, does `then`.
    pub fn publish_all(&self, events: &[RoomEvent], then: impl FnOnce() + Send + 'static) {
        let untraced = events.iter().map(|event| (event, Span::none()));
        self.publish_traced(untraced, then);
    }

    /// The same for events of which some are traced: each with the span of its publishing.
    pub fn publish_traced<'a>(
        &self,
        events: impl ExactSizeIterator<Item = (&'a RoomEvent, Span)>,
        then: impl FnOnce() + Send + 'static,
    ) {
        if events.len() == 0 {
            return then();
        }
        let receipt = Arc::new(Receipt {
            missing: AtomicUsize::new(events.len()),
            then: Mutex::new(Some(Box::new(then))),
        });
        for (event, span) in events {
            self.enqueue(event, span, Some(receipt.clone()));
        }
    }

    /// Says that a chat is so far, without saying how: whoever is not asks for it.
    pub fn announce(&self, chat: ChatId, version: Version, epoch: Epoch) {
        self.heads.note(chat, version, epoch, Instant::now());
    }

    fn enqueue(&self, event: &RoomEvent, span: Span, receipt: Option<Arc<Receipt>>) {
        if let Some(version) = event.version {
            self.heads.note(event.chat_id, version, event.epoch, Instant::now());
        }
        let subject = match event.kind {
            Kind::ChatCreated | Kind::ChatRemoved | Kind::SupportOpened => {
                subject::USERS_CHATS.to_owned()
            }
            _ => subject::chat(event.chat_id),
        };
        let event = event.encode();
        let queued = Queued { subject, event, receipt, span };
        // Before it is there: it may be gone at once.
        self.metrics.queued.inc();
        if let Err(full) = self.queue.try_send(queued) {
            failed(&full.into_inner().span);
            self.metrics.queued.dec();
            self.metrics.dropped(Dropped::QueueFull);
        }
    }
}

impl PublisherTask {
    /// Publishes until every [`Publisher`] is gone and the queue is empty.
    pub async fn run(mut self) {
        while let Some(first) = self.queue.recv().await {
            // Before anything is handed over: a break after that may have taken it along.
            let before = self.state.borrow().breaks;
            let until = tokio::time::Instant::now() + GATHER;
            self.publish(first).await;
            while self.leaving.len() < FLUSH
                && let Ok(Some(next)) = timeout_at(until, self.queue.recv()).await
            {
                self.publish(next).await;
            }
            self.make_sure(before).await;
        }
        self.bus.close().await;
    }

    /// While disconnected, the client would first buffer and then block for good; neither is wanted.
    async fn publish(&mut self, queued: Queued) {
        let metrics = &self.bus.metrics;
        metrics.queued.dec();
        if !self.state.borrow().connected {
            failed(&queued.span);
            metrics.dropped(Dropped::Disconnected);
            return;
        }
        let publishing = self.bus.client.publish(queued.subject, queued.event);
        match timeout(DEADLINE, publishing).await {
            Ok(Ok(())) => {
                metrics.published.inc();
                self.leaving.extend(queued.receipt);
            }
            Ok(Err(error)) => {
                failed(&queued.span);
                metrics.dropped(Dropped::Disconnected);
                tracing::warn!(%error, "an event could not be published");
            }
            Err(_) => {
                failed(&queued.span);
                metrics.dropped(Dropped::TimedOut);
            }
        }
    }

    /// Waits until the server has what was published, so that neither this process's death nor a broken connection can
    /// take it along.
    async fn make_sure(&mut self, before: u64) {
        let leaving = std::mem::take(&mut self.leaving);
        if leaving.is_empty() {
            return;
        }
        let began = Instant::now();
        let arrived = timeout(DEADLINE, self.bus.barrier()).await;
        if matches!(arrived, Ok(Ok(()))) && self.state.borrow().breaks == before {
            self.bus.metrics.confirmed(began.elapsed());
            for receipt in leaving {
                receipt.one_left();
            }
        }
    }
}

/// What is traced was not published.
fn failed(span: &Span) {
    span.record("otel.status_code", "ERROR");
}
