//! Asking api pods, again and again while the reason is a dependency.

use std::time::Duration;

use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinRefusal, JoinSnapshot, RevokedAnswer, RevokedAsk,
};
use parley_relay::Bus;
use parley_socketio::Socket;
use tokio::time::{Instant, sleep};

/// The pause after an ask in vain.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// How long something is worth asking: a while, and for as long as whoever wants to know is there.
pub(crate) struct Patience {
    until: Instant,
    asker: Socket,
}

impl Patience {
    /// Of a connection; then it is closed, so that the client comes back by itself.
    pub(crate) fn of(asker: &Socket, patience: Duration) -> Self {
        Self { until: Instant::now() + patience, asker: asker.clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.asker.is_closed()
    }
}

/// What came of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Joined(JoinSnapshot),
    Refused(JoinRefusal),
    /// No api pod could say anything until the end of patience.
    Unavailable,
}

/// Asks until there is an answer, with all patience.
pub(crate) async fn ask_join(bus: &Bus, ask: &JoinAsk, patience: &Patience) -> Asked {
    loop {
        match bus.ask(ask).await {
            Ok(JoinAnswer::Joined(snapshot)) => return Asked::Joined(snapshot),
            Ok(JoinAnswer::Refused { refusal }) => return Asked::Refused(refusal),
            Ok(JoinAnswer::Unavailable) => {}
            Err(error) => tracing::debug!(chat.id = %ask.chat_id, %error, "an ask in vain"),
        }
        sleep(PAUSE).await;
        if patience.is_over() {
            return Asked::Unavailable;
        }
    }
}

/// What api pods say of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// It counts; how often the set of the bearer's chats had changed by then, if they say so.
    Counts(Option<u64>),
    Revoked,
}

/// Whether a token is revoked; `None` if nobody can say at the moment.
pub(crate) async fn ask_revoked(bus: &Bus, ask: &RevokedAsk) -> Option<Token> {
    match bus.ask(ask).await {
        Ok(RevokedAnswer::Counts { membership_version }) => Some(Token::Counts(membership_version)),
        Ok(RevokedAnswer::Revoked) => Some(Token::Revoked),
        Ok(RevokedAnswer::Unavailable) => None,
        Err(error) => {
            tracing::debug!(%error, "an ask about a token in vain");
            None
        }
    }
}

/// The same, with all patience.
pub(crate) async fn ask_revoked_patiently(
    bus: &Bus,
    ask: &RevokedAsk,
    patience: &Patience,
) -> Option<Token> {
    loop {
        if let Some(token) = ask_revoked(bus, ask).await {
            return Some(token);
        }
        sleep(PAUSE).await;
        if patience.is_over() {
            return None;
        }
    }
}
