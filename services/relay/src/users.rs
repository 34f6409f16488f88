//! Hearing which chats people have: events for connections, in whatever room they are.

use std::future::Future;

use async_nats::Subscriber;
use futures_util::StreamExt;
use parley_domain::bus::RoomEvent;

use crate::bus::Bus;
use crate::{RelayError, subject};

impl Bus {
    /// Hands over every event for users' connections, until `stop` is done.
    pub async fn hear_users(
        &self,
        hear: impl Fn(RoomEvent) + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError> {
        tokio::pin!(stop);
        let told = tokio::select! {
            () = &mut stop => return Ok(()),
            told = self.client.subscribe(subject::USERS_CHATS) => {
                told.map_err(RelayError::unavailable)?
            }
        };
        tokio::select! {
            () = &mut stop => Ok(()),
            () = self.hand_over(told, hear) => {
                Err(RelayError::unavailable("the subscription to people's chats ended"))
            }
        }
    }

    async fn hand_over(&self, mut told: Subscriber, hear: impl Fn(RoomEvent)) {
        while let Some(message) = told.next().await {
            self.metrics.received.inc();
            match RoomEvent::decode(&message.payload) {
                Ok(event) => hear(event),
                Err(error) => {
                    self.metrics.unreadable.inc();
                    tracing::warn!(%error, "an event for users could not be read");
                }
            }
        }
    }
}
