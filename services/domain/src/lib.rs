//! Parley's nouns and rules: who a user is, what a chat and a message are, what may be said and how it is
//! written on every wire (REST, Socket.IO, the bus between pods).
//!
//! Everything here is plain data and pure functions. This crate must never know a database, a socket, a
//! broker, an async runtime or an HTTP status; the time is always an argument. Text that comes from outside
//! becomes one of these types once, at the edge, and is not checked again.
//!
//! The words, used alike in code, SQL, wire, metrics and docs:
//!
//! * a **chat** has **participants** and **messages**; a message has a dense **seq** within its chat;
//! * every durable change of a chat takes the chat's next **version**, which is also a client's resume position;
//! * an **event** is what a room hears; a **room** is a chat as one gateway sees it.

pub mod ask;
pub mod attendance;
pub mod bus;
pub mod change;
pub mod chat;
pub mod delivery;
pub mod event;
pub mod file;
pub mod heads;
pub mod here;
pub mod ids;
mod invalid;
pub mod link;
pub mod message;
pub mod metadata;
pub mod mute;
pub mod page;
pub mod preferences;
mod shown;
pub mod time;
pub mod token;
pub mod typing;
pub mod user;
pub mod version;
pub mod webhook;

pub use invalid::Invalid;
