//! The Socket.IO server.

use crate::config::Config;
use crate::engine::{Engine, Handle, Handler, InvalidPeers, Message, Packed, Said};
use crate::frame::Frame;
use crate::handshake::Handshake;
use crate::id::SocketId;
use crate::namespaces::{Namespaces, Step};
use crate::packet::{Decoder, Malformed};
use crate::peers::Peers;
use crate::rate::Used;
use crate::reason::{CloseReason, DisconnectReason};
use crate::router::Router;
use crate::socket::{Ack, Socket};
use crate::stats::StatsSnapshot;
use bytes::Bytes;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The application behind a Socket.IO server.
///
/// The methods of one connection never run at the same time. While one of them does, the connection
/// is written, kept alive and watched; it is read until [`Config::inbox_events`] events wait. A
/// future is never dropped half-way; one that panics takes its connection with it, and then
/// [`Application::disconnect`] is not called for that connection.
pub trait Application: Send + Sync + 'static {
    /// What is kept for each client in each namespace.
    type Session: Send + 'static;

    /// A client asks to join a namespace. With an error the connection stays open, and the client
    /// may try again until [`Config::connect_timeout`] has passed since it came.
    fn connect(
        &self,
        connect: Connect,
        socket: Socket,
    ) -> impl Future<Output = Result<Self::Session, ConnectError>> + Send;

    /// One event, in order; the next is handed over when this future is done.
    fn event(&self, session: &mut Self::Session, event: Event) -> impl Future<Output = ()> + Send;

    /// The client left, or the connection ended. Called exactly once for each session, but for those
    /// that moved to another server.
    fn disconnect(
        &self,
        session: Self::Session,
        reason: DisconnectReason,
    ) -> impl Future<Output = ()> + Send;

    /// The client goes on over a WebSocket to another server: what has to be known there. From here on
    /// nothing is to be sent to its socket; what was sent before goes along. None: the connection
    /// cannot go along, and is closed. A session that is gone is dropped; of one that could not go,
    /// [`Application::disconnect`] says so. Needed by [`Server::with_peers`].
    fn export(&self, _session: &mut Self::Session) -> impl Future<Output = Option<Vec<u8>>> + Send {
        std::future::ready(None)
    }

    /// A client came from another server, and knows nothing of it. None: it has to come again, and
    /// its connection is closed.
    fn import(
        &self,
        _arrival: Arrival,
        _socket: Socket,
    ) -> impl Future<Output = Option<Self::Session>> + Send {
        std::future::ready(None)
    }
}

/// A client that was in a namespace on another server.
#[derive(Debug)]
pub struct Arrival {
    /// Its name, `/` or `/something`.
    pub namespace: String,
    /// What [`Application::export`] gave there.
    pub state: Bytes,
    /// What is kept of the request that opened the connection there.
    pub handshake: Arc<Handshake>,
}

/// A client that asks to join a namespace.
pub struct Connect {
    /// Its name, `/` or `/something`.
    pub namespace: String,
    /// What the client gave to identify itself: a JSON object.
    pub auth: Option<Box<RawValue>>,
    /// What is kept of the request that opened the connection.
    pub handshake: Arc<Handshake>,
}

impl fmt::Debug for Connect {
    /// Without `auth`, which is a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("namespace", &self.namespace)
            .field("handshake", &self.handshake)
            .finish_non_exhaustive()
    }
}

/// Why a client may not join. It receives this as `{"message":…,"data":…}`.
#[derive(Clone, Debug, Serialize, PartialEq)]
pub struct ConnectError {
    message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<serde_json::Value>,
}

impl ConnectError {
    /// An error with a message for the client.
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), data: None }
    }

    /// The answer of the reference server to a namespace that it does not have.
    pub fn invalid_namespace() -> Self {
        Self::new("Invalid namespace")
    }

    /// Adds details for the client's code.
    #[must_use]
    pub fn with_data(mut self, data: serde_json::Value) -> Self {
        self.data = Some(data);
        self
    }
}

/// An event from a client.
#[derive(Debug)]
pub struct Event {
    /// Its name.
    pub name: String,
    /// Its arguments: a JSON array, without the name. Where an attachment belongs there is
    /// `{"_placeholder":true,"num":n}`; whether `n` is one of them is the application's to check.
    pub args: Box<RawValue>,
    /// Its attachments.
    pub attachments: Vec<Bytes>,
    /// Set if the client waits for an answer.
    pub ack: Option<Ack>,
}

impl Event {
    /// The argument at `index`, if there are as many.
    pub fn arg<'a, T: Deserialize<'a>>(&'a self, index: usize) -> Option<serde_json::Result<T>> {
        let Some(mut rest) = self.args.get().trim_start().strip_prefix('[') else {
            return Some(Err(serde::de::Error::custom("not an array")));
        };
        // What comes after is not looked at.
        for _ in 0..index {
            match next_item::<IgnoredAny>(rest)? {
                Ok((_, after)) => rest = after.trim_start().strip_prefix(',')?,
                Err(error) => return Some(Err(error)),
            }
        }
        let item = next_item::<&RawValue>(rest)?;
        Some(item.and_then(|(item, _)| serde_json::from_str(item.get())))
    }
}

/// The next item of a JSON array, and what follows it; none at the end.
fn next_item<'a, T: Deserialize<'a>>(items: &'a str) -> Option<serde_json::Result<(T, &'a str)>> {
    if items.trim_start().starts_with(']') {
        return None;
    }
    let mut stream = serde_json::Deserializer::from_str(items).into_iter();
    let item = stream.next()?;
    Some(item.map(|item| (item, &items[stream.byte_offset()..])))
}

/// A Socket.IO server for one application.
pub struct Server<A> {
    engine: Engine,
    app: Arc<A>,
}

impl<A: Application> Server<A> {
    /// A server that is not yet reachable: see [`Server::serve`] and [`Server::engine`].
    pub fn new(config: Config, app: A) -> Arc<Self> {
        let app = Arc::new(app);
        let engine = Engine::new(config.clone(), Protocol { config, app: Arc::clone(&app) });
        Arc::new(Self { engine, app })
    }

    /// One of several servers behind a balancer without sticky sessions: see
    /// [`Engine::with_peers`].
    pub fn with_peers(config: Config, app: A, peers: Peers) -> Result<Arc<Self>, InvalidPeers> {
        let app = Arc::new(app);
        let protocol = Protocol { config: config.clone(), app: Arc::clone(&app) };
        Ok(Arc::new(Self { engine: Engine::with_peers(config, protocol, peers)?, app }))
    }

    /// Accepts connections until `stop`; those that are open live on.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> io::Result<()> {
        Router::new().mount(self.engine()).serve(listener, stop).await
    }

    /// The engine below, to be mounted next to others.
    pub fn engine(&self) -> Engine {
        self.engine.clone()
    }

    /// The application.
    pub fn app(&self) -> &Arc<A> {
        &self.app
    }

    /// From now on new connections are refused with 503.
    pub fn refuse_new(&self) {
        self.engine.refuse_new();
    }

    /// Whether new connections are refused.
    pub fn refuses_new(&self) -> bool {
        self.engine.refuses_new()
    }

    /// Refuses new connections, and closes those that are open in random order, one `every` after the
    /// other. Until its turn a connection is served as before, polls and upgrades too. Returns when the
    /// last has been closed.
    pub async fn close_paced(&self, reason: CloseReason, every: Duration) {
        self.engine.close_paced(reason, every).await;
    }

    /// Refuses new connections, closes all, and waits until [`Application::disconnect`] has run for
    /// every session.
    pub async fn close_all(&self, reason: CloseReason) {
        self.engine.close_all(reason).await;
    }

    /// Open connections.
    pub fn connections(&self) -> usize {
        self.engine.connections()
    }

    /// What has been counted so far.
    pub fn stats(&self) -> StatsSnapshot {
        self.engine.stats()
    }
}

impl<A> fmt::Debug for Server<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("engine", &self.engine).finish_non_exhaustive()
    }
}

/// Socket.IO, as a handler of Engine.IO messages.
struct Protocol<A> {
    config: Config,
    app: Arc<A>,
}

struct Connection<S> {
    handle: Handle,
    decoder: Decoder,
    namespaces: Namespaces<Member<S>>,
    messages: Used,
}

struct Member<S> {
    socket: Socket,
    session: S,
}

/// A connection, as it travels to another server.
#[derive(Serialize, Deserialize)]
struct State {
    members: Vec<MemberState>,
    dismissed: Vec<Box<str>>,
    /// Of a packet whose attachments have not all come.
    pending: Vec<Said>,
}

#[derive(Serialize, Deserialize)]
struct MemberState {
    namespace: Box<str>,
    id: String,
    state: Packed,
}

impl<A: Application> Protocol<A> {
    async fn connect(
        &self,
        connection: &mut Connection<A::Session>,
        namespace: Box<str>,
        auth: Option<Box<RawValue>>,
    ) {
        // Until the application has decided, the client is not the one to wait for.
        connection.handle.set_patience(None);
        let socket = Socket::new(connection.handle.clone(), namespace.clone());
        let result = if connection.namespaces.is_full() {
            Err(ConnectError::new("Too many namespaces"))
        } else {
            let handshake = Arc::clone(connection.handle.handshake());
            let connect = Connect { namespace: namespace.to_string(), auth, handshake };
            self.app.connect(connect, socket.clone()).await
        };
        match result {
            Ok(session) => {
                socket.join();
                connection.namespaces.join(namespace, Member { socket, session });
            }
            Err(error) => {
                socket.leave();
                let json = serde_json::to_vec(&error).unwrap_or_default();
                // A closed connection needs no answer.
                let _ = connection.handle.send(&Frame::connect_error(&namespace, &json));
                if connection.namespaces.is_empty() {
                    self.expect_connect(&connection.handle, connection.handle.opened());
                }
            }
        }
    }

    /// A connection in no namespace is of no use to anybody for long.
    fn expect_connect(&self, handle: &Handle, since: Instant) {
        let until = since + self.config.connect_timeout;
        handle.set_patience(Some((until, DisconnectReason::ConnectTimeout)));
    }

    /// The namespaces of a client that came from another server.
    async fn arrive(&self, connection: &mut Connection<A::Session>, state: State) -> Option<()> {
        let State { members, dismissed, pending } = state;
        connection.namespaces.set_dismissed(dismissed);
        for message in pending {
            connection.decoder.decode(message.into()).ok()?;
        }
        for MemberState { namespace, id, state } in members {
            let handle = connection.handle.clone();
            let socket = Socket::arrived(handle.clone(), namespace.clone(), SocketId::parse(&id)?);
            let handshake = Arc::clone(handle.handshake());
            let arrival = Arrival { namespace: namespace.to_string(), state: state.0, handshake };
            let Some(session) = self.app.import(arrival, socket.clone()).await else {
                socket.leave();
                return None;
            };
            connection.namespaces.join(namespace, Member { socket, session });
        }
        Some(())
    }

    async fn left(
        &self,
        connection: &mut Connection<A::Session>,
        member: Member<A::Session>,
        reason: DisconnectReason,
    ) {
        member.socket.leave();
        if connection.namespaces.is_empty() {
            self.expect_connect(&connection.handle, Instant::now());
        }
        self.app.disconnect(member.session, reason).await;
    }
}

impl<A: Application> Handler for Protocol<A> {
    type Connection = Connection<A::Session>;

    fn open(&self, handle: Handle) -> Self::Connection {
        let decoder = Decoder::new(self.config.max_attachments, self.config.max_payload);
        let namespaces = Namespaces::new(self.config.max_namespaces);
        let connection = Connection { handle, decoder, namespaces, messages: Used::default() };
        self.expect_connect(&connection.handle, connection.handle.opened());
        connection
    }

    async fn message(&self, connection: &mut Self::Connection, message: Message) {
        if let Some(rate) = &self.config.messages
            && !rate.take(&mut connection.messages, Instant::now())
        {
            return connection.handle.close(DisconnectReason::TooManyMessages);
        }
        let packet = match connection.decoder.decode(message) {
            Ok(Some(packet)) => packet,
            Ok(None) => return,
            Err(Malformed::Syntax) => {
                return connection.handle.close(DisconnectReason::ProtocolError);
            }
            Err(Malformed::TooLarge) => {
                return connection.handle.close(DisconnectReason::PayloadTooLarge);
            }
        };
        match connection.namespaces.step(packet) {
            Step::Connect { namespace, auth } => self.connect(connection, namespace, auth).await,
            Step::Event { member, name, args, attachments, ack } => {
                let ack = ack.map(|id| Ack { id });
                let event = Event { name, args, attachments, ack };
                self.app.event(&mut member.session, event).await;
            }
            Step::Leave(member) => {
                self.left(connection, member, DisconnectReason::ClientNamespace).await;
            }
            Step::Nothing => {}
            Step::Broken => connection.handle.close(DisconnectReason::ProtocolError),
        }
    }

    async fn export(&self, connection: &mut Self::Connection) -> Option<Vec<u8>> {
        let mut members = Vec::new();
        for (namespace, member) in connection.namespaces.members_mut() {
            let id = member.socket.id().to_string();
            let state = self.app.export(&mut member.session).await?;
            if member.socket.has_left() {
                return None;
            }
            members.push(MemberState {
                namespace: namespace.into(),
                id,
                state: Packed(state.into()),
            });
        }
        let dismissed = connection.namespaces.dismissed().to_vec();
        let pending = connection.decoder.pending().map(Said::from).collect();
        serde_json::to_vec(&State { members, dismissed, pending }).ok()
    }

    async fn import(&self, handle: Handle, state: Bytes) -> Self::Connection {
        let mut connection = self.open(handle.clone());
        // It came long ago, and it is not the client who is waited for now.
        handle.set_patience(None);
        let arrived = match serde_json::from_slice(&state) {
            Ok(state) => self.arrive(&mut connection, state).await,
            Err(error) => {
                tracing::error!(%error, "a connection came in a form that is not known here");
                None
            }
        };
        if arrived.is_none() {
            handle.close(DisconnectReason::ServerClose(CloseReason::GoingAway));
        } else if connection.namespaces.is_empty() {
            self.expect_connect(&handle, handle.opened());
        }
        connection
    }

    async fn woken(&self, connection: &mut Self::Connection) {
        while let Some(member) = connection.namespaces.dismiss(|member| member.socket.has_left()) {
            self.left(connection, member, DisconnectReason::ServerNamespace).await;
        }
    }

    async fn close(&self, connection: Self::Connection, reason: DisconnectReason) {
        for member in connection.namespaces.into_members() {
            member.socket.leave();
            self.app.disconnect(member.session, reason).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handshake::{Query, Transport};

    #[test]
    fn an_argument_is_found_by_its_place() {
        let args = RawValue::from_string(r#"["a",{"b":[1]},null]"#.to_owned()).expect("JSON");
        let event = Event { name: "x".to_owned(), args, attachments: Vec::new(), ack: None };
        assert_eq!(event.arg::<&str>(0).and_then(Result::ok), Some("a"));
        assert!(matches!(event.arg::<u8>(1), Some(Err(_))));
        assert!(matches!(event.arg::<Option<u8>>(2), Some(Ok(None))));
        assert!(event.arg::<u8>(3).is_none());
        assert!(event.arg::<u8>(9).is_none());
    }

    #[test]
    fn arguments_are_found_between_blanks_and_numbers() {
        let args = |json: &str| Event {
            name: "x".to_owned(),
            args: RawValue::from_string(json.to_owned()).expect("JSON"),
            attachments: Vec::new(),
            ack: None,
        };
        let numbers = args(" [ 1 ,2, -3.5e1 ,true] ");
        assert_eq!(numbers.arg::<u8>(0).and_then(Result::ok), Some(1));
        assert_eq!(numbers.arg::<f64>(2).and_then(Result::ok), Some(-35.0));
        assert_eq!(numbers.arg::<bool>(3).and_then(Result::ok), Some(true));
        assert!(numbers.arg::<u8>(4).is_none());
        assert!(args("[ ]").arg::<u8>(0).is_none());
        assert!(matches!(args("{}").arg::<u8>(0), Some(Err(_))));
    }

    #[test]
    fn no_secret_is_printed() {
        let (query, headers) = (Query::new("token=secret"), http::HeaderMap::new());
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let handshake = Handshake::new(query.expect("short"), &headers, peer, Transport::Polling);
        let connect = Connect {
            namespace: "/".to_owned(),
            auth: RawValue::from_string(r#"{"token":"secret"}"#.to_owned()).ok(),
            handshake: Arc::new(handshake.expect("kept")),
        };
        let printed = format!("{connect:?}");
        assert!(printed.contains("namespace") && !printed.contains("secret"), "{printed}");
    }

    #[test]
    fn nesting_without_end_is_an_error_and_not_a_crash() {
        let deep = format!("[{}{}]", "[".repeat(10_000), "]".repeat(10_000));
        let args = RawValue::from_string(deep).expect("JSON");
        let event = Event { name: "x".to_owned(), args, attachments: Vec::new(), ack: None };
        assert!(matches!(event.arg::<serde_json::Value>(0), Some(Err(_))));
    }

    #[test]
    fn a_connect_error_is_what_the_client_expects() {
        let json = |error| serde_json::to_string(&error).expect("JSON");
        assert_eq!(json(ConnectError::invalid_namespace()), r#"{"message":"Invalid namespace"}"#);
        let error = ConnectError::new("no").with_data(serde_json::json!({"code": 1}));
        assert_eq!(json(error), r#"{"message":"no","data":{"code":1}}"#);
    }
}
