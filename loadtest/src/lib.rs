//! Load on a whole cluster, and what it costs: `cargo parley bench`.
//!
//! A scenario starts a cluster of its own, drives it from one process through the doors that clients use, and beside it,
//! in alternating rounds on the same cores, a peer that does the same work in another way. What the servers' processes
//! spent is read from `/proc`, so that a noisy neighbour disturbs the rate but hardly the cost.
//!
//! And a crowd of clients on such a cluster, of which parts die: `cargo parley chaos`, and the scenarios of
//! [`scenarios::delivery`]. What happens to the clients is written down as a history, and a checker, which shares nothing
//! with them but the form of its lines, says whether it may be so.
//!
//! It must never know how a service works inside. The one exception is the schema, which a peer in plain SQL needs.

mod audience;
pub mod chaos;
mod checker;
mod crowd;
mod database;
mod explained;
mod history;
mod hole;
mod http;
mod kept;
mod latencies;
mod load;
mod measured;
mod pgbench;
mod pin;
mod plot;
mod population;
mod proc;
mod report;
mod results;
pub mod scenarios;
mod servers;
mod stage;
mod truth;
mod window;
mod wire;

pub use checker::check;
