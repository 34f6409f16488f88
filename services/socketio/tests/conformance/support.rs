//! Servers and clients for the tests.

use futures_util::{SinkExt as _, StreamExt as _};
use parley_socketio::engine::{Engine, Handle, Handler, Message as EngineMessage};
use parley_socketio::{
    Application, Arrival, Config, Connect, ConnectError, DisconnectReason, Event, Frame, Peers,
    Router, Server, Socket,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Longer than anything here takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The timings of the published suites.
pub(crate) fn quick() -> Config {
    Config {
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(1),
        ..Config::default()
    }
}

/// Fails instead of hanging.
pub(crate) async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// An application that answers, and tells the test what happens to it.
pub(crate) struct Mirror {
    /// `wait` events take one permit each.
    pub(crate) gate: Semaphore,
    connected: mpsc::UnboundedSender<Socket>,
    disconnected: mpsc::UnboundedSender<(String, DisconnectReason)>,
}

impl Application for Mirror {
    type Session = Socket;

    async fn connect(&self, connect: Connect, socket: Socket) -> Result<Socket, ConnectError> {
        match connect.namespace.as_str() {
            "/" | "/custom" => {}
            "/leaving" => socket.disconnect(),
            "/secret" if connect.auth.as_ref().is_some_and(|auth| auth.get().contains("key")) => {}
            "/secret" => {
                let data = serde_json::json!({"code": "unauthorized"});
                return Err(ConnectError::new("Not allowed").with_data(data));
            }
            _ => return Err(ConnectError::invalid_namespace()),
        }
        let auth = connect.auth.map_or("{}".to_owned(), |auth| auth.get().to_owned());
        let auth: serde_json::Value = serde_json::from_str(&auth).expect("JSON");
        let _ = socket.emit("auth", &(auth,));
        let _ = self.connected.send(socket.clone());
        Ok(socket)
    }

    async fn event(&self, socket: &mut Socket, event: Event) {
        let args = event.args.get();
        match (event.name.as_str(), event.ack) {
            ("message", _) => {
                let array = match args.strip_prefix('[') {
                    Some("]") | None => r#"["message-back"]"#.to_owned(),
                    Some(rest) => format!(r#"["message-back",{rest}"#),
                };
                let namespace = socket.namespace();
                let frame = if event.attachments.is_empty() {
                    Frame::event(namespace, array.as_bytes())
                } else {
                    Frame::event_binary(namespace, array.as_bytes(), event.attachments)
                };
                let _ = socket.send(&frame);
            }
            ("message-with-ack", Some(ack)) if event.attachments.is_empty() => {
                let _ = socket.ack(ack, args.as_bytes());
            }
            ("message-with-ack", Some(ack)) => {
                let _ = socket.ack_binary(ack, args.as_bytes(), &event.attachments);
            }
            ("leave", _) => socket.disconnect(),
            ("wait", ack) => {
                self.gate.acquire().await.expect("an open gate").forget();
                if let Some(ack) = ack {
                    let _ = socket.ack(ack, args.as_bytes());
                }
            }
            _ => {}
        }
    }

    async fn export(&self, socket: &mut Socket) -> Option<Vec<u8>> {
        (socket.namespace() != "/custom").then(|| socket.id().to_string().into_bytes())
    }

    async fn import(&self, arrival: Arrival, socket: Socket) -> Option<Socket> {
        assert_eq!(arrival.state, socket.id().to_string().as_bytes());
        assert_eq!(arrival.namespace, socket.namespace());
        assert_eq!(arrival.handshake.query("EIO"), Some("4"));
        let _ = self.connected.send(socket.clone());
        Some(socket)
    }

    async fn disconnect(&self, socket: Socket, reason: DisconnectReason) {
        assert!(socket.is_closed());
        let _ = self.disconnected.send((socket.namespace().to_owned(), reason));
    }
}

/// Sends every message back.
struct Echo(mpsc::UnboundedSender<DisconnectReason>);

impl Handler for Echo {
    type Connection = Handle;

    fn open(&self, handle: Handle) -> Handle {
        handle
    }

    async fn message(&self, handle: &mut Handle, message: EngineMessage) {
        let _ = match message {
            EngineMessage::Text(text) => handle.send_text(&text),
            EngineMessage::Binary(data) => handle.send_binary(&data),
        };
    }

    async fn close(&self, _: Handle, reason: DisconnectReason) {
        let _ = self.0.send(reason);
    }
}

/// Both engines on one port.
pub(crate) struct TestServer {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server<Mirror>>,
    pub(crate) echo: Engine,
    pub(crate) stop: CancellationToken,
    sockets: Mutex<mpsc::UnboundedReceiver<Socket>>,
    disconnects: Mutex<mpsc::UnboundedReceiver<(String, DisconnectReason)>>,
    closes: Mutex<mpsc::UnboundedReceiver<DisconnectReason>>,
    _stop: DropGuard,
}

impl TestServer {
    pub(crate) async fn start() -> Self {
        Self::with(Config::default()).await
    }

    pub(crate) async fn with(config: Config) -> Self {
        Self::build(config, Server::new).await
    }

    /// One of several; the address is of the door for the others, open until `stop`.
    pub(crate) async fn with_peers(
        config: Config,
        peers: Peers,
        stop: &CancellationToken,
    ) -> (Self, SocketAddr) {
        let build = |config, app| Server::with_peers(config, app, peers).expect("a name");
        let this = Self::build(config, build).await;
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let door = Router::new().mount_peers(this.server.engine());
        tokio::spawn(door.serve(listener, stop.clone()));
        (this, address)
    }

    async fn build(
        config: Config,
        build: impl FnOnce(Config, Mirror) -> Arc<Server<Mirror>>,
    ) -> Self {
        let (connected, sockets) = mpsc::unbounded_channel();
        let (disconnected, disconnects) = mpsc::unbounded_channel();
        let (closed, closes) = mpsc::unbounded_channel();
        let echo_config = Config { path: "/engine.io/".to_owned(), ..config.clone() };
        let echo = Engine::new(echo_config, Echo(closed));
        let gate = Semaphore::new(0);
        let server = build(config, Mirror { gate, connected, disconnected });
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = CancellationToken::new();
        let router = Router::new().mount(echo.clone()).mount(server.engine());
        tokio::spawn(router.serve(listener, stop.clone()));
        Self {
            address,
            server,
            echo,
            stop: stop.clone(),
            sockets: Mutex::new(sockets),
            disconnects: Mutex::new(disconnects),
            closes: Mutex::new(closes),
            _stop: stop.drop_guard(),
        }
    }

    /// The socket of the next client that joined.
    pub(crate) async fn socket(&self) -> Socket {
        soon(async { self.sockets.lock().await.recv().await }).await.expect("a socket")
    }

    /// The next session that ended.
    pub(crate) async fn disconnect(&self) -> (String, DisconnectReason) {
        soon(async { self.disconnects.lock().await.recv().await }).await.expect("a disconnect")
    }

    /// The next end of a session of the echo engine.
    pub(crate) async fn closed(&self) -> DisconnectReason {
        soon(async { self.closes.lock().await.recv().await }).await.expect("an end")
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        request(self.address, "GET", path, &[], b"").await
    }

    pub(crate) async fn ws(&self, path: &str) -> Ws {
        Ws::open(self.address, path).await.expect("a WebSocket")
    }

    /// A WebSocket past the Engine.IO handshake.
    pub(crate) async fn engine_ws(&self) -> Ws {
        let mut ws = self.ws("/engine.io/?EIO=4&transport=websocket").await;
        assert!(ws.text().await.starts_with("0{"));
        ws
    }

    /// A WebSocket that has joined `/`, past the `auth` event.
    pub(crate) async fn joined_ws(&self) -> Ws {
        let mut ws = self.ws("/socket.io/?EIO=4&transport=websocket").await;
        assert!(ws.text().await.starts_with("0{"));
        ws.send("40").await;
        assert!(ws.text().await.starts_with("40{\"sid\":"));
        assert_eq!(ws.text().await, "42[\"auth\",{}]");
        ws
    }

    /// A polling session, just opened.
    pub(crate) async fn poll_session(&self, path: &str) -> Polling {
        let url = format!("{path}?EIO=4&transport=polling");
        let answer = self.get(&url).await;
        assert_eq!(answer.status, 200);
        let open: serde_json::Value = serde_json::from_str(&answer.body[1..]).expect("JSON");
        let sid = open["sid"].as_str().expect("a sid").to_owned();
        Polling { address: self.address, url: format!("{url}&sid={sid}"), sid }
    }
}

/// A polling client.
#[derive(Clone)]
pub(crate) struct Polling {
    pub(crate) address: SocketAddr,
    pub(crate) url: String,
    pub(crate) sid: String,
}

impl Polling {
    pub(crate) async fn poll(&self) -> Answer {
        request(self.address, "GET", &self.url, &[], b"").await
    }

    pub(crate) async fn post(&self, body: impl AsRef<[u8]>) -> Answer {
        request(self.address, "POST", &self.url, &[], body.as_ref()).await
    }

    /// Polls until this many packets came.
    pub(crate) async fn packets(&self, count: usize) -> Vec<String> {
        let mut packets = Vec::new();
        while packets.len() < count {
            let answer = self.poll().await;
            assert_eq!(answer.status, 200, "{}", answer.body);
            packets.extend(answer.body.split('\x1e').map(str::to_owned));
        }
        packets
    }

    /// A poll on its way: its connection, still unanswered.
    pub(crate) async fn send_poll(&self) -> TcpStream {
        self.send_poll_on(TcpStream::connect(self.address).await.expect("a connection")).await
    }

    pub(crate) async fn send_poll_on(&self, mut stream: TcpStream) -> TcpStream {
        let head = format!("GET {} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n", self.url);
        stream.write_all(head.as_bytes()).await.expect("written");
        stream
    }

    /// A poll that the server has had ample time to park; from outside that cannot be seen.
    pub(crate) async fn park(&self) -> TcpStream {
        let stream = self.send_poll().await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        stream
    }

    /// The head of a POST with a body of this length, on a connection of its own.
    pub(crate) async fn begin_post(&self, length: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.expect("a connection");
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n{length}\r\n\r\n",
            self.url
        );
        stream.write_all(head.as_bytes()).await.expect("written");
        stream
    }

    pub(crate) fn upgrade_path(&self) -> String {
        self.url.replace("transport=polling", "transport=websocket")
    }

    /// The session is gone.
    pub(crate) async fn assert_unknown(&self) {
        let answer = self.poll().await;
        assert_eq!((answer.status, answer.code()), (400, Some(1)), "{}", answer.body);
    }
}

/// An HTTP answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// The `code` of an error.
    pub(crate) fn code(&self) -> Option<u64> {
        let error: serde_json::Value = serde_json::from_str(&self.body).ok()?;
        assert!(error["message"].is_string());
        error["code"].as_u64()
    }

    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a status");
        let headers = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        Self { status: status.parse().expect("a number"), headers, body: body.to_owned() }
    }

    pub(crate) async fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        soon(stream.read_to_string(&mut text)).await.expect("an answer");
        Self::parse(&text)
    }
}

pub(crate) async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[&str],
    body: &[u8],
) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n");
    for header in headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("Content-Length: ");
    head.push_str(&body.len().to_string());
    head.push_str("\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("written");
    // A server that refuses a body may close before all of it is there.
    let _ = stream.write_all(body).await;
    Answer::read(stream).await
}

/// An independent WebSocket client.
pub(crate) struct Ws(WebSocketStream<MaybeTlsStream<TcpStream>>);

impl Ws {
    /// Err: the HTTP status that was given instead.
    pub(crate) async fn open(address: SocketAddr, path: &str) -> Result<Self, u16> {
        let opened = soon(tokio_tungstenite::connect_async(format!("ws://{address}{path}"))).await;
        match opened {
            Ok((stream, _)) => Ok(Self(stream)),
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
                Err(response.status().as_u16())
            }
            Err(error) => panic!("no WebSocket: {error}"),
        }
    }

    pub(crate) async fn send(&mut self, text: &str) {
        soon(self.0.send(Message::text(text))).await.expect("sent");
    }

    pub(crate) async fn send_binary(&mut self, data: &[u8]) {
        soon(self.0.send(Message::binary(data.to_vec()))).await.expect("sent");
    }

    pub(crate) async fn send_raw(&mut self, message: Message) {
        soon(self.0.send(message)).await.expect("sent");
    }

    /// The next message, or None at the end.
    pub(crate) async fn next(&mut self) -> Option<Message> {
        soon(self.0.next()).await?.ok()
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.next().await {
            Some(Message::Text(text)) => text.to_string(),
            other => panic!("text expected, not {other:?}"),
        }
    }

    pub(crate) async fn binary(&mut self) -> Vec<u8> {
        match self.next().await {
            Some(Message::Binary(data)) => data.to_vec(),
            other => panic!("bytes expected, not {other:?}"),
        }
    }

    /// Reads to the end; the close code, if one came.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        let mut code = None;
        while let Some(message) = self.next().await {
            if let Message::Close(frame) = message {
                code = frame.map(|frame| frame.code.into());
            }
        }
        code
    }
}
