//! Load on a whole cluster, and what it costs: `cargo parley bench`.
//!
//! A scenario starts a cluster of its own, drives it from one process through the doors that clients use, and beside it,
//! in alternating rounds on the same cores, a peer that does the same work in another way. What the servers' processes
//! spent is read from `/proc`, so that a noisy neighbour disturbs the rate but hardly the cost.
//!
//! It must never know how a service works inside. The one exception is the schema, which a peer in plain SQL needs.

mod database;
mod http;
mod load;
mod pgbench;
mod proc;
mod report;
mod results;
pub mod scenarios;
mod servers;
mod window;
