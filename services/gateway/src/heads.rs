//! Whether this pod's rooms are where their chats are, when no event shows it.
//!
//! Api pods announce how far chats are; a room that is not hears of it. When announcements may have been missed (a number
//! is skipped, a pod falls silent, the bus was interrupted), all rooms are compared, a thousand at a time.

use std::collections::HashMap;
use std::pin::Pin;
use std::time::{Duration, Instant};

use parley_domain::ask::{HeadsAnswer, HeadsAsk, MAX_HEADS};
use parley_domain::heads::Announcement;
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use parley_relay::{BusState, HeadsSubscription};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::asks::PAUSE;
use crate::metrics::Asking;
use crate::room::Standing;
use crate::rooms::Rooms;

/// A pod of which nothing was heard for so long is gone, and may have left something untold. They speak twice a second.
const SILENCE: Duration = Duration::from_secs(2);
/// How often silence is looked for.
const EVERY: Duration = Duration::from_millis(250);
/// Pods that are told apart. Of more, silence is not noticed.
const MOST: usize = 10_000;
/// Gateways do not all ask at once, nor one for everything at once.
const FIRST_STAGGER_MS: std::ops::Range<u64> = 0..100;
const STAGGER_MS: std::ops::Range<u64> = 5..15;
/// Between two comparisons.
const DISTANCE: Duration = Duration::from_millis(500);
/// The longest pause after an ask in vain; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Why all rooms are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// The bus was away, or a subscription overran.
    Interruption,
    /// A pod's announcement is missing.
    Skipped,
    /// A pod does not announce any more.
    Silence,
    /// A pod had more to announce than it can keep in mind.
    LostTrack,
}

impl Doubt {
    /// Each of them.
    pub(crate) const ALL: [Self; 4] =
        [Self::Interruption, Self::Skipped, Self::Silence, Self::LostTrack];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Interruption => "interruption",
            Self::Skipped => "skipped",
            Self::Silence => "silence",
            Self::LostTrack => "lost_track",
        }
    }
}

/// Listens and compares until `stop`.
pub(crate) async fn run(rooms: Rooms, stop: CancellationToken) -> anyhow::Result<()> {
    let subscription = loop {
        match stop.run_until_cancelled(rooms.bus().hear_heads()).await {
            None => return Ok(()),
            Some(Ok(subscription)) => break subscription,
            // The bus is away at the start.
            Some(Err(error)) => tracing::debug!(%error, "heads cannot be heard yet"),
        }
        if stop.run_until_cancelled(sleep(PAUSE)).await.is_none() {
            return Ok(());
        }
    };
    let state = rooms.bus().state();
    let mut watch = Watch {
        rooms,
        subscription,
        state,
        pods: Pods::new(Instant::now()),
        comparing: None,
        again: false,
    };
    match stop.run_until_cancelled(watch.run()).await {
        Some(ended) => ended,
        None => Ok(()),
    }
}

struct Watch {
    rooms: Rooms,
    subscription: HeadsSubscription,
    state: watch::Receiver<BusState>,
    pods: Pods,
    comparing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// Whether there was another reason since it began.
    again: bool,
}

impl Watch {
    async fn run(&mut self) -> anyhow::Result<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = *self.state.borrow_and_update();
        loop {
            tokio::select! {
                announcement = self.subscription.next() => match announcement {
                    Some(announcement) => self.on_announcement(announcement).await,
                    None => anyhow::bail!("the subscription to heads ended"),
                },
                changed = self.state.changed() => {
                    changed?;
                    let now = *self.state.borrow_and_update();
                    self.on_bus(seen, now);
                    seen = now;
                },
                () = compared(&mut self.comparing) => self.on_compared(),
                _ = ticks.tick() => {
                    let connected = self.state.borrow().connected;
                    if self.pods.tick(Instant::now(), connected) {
                        self.compare(Doubt::Silence);
                    }
                },
            }
        }
    }

    async fn on_announcement(&mut self, announcement: Announcement) {
        let Announcement { pod, number, heads, epoch, lost_track } = announcement;
        if self.pods.on_announcement(pod, number, Instant::now()) {
            self.compare(Doubt::Skipped);
        }
        if lost_track {
            self.compare(Doubt::LostTrack);
        }
        let Some(epoch) = epoch else { return };
        for (chat, version) in heads {
            self.rooms.announced(chat, Standing { version, epoch }).await;
        }
    }

    /// What was being found out while the bus broke is worth nothing. A subscription that overran takes no answer along:
    /// then one more comparison follows the one that runs.
    fn on_bus(&mut self, before: BusState, now: BusState) {
        if before.breaks == now.breaks && before.interruptions != now.interruptions {
            self.compare(Doubt::Interruption);
        } else if before.interruptions != now.interruptions {
            self.pods = Pods::new(Instant::now());
            self.comparing = None;
            self.again = false;
            self.compare(Doubt::Interruption);
        }
    }

    fn compare(&mut self, why: Doubt) {
        self.rooms.metrics().compared(why);
        if self.comparing.is_some() {
            self.again = true;
            return;
        }
        self.comparing = Some(Box::pin(compare_all(self.rooms.clone())));
    }

    fn on_compared(&mut self) {
        if std::mem::take(&mut self.again) {
            self.comparing = Some(Box::pin(compare_all(self.rooms.clone())));
        }
    }
}

/// Asks for the heads of all open rooms. Ends when all of them have theirs.
async fn compare_all(rooms: Rooms) {
    let mut state = rooms.bus().state();
    // It only fails with the bus, for good.
    let _ = state.wait_for(|state| state.connected).await;
    sleep(Duration::from_millis(rand::random_range(FIRST_STAGGER_MS))).await;
    // The subscriptions have to be whole again before a head is read; what comes meanwhile waits in them.
    while let Err(error) = rooms.bus().barrier().await {
        tracing::debug!(%error, "a barrier in vain");
        sleep(PAUSE).await;
    }
    for chats in rooms.chats().chunks(MAX_HEADS) {
        compare(&rooms, chats).await;
        sleep(Duration::from_millis(rand::random_range(STAGGER_MS))).await;
    }
    // Whatever gives reason to compare again and again, there is a distance between two of them.
    sleep(DISTANCE).await;
}

async fn compare(rooms: &Rooms, chats: &[ChatId]) {
    let ask = HeadsAsk { chat_ids: chats.to_vec() };
    let mut pause = PAUSE;
    let (asked, heads, epoch): (_, HashMap<ChatId, Version>, Epoch) = loop {
        let asked = tokio::time::Instant::now();
        rooms.metrics().asked(Asking::Heads);
        match rooms.bus().ask(&ask).await {
            Ok(HeadsAnswer::Heads { heads, epoch }) => {
                break (asked, heads.into_iter().collect(), epoch);
            }
            Ok(HeadsAnswer::Unavailable) => {}
            Err(error) => tracing::debug!(%error, "heads were asked for in vain"),
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    };
    for chat in chats {
        // One that is not there any more has fallen below everything; its room finds that out.
        let version = heads.get(chat).copied().unwrap_or_default();
        rooms.compared(*chat, Standing { version, epoch }, asked).await;
    }
}

async fn compared(running: &mut Option<Pin<Box<dyn Future<Output = ()> + Send>>>) {
    let Some(future) = running else { return std::future::pending().await };
    future.await;
    *running = None;
}

/// The api pods, by their announcements. No clock in here.
struct Pods {
    heard: HashMap<u64, (u64, Instant)>,
    /// Since when they can be heard. What they said before is not missed: whoever begins to listen compares.
    since: Instant,
    /// Whether nothing can have been heard since the last tick.
    deaf: bool,
}

impl Pods {
    fn new(now: Instant) -> Self {
        Self { heard: HashMap::new(), since: now, deaf: false }
    }

    /// Says whether an announcement is missing.
    fn on_announcement(&mut self, pod: u64, number: u64, now: Instant) -> bool {
        let last = self.heard.get(&pod).map(|(last, _)| *last);
        if last.is_some() || self.heard.len() < MOST {
            self.heard.insert(pod, (number.max(last.unwrap_or_default()), now));
        }
        let begins = now.saturating_duration_since(self.since) < SILENCE;
        number > last.unwrap_or_default() + 1 && !(last.is_none() && begins)
    }

    /// Says whether a pod has fallen silent. Silence counts only while it could have been broken.
    fn tick(&mut self, now: Instant, connected: bool) -> bool {
        let before = self.heard.len();
        if connected && !self.deaf {
            self.heard.retain(|_, (_, heard)| now.saturating_duration_since(*heard) < SILENCE);
        } else {
            self.heard.values_mut().for_each(|(_, heard)| *heard = now);
            self.since = now;
        }
        self.deaf = !connected;
        self.heard.len() < before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(begin: Instant, milliseconds: u64) -> Instant {
        begin + Duration::from_millis(milliseconds)
    }

    #[test]
    fn a_number_that_is_skipped_is_noticed() {
        let begin = Instant::now();
        let mut pods = Pods::new(begin);
        assert!(!pods.on_announcement(9, 7, begin), "it has spoken before anybody listened");
        let mut hear = |pod, number| pods.on_announcement(pod, number, at(begin, 2_000));
        assert!(!hear(1, 1), "from its first word on");
        assert!(!hear(1, 2));
        assert!(hear(1, 4));
        assert!(!hear(1, 4), "doubled");
        assert!(!hear(1, 3), "late");
        assert!(!hear(1, 5));
        assert!(hear(2, 7), "what it said before was not heard");
        assert!(!hear(2, 8));
        assert!(hear(9, 9));
    }

    #[test]
    fn a_pod_that_falls_silent_is_noticed_once() {
        let begin = Instant::now();
        let mut pods = Pods::new(begin);
        pods.on_announcement(1, 1, begin);
        pods.on_announcement(2, 1, begin);
        pods.on_announcement(1, 2, at(begin, 1_000));
        assert!(!pods.tick(at(begin, 1_900), true));
        assert!(pods.tick(at(begin, 2_000), true));
        assert!(!pods.tick(at(begin, 2_250), true));
        assert!(pods.tick(at(begin, 3_000), true));
    }

    #[test]
    fn silence_does_not_count_while_the_bus_is_away() {
        let begin = Instant::now();
        let mut pods = Pods::new(begin);
        pods.on_announcement(1, 1, begin);
        for tick in 1..20 {
            assert!(!pods.tick(at(begin, tick * 500), false));
        }
        assert!(!pods.tick(at(begin, 10_000), true), "it had no time to be heard yet");
        assert!(!pods.tick(at(begin, 11_500), true));
        assert!(pods.tick(at(begin, 12_000), true));
    }

    #[test]
    fn i9_there_are_not_endlessly_many_pods() {
        let now = Instant::now();
        let mut pods = Pods::new(now);
        for pod in 0..MOST as u64 + 10 {
            pods.on_announcement(pod, 1, now);
        }
        assert_eq!(pods.heard.len(), MOST);
    }
}
