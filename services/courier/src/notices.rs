//! Deciding, when a timer ends, whether somebody is to be told of what was said.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parley_domain::here::{HereAsk, Viewers};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::preferences::quiet_until;
use parley_domain::time::Clock;
use parley_relay::Bus;
use parley_store::{Decision, DueNotice, Store, StoreError};
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
/// How long gateways have to say who is here.
const PATIENCE: Duration = Duration::from_millis(400);
/// Notices of one look.
const AT_ONCE: u32 = 200;

pub(crate) struct Notices {
    pub(crate) store: Store,
    pub(crate) holder: Uuid,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Bus,
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
        let here = self.here(&due).await;
        let now = self.clock.now();
        let decide = |notice: &DueNotice| Decision {
            chat: notice.chat,
            user: notice.user.clone(),
            here: here.contains(&(notice.chat, notice.user.clone())),
            later: quiet_until(&notice.preferences, now),
            previews: notice.preferences.notification_previews,
        };
        let decisions: Vec<_> = due.iter().map(decide).collect();
        let decided = self.store.decide_notices(self.holder, &decisions).await?;
        self.metrics.noticed(&decided);
        Ok(due.len())
    }

    /// Who of them sees the chat at this moment. Who is not known to is away.
    async fn here(&self, due: &[DueNotice]) -> HashSet<(ChatId, UserId)> {
        let mut asked: HashMap<ChatId, Vec<UserId>> = HashMap::new();
        for notice in due {
            asked.entry(notice.chat).or_default().push(notice.user.clone());
        }
        let asked = asked.into_iter().map(|(chat_id, users)| Viewers { chat_id, users });
        let ask = HereAsk { asked: asked.collect() };
        let answers = self.bus.ask_here(&ask, PATIENCE).await.unwrap_or_else(|error| {
            tracing::debug!(%error, "gateways cannot be asked who is here");
            Vec::new()
        });
        let here = answers.into_iter().flat_map(|answer| answer.here);
        here.flat_map(|it| it.users.into_iter().map(move |user| (it.chat_id, user))).collect()
    }
}
