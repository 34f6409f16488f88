//! What is said to people: passed on as it is heard, and compared where it may not have been.

use std::time::Duration;

use parley_domain::ask::{MAX_USERS, UserStanding, UsersAnswer, UsersAsk};
use parley_domain::ids::UserId;
use parley_domain::token::Revocation;
use parley_relay::Bus;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::asks::PAUSE;
use crate::bearers::Bearers;
use crate::metrics::{Asking, Metrics};

/// How long what was committed may be on its way: a dead pod's is found after two seconds.
const SETTLING: Duration = Duration::from_secs(4);
/// Gateways do not all ask at once, nor one for everything at once.
const STAGGER_MS: std::ops::Range<u64> = 5..100;
/// Between two comparisons.
const DISTANCE: Duration = Duration::from_millis(500);
/// The longest pause after an ask in vain; each is twice the one before.
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// Passes on, and compares after every interruption of the bus, until `stop`.
pub(crate) async fn run(
    bus: Bus,
    bearers: Bearers,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let hearing = bus.hear_users(|event| bearers.tell(&event), stop.cancelled());
    let comparing = async {
        let comparison = Comparison { bus: bus.clone(), bearers: bearers.clone(), metrics };
        match stop.run_until_cancelled(comparison.run()).await {
            Some(ended) => ended,
            None => Ok(()),
        }
    };
    tokio::try_join!(async { Ok(hearing.await?) }, comparing)?;
    Ok(())
}

struct Comparison {
    bus: Bus,
    bearers: Bearers,
    metrics: Metrics,
}

impl Comparison {
    async fn run(&self) -> anyhow::Result<()> {
        let mut state = self.bus.state();
        let mut seen = state.borrow_and_update().interruptions;
        loop {
            let now = *state.wait_for(|now| now.connected && now.interruptions != seen).await?;
            seen = now.interruptions;
            self.compare().await;
            sleep(DISTANCE).await;
        }
    }

    /// An interruption meanwhile is followed by the next comparison.
    async fn compare(&self) {
        let mut behind = Vec::new();
        for users in self.bearers.users().chunks(MAX_USERS) {
            for user in self.ask(users).await {
                if let Some(valid_after) = user.tokens_valid_after {
                    self.bearers.revoke(&Revocation { user_id: user.user_id.clone(), valid_after });
                }
                if !self.bearers.has_heard(&user.user_id, user.membership_version) {
                    behind.push(user.user_id);
                }
            }
        }
        self.bearers.catch_up_pool();
        if behind.is_empty() {
            return;
        }
        // What is still on its way is not lost.
        sleep(SETTLING).await;
        for users in behind.chunks(MAX_USERS) {
            for user in self.ask(users).await {
                self.bearers.catch_up(&user.user_id, user.membership_version);
            }
        }
    }

    async fn ask(&self, users: &[UserId]) -> Vec<UserStanding> {
        let ask = UsersAsk { user_ids: users.to_vec() };
        sleep(Duration::from_millis(rand::random_range(STAGGER_MS))).await;
        let mut pause = PAUSE;
        loop {
            self.metrics.asked(Asking::Users);
            match self.bus.ask(&ask).await {
                Ok(UsersAnswer::Users { users }) => return users,
                Ok(UsersAnswer::Unavailable) => {}
                Err(error) => tracing::debug!(%error, "users were asked about in vain"),
            }
            sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }
}
