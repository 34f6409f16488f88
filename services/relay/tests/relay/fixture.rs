//! Pods on the bus, and what they say.

use bytes::Bytes;
use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use parley_relay::{Bus, BusState, NatsSettings, RoomSubscription};
use prometheus::{Registry, TextEncoder};
use uuid::Uuid;

use crate::server::{sample, soon};

/// One pod's connection and metrics.
pub(crate) struct Pod {
    pub(crate) bus: Bus,
    registry: Registry,
}

impl Pod {
    /// Does not wait until it is connected.
    pub(crate) async fn start(url: &str) -> Self {
        Self::with(&NatsSettings::at(url)).await
    }

    pub(crate) async fn with(settings: &NatsSettings) -> Self {
        let registry = Registry::new();
        let bus = Bus::connect(settings, "test", &registry).await.unwrap();
        Self { bus, registry }
    }

    pub(crate) async fn connected(url: &str) -> Self {
        let pod = Self::start(url).await;
        pod.reaches(|state| state.connected).await;
        pod
    }

    /// Waits until the connection stands like that.
    pub(crate) async fn reaches(&self, like: impl FnMut(&BusState) -> bool) -> BusState {
        *soon(self.bus.state().wait_for(like)).await.unwrap()
    }

    pub(crate) fn state(&self) -> BusState {
        *self.bus.state().borrow()
    }

    pub(crate) fn metric(&self, series: &str) -> u64 {
        sample(&TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap(), series)
    }

    /// Everything that was not published.
    pub(crate) fn dropped(&self) -> u64 {
        ["queue_full", "disconnected", "timed_out"]
            .map(|reason| self.dropped_for(reason))
            .iter()
            .sum()
    }

    pub(crate) fn dropped_for(&self, reason: &str) -> u64 {
        self.metric(&format!("parley_bus_dropped_total{{reason=\"{reason}\"}}"))
    }
}

/// A connection that knows nothing of ours.
pub(crate) async fn stranger(url: &str) -> async_nats::Client {
    async_nats::connect(url).await.unwrap()
}

pub(crate) fn new_chat() -> ChatId {
    ChatId::from(Uuid::new_v4())
}

pub(crate) fn event(chat_id: ChatId, version: u64) -> RoomEvent {
    RoomEvent {
        kind: Kind::NewMessage,
        chat_id,
        version: Some(Version(version)),
        epoch: Epoch(1),
        affected: Vec::new(),
        membership_versions: Vec::new(),
        origin: Origin::default(),
        event: Bytes::from(format!(r#"["new-message",{{"version":{version}}}]"#)),
    }
}

/// The version of the next event.
pub(crate) async fn heard(room: &mut RoomSubscription) -> u64 {
    soon(room.next()).await.expect("an open subscription").version.unwrap().0
}
