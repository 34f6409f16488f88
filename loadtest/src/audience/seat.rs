//! One connection of an audience: from the TCP handshake into its room, and then counting what it hears.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use anyhow::{Context, Result, bail};
use mio::net::TcpStream;
use serde_json::{Value, json};

use super::Speech;
use super::frames::{self, BINARY, CLOSE, Frame, PING, PONG, TEXT};

/// Who sits there.
#[derive(Debug, Clone)]
pub(crate) struct Guest {
    pub(crate) speech: Speech,
    /// The room it comes for; a guest without one only speaks.
    pub(crate) room: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The answer to the upgrade.
    Upgrading,
    /// The packet that opens an Engine.IO session.
    Opening,
    /// The answer to CONNECT.
    Connecting,
    /// The ack of the join.
    Joining,
    In,
}

/// A connection and how far it is.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) stream: TcpStream,
    guest: Guest,
    stage: Stage,
    /// What came and is no whole frame yet.
    kept: Vec<u8>,
    /// What could not be written yet.
    outgoing: Vec<u8>,
    /// What the ack of a join said.
    pub(super) joined: Option<Value>,
}

impl Seat {
    pub(super) fn open(address: SocketAddr, guest: Guest) -> Result<Self> {
        let stream = TcpStream::connect(address).context("cannot connect")?;
        // As browsers and npm `ws` have it. Else the kernel gathers what a connection says until the server's delayed
        // acknowledgement, and a peer whose speaker is a socket gets 25 bursts a second.
        stream.set_nodelay(true).context("cannot set TCP_NODELAY")?;
        let mut seat = Self {
            stream,
            stage: Stage::Upgrading,
            kept: Vec::new(),
            outgoing: Vec::new(),
            joined: None,
            guest,
        };
        let path = seat.guest.path();
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        seat.outgoing = request.into_bytes();
        Ok(seat)
    }

    /// It is where it wanted to be.
    pub(super) fn is_in(&self) -> bool {
        self.stage == Stage::In
    }

    /// Adds a text, to be written with the next [`Seat::flush`].
    pub(super) fn say(&mut self, text: &[&[u8]]) {
        frames::append(&mut self.outgoing, TEXT, text);
    }

    /// Writes what can be written; the rest waits until the socket says so.
    pub(super) fn flush(&mut self) -> Result<()> {
        while !self.outgoing.is_empty() {
            match self.stream.write(&self.outgoing) {
                Ok(written) => drop(self.outgoing.drain(..written)),
                Err(error) if is_for_later(&error) => return Ok(()),
                Err(error) => return Err(error).context("cannot write"),
            }
        }
        self.outgoing = Vec::new();
        Ok(())
    }

    /// Reads all that there is; how many events that was. The buffer is everybody's.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Result<u64> {
        let mut heard = 0;
        loop {
            let kept = self.kept.len();
            buffer[..kept].copy_from_slice(&self.kept);
            let read = match self.stream.read(&mut buffer[kept..]) {
                Ok(0) => bail!("the server has closed a connection"),
                Ok(read) => read,
                Err(error) if is_for_later(&error) => break,
                Err(error) => return Err(error).context("cannot read"),
            };
            let filled = kept + read;
            let used = self.take(&buffer[..filled], &mut heard)?;
            self.kept.clear();
            self.kept.extend_from_slice(&buffer[used..filled]);
            // Nothing is left: when more comes, the socket says so.
            if filled < buffer.len() {
                break;
            }
        }
        if self.kept.is_empty() {
            self.kept = Vec::new();
        }
        self.flush()?;
        Ok(heard)
    }

    /// Everything that is whole; how many bytes that was.
    fn take(&mut self, bytes: &[u8], heard: &mut u64) -> Result<usize> {
        let mut used = 0;
        if self.stage == Stage::Upgrading {
            let Some(head) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
                return Ok(0);
            };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                bail!("no upgrade: {}", String::from_utf8_lossy(&bytes[..head]));
            }
            used = head + 4;
            self.stage = if self.guest.speech == Speech::Raw { Stage::In } else { Stage::Opening };
        }
        while let Some((frame, length)) = frames::first(&bytes[used..]) {
            used += length;
            match frame.opcode {
                TEXT | BINARY if self.is_event(&frame) => *heard += 1,
                TEXT => self.on_packet(frame.payload)?,
                PING => frames::append(&mut self.outgoing, PONG, &[frame.payload]),
                CLOSE => bail!("the server closes a connection"),
                _ => {}
            }
        }
        Ok(used)
    }

    fn is_event(&self, frame: &Frame<'_>) -> bool {
        self.stage == Stage::In
            && (self.guest.speech == Speech::Raw || frame.payload.starts_with(b"42"))
    }

    /// What is not an event of a room.
    fn on_packet(&mut self, packet: &[u8]) -> Result<()> {
        match (self.stage, packet) {
            (_, b"2") => self.say(&[b"3"]),
            (Stage::Opening, [b'0', ..]) => {
                let auth = self.guest.auth().to_string();
                self.say(&[b"40", auth.as_bytes()]);
                self.stage = Stage::Connecting;
            }
            (Stage::Connecting, [b'4', b'0', ..]) => self.on_connected(),
            (Stage::Joining, [b'4', b'3', b'0', ack @ ..]) => self.on_joined(ack)?,
            // Who is told of other things before it is in its room does not mind.
            (_, [b'4', b'2', ..]) => {}
            _ => bail!("not understood: {}", String::from_utf8_lossy(packet)),
        }
        Ok(())
    }

    fn on_connected(&mut self) {
        self.stage = Stage::In;
        if let (Speech::Parley { .. }, Some(room)) = (&self.guest.speech, &self.guest.room) {
            let join = json!(["join-chat-room", { "chatId": room }]).to_string();
            self.say(&[b"420", join.as_bytes()]);
            self.stage = Stage::Joining;
        }
    }

    fn on_joined(&mut self, ack: &[u8]) -> Result<()> {
        let (ack,): (Value,) = serde_json::from_slice(ack)?;
        if ack["version"].is_null() {
            bail!("not let into its room: {ack}");
        }
        self.joined = Some(ack);
        self.stage = Stage::In;
        Ok(())
    }
}

impl Guest {
    fn path(&self) -> String {
        match (&self.speech, &self.room) {
            (Speech::Raw, Some(room)) => format!("/?room={room}"),
            (Speech::Raw, None) => "/".to_owned(),
            _ => "/socket.io/?EIO=4&transport=websocket".to_owned(),
        }
    }

    fn auth(&self) -> Value {
        match &self.speech {
            Speech::Parley { token } => json!({ "token": token }),
            _ => json!({ "room": self.room }),
        }
    }
}

fn is_for_later(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
