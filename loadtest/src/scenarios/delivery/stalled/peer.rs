//! A peer that comes so far and then does nothing more, by hand: a WebSocket library would not do it.

use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::{FAREWELL, HEAD, HEARTBEAT};

/// What fits between a peer that does not read and its gateway.
const WINDOW: u32 = 16 * 1024;
/// By when one has come as far as it is to come.
const THERE_WITHIN: Duration = Duration::from_secs(30);
/// An answer is shorter.
const LONGEST: usize = 1 << 20;

/// How far a peer comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It connects, and says nothing.
    Mute,
    /// It is in a room, and ends in the middle of a frame.
    HalfFrame,
    /// It is in a room and reads, and answers no heartbeat.
    NoPong,
    /// It is in a room, and does not read.
    NoRead,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Mute, Self::HalfFrame, Self::NoPong, Self::NoRead];

    /// By when it is to be gone.
    pub(super) const fn deadline(self) -> Duration {
        match self {
            Self::Mute => HEAD,
            Self::HalfFrame | Self::NoPong => HEARTBEAT,
            Self::NoRead => Duration::from_secs(HEARTBEAT.as_secs() + FAREWELL.as_secs()),
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Mute => "no handshake",
            Self::HalfFrame => "half a frame",
            Self::NoPong => "no pong",
            Self::NoRead => "no read",
        }
    }
}

/// One that has stalled.
pub(super) struct Peer {
    kind: Kind,
    stream: TcpStream,
    since: Instant,
}

impl Peer {
    /// Comes to a gateway, `host:port`, as somebody who is a member of this chat.
    pub(super) async fn come(
        kind: Kind,
        stalls: bool,
        gateway: &str,
        (token, chat): (&str, &str),
    ) -> Result<Self> {
        let coming = Self::stall(kind, stalls, gateway, (token, chat));
        timeout(THERE_WITHIN, coming).await.context("too slow")?
    }

    async fn stall(
        kind: Kind,
        stalls: bool,
        gateway: &str,
        (token, chat): (&str, &str),
    ) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if kind == Kind::NoRead && stalls {
            socket.set_recv_buffer_size(WINDOW)?;
        }
        let mut stream = socket.connect(gateway.parse()?).await?;
        stream.set_nodelay(true)?;
        if kind != Kind::Mute {
            enter(&mut stream, token, chat).await?;
        }
        if kind == Kind::HalfFrame && stalls {
            let whole = frame("42[\"typing-stop\",\"and so on\"]")?;
            stream.write_all(&whole[..whole.len() / 2]).await?;
        }
        Ok(Self { kind, stream, since: Instant::now() })
    }

    /// Behaves for as long as one of its kind that stalls is there, and goes.
    pub(super) async fn behave(mut self, within: Duration) -> Result<()> {
        const PING: [u8; 3] = [0x81, 1, b'2'];
        let until = self.since + within;
        let (mut bytes, pong) = (vec![0; 4096], frame("3")?);
        loop {
            let Ok(count) = tokio::time::timeout_at(until, self.stream.read(&mut bytes)).await
            else {
                return Ok(());
            };
            let count = count?;
            ensure!(count > 0, "a peer that behaves was let go");
            if bytes[..count].windows(PING.len()).any(|it| it == PING) {
                self.stream.write_all(&pong).await?;
            }
        }
    }

    /// How long it took until it was let go; `None` if that was not within this time, or if it would have to read to know.
    pub(super) async fn gone(&mut self, within: Duration) -> Option<Duration> {
        if self.kind == Kind::NoRead {
            tokio::time::sleep_until(self.since + within).await;
            return None;
        }
        let mut bytes = vec![0; 4096];
        let end =
            async { while self.stream.read(&mut bytes).await.is_ok_and(|count| count > 0) {} };
        timeout(within, end).await.ok()?;
        Some(self.since.elapsed())
    }
}

/// All that a client says until it is in a room.
async fn enter(stream: &mut TcpStream, token: &str, chat: &str) -> Result<()> {
    let upgrade = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: parley\r\nUpgrade: websocket\r\n\
        Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    stream.write_all(upgrade.as_bytes()).await?;
    until(stream, "pingInterval").await?;
    stream.write_all(&frame(&format!("40{}", json!({ "token": token })))?).await?;
    until(stream, "40{").await?;
    stream.write_all(&frame(&format!("421{}", json!(["join-chat-room", chat])))?).await?;
    until(stream, "431[{\"success\":true").await
}

/// Reads until this was said.
async fn until(stream: &mut TcpStream, word: &str) -> Result<()> {
    let mut heard = Vec::new();
    while !heard.windows(word.len()).any(|it| it == word.as_bytes()) {
        if stream.read_buf(&mut heard).await? == 0 {
            bail!("the gateway has ended before {word}");
        }
        ensure!(heard.len() < LONGEST, "never {word}");
    }
    Ok(())
}

/// One text frame of a client. Its mask is zero, so that what it masks stays readable.
fn frame(text: &str) -> Result<Vec<u8>> {
    let length = u16::try_from(text.len())?;
    let mut frame = vec![0x81];
    if let Ok(short @ 0..=125) = u8::try_from(length) {
        frame.push(0x80 | short);
    } else {
        // The length is in the two bytes that follow.
        frame.push(0xfe);
        frame.extend(length.to_be_bytes());
    }
    frame.extend([0; 4]);
    frame.extend(text.as_bytes());
    Ok(frame)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_one_of_a_client() {
        assert_eq!(frame("2").unwrap(), [0x81, 0x81, 0, 0, 0, 0, b'2']);
        let long = frame(&"x".repeat(300)).unwrap();
        assert_eq!(long[..8], [0x81, 0xfe, 1, 44, 0, 0, 0, 0]);
        assert_eq!(long.len(), 308);
        assert!(frame(&"x".repeat(70_000)).is_err());
    }

    #[tokio::test]
    async fn who_is_let_go_knows_when() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (peer, accepted) =
            tokio::join!(Peer::come(Kind::Mute, true, &address, ("", "")), listener.accept());
        let mut peer = peer.unwrap();
        let served = accepted.unwrap().0;
        assert_eq!(peer.gone(Duration::from_millis(50)).await, None);
        drop(served);
        assert!(peer.gone(Duration::from_secs(5)).await.is_some());
    }
}
