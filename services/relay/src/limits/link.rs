//! The connection to Redis, and whether it is of use.

use std::collections::HashMap;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use deadpool_redis::redis::aio::ConnectionLike;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, RedisResult, cmd};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::RwLock;
use prometheus::IntGauge;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};

use super::convoy::Convoy;
use crate::settings::{Place, Sentinels};
use crate::{RedisSettings, RelayError};

/// How long a connection may take to stand.
const CONNECT: Duration = Duration::from_millis(500);
/// The pause between two probes.
const PAUSE: Duration = Duration::from_millis(250);

/// One multiplexed connection that everybody shares. Once a command fails or takes too long, nobody uses it any more; a
/// probe makes a new one, because behind a timeout there may be a connection that is dead without knowing.
pub(crate) struct Link {
    place: Place,
    config: AsyncConnectionConfig,
    patience: Duration,
    live: RwLock<Option<Live>>,
    generations: AtomicU64,
    up: IntGauge,
}

/// A connection that is of use, as far as is known.
#[derive(Clone)]
pub(crate) struct Live {
    generation: u64,
    connection: Convoy,
}

impl Live {
    /// A handle of the connection; commands of all handles go out together.
    pub(crate) fn connection(&self) -> Convoy {
        self.connection.clone()
    }
}

/// Looks after a link for as long as it exists.
pub(crate) struct Prober(AbortHandle);

impl Link {
    /// Connects, if Redis is there.
    pub(crate) async fn open(
        settings: &RedisSettings,
        up: IntGauge,
    ) -> Result<(Arc<Self>, Prober), RelayError> {
        let place = settings.place()?;
        let patience = settings.patience();
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT))
            .set_response_timeout(Some(patience));
        let (live, generations) = (RwLock::new(None), AtomicU64::new(0));
        let link = Arc::new(Self { place, config, patience, live, generations, up });
        if let Err(error) = link.connect().await {
            tracing::warn!(%error, "Redis is away: this pod does without it");
        }
        let prober = Prober(tokio::spawn(link.clone().probe()).abort_handle());
        Ok((link, prober))
    }

    /// The connection to ask; `None` while Redis is gone.
    pub(crate) fn live(&self) -> Option<Live> {
        self.live.read().clone()
    }

    /// Whether this connection is still the one.
    pub(crate) fn is_current(&self, live: &Live) -> bool {
        self.live.read().as_ref().is_some_and(|current| current.generation == live.generation)
    }

    /// Waits for something done over a connection, as long as one answer may take. Without it the connection is given up.
    pub(crate) async fn run<T>(
        &self,
        live: &Live,
        work: impl Future<Output = RedisResult<T>>,
    ) -> Option<T> {
        match timeout(self.patience, work).await {
            Ok(Ok(answer)) => return Some(answer),
            Ok(Err(error)) => self.give_up(live, &error),
            Err(late) => self.give_up(live, &late),
        }
        None
    }

    fn give_up(&self, failed: &Live, why: &dyn Display) {
        let mut live = self.live.write();
        // Others may have failed before, and a new connection may stand by now.
        if live.as_ref().is_some_and(|current| current.generation == failed.generation) {
            *live = None;
            self.up.set(0);
            tracing::warn!(error = %why, "Redis is gone: this pod does without it");
        }
    }

    async fn probe(self: Arc<Self>) {
        loop {
            sleep(PAUSE).await;
            if let Some(live) = self.live() {
                self.run(&live, write(&mut live.connection())).await;
            } else if let Err(error) = self.connect().await {
                tracing::debug!(%error, "Redis is still away");
            }
        }
    }

    async fn connect(&self) -> Result<(), RelayError> {
        let client = match &self.place {
            Place::At(client) => client,
            Place::Known(sentinels) => &self.primary(sentinels).await?,
        };
        let connect = client.get_multiplexed_async_connection_with_config(&self.config);
        let connected = timeout(CONNECT, connect).await.map_err(RelayError::redis)?;
        let mut connection = connected.map_err(RelayError::redis)?;
        let written = timeout(self.patience, write(&mut connection)).await;
        written.map_err(RelayError::redis)?.map_err(RelayError::redis)?;
        let generation = self.generations.fetch_add(1, Ordering::Relaxed);
        *self.live.write() = Some(Live { generation, connection: Convoy::over(connection) });
        self.up.set(1);
        tracing::info!("connected to Redis");
        Ok(())
    }

    /// Asks all sentinels at once and believes the most of them, without waiting for the rest: one that was cut off
    /// may name a server of the past. Whether it takes writes is seen by a probe.
    async fn primary(&self, sentinels: &Sentinels) -> Result<Client, RelayError> {
        let Sentinels { clients, master, .. } = sentinels;
        let asked = clients.iter().map(|sentinel| {
            let answer = timeout(CONNECT, believed(sentinel, master, &self.config));
            async move { answer.await.map_err(RelayError::redis)?.map_err(RelayError::redis) }
        });
        let mut answers: FuturesUnordered<_> = asked.collect();
        let (mut named, mut failed) = (HashMap::new(), None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(Some(place)) => *named.entry(place).or_insert(0) += 1,
                Ok(None) => {}
                Err(error) => failed = Some(error),
            }
            if named.values().any(|count| count * 2 > clients.len()) {
                break;
            }
        }
        match (named.into_iter().max_by_key(|(_, count)| *count), failed) {
            (Some(((host, port), _)), _) => sentinels.server(host, port),
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(RelayError::Redis(format!("no sentinel knows a server named {master}")))
            }
        }
    }
}

/// Where one sentinel believes the server to be.
async fn believed(
    sentinel: &Client,
    master: &str,
    config: &AsyncConnectionConfig,
) -> RedisResult<Option<(String, u16)>> {
    let mut connection = sentinel.get_multiplexed_async_connection_with_config(config).await?;
    cmd("SENTINEL").arg("GET-MASTER-ADDR-BY-NAME").arg(master).query_async(&mut connection).await
}

/// A probe. A server that is full, or a replica, answers a ping and still is of no use.
async fn write(connection: &mut impl ConnectionLike) -> RedisResult<()> {
    cmd("SET").arg("parley:limit:probe").arg(1).arg("PX").arg(1_000).query_async(connection).await
}

impl Drop for Prober {
    fn drop(&mut self) {
        self.0.abort();
    }
}
