//! System tests: whole clusters, as clients and operators see them.
//!
//! Run by `cargo parley test`, which builds the services, starts the cluster that most tests use,
//! and says in the environment where everything is.

#![expect(
    clippy::unwrap_used,
    reason = "what helpers cannot do fails the test, like any of its own steps"
)]

mod alerts;
mod arena;
mod balancer;
mod classes;
mod frozen;
mod launcher;
mod limits;
mod listener;
mod messages;
mod metrics;
mod observers;
mod once;
mod operator;
mod people;
mod restored;
mod socket;
mod traces;
mod unprivileged;
mod untold;
mod webhooks;
mod why;
mod wires;
