//! Heads, against the lost event that nothing follows: every api pod says again and again where the chats stand of which
//! it has told something, and gateways compare.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use futures_util::StreamExt;
use parking_lot::Mutex;
use parley_domain::heads::{Announcement, MAX_ANNOUNCED};
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

/// The pause between two announcements.
const PAUSE: Duration = Duration::from_millis(500);
/// How long after it was told a head is announced; the last time is the last.
const AFTER: [Duration; 4] = [
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
/// Chats of which a pod keeps the heads in mind.
const MOST: usize = 100_000;

/// The heads of what a pod has told lately. Clones share them.
#[derive(Clone, Default)]
pub(crate) struct Heads(Arc<Mutex<Told>>);

/// No clock in here.
#[derive(Default)]
struct Told {
    chats: HashMap<ChatId, Head>,
    epoch: Option<Epoch>,
    lost_track: bool,
}

struct Head {
    version: Version,
    told: Instant,
    /// How often it was announced.
    announced: usize,
}

/// What announces; it has to be run.
pub struct HeadsTask {
    bus: Bus,
    heads: Heads,
    pod: u64,
    number: u64,
}

/// The announcements of every api pod, as they arrive.
pub struct HeadsSubscription {
    subscriber: Subscriber,
    bus: Bus,
}

impl Heads {
    /// Something was told, or was to be told and was lost on the way.
    pub(crate) fn note(&self, chat: ChatId, version: Version, epoch: Epoch, now: Instant) {
        self.0.lock().note(chat, version, epoch, now);
    }
}

impl Told {
    fn note(&mut self, chat: ChatId, version: Version, epoch: Epoch, now: Instant) {
        if self.epoch != Some(epoch) {
            self.chats.clear();
            self.epoch = Some(epoch);
        }
        let head = Head { version, told: now, announced: 0 };
        let there_is_room = self.chats.len() < MOST;
        match self.chats.get_mut(&chat) {
            Some(known) if known.version >= version => {}
            Some(known) => *known = head,
            None if there_is_room => drop(self.chats.insert(chat, head)),
            None => self.lost_track = true,
        }
    }

    /// The heads whose time it is. What was announced for the last time is forgotten.
    fn due(&mut self, now: Instant) -> (Vec<(ChatId, Version)>, Option<Epoch>, bool) {
        let mut due = Vec::new();
        self.chats.retain(|chat, head| {
            let age = now.saturating_duration_since(head.told);
            if AFTER.get(head.announced).is_some_and(|after| *after <= age) {
                due.push((*chat, head.version));
                // A pod that was late does not make up for it.
                head.announced = AFTER.iter().take_while(|after| **after <= age).count();
            }
            head.announced < AFTER.len()
        });
        (due, self.epoch, std::mem::take(&mut self.lost_track))
    }
}

impl Bus {
    /// Announces the heads of what this pod's publishers tell.
    pub fn announce_heads(&self) -> HeadsTask {
        HeadsTask { bus: self.clone(), heads: self.heads.clone(), pod: rand::random(), number: 0 }
    }

    /// Listens to the announcements.
    pub async fn hear_heads(&self) -> Result<HeadsSubscription, RelayError> {
        let subscribed = timeout(DEADLINE, self.client.subscribe(subject::HEADS)).await;
        let subscriber =
            subscribed.map_err(RelayError::unavailable)?.map_err(RelayError::unavailable)?;
        Ok(HeadsSubscription { subscriber, bus: self.clone() })
    }
}

impl HeadsTask {
    /// Announces every half second, until `stop` is done.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        tokio::pin!(stop);
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut stop => return,
                _ = ticks.tick() => self.announce().await,
            }
        }
    }

    async fn announce(&mut self) {
        let state = *self.bus.state().borrow();
        // What was told while the bus is away is compared when it is back; and then it is announced once more.
        if !state.connected {
            return;
        }
        let due = self.heads.0.lock().due(Instant::now());
        let (heads, epoch, mut lost_track) = due;
        let mut rest = heads.as_slice();
        loop {
            let (now, later) = rest.split_at(rest.len().min(MAX_ANNOUNCED));
            rest = later;
            self.number += 1;
            let announcement = Announcement {
                pod: self.pod,
                number: self.number,
                heads: now.to_vec(),
                epoch: epoch.filter(|_| !now.is_empty()),
                lost_track: std::mem::take(&mut lost_track),
            };
            self.say(&announcement).await;
            if rest.is_empty() {
                return;
            }
        }
    }

    /// What is lost on the way is missed by its number.
    async fn say(&self, announcement: &Announcement) {
        if announcement.lost_track {
            self.bus.metrics.heads_lost.inc();
        }
        let Ok(bytes) = serde_json::to_vec(announcement) else { return };
        let said = self.bus.client.publish(subject::HEADS, bytes.into());
        let _ = timeout(DEADLINE.min(PAUSE), said).await;
    }
}

impl HeadsSubscription {
    /// The next announcement; `None` when the connection is closed for good.
    pub async fn next(&mut self) -> Option<Announcement> {
        loop {
            let message = self.subscriber.next().await?;
            match serde_json::from_slice(&message.payload) {
                Ok(announcement) => return Some(announcement),
                Err(error) => {
                    self.bus.metrics.unreadable.inc();
                    tracing::warn!(%error, "an announcement of heads could not be read");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const EPOCH: Epoch = Epoch(1);

    fn chat(number: u128) -> ChatId {
        Uuid::from_u128(number).into()
    }

    fn at(begin: Instant, milliseconds: u64) -> Instant {
        begin + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_head_is_announced_four_times_and_then_forgotten() {
        let (mut told, begin) = (Told::default(), Instant::now());
        told.note(chat(1), Version(7), EPOCH, begin);
        let mut announced = Vec::new();
        for tick in 0..20 {
            let (due, epoch, _) = told.due(at(begin, tick * 500));
            assert_eq!(epoch, Some(EPOCH));
            if !due.is_empty() {
                assert_eq!(due, [(chat(1), Version(7))]);
                announced.push(tick * 500);
            }
        }
        assert_eq!(announced, [500, 1_000, 2_000, 4_000]);
        assert!(told.chats.is_empty());
    }

    #[test]
    fn a_later_head_begins_anew_and_an_earlier_one_does_not() {
        let (mut told, begin) = (Told::default(), Instant::now());
        told.note(chat(1), Version(7), EPOCH, begin);
        assert_eq!(told.due(at(begin, 500)).0.len(), 1);
        told.note(chat(1), Version(6), EPOCH, at(begin, 600));
        told.note(chat(1), Version(8), EPOCH, at(begin, 700));
        assert_eq!(told.due(at(begin, 1_000)).0, []);
        assert_eq!(told.due(at(begin, 1_200)).0, [(chat(1), Version(8))]);
    }

    #[test]
    fn i9_a_pod_that_cannot_keep_all_heads_says_so() {
        let (mut told, begin) = (Told::default(), Instant::now());
        for number in 0..=MOST as u128 {
            told.note(chat(number), Version(1), EPOCH, begin);
        }
        let (due, _, lost_track) = told.due(at(begin, 500));
        assert_eq!((due.len(), lost_track), (MOST, true));
        assert!(!told.due(at(begin, 1_000)).2, "said once");
    }
}
