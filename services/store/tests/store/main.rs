//! The store against a real Postgres; every test has a database of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod chats;
mod fixture;
mod messages;
mod migrations;
mod participants;
mod users;
