//! Who has a connection to this pod, told to Redis: in batches, and by one heartbeat for all of them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use parley_domain::attendance::Turn;
use parley_domain::ids::UserId;
use parley_relay::{Bus, Kept, Movements, Presence};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tokio_util::sync::CancellationToken;

use crate::bearers::Bearers;

/// How often it is said that this pod lives; a third of how long that is believed.
const BEAT: Duration = Duration::from_secs(10);
/// How long who comes and goes is gathered: a page that is reloaded does not show.
const GATHER: Duration = Duration::from_millis(250);
/// How soon it is tried again when Redis is away.
const AGAIN: Duration = Duration::from_secs(1);
/// How long it takes at most until a Redis that is back has heard of every pod that lives, and forgotten those that do not.
const SETTLED: Duration = Duration::from_secs(40);

/// Who has come and gone since it was last told. One entry a user, so it is bounded by those who were here meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Comings(Arc<Shared>);

#[derive(Default)]
struct Shared {
    is_here: Mutex<HashMap<UserId, bool>>,
    something: Notify,
}

impl Comings {
    /// A user has a connection here, or none any more. To be called in the order in which it happens.
    pub(crate) fn note(&self, user: &UserId, is_here: bool) {
        self.0.is_here.lock().insert(user.clone(), is_here);
        self.0.something.notify_one();
    }

    fn take(&self) -> Movements {
        let mut movements = Movements::default();
        for (user, is_here) in std::mem::take(&mut *self.0.is_here.lock()) {
            if is_here { &mut movements.come } else { &mut movements.gone }.push(user);
        }
        movements
    }
}

/// Tells for as long as connections are open; `closed` says when they are not any more. With a bus, couriers are told who is
/// online from now on, or is not any more.
pub(crate) async fn run(
    presence: Presence,
    instance: String,
    bearers: Bearers,
    turns: Option<Bus>,
    closed: CancellationToken,
) -> anyhow::Result<()> {
    let (pod, gateways) = (instance, Vec::new());
    let sweep = Sweep::begun(Instant::now());
    let (has_begun, everybody) = (false, true);
    let mut teller =
        Teller { pod, presence, bearers, turns, gateways, sweep, has_begun, everybody };
    let mut beats = interval(BEAT);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let comings = teller.bearers.comings().clone();
    let mut again = Instant::now();
    loop {
        tokio::select! {
            () = closed.cancelled() => break,
            _ = beats.tick() => teller.beat().await,
            () = comings.0.something.notified() => {
                sleep(GATHER).await;
                teller.tell().await;
            }
            () = tokio::time::sleep_until(again), if teller.everybody => teller.tell().await,
        }
        again = Instant::now() + AGAIN;
    }
    teller.sweep.under_way.abort_all();
    teller.tell().await;
    teller.presence.leave(&teller.pod).await;
    Ok(())
}

async fn tell(bus: &Bus, turns: &[Turn]) {
    if !bus.tell_turns(turns).await {
        tracing::debug!("couriers cannot be told who is online");
    }
}

/// When it is looked for those who are online nowhere any more, though no gateway has said so: it died, or could not say it. Not
/// before Redis knows all gateways that live with all of theirs, or those would be taken for gone.
struct Sweep {
    due: Option<Instant>,
    under_way: JoinSet<()>,
}

impl Sweep {
    /// At a pod's begin too: somebody may have died when nobody was left to see it.
    fn begun(now: Instant) -> Self {
        Self { due: Some(now + SETTLED), under_way: JoinSet::new() }
    }

    /// Redis did not know everybody.
    fn settle(&mut self, now: Instant) {
        self.due = Some(now + SETTLED);
    }

    /// A gateway is not there any more.
    fn missed_one(&mut self, now: Instant) {
        self.due.get_or_insert(now);
    }

    fn is_due(&self, now: Instant) -> bool {
        self.due.is_some_and(|due| due <= now)
    }

    /// Aside: it may take longer than this pod's life without a heartbeat.
    fn begin(&mut self, presence: Presence, bus: Bus) {
        while self.under_way.try_join_next().is_some() {}
        // It stays due until the one that goes on is over.
        if self.under_way.is_empty() {
            self.due = None;
            self.under_way.spawn(async move { tell(&bus, &presence.swept().await).await });
        }
    }
}

struct Teller {
    pod: String,
    presence: Presence,
    bearers: Bearers,
    turns: Option<Bus>,
    /// Those that lived at the last beat.
    gateways: Vec<String>,
    sweep: Sweep,
    /// Redis has once heard of everybody here.
    has_begun: bool,
    /// Redis does not have them all.
    everybody: bool,
}

impl Teller {
    async fn beat(&mut self) {
        let kept = self.presence.beat(&self.pod).await;
        self.everybody |= kept != Kept::Yes;
        if let Some(bus) = &self.turns
            && let Some(gateways) = self.presence.gateways().await
        {
            let before = std::mem::replace(&mut self.gateways, gateways);
            let now = Instant::now();
            if before.iter().any(|pod| !self.gateways.contains(pod)) {
                self.sweep.missed_one(now);
            }
            if self.sweep.is_due(now) && self.gateways.contains(&self.pod) {
                self.sweep.begin(self.presence.clone(), bus.clone());
            }
        }
    }

    async fn tell(&mut self) {
        let mut movements = self.bearers.comings().take();
        if self.everybody {
            // Read after what has happened was taken: whoever comes or goes from here on is told of next time.
            movements.everybody = true;
            movements.come = self.bearers.users_here();
        }
        let everybody = std::mem::take(&mut self.everybody);
        let kept = self.presence.moved(&self.pod, &movements).await;
        if movements.everybody || kept != Kept::Yes {
            self.sweep.settle(Instant::now());
        }
        if let Some(bus) = self.turns.as_ref().filter(|_| kept != Kept::Away) {
            // Whoever is here when a pod begins has just come.
            movements.everybody &= std::mem::replace(&mut self.has_begun, true);
            tell(bus, &self.presence.turns(&movements).await).await;
        }
        match kept {
            Kept::Yes => {}
            // It begins with everybody, and then nothing was lost.
            Kept::Lost => self.everybody = !everybody,
            Kept::Away => self.everybody = true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_taken_for_gone_before_redis_knows_everybody_again() {
        let begin = Instant::now();
        let mut sweep = Sweep::begun(begin);
        assert!(!sweep.is_due(begin + SETTLED / 2));
        assert!(sweep.is_due(begin + SETTLED));
        sweep.due = None;
        assert!(!sweep.is_due(begin + SETTLED * 9), "nobody is missed");
        sweep.missed_one(begin + SETTLED * 9);
        assert!(sweep.is_due(begin + SETTLED * 9), "a gateway died while Redis knew everybody");
        sweep.settle(begin + SETTLED * 9);
        sweep.missed_one(begin + SETTLED * 9);
        assert!(!sweep.is_due(begin + SETTLED * 9), "it may only not be known yet");
        assert!(sweep.is_due(begin + SETTLED * 10));
    }
}
