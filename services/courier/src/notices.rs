//! Deciding, when a timer ends, whether somebody is to be told of what was said.

use std::sync::Arc;
use std::time::Duration;

use parley_domain::preferences::quiet_until;
use parley_domain::time::Clock;
use parley_store::{Decision, Store, StoreError};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::metrics::Metrics;

/// Between two looks while nothing is due.
const EVERY: Duration = Duration::from_millis(250);
/// After a look that came to nothing because the database does not answer.
const PAUSE: Duration = Duration::from_secs(1);
/// For how long a claim lasts.
const LEASE: Duration = Duration::from_secs(30);
/// Notices of one look.
const AT_ONCE: u32 = 200;

pub(crate) struct Notices {
    pub(crate) store: Store,
    pub(crate) holder: Uuid,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
}

impl Notices {
    /// Decides about what is due, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            let pause = match self.look().await {
                Ok(0) => EVERY,
                Ok(_) => Duration::ZERO,
                Err(error) => {
                    tracing::warn!(%error, "notices cannot be looked for");
                    PAUSE
                }
            };
            stop.run_until_cancelled(sleep(pause)).await;
        }
        Ok(())
    }

    /// One look; says how many were due.
    async fn look(&self) -> Result<usize, StoreError> {
        let due = self.store.claim_notices(self.holder, LEASE, AT_ONCE).await?;
        if due.is_empty() {
            return Ok(0);
        }
        let now = self.clock.now();
        let decide = |notice: &parley_store::DueNotice| Decision {
            chat: notice.chat,
            user: notice.user.clone(),
            // Nobody is asked who sees a chat: who is not known to see it is away.
            here: false,
            later: quiet_until(&notice.preferences, now),
            previews: notice.preferences.notification_previews,
        };
        let decisions: Vec<_> = due.iter().map(decide).collect();
        let decided = self.store.decide_notices(self.holder, &decisions).await?;
        self.metrics.noticed(&decided);
        Ok(due.len())
    }
}
