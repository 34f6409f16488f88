//! How many api pods live: each says so every second, and listens to the others.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_nats::Subscriber;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

/// The pause between two signs of life.
const PAUSE: Duration = Duration::from_secs(1);
/// A pod of which nothing was heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(3);
/// Pods that are told apart; more count as so many.
const MOST: usize = 10_000;

/// The count of api pods. Clones show the same.
#[derive(Debug, Clone)]
pub struct Peers(Arc<AtomicUsize>);

/// What keeps the count; it has to be run.
pub struct PeersTask {
    bus: Bus,
    pod: Bytes,
    count: Peers,
}

impl Peers {
    /// A count that stays.
    pub fn fixed(count: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(count.max(1))))
    }

    /// How many there are, this one with them. While the bus is away, as many as there were.
    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Bus {
    /// The count of api pods and the task that keeps it; `pod` is the name of this one, which no other has.
    pub fn peers(&self, pod: &str) -> (Peers, PeersTask) {
        let peers = Peers::fixed(1);
        let pod = Bytes::copy_from_slice(pod.as_bytes());
        (peers.clone(), PeersTask { bus: self.clone(), pod, count: peers })
    }
}

impl PeersTask {
    /// Says that this pod lives, and counts the others, until `stop` is done.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), RelayError> {
        tokio::pin!(stop);
        let subscribed = self.bus.client.subscribe(subject::PODS_API);
        let mut signs = tokio::select! {
            () = &mut stop => return Ok(()),
            signs = subscribed => signs.map_err(RelayError::unavailable)?,
        };
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        tokio::select! {
            () = &mut stop => Ok(()),
            ended = self.keep(&mut signs, &mut ticks) => ended,
        }
    }

    async fn keep(&self, signs: &mut Subscriber, ticks: &mut Interval) -> Result<(), RelayError> {
        let mut pods = Pods::default();
        loop {
            tokio::select! {
                sign = signs.next() => match sign {
                    Some(sign) if sign.payload != self.pod => pods.heard(sign.payload, Instant::now()),
                    Some(_) => {}
                    None => return Err(RelayError::unavailable("the subscription to pods ended")),
                },
                _ = ticks.tick() => self.live(&mut pods).await,
            }
            self.count.0.store(1 + pods.others(), Ordering::Relaxed);
        }
    }

    async fn live(&self, pods: &mut Pods) {
        let state = *self.bus.state().borrow();
        pods.tick(Instant::now(), state.connected);
        if state.connected {
            let said = self.bus.client.publish(subject::PODS_API, self.pod.clone());
            // What is not said now is said in a second.
            let _ = timeout(DEADLINE.min(PAUSE), said).await;
        }
    }
}

/// The other pods. No clock in here.
#[derive(Default)]
struct Pods {
    heard: HashMap<Bytes, Instant>,
    /// Whether nothing can have been heard since the last tick.
    deaf: bool,
}

impl Pods {
    fn heard(&mut self, pod: Bytes, now: Instant) {
        if self.heard.len() < MOST || self.heard.contains_key(&pod) {
            self.heard.insert(pod, now);
        }
    }

    /// Forgets who is gone. Silence counts only while it could have been broken.
    fn tick(&mut self, now: Instant, connected: bool) {
        if connected && !self.deaf {
            self.heard.retain(|_, heard| now.saturating_duration_since(*heard) < SILENCE);
        } else {
            self.heard.values_mut().for_each(|heard| *heard = now);
        }
        self.deaf = !connected;
    }

    fn others(&self) -> usize {
        self.heard.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &'static str) -> Bytes {
        Bytes::from_static(name.as_bytes())
    }

    #[test]
    fn who_is_silent_for_three_seconds_is_gone() {
        let (mut pods, begin) = (Pods::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        pods.heard(pod("a"), at(0));
        pods.heard(pod("b"), at(0));
        pods.heard(pod("a"), at(1));
        pods.tick(at(2), true);
        assert_eq!(pods.others(), 2);
        pods.tick(at(3), true);
        assert_eq!(pods.others(), 1);
        pods.tick(at(4), true);
        assert_eq!(pods.others(), 0);
    }

    #[test]
    fn silence_does_not_count_while_the_bus_is_away() {
        let (mut pods, begin) = (Pods::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        pods.heard(pod("a"), at(0));
        for second in 1..60 {
            pods.tick(at(second), false);
            assert_eq!(pods.others(), 1);
        }
        pods.tick(at(60), true);
        pods.tick(at(62), true);
        assert_eq!(pods.others(), 1, "it had no time to be heard yet");
        pods.tick(at(63), true);
        assert_eq!(pods.others(), 0);
    }

    #[test]
    fn there_are_not_endlessly_many_pods() {
        let (mut pods, now) = (Pods::default(), Instant::now());
        for number in 0..MOST + 10 {
            pods.heard(Bytes::from(number.to_string()), now);
        }
        assert_eq!(pods.others(), MOST);
    }
}
