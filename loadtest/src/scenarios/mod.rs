//! What can be measured, one file (and a folder for its parts) per scenario.

pub mod all;
pub mod arrivals;
pub mod delivery;
pub mod e2e;
pub mod fanout;
pub mod growth;
pub mod lists;
pub mod overhead;
pub mod send;
pub mod storm;
pub mod transports;
pub mod webhooks;
