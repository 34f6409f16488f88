//! A Socket.IO client over a WebSocket, as little of it as both sides of the storm have in common.

use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use crate::crowd::socket::text;

/// One connection.
pub(super) struct Socket {
    ws: WebSocketStream<TcpStream>,
    /// After so long without a word the server is gone.
    silence: Duration,
    last_word: Instant,
}

/// What a connection hears: the answer to CONNECT, the arguments of an event or of an ack, as JSON.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    Connected(String),
    Event(String),
    Ack(String),
    Closed,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    ping_interval: u64,
    ping_timeout: u64,
}

impl Socket {
    /// Connects, and asks to enter with this `auth`. What that is answered is heard later; socket.io tells what was missed
    /// before it.
    pub(super) async fn open(address: &str, auth: &Value) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        // Ten thousand of these share a process: no buffers for what never comes.
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let (mut ws, _) = client_async_with_config(url, stream, Some(config)).await?;
        let opened = text(ws.next().await)?;
        let handshake = opened.strip_prefix('0').context("no open packet")?;
        let Handshake { ping_interval, ping_timeout } = serde_json::from_str(handshake)?;
        ws.send(Message::text(format!("40{auth}"))).await?;
        let silence = Duration::from_millis(ping_interval + ping_timeout);
        Ok(Self { ws, silence, last_word: Instant::now() })
    }

    pub(super) async fn say(&mut self, packet: String) -> Result<()> {
        Ok(self.ws.send(Message::text(packet)).await?)
    }

    /// The next thing that is for the client. Heartbeats are answered on the way. May be dropped while it waits.
    pub(super) async fn next(&mut self) -> Heard {
        loop {
            let word = timeout_at(self.last_word + self.silence, self.ws.next()).await;
            self.last_word = Instant::now();
            let Ok(Ok(packet)) = word.map(text) else { return Heard::Closed };
            if let Some(event) = packet.strip_prefix("42") {
                return Heard::Event(event.to_owned());
            }
            if let Some(answer) = packet.strip_prefix("40") {
                return Heard::Connected(answer.to_owned());
            }
            if let Some(ack) = packet.strip_prefix("43") {
                return Heard::Ack(
                    ack.trim_start_matches(|it: char| it.is_ascii_digit()).to_owned(),
                );
            }
            if packet != "2" || self.say("3".to_owned()).await.is_err() {
                return Heard::Closed;
            }
        }
    }

    /// Ends the connection as a network does that goes away: without a word.
    pub(super) fn cut(self) {
        // With it set, dropping resets the connection; without it, the end is only a little less abrupt.
        let _ = self.ws.get_ref().set_zero_linger();
    }
}
