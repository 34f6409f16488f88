//! An api pod asks every gateway what it knows of one delivery.

use std::future::Future;
use std::time::Duration;

use async_nats::Message;
use futures_util::StreamExt;
use parley_domain::delivery::{DeliveryAccount, DeliveryAsk};
use tokio::time::{Instant, timeout, timeout_at};

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

/// Most accounts that are waited for.
const MOST: usize = 1_000;

impl Bus {
    /// Asks all gateways; waits until those that are expected have answered, by the names of [`Presence::gateways`](crate::Presence::gateways), or it
    /// takes too long.
    /// An answer that cannot be read is none.
    pub async fn ask_gateways(
        &self,
        ask: &DeliveryAsk,
        expected: &[String],
        patience: Duration,
    ) -> Result<Vec<DeliveryAccount>, RelayError> {
        let question = serde_json::to_vec(ask).map_err(RelayError::unavailable)?;
        let until = Instant::now() + patience;
        let inbox = self.client.new_inbox();
        let subscribed = self.client.subscribe(inbox.clone()).await;
        let mut answers = subscribed.map_err(RelayError::unavailable)?;
        let asking =
            self.client.publish_with_reply(subject::ASK_DELIVERIES, inbox, question.into());
        timeout(DEADLINE, asking)
            .await
            .map_err(RelayError::unavailable)?
            .map_err(RelayError::unavailable)?;
        let mut accounts: Vec<DeliveryAccount> = Vec::new();
        let is_missing = |accounts: &[DeliveryAccount]| {
            expected.is_empty()
                || expected
                    .iter()
                    .any(|one| accounts.iter().all(|account| account.instance != *one))
        };
        while accounts.len() < MOST
            && is_missing(&accounts)
            && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
        {
            // The server says so when nobody listens.
            if answer.status.is_some() {
                break;
            }
            accounts.extend(self.read(&answer));
        }
        Ok(accounts)
    }

    fn read(&self, answer: &Message) -> Option<DeliveryAccount> {
        let read = serde_json::from_slice(&answer.payload);
        read.inspect_err(|error| {
            self.metrics.unreadable.inc();
            tracing::warn!(%error, "a gateway's account could not be read");
        })
        .ok()
    }

    /// Answers such asks, one after the other, until `stop` is done.
    pub async fn answer_deliveries<Fut: Future<Output = DeliveryAccount> + Send>(
        &self,
        answer: impl Fn(DeliveryAsk) -> Fut + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError> {
        self.answer_each(subject::ASK_DELIVERIES, answer, stop).await
    }
}
