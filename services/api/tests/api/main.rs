//! The api over HTTP, against real Postgres and NATS; every test has a pod and a database of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod actor;
mod authentication;
mod authorisation;
mod catch_up;
mod changes;
mod chats;
mod classes;
mod contract;
mod downloads;
mod events;
mod hook;
mod hostile;
mod http;
mod keys;
mod limits;
mod memberships;
mod memory;
mod messages;
mod mute;
mod openapi;
mod participants;
mod pod;
mod presence;
mod purchase_requests;
mod read_state;
mod refusals;
mod revocation;
mod support;
mod unhealthy_database;
mod uploads;
mod users;
mod webhooks;
mod wire;
