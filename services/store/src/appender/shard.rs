//! A shard commits its chats' sends batch by batch; a lane does so for one chat that is locked elsewhere.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::ids::ChatId;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::coming::Coming;
use super::commit::{Committer, Held};
use super::send::Send;

/// A shard that has had nothing to do for so long hands its connection back.
const IDLE: Duration = Duration::from_secs(5);

/// One batch after the other.
pub(super) struct Shard {
    sends: UnboundedReceiver<Send>,
    coming: Arc<Coming>,
    most: usize,
    committer: Arc<Committer>,
    /// The lanes of chats that are, or were a moment ago, locked elsewhere.
    lanes: HashMap<ChatId, Arc<Lane>>,
    lane_tasks: JoinSet<()>,
    /// How many lanes may hold a connection at a time.
    lane_places: Arc<Semaphore>,
    connection: Held,
    /// Sends whose chat was locked elsewhere.
    again: Vec<Send>,
}

impl Shard {
    pub(super) fn new(
        sends: UnboundedReceiver<Send>,
        coming: Arc<Coming>,
        most: usize,
        committer: Arc<Committer>,
        lane_places: Arc<Semaphore>,
    ) -> Self {
        Self {
            sends,
            coming,
            most,
            committer,
            lanes: HashMap::new(),
            lane_tasks: JoinSet::new(),
            lane_places,
            connection: None,
            again: Vec::new(),
        }
    }

    pub(super) async fn run(mut self) {
        while let Some(batch) = self.next_batch().await {
            let batch = self.divert(batch);
            let size = batch.len();
            let busy = self.committer.commit(batch, false, &mut self.connection).await;
            self.sort(busy, size);
            self.reap();
        }
        self.lanes.clear();
        while self.lane_tasks.join_next().await.is_some() {}
    }

    /// What waits, at least one, behind those whose turn comes again; with those that are on their way.
    async fn next_batch(&mut self) -> Option<Vec<Send>> {
        let mut batch = std::mem::take(&mut self.again);
        if batch.is_empty() {
            batch.push(self.first().await?);
        }
        if batch.len() + self.sends.len() < self.most {
            self.coming.settled().await;
        }
        while batch.len() < self.most
            && let Ok(send) = self.sends.try_recv()
        {
            batch.push(send);
        }
        Some(batch)
    }

    async fn first(&mut self) -> Option<Send> {
        if let Ok(first) = timeout(IDLE, self.sends.recv()).await {
            return first;
        }
        self.connection = None;
        self.sends.recv().await
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

    /// A chat that is locked for the first time is most likely free again by the next batch. One that is locked again gets
    /// a lane, and so do all when a whole batch found nothing else to do.
    fn sort(&mut self, busy: Vec<Send>, of: usize) {
        let nothing_else = busy.len() == of;
        for mut send in busy {
            if nothing_else || std::mem::replace(&mut send.passed_over, true) {
                self.put_into_lane(send);
            } else {
                self.again.push(send);
            }
        }
        if self.lanes.is_empty() {
            return;
        }
        // Behind those that have gone into a lane now.
        let again = std::mem::take(&mut self.again);
        self.again = self.divert(again);
    }

    /// Forgets the lanes that have ended: everything that was in them is committed.
    fn reap(&mut self) {
        let mut ended = false;
        while self.lane_tasks.try_join_next().is_some() {
            ended = true;
        }
        if ended {
            self.lanes.retain(|_, lane| !lane.has_ended());
        }
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

    fn has_ended(&self) -> bool {
        self.0.lock().ended
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
    let (mut batch, mut connection, mut place) = (Vec::new(), None, None);
    loop {
        lane.fill(&mut batch, most);
        if batch.is_empty() {
            break;
        }
        if place.is_none() {
            // The semaphore is never closed.
            place = places.acquire().await.ok();
        }
        batch = committer.commit(batch, true, &mut connection).await;
        if places.available_permits() == 0 {
            // Other lanes may wait for a place, and with the place goes the connection.
            (connection, place) = (None, None);
        }
    }
    committer.metrics.lanes.dec();
}
