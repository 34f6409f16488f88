//! How a message gets into a room, on each side by the way that it has there.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::SystemTime;

use anyhow::{Context, Result};
use bytes::Bytes;
use chrono::DateTime;
use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};

use crate::audience::Audience;

/// A message of 100 characters, as the event of a send has it. It is the same for every side, byte by byte.
pub(super) fn message(chat: &str, version: u64) -> String {
    const CONTENT: &str = "Shall we meet at the station at half past seven, or is that too early for the others? Tell me soon.";
    format!(
        r#"{{"chatId":"{chat}","version":{version},"epoch":"0123456789abcdef","message":{{"_id":"0192f0a4-7c3b-7d2e-8a1b-000000000002","chatId":"{chat}","seq":{version},"version":{version},"changedVersion":null,"senderId":"client-1","sender":{{"_id":"client-1","name":null,"avatar":null}},"type":"text","content":"{CONTENT}","replyToMessageId":null,"metadata":null,"attachments":[],"clientMessageId":null,"createdAt":"2026-05-29T12:00:00.125Z","editedAt":null,"deletedAt":null}}}}"#
    )
}

/// A room and how far it is.
#[derive(Debug, Clone)]
pub(super) struct Room {
    pub(super) id: String,
    pub(super) version: u64,
}

/// Who says something.
pub(super) enum Speaker {
    /// The bus, on which api pods publish what was committed. Nothing is committed here: what a gateway spends on an event
    /// is the same, and a database that shares the load's cores would only slow it.
    Bus(Bus),
    /// A connection that asks the peer's server to pass on what it says, as the peer's documentation has it. Its place in the
    /// audience.
    SocketIo(usize),
    Raw(usize),
}

impl Speaker {
    /// Says the next message of a room.
    pub(super) fn say(&mut self, audience: &mut Audience, room: &mut Room) -> Result<()> {
        room.version += 1;
        let message = message(&room.id, room.version);
        match self {
            Self::Bus(bus) => bus.publish(room, &message),
            Self::SocketIo(place) => {
                let head = format!(r#"42["say","{}","new-message","#, room.id);
                audience.say(*place, &[head.as_bytes(), message.as_bytes(), b"]"])
            }
            Self::Raw(place) => {
                let head = format!("{}\n42[\"new-message\",", room.id);
                audience.say(*place, &[head.as_bytes(), message.as_bytes(), b"]"])
            }
        }
    }
}

/// A connection to NATS of which as much is spoken as publishing needs.
pub(super) struct Bus {
    stream: TcpStream,
    epoch: Epoch,
    buffer: Vec<u8>,
}

impl Bus {
    /// Connects to the server at this `nats://` URL.
    pub(super) fn connect(url: &str, epoch: Epoch) -> Result<Self> {
        let address = url.trim_start_matches("nats://");
        let mut stream = TcpStream::connect(address).context("cannot connect to NATS")?;
        stream.set_nodelay(true)?;
        stream.write_all(b"CONNECT {\"verbose\":false,\"pedantic\":false}\r\n")?;
        Ok(Self { stream, epoch, buffer: Vec::new() })
    }

    fn publish(&mut self, room: &Room, message: &str) -> Result<()> {
        let event = RoomEvent {
            kind: Kind::NewMessage,
            chat_id: ChatId::parse(&room.id)?,
            version: Some(Version(room.version)),
            epoch: self.epoch,
            affected: Vec::new(),
            membership_versions: Vec::new(),
            origin: Origin { committed_at: Some(DateTime::from(SystemTime::now())), trace: None },
            event: Bytes::from(format!(r#"["new-message",{message}]"#)),
        };
        let event = event.encode();
        self.buffer.clear();
        write!(self.buffer, "PUB chat.{} {}\r\n", room.id, event.len())?;
        self.buffer.extend_from_slice(&event);
        self.buffer.extend_from_slice(b"\r\n");
        self.stream.write_all(&self.buffer).context("cannot publish")
    }

    /// Answers the server's heartbeat, if it has asked.
    pub(super) fn keep_alive(&mut self) -> Result<()> {
        self.stream.set_nonblocking(true)?;
        let mut said = [0; 1024];
        let read = self.stream.read(&mut said);
        self.stream.set_nonblocking(false)?;
        match read {
            Ok(read) if said[..read].windows(4).any(|it| it == b"PING") => {
                Ok(self.stream.write_all(b"PONG\r\n")?)
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(()),
            Err(error) => Err(error).context("NATS has closed the connection"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_the_event_that_clients_know() {
        let golden = include_str!("../../../../services/domain/tests/golden/new-message.json");
        let golden: (String, serde_json::Value) = serde_json::from_str(golden).unwrap();
        let ours: serde_json::Value = serde_json::from_str(&message("c", 7)).unwrap();
        let keys = |value: &serde_json::Value| -> Vec<String> {
            value.as_object().unwrap().keys().cloned().collect()
        };
        assert_eq!(keys(&ours), keys(&golden.1));
        assert_eq!(keys(&ours["message"]), keys(&golden.1["message"]));
    }
}
