//! A shard commits its chats' sends batch by batch; a lane does so for one chat that is locked elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use parley_domain::ids::ChatId;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;

use super::commit::Committer;
use super::send::Send;

/// How often the others get their turn before a batch is closed.
const TURNS: usize = 3;

/// One batch after the other.
pub(super) struct Shard {
    sends: UnboundedReceiver<Send>,
    most: usize,
    committer: Arc<Committer>,
    /// The lanes of chats that are, or were a moment ago, locked elsewhere.
    lanes: HashMap<ChatId, Arc<Lane>>,
    lane_tasks: JoinSet<()>,
    /// How many lanes may hold a connection at a time.
    lane_places: Arc<Semaphore>,
}

impl Shard {
    pub(super) fn new(
        sends: UnboundedReceiver<Send>,
        most: usize,
        committer: Arc<Committer>,
        lane_places: Arc<Semaphore>,
    ) -> Self {
        let (lanes, lane_tasks) = (HashMap::new(), JoinSet::new());
        Self { sends, most, committer, lanes, lane_tasks, lane_places }
    }

    pub(super) async fn run(mut self) {
        while let Some(batch) = next_batch(&mut self.sends, self.most).await {
            let batch = self.divert(batch);
            let busy = self.committer.commit(batch, false).await;
            for send in busy {
                self.put_into_lane(send);
            }
            while self.lane_tasks.try_join_next().is_some() {}
        }
        self.lanes.clear();
        while self.lane_tasks.join_next().await.is_some() {}
    }

    /// Sends of chats with a lane go there, behind those that are there.
    fn divert(&mut self, batch: Vec<Send>) -> Vec<Send> {
        if self.lanes.is_empty() {
            return batch;
        }
        let mut own = Vec::with_capacity(batch.len());
        for send in batch {
            match self.offer(send) {
                Ok(()) => {}
                Err(send) => own.push(send),
            }
        }
        own
    }

    fn put_into_lane(&mut self, send: Send) {
        if let Err(send) = self.offer(send) {
            self.open_lane(send);
        }
    }

    /// Hands a send to the lane of its chat, or back when there is none any more: the chat is the shard's own again.
    fn offer(&mut self, send: Send) -> Result<(), Send> {
        let chat = send.new.chat_id;
        let Some(lane) = self.lanes.get(&chat) else { return Err(send) };
        lane.offer(send).inspect_err(|_| drop(self.lanes.remove(&chat)))
    }

    fn open_lane(&mut self, send: Send) {
        let chat = send.new.chat_id;
        let lane = Arc::new(Lane::of(send));
        self.lanes.insert(chat, lane.clone());
        let (committer, places, most) =
            (self.committer.clone(), self.lane_places.clone(), self.most);
        self.lane_tasks.spawn(run_lane(lane, most, committer, places));
    }
}

/// What waits for one chat that is locked elsewhere. Bounded by the places that its sends hold.
struct Lane(Mutex<Waiting>);

struct Waiting {
    sends: VecDeque<Send>,
    /// Whoever serves the lane has found it empty and has gone: from there on the chat is the shard's, and everything that
    /// was in the lane is committed.
    ended: bool,
}

impl Lane {
    fn of(first: Send) -> Self {
        Self(Mutex::new(Waiting { sends: VecDeque::from([first]), ended: false }))
    }

    fn offer(&self, send: Send) -> Result<(), Send> {
        let mut waiting = self.0.lock();
        if waiting.ended {
            return Err(send);
        }
        waiting.sends.push_back(send);
        Ok(())
    }

    /// Adds what waits to `batch`, up to `most` in all; when there is nothing at all, the lane has ended.
    fn fill(&self, batch: &mut Vec<Send>, most: usize) {
        let mut waiting = self.0.lock();
        let room = most.saturating_sub(batch.len()).min(waiting.sends.len());
        batch.extend(waiting.sends.drain(..room));
        waiting.ended = batch.is_empty();
    }
}

/// Commits what comes for one chat, waiting for its lock, until nothing waits any more.
async fn run_lane(lane: Arc<Lane>, most: usize, committer: Arc<Committer>, places: Arc<Semaphore>) {
    committer.metrics.lanes.inc();
    let mut batch = Vec::new();
    loop {
        lane.fill(&mut batch, most);
        if batch.is_empty() {
            break;
        }
        // The semaphore is never closed.
        let Ok(_place) = places.acquire().await else { break };
        batch = committer.commit(batch, true).await;
    }
    committer.metrics.lanes.dec();
}

/// What waits now, at least one.
async fn next_batch(sends: &mut UnboundedReceiver<Send>, most: usize) -> Option<Vec<Send>> {
    let mut batch = Vec::with_capacity(most.min(sends.len().max(1)));
    batch.push(sends.recv().await?);
    // Whoever is about to send gets its turn first. Where nobody is, this takes no time.
    for _ in 0..TURNS {
        tokio::task::yield_now().await;
    }
    while batch.len() < most
        && let Ok(send) = sends.try_recv()
    {
        batch.push(send);
    }
    Some(batch)
}
