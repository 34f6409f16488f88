//! Couriers against a real Postgres and real HTTP servers.

#![expect(
    clippy::unwrap_used,
    reason = "what helpers cannot do fails the test, like any of its own steps"
)]

mod deliveries;
mod failures;
mod fixture;
mod notices;
mod payloads;
mod readme;
mod receiver;
