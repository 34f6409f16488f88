//! What may be lost: the NATS bus between pods.
//!
//! Events go out on one subject per chat and may be dropped at any moment; their versions make a drop visible, and
//! whoever listens repairs it by asking. Nothing here is a promise to a user.
//!
//! This crate must never know SQL, HTTP or Socket.IO, and must never hold something that exists nowhere else.

mod asks;
mod bus;
mod error;
mod metrics;
mod publisher;
mod settings;
mod subject;

pub use asks::AskError;
pub use bus::{Bus, BusState, RoomSubscription};
pub use error::RelayError;
pub use publisher::{Publisher, PublisherTask};
pub use settings::NatsSettings;
