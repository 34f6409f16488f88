//! A gateway pod in this process, before a real NATS server of each test's own. The test is the api pod, which answers
//! and publishes over the bus, and the client.
#![expect(clippy::unwrap_used, reason = "tests")]

mod accounts;
mod classes;
mod client;
mod connect;
mod delivery;
mod drain;
mod endings;
mod expiry;
mod fixture;
mod here;
mod hostile;
mod interruptions;
mod join;
mod keys;
mod limits;
mod order;
mod outages;
mod process;
mod race;
mod removal;
mod repair;
mod replay;
mod revocation;
mod rooms;
#[path = "../../../relay/tests/relay/server.rs"]
#[expect(dead_code, reason = "only the relay's tests configure one")]
mod server;
mod slow;
mod storm;
mod transports;
mod typing;
mod users;
