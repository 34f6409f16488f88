//! Asking api pods, again and again while the reason is a dependency.

use std::time::Duration;

use parley_domain::ask::{JoinAnswer, JoinAsk, JoinRefusal, JoinSnapshot};
use parley_relay::Bus;
use tokio::time::{Instant, sleep};

/// How long a join stays pending before its connection is closed, so that the client comes back by itself.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// The pause after an ask in vain.
const PAUSE: Duration = Duration::from_millis(250);

/// What came of an ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    Joined(JoinSnapshot),
    Refused(JoinRefusal),
    /// No api pod could say anything until the end of patience.
    Unavailable,
}

/// Asks until there is an answer, at most until `until`.
pub(crate) async fn ask_join(bus: &Bus, ask: &JoinAsk, until: Instant) -> Asked {
    loop {
        match bus.ask_join(ask).await {
            Ok(JoinAnswer::Joined(snapshot)) => return Asked::Joined(snapshot),
            Ok(JoinAnswer::Refused { refusal }) => return Asked::Refused(refusal),
            Ok(JoinAnswer::Unavailable) => {}
            Err(error) => tracing::debug!(chat.id = %ask.chat_id, %error, "an ask in vain"),
        }
        if Instant::now() + PAUSE >= until {
            return Asked::Unavailable;
        }
        sleep(PAUSE).await;
    }
}

/// Asks where a chat stands after an interruption. The subscription has to be whole again before the head is read;
/// what comes meanwhile waits in it.
pub(crate) async fn ask_head(bus: Bus, ask: JoinAsk) -> Asked {
    let until = Instant::now() + PATIENCE;
    while let Err(error) = bus.barrier().await {
        tracing::debug!(chat.id = %ask.chat_id, %error, "a barrier in vain");
        if Instant::now() + PAUSE >= until {
            return Asked::Unavailable;
        }
        sleep(PAUSE).await;
    }
    ask_join(&bus, &ask, until).await
}
