//! An Engine.IO 4 and Socket.IO 5 server: both transports, frames that are encoded once and shared,
//! and a bound on everything.
//!
//! Implement [`Application`], and give it to a [`Server`]:
//!
//! ```no_run
//! use parley_socketio::{
//!     Application, Config, Connect, ConnectError, DisconnectReason, Event, Server, Socket,
//! };
//! use tokio_util::sync::CancellationToken;
//!
//! struct Greeter;
//!
//! impl Application for Greeter {
//!     type Session = Socket;
//!
//!     async fn connect(&self, _: Connect, socket: Socket) -> Result<Socket, ConnectError> {
//!         Ok(socket)
//!     }
//!
//!     async fn event(&self, socket: &mut Socket, event: Event) {
//!         if let Some(Ok(name)) = event.arg::<String>(0) {
//!             let _ = socket.emit("hello", &name); // a client that is gone needs no greeting
//!         }
//!     }
//!
//!     async fn disconnect(&self, _: Socket, _: DisconnectReason) {}
//! }
//!
//! # async fn run() -> std::io::Result<()> {
//! let listener = tokio::net::TcpListener::bind("[::]:3000").await?;
//! let server = Server::new(Config::default(), Greeter);
//! server.serve(listener, CancellationToken::new()).await
//! # }
//! ```
//!
//! # Sending
//!
//! [`Socket::send`] never waits. A [`Frame`] is encoded once for all the sockets it goes to; what
//! piles up for one of them leaves in one system call. A connection for which more waits than its
//! outbox may hold is closed, as is one that takes nothing for [`Config::write_timeout`].
//!
//! # Receiving
//!
//! The events of a connection are handed over in order and one at a time. While the application is
//! busy, up to [`Config::inbox_events`] wait; then the connection is no longer read, and that pause
//! is never taken for a missed heartbeat.
//!
//! # What may get lost
//!
//! Within one connection nothing is lost, doubled or reordered, upgrades included. A poll that the
//! client gives up, other than for an upgrade, and an answer that could not be handed to the system in
//! full, end the session: the client sees a new connection rather than a gap. Bytes that the system has
//! accepted for a connection that then breaks may be lost, as with any use of TCP; what has to survive
//! that needs numbers of the application's own.
//!
//! What a client sent before its connection broke is still handed over. What it sent before it broke
//! the protocol, or was sent away with [`CloseReason::Policy`], is not.
//!
//! # Layers
//!
//! [`engine`] is the Engine.IO server below, for messages without events; a [`Router`] serves several
//! engines on one port.

pub mod engine;

mod config;
mod frame;
mod handshake;
mod id;
mod namespaces;
mod packet;
mod peers;
mod rate;
mod reason;
mod router;
mod server;
mod socket;
mod stats;
mod websocket;
mod wire;

pub use config::{Config, Cors};
pub use frame::Frame;
pub use handshake::{Handshake, Transport};
pub use id::SocketId;
pub use peers::{Directory, Found, Peers};
pub use rate::{Rate, Used};
pub use reason::{CloseReason, Closed, DisconnectReason};
pub use router::Router;
pub use server::{Application, Arrival, Connect, ConnectError, Event, Server};
pub use socket::{Ack, EmitError, Socket};
pub use stats::{Forwarded, Moved, Refusal, StatsSnapshot};
