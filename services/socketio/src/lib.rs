//! An Engine.IO 4 and Socket.IO 5 server.

pub mod engine;

mod config;
mod frame;
mod handshake;
mod id;
mod namespaces;
mod packet;
mod reason;
mod router;
mod server;
mod socket;
mod stats;
mod websocket;

pub use config::{Config, Cors};
pub use frame::Frame;
pub use handshake::{Handshake, Transport};
pub use id::SocketId;
pub use reason::{CloseReason, Closed, DisconnectReason};
pub use router::Router;
pub use server::{Application, Connect, ConnectError, Event, Server};
pub use socket::{Ack, EmitError, Socket};
pub use stats::{Refusal, StatsSnapshot};
