//! Calls to addresses that customers named, so that nobody reaches through us what only we can reach.
//!
//! A URL is parsed into a [`Target`] where it is given. At each new connection its name is resolved once, every address
//! that comes of it must be allowed by the [`Policy`], and the connection goes to these addresses and nowhere else: a
//! name that changes its mind between the check and the call changes nothing. No redirect is followed, no proxy is
//! taken from the environment, and answers, headers and the time for all of it are bounded.
//!
//! [`webhook`] signs what is sent, by the Standard Webhooks specification.
//!
//! This crate must never know a chat, nor who calls whom why; how many calls run at a time is the caller's to bound.

mod address;
mod client;
mod connection;
mod error;
mod policy;
mod pool;
mod resolve;
mod roots;
mod settings;
mod target;
pub mod webhook;

pub use address::Class;
pub use client::{Answer, Client, MOST_ANSWER, MOST_HEADERS};
pub use error::{OutboundError, Stage};
pub use policy::Policy;
pub use resolve::{Resolve, SystemResolver};
pub use roots::Roots;
pub use settings::OutboundSettings;
pub use target::{MOST_URL, Target};
