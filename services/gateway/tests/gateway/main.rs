//! A gateway pod in this process, before a real NATS server of each test's own. The test is the api pod, which answers
//! and publishes over the bus, and the client.
#![expect(clippy::unwrap_used, reason = "tests")]

mod client;
mod connect;
mod endings;
mod fixture;
mod interruptions;
mod join;
mod keys;
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
mod server;
mod transports;
mod users;
