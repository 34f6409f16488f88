//! A small Socket.IO client over a WebSocket of somebody else's making.

use std::collections::VecDeque;
use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use parley_domain::ids::ChatId;
use serde_json::{Value, json};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async, connect_async};

use crate::server::soon;

/// What a client hears.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Connected,
    ConnectError(Value),
    Event(String, Value),
    Ack(u64, Value),
    /// The WebSocket is closed, with this code if it came with one.
    Closed(Option<u16>),
}

pub(crate) struct Client {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// What was heard while an ack was waited for.
    heard: VecDeque<Heard>,
    next_ack: u64,
}

impl From<WebSocketStream<MaybeTlsStream<TcpStream>>> for Client {
    /// On a WebSocket that is there.
    fn from(ws: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        Self { ws, heard: VecDeque::new(), next_ack: 100 }
    }
}

impl Client {
    /// A packet as it comes.
    pub(crate) async fn raw(&mut self) -> String {
        match soon(self.ws.next()).await.unwrap().unwrap() {
            Message::Text(packet) => packet.to_string(),
            other => panic!("text expected, not {other:?}"),
        }
    }

    /// A transport without a CONNECT.
    pub(crate) async fn open(
        gateway: SocketAddr,
        query: &str,
        authorization: Option<&str>,
    ) -> Self {
        let url = format!("ws://{gateway}/socket.io/?EIO=4&transport=websocket{query}");
        let mut request = url.into_client_request().unwrap();
        if let Some(authorization) = authorization {
            request.headers_mut().insert("authorization", authorization.parse().unwrap());
        }
        let (ws, _) = soon(connect_async(request)).await.expect("a WebSocket");
        Self::opened(ws).await
    }

    /// In the default namespace, on a connection for which the system keeps little that was not read.
    pub(crate) async fn connect_narrow(gateway: SocketAddr, token: &str) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = MaybeTlsStream::Plain(soon(socket.connect(gateway)).await.unwrap());
        let url = format!("ws://{gateway}/socket.io/?EIO=4&transport=websocket");
        let (ws, _) = soon(client_async(url, stream)).await.expect("a WebSocket");
        let mut client = Self::opened(ws).await;
        client.send(&format!("40{}", json!({ "token": token }))).await;
        assert_eq!(client.next().await, Heard::Connected);
        client
    }

    /// On a WebSocket whose handshake was written by hand.
    pub(crate) async fn on(stream: TcpStream) -> Self {
        let stream = MaybeTlsStream::Plain(stream);
        Self::opened(WebSocketStream::from_raw_socket(stream, Role::Client, None).await).await
    }

    async fn opened(ws: WebSocketStream<MaybeTlsStream<TcpStream>>) -> Self {
        let mut client = Self { ws, heard: VecDeque::new(), next_ack: 0 };
        match soon(client.ws.next()).await.unwrap().unwrap() {
            Message::Text(open) if open.starts_with("0{") => client,
            other => panic!("an open packet expected, not {other:?}"),
        }
    }

    /// In the default namespace, by the usual way.
    pub(crate) async fn connect(gateway: SocketAddr, token: &str) -> Self {
        let mut client = Self::open(gateway, "", None).await;
        client.send(&format!("40{}", json!({ "token": token }))).await;
        assert_eq!(client.next().await, Heard::Connected);
        client
    }

    pub(crate) async fn send(&mut self, packet: &str) {
        soon(self.ws.send(Message::text(packet))).await.unwrap();
    }

    /// The same, to a server that may be gone.
    pub(crate) async fn try_send(&mut self, packet: &str) -> Result<(), ()> {
        soon(self.ws.send(Message::text(packet))).await.map_err(drop)
    }

    /// Without waiting for the ack; its number.
    pub(crate) async fn emit(&mut self, name: &str, argument: &Value) -> u64 {
        self.next_ack += 1;
        self.send(&format!("42{}{}", self.next_ack, json!([name, argument]))).await;
        self.next_ack
    }

    /// An event and its ack; events that come before it are kept.
    pub(crate) async fn ask(&mut self, name: &str, argument: &Value) -> Value {
        let id = self.emit(name, argument).await;
        self.ack(id).await
    }

    /// Waits for an ack; events that come before it are kept.
    pub(crate) async fn ack(&mut self, id: u64) -> Value {
        loop {
            match self.read().await {
                Heard::Ack(number, ack) if number == id => return ack,
                event @ Heard::Event(..) => self.heard.push_back(event),
                other => panic!("ack {id} expected, not {other:?}"),
            }
        }
    }

    pub(crate) async fn join(&mut self, chat: ChatId) -> Value {
        self.ask("join-chat-room", &json!({ "chatId": chat })).await
    }

    /// Joins and has to stand at `version` then.
    pub(crate) async fn join_at(&mut self, chat: ChatId, version: u64) {
        let ack = self.join(chat).await;
        assert_eq!((&ack["success"], &ack["version"]), (&json!(true), &json!(version)), "{ack}");
    }

    pub(crate) async fn leave(&mut self, chat: ChatId) {
        let ack = self.ask("leave-chat-room", &json!({ "chatId": chat })).await;
        assert_eq!(ack, json!({ "success": true, "chatId": chat }));
    }

    /// The next thing that is for the application.
    pub(crate) async fn next(&mut self) -> Heard {
        match self.heard.pop_front() {
            Some(heard) => heard,
            None => self.read().await,
        }
    }

    pub(crate) async fn event(&mut self) -> (String, Value) {
        match self.next().await {
            Heard::Event(name, payload) => (name, payload),
            other => panic!("an event expected, not {other:?}"),
        }
    }

    /// The next event is this version of the chat.
    pub(crate) async fn hears(&mut self, chat: ChatId, version: u64) {
        let (name, payload) = self.event().await;
        let heard = (name.as_str(), &payload["chatId"], &payload["version"]);
        assert_eq!(heard, ("new-message", &json!(chat), &json!(version)));
    }

    /// Joins as one who has everything up to `since`; the ack.
    pub(crate) async fn join_since(&mut self, chat: ChatId, since: u64) -> Value {
        let argument = json!({ "chatId": chat, "since": since });
        self.ask("join-chat-room", &argument).await
    }

    /// What the server has sent so far is all there is, and is nothing for the application.
    pub(crate) async fn hears_nothing(&mut self) {
        // The answer to an event comes after everything that was sent before.
        let refused = self.ask("join-chat-room", &json!("none")).await;
        assert_eq!(refused["error"]["code"], "invalid_chat_id");
        assert_eq!(self.heard, []);
    }

    /// The next of the events that the server has sent so far, if there is one.
    pub(crate) async fn heard_already(&mut self) -> Option<Heard> {
        if self.heard.is_empty() {
            // The answer to an event comes after everything that was sent before.
            self.ask("join-chat-room", &json!("none")).await;
        }
        self.heard.pop_front()
    }

    /// Drops the events that were kept while an ack was waited for.
    pub(crate) fn forget(&mut self) {
        self.heard.clear();
    }

    pub(crate) async fn is_closed_with(&mut self, code: u16) {
        assert_eq!(self.next().await, Heard::Closed(Some(code)));
    }

    /// Leaves as a browser does.
    pub(crate) async fn close(mut self) {
        self.ws.close(None).await.unwrap();
        while self.read().await != Heard::Closed(None) {}
    }

    async fn read(&mut self) -> Heard {
        soon(self.read_on()).await
    }

    async fn read_on(&mut self) -> Heard {
        loop {
            let text = match self.ws.next().await {
                Some(Ok(Message::Text(text))) => text,
                Some(Ok(Message::Close(frame))) => {
                    return Heard::Closed(frame.map(|frame| frame.code.into()));
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                Some(Ok(other)) => panic!("text expected, not {other:?}"),
                Some(Err(_)) | None => return Heard::Closed(None),
            };
            if text.as_str() == "2" {
                self.send("3").await;
                continue;
            }
            return parse(text.as_str());
        }
    }
}

pub(crate) fn parse(packet: &str) -> Heard {
    let json = |text: &str| -> Value { serde_json::from_str(text).expect(packet) };
    let (kind, rest) = packet.split_at_checked(2).expect(packet);
    match kind {
        "40" => {
            assert!(json(rest)["sid"].is_string(), "{packet}");
            Heard::Connected
        }
        // After the name of another namespace, if it is one.
        "44" => Heard::ConnectError(json(&rest[rest.find('{').expect(packet)..])),
        "42" => match json(rest).as_array().expect(packet).as_slice() {
            [Value::String(name), payload] => Heard::Event(name.clone(), payload.clone()),
            other => panic!("one argument expected, not {other:?}"),
        },
        "43" => {
            let (id, arguments) = rest.split_at(rest.find('[').expect(packet));
            match json(arguments).as_array().expect(packet).as_slice() {
                [ack] => Heard::Ack(id.parse().expect(packet), ack.clone()),
                other => panic!("one argument expected, not {other:?}"),
            }
        }
        _ => panic!("{packet}"),
    }
}
