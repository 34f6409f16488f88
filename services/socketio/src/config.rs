//! Limits and timings.

use crate::rate::Rate;
use std::time::Duration;

/// Limits and timings of one mounted engine.
///
/// ```
/// use parley_socketio::Config;
/// use std::time::Duration;
///
/// let config = Config { ping_interval: Duration::from_secs(10), ..Config::default() };
/// assert_eq!(config.path, "/socket.io/");
/// ```
#[derive(Clone, Debug)]
pub struct Config {
    /// Where the engine is mounted; a missing trailing slash is accepted too. Default `/socket.io/`.
    pub path: String,
    /// Put in front of every Engine.IO session id, so that the id can name the process that owns it.
    /// Must need no escaping in a query string. Default empty.
    pub id_prefix: String,
    /// Time from one ping (or the opening) to the next, however long the pong takes. Default 25 s.
    pub ping_interval: Duration,
    /// Silence after a ping that closes the connection. Default 20 s.
    pub ping_timeout: Duration,
    /// Time a polling client has to finish an upgrade it began. Default 10 s.
    pub upgrade_timeout: Duration,
    /// Time without a joined namespace that closes the connection. Default 45 s.
    pub connect_timeout: Duration,
    /// Time without any progress, while something waits to be written, that closes the connection;
    /// also `TCP_USER_TIMEOUT` of the accepted sockets. Default 10 s.
    pub write_timeout: Duration,
    /// Time to send the head of an HTTP request, from its first byte, or from the accepting of the
    /// connection for the first. Between requests a connection may be idle for 75 s and this time:
    /// longer than the balancers in front of it keep theirs. Default 10 s.
    pub header_timeout: Duration,
    /// Time to send the body of a polling request. Default 10 s.
    pub body_timeout: Duration,
    /// Bytes of one WebSocket message or of one polling body. Default 1 000 000.
    pub max_payload: usize,
    /// Messages that may wait to be written to one connection. Default 1024.
    pub outbox_frames: usize,
    /// Bytes that may wait to be written to one connection; the system holds about 64 KiB more. Default 4 MiB.
    pub outbox_bytes: usize,
    /// Messages that may wait for the handler of one connection before it is no longer read. Their
    /// bytes are bounded by twice `max_payload`. Default 32.
    pub inbox_events: usize,
    /// Sessions at one time; above it a handshake is refused with 503. TCP connections that are no
    /// WebSocket of a session may be a quarter more, and at least 64; above that they are closed as
    /// soon as they are accepted. Default 100 000.
    pub max_connections: usize,
    /// Namespaces one connection may join. Default 16.
    pub max_namespaces: usize,
    /// Binary attachments of one packet. Default 64.
    pub max_attachments: usize,
    /// How often one connection may send a Socket.IO packet (of a CONNECT, an event, an ack; each
    /// attachment counts too). Above it the connection is closed. Default: no limit.
    pub messages: Option<Rate>,
    /// Which web origins may use the engine. Default [`Cors::Any`].
    pub cors: Cors,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: "/socket.io/".to_owned(),
            id_prefix: String::new(),
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(20),
            upgrade_timeout: Duration::from_secs(10),
            connect_timeout: Duration::from_secs(45),
            write_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            max_payload: 1_000_000,
            outbox_frames: 1024,
            outbox_bytes: 4 * 1024 * 1024,
            inbox_events: 32,
            max_connections: 100_000,
            max_namespaces: 16,
            max_attachments: 64,
            messages: None,
            cors: Cors::Any,
        }
    }
}

/// Which web origins may use an engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cors {
    /// Every origin, without credentials.
    Any,
    /// These origins (`https://chat.example`), with credentials. A request that names another
    /// origin is refused with 403, WebSocket handshakes included.
    List(Vec<String>),
    /// No cross-origin headers are sent: browsers allow the same origin only for polling.
    None,
}
