//! The bus and the limiter against real NATS and Redis servers: those of the test run, or one of a test's own where it is
//! stopped or emptied, or where others would answer its asks.
#![expect(clippy::unwrap_used, reason = "tests")]

mod asks;
mod credentials;
mod fixture;
mod gateways;
mod heads;
mod limits;
mod outage;
mod peers;
mod presence;
mod publisher;
mod redis;
mod revocations;
mod sentinel;
mod server;
mod settings;
mod state;
mod subscriptions;
