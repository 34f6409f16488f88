//! Writing down what became of deliveries, many with one transaction.

use std::collections::HashMap;
use std::time::Duration;

use parley_domain::ids::WebhookId;
use parley_store::{
    Attempted, DeliveryState, Health, Patience, Released, Settlement, Store, StoreError,
};
use tokio::sync::mpsc;
use tokio::time::sleep;
use uuid::Uuid;

use crate::metrics::Metrics;

/// Notes that wait to be written; with more, lanes wait.
pub(crate) const ROOM: usize = 1_024;
/// Notes of one transaction.
const AT_ONCE: usize = 512;
/// Between two tries to write them.
const PAUSE: Duration = Duration::from_millis(250);

/// What a lane has to say.
pub(crate) enum Note {
    /// Of one attempt; `standing` if it says something about how the webhook stands.
    Attempted { webhook: WebhookId, attempted: Box<Attempted>, standing: bool, gone: bool },
    /// It is given back, after all its attempts.
    Released(Released),
}

pub(crate) struct Settling {
    pub(crate) store: Store,
    pub(crate) holder: Uuid,
    pub(crate) patience: Patience,
    pub(crate) notes: mpsc::Receiver<Note>,
    pub(crate) metrics: Metrics,
}

impl Settling {
    /// Writes until the last lane has ended. What Postgres does not take now, it is given again: meanwhile lanes wait.
    pub(crate) async fn run(mut self) {
        let mut waiting = Vec::with_capacity(AT_ONCE);
        while self.notes.recv_many(&mut waiting, AT_ONCE).await > 0 {
            self.write(&settlement(waiting.drain(..))).await;
        }
    }

    async fn write(&self, settlement: &Settlement) {
        loop {
            match self.store.settle(self.holder, settlement, &self.patience).await {
                Ok(disabled) => {
                    for webhook in disabled {
                        self.metrics.disabled.inc();
                        tracing::warn!(%webhook, "a webhook has failed for too long, or is gone: it is switched off");
                    }
                    return;
                }
                Err(error @ StoreError::Unavailable(_)) => {
                    tracing::debug!(%error, "deliveries cannot be settled now");
                    sleep(PAUSE).await;
                }
                Err(error) => {
                    // Their claims end, and they are delivered again.
                    self.metrics.unsettled.inc_by(settlement.attempts.len() as u64);
                    tracing::error!(%error, "deliveries could not be settled");
                    return;
                }
            }
        }
    }
}

/// In the order of the notes: a webhook stands as the last attempts say.
fn settlement(notes: impl Iterator<Item = Note>) -> Settlement {
    let mut settlement = Settlement::default();
    let mut places: HashMap<WebhookId, usize> = HashMap::new();
    for note in notes {
        match note {
            Note::Released(released) => settlement.released.push(released),
            Note::Attempted { webhook, attempted, standing, gone } => {
                if standing {
                    let fresh = Health { webhook, succeeded: false, failed: 0, gone: false };
                    let place = *places.entry(webhook).or_insert_with(|| {
                        settlement.health.push(fresh);
                        settlement.health.len() - 1
                    });
                    let health = &mut settlement.health[place];
                    health.gone |= gone;
                    if attempted.state == DeliveryState::Delivered {
                        (health.succeeded, health.failed) = (true, 0);
                    } else {
                        health.failed += 1;
                    }
                }
                settlement.attempts.push(*attempted);
            }
        }
    }
    settlement
}

#[cfg(test)]
mod tests {
    use parley_domain::ids::DeliveryId;

    use super::*;

    fn note(webhook: WebhookId, state: DeliveryState) -> Note {
        let attempted = Attempted {
            delivery: DeliveryId(1),
            attempt: 1,
            state,
            began_at: chrono::DateTime::default(),
            took: Duration::ZERO,
            status: None,
            error: None,
            answer: None,
        };
        Note::Attempted { webhook, attempted: Box::new(attempted), standing: true, gone: false }
    }

    #[test]
    fn a_webhook_stands_as_its_last_attempts_say() {
        let [one, other] = [1, 2].map(|id| WebhookId::from(Uuid::from_u128(id)));
        let (good, bad) = (DeliveryState::Delivered, DeliveryState::Waiting);
        let notes = [note(one, bad), note(other, bad), note(one, good), note(one, bad)];
        let settled = settlement(notes.into_iter());
        let stand = |place: usize| {
            let health = settled.health[place];
            (health.webhook, health.succeeded, health.failed)
        };
        assert_eq!([stand(0), stand(1)], [(one, true, 1), (other, false, 1)]);
        assert_eq!(settled.attempts.len(), 4);
    }
}
