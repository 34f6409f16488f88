//! Telling couriers who is online from now on, or is not any more. Whatever of it is lost is not told later.

use std::future::Future;

use futures_util::StreamExt;
use parley_domain::attendance::Turn;
use tokio::time::timeout;

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

/// Most turns of one message on the bus.
const TOGETHER: usize = 1_000;

impl Bus {
    /// Tells one courier of these; says whether the bus took them.
    pub async fn tell_turns(&self, turns: &[Turn]) -> bool {
        for turns in turns.chunks(TOGETHER) {
            // What is published without a connection waits, and would come when nobody needs it any more.
            if !self.state().borrow().connected {
                return false;
            }
            let Ok(turns) = serde_json::to_vec(turns) else { return false };
            let told = self.client.publish(subject::TURNS, turns.into());
            if !matches!(timeout(DEADLINE, told).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    }

    /// Hands over what no other courier hears, one after the other, until `stop` is done.
    pub async fn hear_turns<Fut: Future<Output = ()> + Send>(
        &self,
        hear: impl Fn(Vec<Turn>) -> Fut + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError> {
        tokio::pin!(stop);
        let subscribed = self.client.queue_subscribe(subject::TURNS, subject::COURIERS.into());
        let mut told = subscribed.await.map_err(RelayError::unavailable)?;
        loop {
            let message = tokio::select! {
                () = &mut stop => return Ok(()),
                message = told.next() => message,
            };
            let ended = || RelayError::unavailable("the subscription to turns ended");
            match serde_json::from_slice(&message.ok_or_else(ended)?.payload) {
                Ok(turns) => hear(turns).await,
                Err(error) => {
                    self.metrics.unreadable.inc();
                    tracing::warn!(%error, "who is online could not be read");
                }
            }
        }
    }
}
