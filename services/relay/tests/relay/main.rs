//! The bus against real NATS servers: the one of the test run, or one of a test's own where it is stopped, or where
//! others would answer its asks.
#![expect(clippy::unwrap_used, reason = "tests")]

mod asks;
mod fixture;
mod publisher;
mod server;
mod state;
mod subscriptions;
