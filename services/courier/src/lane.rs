//! A claimed lane: its deliveries one after the other, until one fails or the claim ends.

use std::sync::Arc;
use std::time::Duration;

use parley_domain::time::Clock;
use parley_outbound::Client;
use parley_store::{Attempted, ClaimedLane, DeliveryState, Due, Released};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Receiver, Tried, Verdict};
use crate::metrics::Metrics;
use crate::pace::Pace;
use crate::retry::Retry;
use crate::settling::Note;

/// How long a lane rests at least for which there is no turn: far less than turns are given out for ahead.
const REST: Duration = Duration::from_secs(1);

/// What all lanes of a process share.
pub(crate) struct Shared {
    pub(crate) client: Client,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) retry: Retry,
    pub(crate) timeout: Duration,
    /// Whether notifications may show what was said.
    pub(crate) previews: bool,
    pub(crate) notes: mpsc::Sender<Note>,
    pub(crate) metrics: Metrics,
    pub(crate) stop: CancellationToken,
}

/// A lane and what leads to its webhook.
pub(crate) struct Lane {
    pub(crate) shared: Arc<Shared>,
    pub(crate) receiver: Arc<Receiver>,
    pub(crate) pace: Arc<Pace>,
    /// Whether the webhook was failing when the lane was claimed.
    pub(crate) failing: bool,
    /// When the claim was made: before it was asked for.
    pub(crate) claimed: Instant,
    /// When it ends.
    pub(crate) ends: Instant,
    pub(crate) work: ClaimedLane,
}

impl Lane {
    /// Delivers what was claimed, and gives the lane back.
    pub(crate) async fn run(self) {
        let pause = self.deliver().await;
        let ClaimedLane { webhook, lane, .. } = self.work;
        self.note(Note::Released(Released { webhook, lane, pause })).await;
    }

    /// Says for how long the lane is to rest.
    async fn deliver(&self) -> Duration {
        // Whoever comes after the end of the claim may have begun already.
        let last = self.ends.checked_sub(self.shared.timeout).unwrap_or(self.claimed);
        for due in &self.work.deliveries {
            if let Err(late) = self.pace.turn(last).await {
                // Somebody else has the turns that there are for now; who has had theirs queues up again.
                return if Instant::now() < last { late.max(REST) } else { Duration::ZERO };
            }
            if Instant::now() > last || self.shared.stop.is_cancelled() {
                break;
            }
            if let Some(pause) = self.attempt(due).await {
                return pause;
            }
        }
        Duration::ZERO
    }

    /// Makes one delivery; `Some` if nothing of the lane is to be delivered before a pause is over.
    async fn attempt(&self, due: &Due) -> Option<Duration> {
        let Shared { client, clock, timeout, previews, metrics, .. } = &*self.shared;
        let (began, began_at) = (Instant::now(), clock.now());
        let tried = self
            .receiver
            .attempt(client, (due, self.work.lane.chat()), began_at, *timeout, *previews)
            .await;
        let took = began.elapsed();
        metrics.attempted(tried.word, took);
        let (state, pause) = self.fate(due, tried.verdict);
        if state == DeliveryState::Delivered {
            metrics.delivered(clock.now() - due.occurred_at);
        }
        metrics.dead.inc_by(u64::from(state == DeliveryState::Dead));
        let (gone, delivered) = (tried.verdict == Verdict::Gone, state == DeliveryState::Delivered);
        let Tried { status, error, answer, .. } = tried;
        let (delivery, attempt) = (due.id, due.attempt);
        let attempted =
            Attempted { delivery, attempt, state, began_at, took, status, error, answer };
        let webhook = self.work.webhook;
        let standing = !delivered || self.failing;
        self.note(Note::Attempted { webhook, attempted: Box::new(attempted), standing, gone })
            .await;
        pause
    }

    fn fate(&self, due: &Due, verdict: Verdict) -> (DeliveryState, Option<Duration>) {
        let Retry { cap, .. } = self.shared.retry;
        let asked = match verdict {
            Verdict::Delivered => return (DeliveryState::Delivered, None),
            // It is switched off; what waits is tried again if somebody switches it on.
            Verdict::Gone => return (DeliveryState::Waiting, Some(cap)),
            Verdict::Failed(asked) => asked,
        };
        let waited = due.waited + self.claimed.elapsed();
        match self.shared.retry.pause(due.failed, waited, rand::random()) {
            Some(pause) => {
                (DeliveryState::Waiting, Some(self.shared.retry.no_earlier(pause, asked)))
            }
            // What is behind it has its turn.
            None => (DeliveryState::Dead, None),
        }
    }

    /// Waits while there is no room: what was delivered is not forgotten.
    async fn note(&self, note: Note) {
        // Whoever settles outlives every lane.
        let _ = self.shared.notes.send(note).await;
    }
}
