//! What may be lost: the NATS bus between pods, and Redis with the limits that pods share and with who is there.
//!
//! Events go out on one subject per chat and may be dropped at any moment; their versions make a drop visible, and
//! whoever listens repairs it by asking. Without Redis a pod limits by itself. Nothing here is a promise to a user.
//!
//! This crate must never know SQL, HTTP or Socket.IO, and must never hold something that exists nowhere else.

mod asks;
mod attendance;
mod bus;
mod deliveries;
mod error;
mod gateways;
mod heads;
mod here;
mod limits;
mod metrics;
mod peers;
mod presence;
mod publisher;
mod revocations;
mod settings;
mod subject;
mod typing;
mod users;

pub use asks::{Ask, AskError};
pub use bus::{Bus, BusState, RoomSubscription};
pub use error::RelayError;
pub use gateways::{GatewayPlace, Gateways, GatewaysTask};
pub use heads::{HeadsSubscription, HeadsTask};
pub use limits::{
    Charge, Charged, Limit, LimitSettings, Limiter, Member, MessageLimits, Policy, Refused, Usage,
};
pub use peers::{Peers, PeersTask};
pub use presence::{Kept, Movements, Presence, Seen};
pub use publisher::{Publisher, PublisherTask};
pub use settings::{NatsSettings, RedisSettings};
pub use typing::{TypingPublisher, TypingPublisherTask, TypingSubscription};
