//! A Socket.IO client over a WebSocket: as little of both as a listener needs, and nothing of the server's own code.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::{SinkExt, StreamExt};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

/// What an error says that is an answer to CONNECT; that nobody listens is called a refusal too, by the kernel.
pub(crate) const REFUSED: &str = "CONNECT was refused";
/// How long a handshake may take.
const OPEN_WITHIN: Duration = Duration::from_secs(5);

/// One connection to a gateway.
pub(crate) struct Socket {
    ws: WebSocketStream<TcpStream>,
    /// After so long without a word the server is gone.
    silence: Duration,
    last_word: Instant,
    acks: u64,
}

/// How much fits between a client and its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// What one machine has for itself: megabytes.
    Wide,
    /// A small window: what is not read waits at the gateway soon.
    Narrow,
}

impl Way {
    async fn connect(self, address: &str) -> Result<TcpStream> {
        const WINDOW: u32 = 16 * 1024;
        if self == Self::Wide {
            return TcpStream::connect(address).await.context("cannot connect");
        }
        let socket = TcpSocket::new_v4()?;
        // Said before there is a connection: the other side learns it in the first packet.
        socket.set_recv_buffer_size(WINDOW)?;
        socket.connect(address.parse()?).await.context("cannot connect")
    }
}

/// What a connection hears.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Event(Event),
    Ack(u64, Value),
    /// The connection is over, and how.
    Closed(String),
}

/// An event, as far as its place in a chat is concerned.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) name: String,
    pub(crate) chat: String,
    /// `None` for what is not durable.
    pub(crate) version: Option<u64>,
    pub(crate) message: String,
    pub(crate) reason: String,
}

impl Event {
    /// It goes to the connections of users, whatever rooms they are in, and has no place among the versions of a room: what
    /// it shows is where the chat stands.
    pub(crate) fn is_of_users(&self) -> bool {
        matches!(self.name.as_str(), "chat-created" | "chat-removed")
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    chat_id: Option<&'a str>,
    version: Option<u64>,
    message: Option<Named<'a>>,
    message_id: Option<&'a str>,
    reason: Option<&'a str>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Named<'a> {
    /// The message of an event.
    Message {
        #[serde(rename = "_id")]
        id: &'a str,
    },
    /// The text of an error.
    Text(#[expect(dead_code, reason = "only its form is told apart")] std::borrow::Cow<'a, str>),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Handshake {
    ping_interval: u64,
    ping_timeout: u64,
}

impl Socket {
    /// Connects as this token's user, by WebSocket from the start.
    pub(crate) async fn open(address: &str, token: &str) -> Result<Self> {
        Self::open_by(Way::Wide, address, token).await
    }

    /// The same, over a network of this kind.
    pub(crate) async fn open_by(way: Way, address: &str, token: &str) -> Result<Self> {
        timeout(OPEN_WITHIN, Self::connect(way, address, token)).await.context("no answer")?
    }

    async fn connect(way: Way, address: &str, token: &str) -> Result<Self> {
        let stream = way.connect(address).await?;
        stream.set_nodelay(true)?;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
        // A thousand of these share a process: no buffers for what never comes.
        let config = WebSocketConfig::default().read_buffer_size(4096).write_buffer_size(0);
        let (mut ws, _) = client_async_with_config(url, stream, Some(config)).await?;
        let opened = text(ws.next().await)?;
        let handshake = opened.strip_prefix('0').context("no open packet")?;
        let Handshake { ping_interval, ping_timeout } = serde_json::from_str(handshake)?;
        ws.send(Message::text(format!("40{}", json!({ "token": token })))).await?;
        loop {
            let packet = text(ws.next().await)?;
            match packet.get(..2) {
                Some("40") => break,
                Some("44") => bail!("{REFUSED}: {packet}"),
                _ if packet == "2" => ws.send(Message::text("3")).await?,
                _ => bail!("an answer to CONNECT expected, not {packet}"),
            }
        }
        let silence = Duration::from_millis(ping_interval + ping_timeout);
        Ok(Self { ws, silence, last_word: Instant::now(), acks: 0 })
    }

    /// Emits and asks for an ack; its number.
    pub(crate) async fn emit(&mut self, name: &str, argument: &Value) -> Result<u64> {
        self.acks += 1;
        let packet = format!("42{}{}", self.acks, json!([name, argument]));
        timeout(OPEN_WITHIN, self.ws.send(Message::text(packet))).await.context("not sent")??;
        Ok(self.acks)
    }

    /// The next thing that is for the client. Heartbeats are answered on the way. May be dropped while it waits.
    pub(crate) async fn next(&mut self) -> Heard {
        loop {
            let word = timeout_at(self.last_word + self.silence, self.ws.next()).await;
            let Ok(word) = word else { return Heard::Closed("silent".to_owned()) };
            self.last_word = Instant::now();
            let packet = match word {
                Some(Ok(Message::Close(frame))) => {
                    let code = frame.map_or(1005, |frame| frame.code.into());
                    return Heard::Closed(format!("closed with {code}"));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                other => match text(other) {
                    Ok(packet) => packet,
                    Err(_) => return Heard::Closed("broken".to_owned()),
                },
            };
            if packet == "2" {
                if self.ws.send(Message::text("3")).await.is_err() {
                    return Heard::Closed("broken".to_owned());
                }
                continue;
            }
            match parse(&packet) {
                Ok(heard) => return heard,
                Err(error) => return Heard::Closed(format!("not understood: {error:#}: {packet}")),
            }
        }
    }

    /// Ends the connection as a network does that goes away: without a word.
    pub(crate) fn cut(self) {
        // With it set, dropping resets the connection; without it, the end is only a little less abrupt.
        let _ = self.ws.get_ref().set_zero_linger();
    }
}

/// A message, which has to be text.
pub(crate) fn text<E>(message: Option<Result<Message, E>>) -> Result<String>
where
    E: std::error::Error + Send + Sync + 'static,
{
    match message.context("the connection has ended")?? {
        Message::Text(text) => Ok(text.as_str().to_owned()),
        other => bail!("text expected, not {other:?}"),
    }
}

fn parse(packet: &str) -> Result<Heard> {
    let (kind, rest) = packet.split_at_checked(2).context("too short")?;
    match kind {
        "42" => {
            let (name, payload): (&str, Payload<'_>) = serde_json::from_str(rest)?;
            let message = match (payload.message, payload.message_id) {
                (Some(Named::Message { id }), _) | (_, Some(id)) => id,
                _ => "",
            };
            Ok(Heard::Event(Event {
                name: name.to_owned(),
                chat: payload.chat_id.unwrap_or_default().to_owned(),
                version: payload.version,
                message: message.to_owned(),
                reason: payload.reason.unwrap_or_default().to_owned(),
            }))
        }
        "43" => {
            let (id, arguments) = rest.split_at(rest.find('[').context("an ack of nothing")?);
            let (ack,): (Value,) = serde_json::from_str(arguments)?;
            Ok(Heard::Ack(id.parse()?, ack))
        }
        "41" => Ok(Heard::Closed("disconnected".to_owned())),
        _ => bail!("an unknown packet"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_and_acks_are_read() {
        let event = r#"42["new-message",{"chatId":"c","version":7,"epoch":"0f","message":{"_id":"m","x":1}}]"#;
        let wanted = Event {
            name: "new-message".to_owned(),
            chat: "c".to_owned(),
            version: Some(7),
            message: "m".to_owned(),
            ..Event::default()
        };
        assert_eq!(parse(event).unwrap(), Heard::Event(wanted));
        let resync = parse(r#"42["resync",{"chatId":"c","reason":"gap"}]"#).unwrap();
        assert!(matches!(resync, Heard::Event(event) if event.reason == "gap"));
        let deleted = parse(r#"42["message-deleted",{"chatId":"c","version":8,"messageId":"m"}]"#);
        assert!(matches!(deleted.unwrap(), Heard::Event(event) if event.message == "m"));
        let refused = parse(r#"42["error",{"code":"x","message":"Say \"no\"."}]"#).unwrap();
        assert!(matches!(refused, Heard::Event(event) if event.name == "error"));
        let ack = parse(r#"4312[{"success":true}]"#).unwrap();
        assert_eq!(ack, Heard::Ack(12, json!({ "success": true })));
    }

    #[test]
    fn anything_else_is_an_error() {
        for packet in ["", "4", "6", "42", "42[]", "43[1]", "431", "45x"] {
            assert!(parse(packet).is_err(), "{packet}");
        }
    }

    #[tokio::test]
    async fn that_nobody_listens_is_no_refusal() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        drop(listener);
        for way in [Way::Wide, Way::Narrow] {
            let Err(error) = Socket::open_by(way, &address, "t").await else { panic!("{way:?}") };
            assert!(!format!("{error:#}").contains(REFUSED), "{error:#}");
        }
    }

    /// The other side of one connection, up to the answer to CONNECT.
    async fn accept(listener: &tokio::net::TcpListener) -> WebSocketStream<TcpStream> {
        let (stream, _) = listener.accept().await.unwrap();
        let mut ws = tokio_tungstenite::accept_async(stream).await.unwrap();
        let open =
            r#"0{"sid":"s","upgrades":[],"pingInterval":150,"pingTimeout":150,"maxPayload":1}"#;
        ws.send(Message::text(open)).await.unwrap();
        assert_eq!(text(ws.next().await).unwrap(), r#"40{"token":"t"}"#);
        ws.send(Message::text(r#"40{"sid":"c"}"#)).await.unwrap();
        ws
    }

    async fn pair() -> (Socket, WebSocketStream<TcpStream>) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (client, server) = tokio::join!(Socket::open(&address, "t"), accept(&listener));
        (client.unwrap(), server)
    }

    #[tokio::test]
    async fn it_answers_heartbeats_asks_and_hears() {
        let (mut client, mut server) = pair().await;
        let id =
            client.emit("join-chat-room", &json!({ "chatId": "c", "since": 3 })).await.unwrap();
        let asked = text(server.next().await).unwrap();
        assert_eq!(asked, r#"421["join-chat-room",{"chatId":"c","since":3}]"#);
        server.send(Message::text("2")).await.unwrap();
        server.send(Message::text(r#"431[{"success":true}]"#)).await.unwrap();
        assert_eq!(client.next().await, Heard::Ack(id, json!({ "success": true })));
        assert_eq!(text(server.next().await).unwrap(), "3");
        server.close(None).await.unwrap();
        assert_eq!(client.next().await, Heard::Closed("closed with 1005".to_owned()));
    }

    #[tokio::test]
    async fn a_server_that_says_nothing_is_gone() {
        let (mut client, _server) = pair().await;
        assert_eq!(client.next().await, Heard::Closed("silent".to_owned()));
    }

    #[tokio::test]
    async fn a_cut_is_no_goodbye() {
        let (client, mut server) = pair().await;
        client.cut();
        assert!(!matches!(server.next().await, Some(Ok(_))), "a close frame, or anything else");
    }
}
