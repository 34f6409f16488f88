//! A courier asks every gateway who sees which chats.

use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use parley_domain::here::{HereAnswer, HereAsk};
use tokio::time::{Instant, timeout, timeout_at};

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

/// Most answers that are waited for.
const MOST: usize = 1_000;

impl Bus {
    /// Asks all gateways, and takes what is answered within `patience`: nobody says how many there are. An answer that cannot be
    /// read is none, so whoever is not named may be there all the same.
    pub async fn ask_here(
        &self,
        ask: &HereAsk,
        patience: Duration,
    ) -> Result<Vec<HereAnswer>, RelayError> {
        let question = serde_json::to_vec(ask).map_err(RelayError::unavailable)?;
        let until = Instant::now() + patience;
        // Without a connection the client keeps all that it is told for later, until it takes no more: nobody is told anything then.
        let mut state = self.state();
        let connected = state.wait_for(|state| state.connected);
        timeout_at(until, connected)
            .await
            .map_err(RelayError::unavailable)?
            .map_err(RelayError::unavailable)?;
        let inbox = self.client.new_inbox();
        let subscribed = timeout(DEADLINE, self.client.subscribe(inbox.clone())).await;
        let subscribed = subscribed.map_err(RelayError::unavailable)?;
        let mut answers = subscribed.map_err(RelayError::unavailable)?;
        let asking = self.client.publish_with_reply(subject::ASK_HERE, inbox, question.into());
        timeout(DEADLINE, asking)
            .await
            .map_err(RelayError::unavailable)?
            .map_err(RelayError::unavailable)?;
        let mut heard = Vec::new();
        while heard.len() < MOST
            && let Ok(Some(answer)) = timeout_at(until, answers.next()).await
        {
            // The server says so when nobody listens.
            if answer.status.is_some() {
                break;
            }
            match serde_json::from_slice(&answer.payload) {
                Ok(answer) => heard.push(answer),
                Err(error) => {
                    self.metrics.unreadable.inc();
                    tracing::warn!(%error, "a gateway's answer could not be read");
                }
            }
        }
        Ok(heard)
    }

    /// Answers such asks, one after the other, until `stop` is done.
    pub async fn answer_here<Fut: Future<Output = HereAnswer> + Send>(
        &self,
        answer: impl Fn(HereAsk) -> Fut + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError> {
        self.answer_each(subject::ASK_HERE, answer, stop).await
    }
}
