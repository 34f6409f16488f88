//! The appender: what waits while a commit is in flight goes into the next one.
//!
//! An idle appender commits a lone send at once, a busy one commits many with one round trip and one flush of the log. A
//! batch that is about to begin waits a moment for sends that are known to be on their way ([`Appender::expect`]).
//!
//! Chats are spread over a few shards by their id, so that two commits of a pod never want the same chat. A chat that
//! somebody else has locked has its turn again in the next batch; is it locked again, it leaves its shard with its later
//! sends for a lane of its own, which waits for the lock. Nobody else does.
//!
//! Waiting is bounded by number, bytes and time, and each bound ends in [`StoreError::NotBegun`].

mod coming;
mod commit;
mod metrics;
mod send;
mod settings;
mod shard;

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use parley_domain::ids::ChatId;
use parley_domain::message::NewMessage;
use prometheus::Registry;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, timeout_at};
use tracing::Span;

use crate::{AppendMessage, Committed, Head, Store, StoreError};
use coming::{Coming, OnItsWay};
use metrics::{Metrics, Queue, Refused};
use send::{Send, Ticket};
use shard::Shard;

pub(crate) use settings::connections_for_sends;
pub use settings::{AppenderSettings, TooFewConnections};

/// Most bytes of messages that wait.
const QUEUE_BYTES: usize = 32 * 1024 * 1024;
/// Told heads that found no batch to go with are removed by themselves after at most this long.
const TOLD_EVERY: Duration = Duration::from_millis(500);

/// Hears what was committed, chat by chat in rising version, before the senders are answered. It must not wait.
pub(crate) type OnCommit = dyn Fn(Committed) + std::marker::Send + Sync;

/// The way to commit messages. Clones feed the same shards.
#[derive(Clone)]
pub struct Appender(Arc<Shared>);

struct Shared {
    shards: Vec<Entrance>,
    hasher: RandomState,
    /// Places for sends that wait; the channels have no bound of their own.
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    deadline: Duration,
    store: Store,
    metrics: Metrics,
}

/// Where sends enter a shard.
struct Entrance {
    queue: mpsc::UnboundedSender<Send>,
    coming: Arc<Coming>,
}

/// A send that will come, unless this is dropped.
pub struct Expected {
    appender: Appender,
    shard: usize,
    on_its_way: OnItsWay,
}

/// What serves an [`Appender`]; it has to be run.
pub struct AppenderTask {
    shards: Vec<Shard>,
    store: Store,
}

impl Appender {
    /// An appender and the task that serves it. `on_commit` hears every committed batch.
    pub fn new(
        store: &Store,
        settings: &AppenderSettings,
        registry: &Registry,
        on_commit: impl Fn(Committed) + std::marker::Send + Sync + 'static,
    ) -> Result<(Self, AppenderTask), StoreError> {
        let metrics = Metrics::register(registry)?;
        let committer = Arc::new(commit::Committer {
            store: store.clone(),
            on_commit: Box::new(on_commit),
            deadline: settings.deadline(),
            patience: settings.patience(),
            metrics: metrics.clone(),
        });
        let lanes = store.connections_for_sends().saturating_sub(settings.append_shards).max(1);
        let lanes = Arc::new(Semaphore::new(lanes as usize));
        let (entrances, shards) = (0..settings.append_shards)
            .map(|_| {
                let (queue, sends) = mpsc::unbounded_channel();
                let (most, coming) = (settings.append_batch as usize, Arc::<Coming>::default());
                let entrance = Entrance { queue, coming: coming.clone() };
                (entrance, Shard::new(sends, coming, most, committer.clone(), lanes.clone()))
            })
            .unzip();
        let most = settings.append_queue as usize;
        let (places, bytes) =
            (Arc::new(Semaphore::new(most)), Arc::new(Semaphore::new(QUEUE_BYTES)));
        let queue = Queue::new((places.clone(), most), (bytes.clone(), QUEUE_BYTES))?;
        registry.register(Box::new(queue))?;
        let shared = Shared {
            shards: entrances,
            hasher: RandomState::new(),
            places,
            bytes,
            deadline: settings.deadline(),
            store: store.clone(),
            metrics,
        };
        Ok((Self(Arc::new(shared)), AppenderTask { shards, store: store.clone() }))
    }

    /// Says that a send into this chat is on its way, so that a batch may wait a moment for it.
    pub fn expect(&self, chat: ChatId) -> Expected {
        let place = self.0.hasher.hash_one(chat) % self.0.shards.len() as u64;
        let shard = usize::try_from(place).unwrap_or_default();
        let on_its_way = self.0.shards[shard].coming.set_out();
        Expected { appender: self.clone(), shard, on_its_way }
    }

    /// [`Expected::append`] of a send that nobody has expected.
    pub async fn append(&self, new: NewMessage) -> Result<AppendMessage, StoreError> {
        self.expect(new.chat_id).append(new).await
    }

    async fn enter(
        &self,
        new: NewMessage,
        again: bool,
        shard: usize,
        on_its_way: OnItsWay,
    ) -> Result<AppendMessage, StoreError> {
        let deadline = Instant::now() + self.0.deadline;
        let (Ok(place), Some(bytes)) =
            (self.0.places.clone().try_acquire_owned(), self.bytes_of(&new))
        else {
            self.0.metrics.refused(Refused::QueueFull);
            return Err(StoreError::NotBegun("too many messages wait"));
        };
        let (answer, answered) = oneshot::channel();
        let ticket = Ticket::new();
        let held = (place, bytes);
        let new = Box::new(new);
        let (ticket_kept, passed_over) = (ticket.clone(), false);
        let send = Send {
            new,
            again,
            answer,
            ticket: ticket_kept,
            deadline,
            passed_over,
            span: Span::current(),
            _held: held,
        };
        if self.0.shards[shard].queue.send(send).is_err() {
            return Err(StoreError::NotBegun("the pod stops"));
        }
        drop(on_its_way);
        match timeout_at(deadline, answered).await {
            Ok(Ok(outcome)) => outcome,
            Err(_) if ticket.give_up() => {
                self.0.metrics.refused(Refused::Expired);
                Err(StoreError::NotBegun("its turn did not come in time"))
            }
            Ok(Err(_)) | Err(_) => Err(StoreError::from(sqlx::Error::WorkerCrashed)),
        }
    }

    fn bytes_of(&self, new: &NewMessage) -> Option<tokio::sync::OwnedSemaphorePermit> {
        let metadata = new.metadata.as_ref().map_or(0, |metadata| metadata.to_json().len());
        let bytes = u32::try_from(new.content.as_str().len() + metadata).ok()?;
        self.0.bytes.clone().try_acquire_many_owned(bytes).ok()
    }

    /// The changes of this commit have been told: its trace may go.
    pub fn told(&self, head: Head) {
        self.0.store.told_soon(head);
    }
}

impl Expected {
    /// Commits a message, once per client message id. It has to be of the chat that was named.
    ///
    /// After [`StoreError::NotBegun`] nothing has happened and nothing will; after any other error the message may be
    /// committed, or may yet be.
    pub async fn append(self, new: NewMessage) -> Result<AppendMessage, StoreError> {
        self.appender.enter(new, false, self.shard, self.on_its_way).await
    }

    /// The same for a message that is known to have been tried before: it is looked for before anything is written.
    pub async fn append_again(self, new: NewMessage) -> Result<AppendMessage, StoreError> {
        self.appender.enter(new, true, self.shard, self.on_its_way).await
    }
}

impl AppenderTask {
    /// Serves until every [`Appender`] is gone and nothing waits.
    pub async fn run(self) {
        let mut shards: JoinSet<()> = self.shards.into_iter().map(Shard::run).collect();
        let mut ticks = interval(TOLD_EVERY);
        loop {
            tokio::select! {
                ended = shards.join_next() => if ended.is_none() { break },
                _ = ticks.tick() => remove_told(&self.store).await,
            }
        }
        remove_told(&self.store).await;
    }
}

async fn remove_told(store: &Store) {
    loop {
        let heads = store.told.take();
        if heads.is_empty() {
            return;
        }
        if let Err(error) = store.told(&heads).await {
            tracing::debug!(%error, "told heads could not be removed yet");
            return store.told.put_back(heads);
        }
    }
}
