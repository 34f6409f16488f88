//! The way outward: what was committed is told to the host application's servers, over signed webhooks.
//!
//! A courier turns the outbox into deliveries, claims lanes of them (those of one chat to one webhook), and makes each
//! lane's deliveries one after the other: so a chat's events arrive in their order, and no webhook and no chat waits for
//! another. It may die at any moment: what it had claimed is claimed by another one when the claim ends, and what it had
//! delivered and not written down is delivered again under the same id.
//!
//! This crate must never hold SQL, know a connection of a client, or decide what may be called: that is the store's, the
//! gateways' and `parley_outbound`'s. It keeps nothing that another courier would need.

mod app;
mod attempt;
mod courier;
mod lane;
mod metrics;
mod notices;
mod notification;
mod pace;
mod retry;
mod settings;
mod settling;
mod turns;
mod upkeep;

pub use app::App;
pub use settings::Settings;
