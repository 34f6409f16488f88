//! A session as it travels from one server to another.

use crate::engine::Message;
use crate::handshake;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::time::Duration;

/// Everything that is known of a session, but for its connection.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) sid: String,
    pub(crate) handshake: handshake::Record,
    pub(crate) age: Duration,
    pub(crate) heart: Heart,
    /// Frames that the client has not had, in order.
    pub(crate) outbox: Vec<Packed>,
    /// Messages of the client that were not handled, in order.
    pub(crate) inbox: Vec<Said>,
    /// What the layer above knows.
    pub(crate) state: Packed,
}

/// How the heartbeat goes on. The client was told these timings, whatever the new server's are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Heart {
    pub(crate) interval: Duration,
    pub(crate) timeout: Duration,
    /// Until the next ping; none while a pong is due.
    pub(crate) ping_in: Option<Duration>,
}

/// A message of the client.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Said {
    Text(String),
    Binary(Packed),
}

impl From<Message> for Said {
    fn from(message: Message) -> Self {
        match message {
            Message::Text(text) => Self::Text(text),
            Message::Binary(data) => Self::Binary(Packed(data)),
        }
    }
}

impl From<Said> for Message {
    fn from(said: Said) -> Self {
        match said {
            Said::Text(text) => Self::Text(text),
            Said::Binary(Packed(data)) => Self::Binary(data),
        }
    }
}

/// Bytes, in JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Packed(pub(crate) Bytes);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let data = BASE64_STANDARD.decode(text).map_err(serde::de::Error::custom)?;
        Ok(Self(data.into()))
    }
}
