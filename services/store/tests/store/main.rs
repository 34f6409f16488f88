//! The store against a real Postgres; every test has a database of its own.
#![expect(clippy::unwrap_used, reason = "tests")]

mod appender;
mod catch_up;
mod changes;
mod chats;
mod files;
mod fixture;
mod joins;
mod membership;
mod messages;
mod metrics;
mod migrations;
mod participants;
mod pooler;
mod preferences;
mod send_cost;
mod support;
mod unread_model;
mod users;
mod wire;
