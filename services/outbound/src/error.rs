//! What can go wrong below, as facts.

use std::net::IpAddr;

use http::StatusCode;

use crate::address::Class;

/// A call that was not made, or came to nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboundError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// It is no URL that is called.
    #[error("the URL {0}")]
    Invalid(&'static str),
    /// A name that means something inside only, and is not on the list of allowed hosts.
    #[error("the host {name} is not a public one")]
    ForbiddenName {
        /// Which.
        name: String,
    },
    /// One of the host's addresses is not public, and not on the list of allowed networks.
    #[error("the address {address} is not a public one ({class})")]
    Forbidden {
        /// Which.
        address: IpAddr,
        /// What it is instead.
        class: Class,
    },
    /// The name has no address, or nobody says which.
    #[error("the host's name cannot be resolved: {0}")]
    Unresolved(String),
    /// The deadline was over.
    #[error("the deadline was over while {0}")]
    TimedOut(Stage),
    /// There was no connection, or it broke.
    #[error("the connection failed: {0}")]
    Connection(String),
    /// The certificate is not one for the name, or TLS failed otherwise.
    #[error("TLS failed: {0}")]
    Tls(String),
    /// The answer sends us elsewhere.
    #[error("the answer is a redirect ({0})")]
    Redirected(StatusCode),
    /// The answer has too many headers, or too long ones.
    #[error("the answer's headers are too large")]
    HeadersTooLarge,
    /// The answer is no HTTP.
    #[error("the answer is no HTTP: {0}")]
    Protocol(String),
    /// It is no secret of the form that signs.
    #[error("the secret {0}")]
    Secret(&'static str),
    /// It is no id of a message.
    #[error("the message id {0}")]
    MessageId(&'static str),
}

impl OutboundError {
    /// A stable word, fit for a label of a metric.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Settings(_) => "settings",
            Self::Invalid(_) => "invalid_url",
            Self::ForbiddenName { .. } | Self::Forbidden { .. } => "forbidden_address",
            Self::Unresolved(_) => "unresolved",
            Self::TimedOut(_) => "timed_out",
            Self::Connection(_) => "connection_failed",
            Self::Tls(_) => "tls_failed",
            Self::Redirected(_) => "redirected",
            Self::HeadersTooLarge => "headers_too_large",
            Self::Protocol(_) => "no_http",
            Self::Secret(_) => "invalid_secret",
            Self::MessageId(_) => "invalid_message_id",
        }
    }
}

/// How far a call had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The name was being resolved.
    Resolving,
    /// The connection was being made, TLS included.
    Connecting,
    /// The request was on its way, or the answer's head was awaited.
    Asking,
    /// The answer's body was being read.
    Reading,
}

impl std::fmt::Display for Stage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Resolving => "resolving the name",
            Self::Connecting => "connecting",
            Self::Asking => "waiting for the answer",
            Self::Reading => "reading the answer",
        })
    }
}
