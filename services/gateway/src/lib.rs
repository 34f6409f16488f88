//! The way out: it holds the users' Socket.IO connections and passes on what rooms hear.
//!
//! A gateway subscribes to a chat when its first local connection joins it, and hands every event on as the bytes
//! that the api pod encoded: one frame for all sockets of the room. What it has to know, it asks an api pod over the
//! bus.
//!
//! Who writes, gateways tell each other; it is the one event whose body is written here.
//!
//! This crate must never reach Postgres, directly or through a crate of ours, must never read the body of an event, and must never let one connection wait for another.

mod accounts;
mod app;
mod asks;
mod batches;
mod bearers;
mod connection;
mod drain;
mod expiry;
mod heads;
mod here;
mod joins;
mod limits;
mod metrics;
mod moves;
mod passing;
mod peers;
mod planted;
mod presence;
mod protocol;
mod recent;
mod room;
mod rooms;
mod settings;
mod tokens;
mod traces;
mod users;

pub use app::App;
#[cfg(feature = "planted-faults")]
pub use planted::{Fault, PlantedSettings};
pub use settings::Settings;
