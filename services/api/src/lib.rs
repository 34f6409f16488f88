//! The way in: the REST interface of `/api`, and the answers to what gateways ask.
//!
//! A request is parsed into the domain's types by extractors, so a handler's arguments are proofs: one that takes a
//! [`extract::Participant`] cannot have forgotten the check. What was committed is told by the [`teller`], and what nobody
//! told is found by the [`sweep`].
//!
//! This crate must never hold SQL, know a Socket.IO connection, or keep a state that another api pod would need: any
//! pod answers any request.

mod agents;
mod answers;
mod app;
mod callers;
mod cors;
mod directory;
mod envelope;
mod error;
mod extract;
mod finishing;
mod form;
mod hook;
mod limits;
mod loose;
mod memberships;
mod metrics;
mod observe;
mod openapi;
mod places;
mod presence;
mod range;
mod revocations;
mod router;
mod routes;
mod sends;
mod serve;
mod settings;
mod shedding;
mod sweep;
mod teller;
mod tokens;
mod traces;
mod uploads;
mod watch;
mod why;

pub use app::App;
pub use cors::Origin;
pub use hook::HookSettings;
pub use openapi::events;
pub use router::document;
pub use settings::{Command, Settings};
