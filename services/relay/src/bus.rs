//! The connection to NATS, and the subscription of a room.

use std::future::Future;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Event, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt};
use parking_lot::Mutex;
use parley_domain::bus::RoomEvent;
use parley_domain::ids::ChatId;
use prometheus::Registry;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::heads::Heads;
use crate::metrics::Metrics;
use crate::{NatsSettings, RelayError, subject};

/// Messages that may wait in one subscription. A room's task reads at once; what overruns this is a pod without CPU.
const SUBSCRIPTION_CAPACITY: usize = 4_096;
/// Commands that may wait for the connection.
const CLIENT_CAPACITY: usize = 2_048;
/// How long anything may wait for the server.
pub(crate) const DEADLINE: Duration = Duration::from_secs(2);
/// How often the server is asked whether it is there. At the third time without an answer the connection is given up: one that
/// is half-open shows by nothing else, and rooms would miss what is said until then.
const PING_INTERVAL: Duration = Duration::from_secs(4);
/// Longest pause between attempts to reconnect, and its random part.
const RECONNECT_PAUSE_MS: std::ops::Range<u64> = 50..250;

/// A pod's connection to the bus. It reconnects for ever; clones share it.
#[derive(Clone)]
pub struct Bus {
    pub(crate) client: Client,
    pub(crate) metrics: Metrics,
    /// Of what this pod publishes.
    pub(crate) heads: Heads,
    state: watch::Receiver<BusState>,
}

/// How the connection stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BusState {
    /// Whether there is one.
    pub connected: bool,
    /// How often something may have been missed. Whoever sees it rise, and is connected, has to check its position.
    pub interruptions: u64,
    /// How many of these were breaks of the connection: what was asked before such a one is not answered any more. A
    /// subscription that overran takes no answer along.
    pub breaks: u64,
}

impl Bus {
    /// Starts connecting and returns at once: a bus that is away at the start is like one that goes away later.
    pub async fn connect(
        settings: &NatsSettings,
        pod: &str,
        registry: &Registry,
    ) -> Result<Self, RelayError> {
        let metrics = Metrics::register(registry)?;
        let (changes, state) = watch::channel(BusState::default());
        let noted = Noted { changes, metrics: metrics.clone(), refusal: Mutex::default() };
        let client = settings
            .connect_options()?
            .name(pod)
            .retry_on_initial_connect()
            .subscription_capacity(SUBSCRIPTION_CAPACITY)
            .client_capacity(CLIENT_CAPACITY)
            .ping_interval(PING_INTERVAL)
            .request_timeout(None) // see `Bus::request`
            .reconnect_delay_callback(|_| {
                Duration::from_millis(rand::random_range(RECONNECT_PAUSE_MS))
            })
            .event_callback(move |event| {
                noted.note(&event);
                std::future::ready(())
            })
            .connect(settings.servers()?)
            .await
            .map_err(RelayError::unavailable)?;
        Ok(Self { client, metrics, heads: Heads::default(), state })
    }

    /// How the connection stands, now and at every change.
    pub fn state(&self) -> watch::Receiver<BusState> {
        self.state.clone()
    }

    /// Waits for the first connection, and not for ever; says whether there is one.
    pub async fn connected(&self, within: Duration) -> bool {
        let mut state = self.state.clone();
        matches!(timeout(within, state.wait_for(|state| state.connected)).await, Ok(Ok(_)))
    }

    /// Listens to a chat. When this returns, the server has the subscription: what is published from now on arrives,
    /// or an interruption is counted.
    pub async fn subscribe(&self, chat: ChatId) -> Result<RoomSubscription, RelayError> {
        let subscribed = timeout(DEADLINE, self.client.subscribe(subject::chat(chat))).await;
        let subscriber =
            subscribed.map_err(RelayError::unavailable)?.map_err(RelayError::unavailable)?;
        self.barrier().await?;
        Ok(RoomSubscription { chat, subscriber, metrics: self.metrics.clone() })
    }

    /// Waits until the server has handled everything that this connection has sent before. A flush does not prove
    /// that: it only empties our side's buffer. A request that nobody answers does, because the server handles the
    /// commands of one connection in order.
    pub async fn barrier(&self) -> Result<(), RelayError> {
        match self.request(subject::BARRIER, Bytes::new()).await {
            Err(RequestErrorKind::NoResponders) => Ok(()),
            Err(error) => Err(RelayError::unavailable(error)),
            Ok(_) => Err(RelayError::unavailable("somebody answers on the barrier's subject")),
        }
    }

    /// One request and its answer. The client's own deadline would begin only when its queue has taken the request, and
    /// while the bus is away, a full queue takes nothing.
    pub(crate) async fn request(
        &self,
        subject: &'static str,
        question: Bytes,
    ) -> Result<Message, RequestErrorKind> {
        match timeout(DEADLINE, self.client.request(subject, question)).await {
            Ok(answer) => answer.map_err(|error| error.kind()),
            Err(_) => Err(RequestErrorKind::TimedOut),
        }
    }

    /// Answers what is asked on a subject that every pod of a kind hears, one ask after the other, until `stop` is done.
    pub(crate) async fn answer_each<Ask, Answer, Fut>(
        &self,
        subject: &'static str,
        answer: impl Fn(Ask) -> Fut + Send,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError>
    where
        Ask: DeserializeOwned,
        Answer: Serialize,
        Fut: Future<Output = Answer> + Send,
    {
        let subscribed = self.client.subscribe(subject).await;
        let mut asks = subscribed.map_err(RelayError::unavailable)?;
        tokio::pin!(stop);
        loop {
            let asked = tokio::select! {
                () = &mut stop => return Ok(()),
                asked = asks.next() => asked,
            };
            let ended = || RelayError::unavailable("the subscription to asks ended");
            let asked = asked.ok_or_else(ended)?;
            let (Some(asker), Ok(ask)) = (asked.reply, serde_json::from_slice(&asked.payload))
            else {
                self.metrics.unreadable.inc();
                continue;
            };
            let Ok(answer) = serde_json::to_vec(&answer(ask).await) else { continue };
            // Whoever asks knows that an answer may not come.
            let _ = timeout(DEADLINE, self.client.publish(asker, answer.into())).await;
        }
    }

    /// Hands over what is still buffered; for the end of a process.
    pub async fn close(&self) {
        // Not reaching the bus any more is no news at this point.
        let _ = timeout(DEADLINE, self.client.flush()).await;
    }
}

/// Where it is noted what becomes of the connection.
struct Noted {
    changes: watch::Sender<BusState>,
    metrics: Metrics,
    /// What was said last about something that the server refused, or the client could not do.
    refusal: Mutex<Option<String>>,
}

impl Noted {
    fn note(&self, event: &Event) {
        match event {
            Event::Connected => {
                tracing::info!("connected to NATS");
                self.refusal.lock().take();
                self.metrics.connected.set(1);
                self.changes.send_modify(|state| state.connected = true);
            }
            Event::Disconnected => {
                tracing::warn!("disconnected from NATS");
                self.metrics.connected.set(0);
                self.metrics.interruptions.inc();
                self.changes.send_modify(|state| {
                    state.connected = false;
                    state.interruptions += 1;
                    state.breaks += 1;
                });
            }
            Event::SlowConsumer(_) => {
                self.metrics.interruptions.inc();
                self.changes.send_modify(|state| state.interruptions += 1);
            }
            Event::ServerError(_) | Event::ClientError(_) => self.refused(event.to_string()),
            other => tracing::debug!(event = %other, "NATS"),
        }
    }

    /// Said once, not at each of four attempts a second: a wrong password, a certificate that is not trusted, a subject
    /// that the pod's user may not use.
    fn refused(&self, why: String) {
        let mut last = self.refusal.lock();
        if last.as_deref() == Some(&why) {
            tracing::debug!(error = %why, "NATS");
        } else {
            tracing::warn!(error = %why, "NATS");
            *last = Some(why);
        }
    }
}

/// The events of one chat, as they arrive. Dropping it ends the subscription.
pub struct RoomSubscription {
    chat: ChatId,
    subscriber: Subscriber,
    metrics: Metrics,
}

impl RoomSubscription {
    /// The next event; `None` when the connection is closed for good. What cannot be read is counted and left out: its
    /// version will be missed by the next one.
    pub async fn next(&mut self) -> Option<RoomEvent> {
        loop {
            let message = self.subscriber.next().await?;
            if let Some(event) = self.read(&message) {
                return Some(event);
            }
        }
    }

    /// The next event, if it is here already.
    pub fn next_at_once(&mut self) -> Option<RoomEvent> {
        loop {
            let message = self.subscriber.next().now_or_never()??;
            if let Some(event) = self.read(&message) {
                return Some(event);
            }
        }
    }

    fn read(&self, message: &Message) -> Option<RoomEvent> {
        self.metrics.received.inc();
        match RoomEvent::decode(&message.payload) {
            Ok(event) if event.chat_id == self.chat => return Some(event),
            Ok(_) => self.metrics.unreadable.inc(),
            Err(error) => {
                self.metrics.unreadable.inc();
                tracing::warn!(chat.id = %self.chat, %error, "an event on the bus could not be read");
            }
        }
        None
    }
}
