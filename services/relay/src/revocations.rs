//! Telling every pod at once that a user's tokens were revoked. Whoever does not hear it finds it in the database later.

use std::future::Future;

use futures_util::StreamExt;
use parley_domain::token::Revocation;
use tokio::time::timeout;

use crate::bus::{Bus, DEADLINE};
use crate::{RelayError, subject};

impl Bus {
    /// Tells all pods of a revocation; says whether the bus took it.
    pub async fn announce_revocation(&self, revocation: &Revocation) -> bool {
        // What is published without a connection waits, and would come when nobody needs it any more.
        if !self.state().borrow().connected {
            return false;
        }
        let Ok(revocation) = serde_json::to_vec(revocation) else { return false };
        let told = self.client.publish(subject::USERS_REVOKED, revocation.into());
        matches!(timeout(DEADLINE, told).await, Ok(Ok(())))
    }

    /// Hands over every revocation that is heard, this pod's own with them, until `stop` is done.
    pub async fn hear_revocations(
        &self,
        hear: impl Fn(Revocation) + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError> {
        tokio::pin!(stop);
        let mut told = tokio::select! {
            () = &mut stop => return Ok(()),
            told = self.client.subscribe(subject::USERS_REVOKED) => {
                told.map_err(RelayError::unavailable)?
            }
        };
        loop {
            let message = tokio::select! {
                () = &mut stop => return Ok(()),
                message = told.next() => match message {
                    Some(message) => message,
                    None => return Err(RelayError::unavailable("the subscription to revocations ended")),
                },
            };
            match serde_json::from_slice(&message.payload) {
                Ok(revocation) => hear(revocation),
                Err(error) => {
                    self.metrics.unreadable.inc();
                    tracing::warn!(%error, "a revocation on the bus could not be read");
                }
            }
        }
    }
}
