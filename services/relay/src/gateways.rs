//! Which gateways live, and where they take what the others pass on. Each says so every two seconds; one that misses
//! another asks all of them.

use std::collections::HashMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures_util::StreamExt;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, watch};
use tokio::time::{MissedTickBehavior, interval, timeout, timeout_at};

use crate::bus::{Bus, BusState, DEADLINE};
use crate::{RelayError, subject};

/// The pause between two signs of life.
const PAUSE: Duration = Duration::from_secs(2);
/// A gateway of which nothing was heard for so long is gone.
const SILENCE: Duration = Duration::from_secs(10);
/// Gateways that are told apart; sessions of more are unknown.
const MOST: usize = 10_000;
/// How long answers to an ask are waited for.
const ANSWERS: Duration = Duration::from_millis(250);
/// Between two asks: whoever invents names must not make all gateways speak.
const DISTANCE: Duration = Duration::from_secs(1);

/// One start of a gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayPlace {
    /// What no other start has.
    pub incarnation: String,
    /// Where it takes what other gateways pass on.
    pub address: SocketAddr,
}

/// The gateways, as one of them knows them. Clones know the same.
#[derive(Debug, Clone)]
pub struct Gateways(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    list: Mutex<List>,
    /// Rises with the list.
    changes: watch::Sender<u64>,
    /// Somebody is missed.
    missed: Notify,
}

/// What keeps the list, and this gateway on the others'; it has to be run.
pub struct GatewaysTask {
    bus: Bus,
    own: GatewayPlace,
    gateways: Gateways,
}

impl Bus {
    /// The list of gateways, and the task that keeps it.
    pub fn gateways(&self, own: GatewayPlace) -> (Gateways, GatewaysTask) {
        let (changes, _) = watch::channel(0);
        let list = Mutex::default();
        let gateways = Gateways(Arc::new(Shared { list, changes, missed: Notify::new() }));
        (gateways.clone(), GatewaysTask { bus: self.clone(), own, gateways })
    }
}

impl Gateways {
    /// Where a gateway is; one that is not on the list is asked for once, by all who miss somebody at a time.
    pub async fn find(&self, incarnation: &str) -> Option<SocketAddr> {
        let mut changes = self.0.changes.subscribe();
        let until = {
            let mut list = self.0.list.lock();
            if let Some(address) = list.get(incarnation) {
                return Some(address);
            }
            let (until, first) = list.miss(Instant::now())?;
            if first {
                self.0.missed.notify_one();
            }
            until
        };
        loop {
            // The sender lives as long as this.
            timeout_at(until.into(), changes.changed()).await.ok()?.ok()?;
            let found = self.0.list.lock().get(incarnation);
            if found.is_some() {
                return found;
            }
        }
    }

    fn heard(&self, place: GatewayPlace) {
        if self.0.list.lock().heard(place, Instant::now()) {
            self.0.changes.send_modify(|number| *number += 1);
        }
    }
}

impl GatewaysTask {
    /// Says that this gateway lives, and listens to the others, until `stop` is done.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), RelayError> {
        tokio::pin!(stop);
        tokio::select! {
            () = &mut stop => Ok(()),
            ended = self.keep() => ended,
        }
    }

    async fn keep(self) -> Result<(), RelayError> {
        let client = &self.bus.client;
        let answers: Subject = client.new_inbox().into();
        let subscribe = async |subject: Subject| {
            client.subscribe(subject).await.map_err(RelayError::unavailable)
        };
        let mut signs = subscribe(subject::ASK_GATEWAYS.into()).await?;
        let mut answered = subscribe(answers.clone()).await?;
        let mut state = self.bus.state();
        let mut ticks = interval(PAUSE);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut breaks = None;
        loop {
            tokio::select! {
                sign = next(&mut signs) => {
                    let sign = sign?;
                    let asked = self.hear(&sign);
                    if asked && let Some(asker) = sign.reply {
                        self.say(asker, None).await;
                    }
                },
                answer = next(&mut answered) => drop(self.hear(&answer?)),
                _ = ticks.tick() => {
                    let now = *state.borrow_and_update();
                    self.gateways.0.list.lock().tick(Instant::now(), now.connected);
                    // Whoever was away asks who came meanwhile.
                    let news = now.connected && breaks.replace(now.breaks) != Some(now.breaks);
                    self.live(now, news.then_some(&answers)).await;
                },
                changed = state.changed() => {
                    changed.map_err(RelayError::unavailable)?;
                    ticks.reset_immediately();
                },
                () = self.gateways.0.missed.notified() => {
                    let now = *state.borrow();
                    self.live(now, Some(&answers)).await;
                },
            }
        }
    }

    /// Whether it was somebody else.
    fn hear(&self, sign: &Message) -> bool {
        match serde_json::from_slice::<GatewayPlace>(&sign.payload) {
            Ok(place) if place.incarnation == self.own.incarnation => false,
            Ok(place) => {
                self.gateways.heard(place);
                true
            }
            Err(error) => {
                self.bus.metrics.unreadable.inc();
                tracing::warn!(%error, "a gateway's sign of life could not be read");
                false
            }
        }
    }

    async fn live(&self, state: BusState, answers: Option<&Subject>) {
        if state.connected {
            self.say(subject::ASK_GATEWAYS.into(), answers).await;
        }
    }

    /// What is not said now is said in two seconds.
    async fn say(&self, to: Subject, answers: Option<&Subject>) {
        let Ok(own) = serde_json::to_vec(&self.own) else { return };
        let (client, own) = (&self.bus.client, Bytes::from(own));
        let said = async {
            match answers {
                Some(answers) => client.publish_with_reply(to, answers.clone(), own).await,
                None => client.publish(to, own).await,
            }
        };
        let _ = timeout(DEADLINE.min(PAUSE), said).await;
    }
}

async fn next(subscription: &mut Subscriber) -> Result<Message, RelayError> {
    let ended = || RelayError::unavailable("the subscription to gateways ended");
    subscription.next().await.ok_or_else(ended)
}

/// The other gateways. No clock in here.
#[derive(Debug, Default)]
struct List {
    heard: HashMap<String, (SocketAddr, Instant)>,
    /// When somebody was last asked for.
    asked: Option<Instant>,
    /// Whether nothing can have been heard since the last tick.
    deaf: bool,
}

impl List {
    fn get(&self, incarnation: &str) -> Option<SocketAddr> {
        self.heard.get(incarnation).map(|(address, _)| *address)
    }

    /// Whether it is news.
    fn heard(&mut self, place: GatewayPlace, now: Instant) -> bool {
        if self.heard.len() >= MOST && !self.heard.contains_key(&place.incarnation) {
            return false;
        }
        let before = self.heard.insert(place.incarnation, (place.address, now));
        before.is_none_or(|(address, _)| address != place.address)
    }

    /// Somebody is missed: until when answers may come, and whether nobody has asked yet; nothing if it was asked
    /// just now, in vain.
    fn miss(&mut self, now: Instant) -> Option<(Instant, bool)> {
        let asked = self.asked.filter(|at| now.saturating_duration_since(*at) < DISTANCE);
        let until = *self.asked.insert(asked.unwrap_or(now)) + ANSWERS;
        (now < until).then_some((until, asked.is_none()))
    }

    /// Forgets who is gone. Silence counts only while it could have been broken.
    fn tick(&mut self, now: Instant, connected: bool) {
        if connected && !self.deaf {
            self.heard.retain(|_, (_, heard)| now.saturating_duration_since(*heard) < SILENCE);
        } else {
            self.heard.values_mut().for_each(|(_, heard)| *heard = now);
        }
        self.deaf = !connected;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(name: &str, port: u16) -> GatewayPlace {
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        GatewayPlace { incarnation: name.to_owned(), address }
    }

    fn at(begin: Instant, milliseconds: u64) -> Instant {
        begin + Duration::from_millis(milliseconds)
    }

    #[test]
    fn who_is_silent_is_gone_unless_nobody_could_be_heard() {
        let (mut list, begin) = (List::default(), Instant::now());
        assert!(list.heard(place("a", 1), begin));
        assert!(!list.heard(place("a", 1), at(begin, 1)));
        assert!(list.heard(place("a", 2), at(begin, 2)), "it is elsewhere");
        list.tick(at(begin, 9_000), true);
        assert_eq!(list.get("a"), Some(place("a", 2).address));
        list.tick(at(begin, 12_000), false);
        list.tick(at(begin, 30_000), true);
        assert!(list.get("a").is_some());
        list.tick(at(begin, 40_000), true);
        assert_eq!(list.get("a"), None);
    }

    #[test]
    fn who_is_missed_is_asked_for_once_by_all_and_not_again_at_once() {
        let (mut list, begin) = (List::default(), Instant::now());
        assert_eq!(list.miss(begin), Some((begin + ANSWERS, true)));
        assert_eq!(list.miss(at(begin, 100)), Some((begin + ANSWERS, false)), "the same ask");
        assert_eq!(list.miss(at(begin, 300)), None);
        assert_eq!(list.miss(at(begin, 999)), None);
        assert_eq!(list.miss(at(begin, 1_000)), Some((at(begin, 1_000) + ANSWERS, true)));
    }

    #[test]
    fn i9_there_are_not_endlessly_many_gateways() {
        let (mut list, begin) = (List::default(), Instant::now());
        for number in 0..MOST + 5 {
            list.heard(place(&number.to_string(), 1), begin);
        }
        assert_eq!(list.heard.len(), MOST);
        assert!(list.heard(place("7", 2), begin), "one that is known may move");
    }
}
