//! The api over HTTP, against real Postgres and NATS; every test has a pod and a database of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod actor;
mod authentication;
mod changes;
mod chats;
mod events;
mod keys;
mod limits;
mod messages;
mod read_state;
mod refusals;
mod revocation;
mod unhealthy_database;
mod users;
mod wire;
