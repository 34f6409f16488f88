//! Asking api pods, again and again while the reason is a dependency.

use std::time::Duration;

use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinRefusal, JoinSnapshot, RevokedAnswer, RevokedAsk,
};
use parley_relay::Bus;
use parley_socketio::Socket;
use tokio::time::{Instant, sleep};

/// How long a join stays pending before its connection is closed, so that the client comes back by itself.
const PATIENCE: Duration = Duration::from_secs(20);
/// The pause after an ask in vain.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// How long something is worth asking: a while, and for as long as whoever wants to know is there.
pub(crate) struct Patience {
    until: Instant,
    asker: Socket,
}

impl Patience {
    /// Of a connection.
    pub(crate) fn of(asker: &Socket) -> Self {
        Self { until: Instant::now() + PATIENCE, asker: asker.clone() }
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

/// Whether a token is revoked; `None` if nobody can say at the moment.
pub(crate) async fn ask_revoked(bus: &Bus, ask: &RevokedAsk) -> Option<bool> {
    match bus.ask(ask).await {
        Ok(RevokedAnswer::Counts) => Some(false),
        Ok(RevokedAnswer::Revoked) => Some(true),
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
) -> Option<bool> {
    loop {
        if let Some(revoked) = ask_revoked(bus, ask).await {
            return Some(revoked);
        }
        sleep(PAUSE).await;
        if patience.is_over() {
            return None;
        }
    }
}
