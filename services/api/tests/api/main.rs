//! The api over HTTP, against real Postgres and NATS; every test has a pod and a database of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod actor;
mod authentication;
mod chats;
mod events;
mod messages;
mod refusals;
mod unhealthy_database;
mod users;
mod wire;
