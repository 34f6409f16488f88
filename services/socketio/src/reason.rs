//! Why connections end.

use std::fmt;

/// Why the server ends a connection.
///
/// The client sees a closed transport, never a protocol-level goodbye: stock clients take those as
/// final and would not reconnect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// This server is going away; another one is there. WebSocket code 1001.
    GoingAway,
    /// The client is too slow for what it has to receive. WebSocket code 1013.
    Slow,
    /// The client may no longer be here, its token has expired for instance. WebSocket code 1008.
    Policy,
}

impl CloseReason {
    pub(crate) const ALL: [Self; 3] = [Self::GoingAway, Self::Slow, Self::Policy];
}

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DisconnectReason {
    /// The client left the namespace; the connection may live on.
    ClientNamespace,
    /// [`Socket::disconnect`](crate::Socket::disconnect) was called.
    ServerNamespace,
    /// The client closed the transport.
    TransportClose,
    /// The transport broke: a reset, a cancelled poll, a body that never came.
    TransportError,
    /// The client did not answer a ping in time.
    PingTimeout,
    /// More was waiting for the client than the outbox may hold.
    SlowConsumer,
    /// The client took nothing of what was being written for too long.
    WriteTimeout,
    /// The client broke one of the protocols.
    ProtocolError,
    /// Two polls, or two posts, at the same time.
    RequestOverlap,
    /// A message above `max_payload`.
    PayloadTooLarge,
    /// More messages in a while than [`Config::messages`](crate::Config::messages) allows.
    TooManyMessages,
    /// No namespace was joined in time.
    ConnectTimeout,
    /// The client went on over a WebSocket to another server: the connection lives there.
    Moved,
    /// The server closed the connection.
    ServerClose(CloseReason),
}

impl DisconnectReason {
    /// Every reason, in the order of [`Self::index`].
    pub(crate) const ALL: [Self; 16] = [
        Self::ClientNamespace,
        Self::ServerNamespace,
        Self::TransportClose,
        Self::TransportError,
        Self::PingTimeout,
        Self::SlowConsumer,
        Self::WriteTimeout,
        Self::ProtocolError,
        Self::RequestOverlap,
        Self::PayloadTooLarge,
        Self::ConnectTimeout,
        Self::ServerClose(CloseReason::ALL[0]),
        Self::ServerClose(CloseReason::ALL[1]),
        Self::ServerClose(CloseReason::ALL[2]),
        Self::TooManyMessages,
        Self::Moved,
    ];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::ClientNamespace => 0,
            Self::ServerNamespace => 1,
            Self::TransportClose => 2,
            Self::TransportError => 3,
            Self::PingTimeout => 4,
            Self::SlowConsumer => 5,
            Self::WriteTimeout => 6,
            Self::ProtocolError => 7,
            Self::RequestOverlap => 8,
            Self::PayloadTooLarge => 9,
            Self::ConnectTimeout => 10,
            Self::ServerClose(CloseReason::GoingAway) => 11,
            Self::ServerClose(CloseReason::Slow) => 12,
            Self::ServerClose(CloseReason::Policy) => 13,
            Self::TooManyMessages => 14,
            Self::Moved => 15,
        }
    }

    /// A stable label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClientNamespace => "client_namespace",
            Self::ServerNamespace => "server_namespace",
            Self::TransportClose => "transport_close",
            Self::TransportError => "transport_error",
            Self::PingTimeout => "ping_timeout",
            Self::SlowConsumer => "slow_consumer",
            Self::WriteTimeout => "write_timeout",
            Self::ProtocolError => "protocol_error",
            Self::RequestOverlap => "request_overlap",
            Self::PayloadTooLarge => "payload_too_large",
            Self::ConnectTimeout => "connect_timeout",
            Self::TooManyMessages => "too_many_messages",
            Self::Moved => "moved",
            Self::ServerClose(CloseReason::GoingAway) => "server_going_away",
            Self::ServerClose(CloseReason::Slow) => "server_slow",
            Self::ServerClose(CloseReason::Policy) => "server_policy",
        }
    }
}

impl fmt::Display for DisconnectReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The connection, or the socket's place in its namespace, is no more; nothing was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the connection is closed")]
pub struct Closed;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_place_and_label() {
        let labels: std::collections::HashSet<_> =
            DisconnectReason::ALL.iter().map(|reason| reason.as_str()).collect();
        assert_eq!(labels.len(), DisconnectReason::ALL.len());
        for (place, reason) in DisconnectReason::ALL.iter().enumerate() {
            assert_eq!(reason.index(), place);
        }
    }
}
