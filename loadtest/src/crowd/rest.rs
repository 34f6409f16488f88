//! Requests to whichever api pod answers.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::time::timeout;

use super::world::{Place, World, any};
use crate::http::{Connection, request};

/// Longer than a pod gives itself for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Requests over one connection, on the average.
const STAYS: u32 = 16;

/// One client's way to the api pods.
pub(super) struct Rest {
    world: Arc<World>,
    chance: StdRng,
    kept: Option<(Place, Connection)>,
}

impl Rest {
    pub(super) fn new(world: Arc<World>, chance: StdRng) -> Self {
        Self { world, chance, kept: None }
    }

    /// Where the next request goes.
    pub(super) fn pod(&mut self) -> Place {
        // As a balancer would: a pod that comes back gets its share again.
        if self.chance.random_ratio(1, STAYS) {
            self.kept = None;
        }
        match &self.kept {
            Some((place, _)) => place.clone(),
            None => any(&self.world.api, &mut self.chance).clone(),
        }
    }

    /// One try, at this pod.
    pub(super) async fn ask(
        &mut self,
        pod: &Place,
        (method, path, token, body): (&str, &str, &str, &str),
    ) -> Result<(u16, Value)> {
        self.send(pod, &request(method, path, token, body)).await
    }

    /// The same, of a whole request. What is not a good answer ends the connection: the next one goes to a pod of chance.
    pub(super) async fn send(&mut self, pod: &Place, request: &[u8]) -> Result<(u16, Value)> {
        let kept = self.kept.take().filter(|(place, _)| place.name == pod.name);
        let exchange = async {
            let mut connection = match kept {
                Some((_, connection)) => connection,
                None => Connection::open(&pod.address).await?,
            };
            let answer = connection.exchange(request).await?;
            let status = answer.status;
            let value = serde_json::from_slice(answer.body).unwrap_or(Value::Null);
            Ok((status, value, connection))
        };
        let answer: Result<_> =
            timeout(ANSWER_WITHIN, exchange).await.context("no answer in time")?;
        let (status, value, connection) = answer?;
        if status < 500 {
            self.kept = Some((pod.clone(), connection));
        }
        Ok((status, value))
    }
}
