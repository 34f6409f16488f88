//! The loop that looks for work: the outbox becomes deliveries, and lanes that are due are claimed and run.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parley_domain::ids::WebhookId;
use parley_store::{ClaimLimits, Claimed, Store, StoreError};
use tokio::task::{self, JoinSet};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::attempt::Receiver;
use crate::lane::{Lane, Shared};
use crate::pace::Pace;
use crate::settings::DeliverySettings;

/// Most rows of the outbox that one call turns into deliveries. A row is a whole batch of sends: what takes the database too
/// long is tried again with half as many.
const FAN_OUT: u32 = 64;
/// Deliveries of a lane that are claimed with it.
const DELIVERIES: u32 = 32;
/// The least between two looks: one that finds work is followed by another soon.
const BREATH: Duration = Duration::from_millis(5);
/// After a look that came to nothing because the database does not answer.
const PAUSE: Duration = Duration::from_millis(500);

pub(crate) struct Courier {
    pub(crate) store: Store,
    pub(crate) holder: Uuid,
    pub(crate) settings: DeliverySettings,
    pub(crate) shared: Arc<Shared>,
    pub(crate) stop: CancellationToken,
}

/// Lanes under way, and the pace of each webhook. Bounded by the webhooks that there may be and the room of each.
struct Running {
    /// Rows of the outbox that the next call asks for.
    fan_out: u32,
    lanes: JoinSet<()>,
    webhooks: HashMap<task::Id, WebhookId>,
    paces: HashMap<WebhookId, Arc<Pace>>,
}

impl Courier {
    /// Works until `stop`; then lanes finish what they have begun.
    pub(crate) async fn run(self) {
        let mut running = Running::new();
        while !self.stop.is_cancelled() {
            running.collect();
            let pause = match self.look(&mut running).await {
                Ok(true) => BREATH,
                Ok(false) => self.settings.poll(),
                Err(error) => {
                    tracing::warn!(%error, "no work can be looked for");
                    PAUSE
                }
            };
            self.stop.run_until_cancelled(sleep(pause)).await;
        }
        while running.lanes.join_next().await.is_some() {}
    }

    /// One look; says whether it has found anything.
    async fn look(&self, running: &mut Running) -> Result<bool, StoreError> {
        // What has been fanned out goes on its way, whatever comes of the rest.
        let fanned = self.fan_out(running).await;
        let metrics = &self.shared.metrics;
        let limits = ClaimLimits {
            lanes: self.settings.webhook_concurrency,
            deliveries: DELIVERIES,
            lease: self.settings.lease(),
            held: running.held(),
        };
        let claimed_at = Instant::now();
        let claimed = self.store.claim_lanes(self.holder, &limits).await?;
        let any = !claimed.lanes.is_empty();
        self.start(running, claimed, claimed_at);
        metrics.lanes.set(i64::try_from(running.lanes.len()).unwrap_or(i64::MAX));
        Ok(fanned? || any)
    }

    /// Turns rows of the outbox into deliveries; says whether there were any.
    async fn fan_out(&self, running: &mut Running) -> Result<bool, StoreError> {
        let fanned = self.store.fan_out(running.fan_out, &self.settings.notices()).await;
        let Ok(fanned) = fanned else {
            running.fan_out = (running.fan_out / 2).max(1);
            return fanned.map(|_| false);
        };
        let Some(fanned) = fanned else { return Ok(false) };
        running.fan_out = (running.fan_out * 2).min(FAN_OUT);
        self.shared.metrics.fanned_out.inc_by(fanned.deliveries);
        Ok(fanned.rows > 0)
    }

    fn start(&self, running: &mut Running, claimed: Claimed, claimed_at: Instant) {
        let Claimed { targets, lanes } = claimed;
        let client = &self.shared.client;
        let receivers: HashMap<_, _> = targets
            .iter()
            .map(|(webhook, target)| (*webhook, Arc::new(Receiver::of(target, client))))
            .collect();
        for lane in lanes {
            let webhook = lane.webhook;
            let (Some(receiver), Some(target)) = (receivers.get(&webhook), targets.get(&webhook))
            else {
                continue;
            };
            let pace = running.paces.entry(webhook);
            let pace =
                pace.or_insert_with(|| Arc::new(Pace::per_second(self.settings.webhook_rate)));
            let lane = Lane {
                shared: self.shared.clone(),
                receiver: receiver.clone(),
                pace: pace.clone(),
                failing: target.failing,
                claimed: claimed_at,
                ends: claimed_at + self.settings.lease(),
                work: lane,
            };
            let task = running.lanes.spawn(lane.run());
            running.webhooks.insert(task.id(), webhook);
        }
    }
}

impl Running {
    fn new() -> Self {
        let (lanes, webhooks, paces) = Default::default();
        Self { fan_out: FAN_OUT, lanes, webhooks, paces }
    }

    /// Takes note of lanes that have ended. One that panicked leaves its claim to its end.
    fn collect(&mut self) {
        while let Some(ended) = self.lanes.try_join_next_with_id() {
            let id = ended.map_or_else(|panicked| panicked.id(), |(id, ())| id);
            self.webhooks.remove(&id);
        }
        let webhooks = &self.webhooks;
        self.paces.retain(|webhook, pace| {
            !pace.rests() || webhooks.values().any(|running| running == webhook)
        });
    }

    /// How many lanes of each webhook are under way.
    fn held(&self) -> Vec<(WebhookId, u32)> {
        let mut held: HashMap<WebhookId, u32> = HashMap::new();
        for webhook in self.webhooks.values() {
            *held.entry(*webhook).or_default() += 1;
        }
        held.into_iter().collect()
    }
}
