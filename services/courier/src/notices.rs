//! Deciding, when a timer ends, whether somebody is to be told of what was said.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use parley_domain::here::{HereAsk, Viewers};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::preferences::quiet_until;
use parley_domain::time::Clock;
use parley_relay::Bus;
use parley_store::{Decision, DueNotice, Store};
use tokio::task::JoinSet;
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
/// Looks under way: most of a look is waiting for gateways, of which nobody says how many will answer.
const LOOKS: usize = 8;

#[derive(Clone)]
pub(crate) struct Notices {
    pub(crate) store: Store,
    pub(crate) holder: Uuid,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Bus,
    /// What was said since somebody was seen waits for so long.
    pub(crate) delay: Duration,
    pub(crate) metrics: Metrics,
}

impl Notices {
    /// Decides about what is due, until `stop`; then about what it has claimed.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut looks = JoinSet::new();
        while !stop.is_cancelled() {
            let pause = match self.store.claim_notices(self.holder, LEASE, AT_ONCE).await {
                Ok(due) if due.is_empty() => EVERY,
                Ok(due) => {
                    let notices = self.clone();
                    looks.spawn(async move { notices.decide(due).await });
                    Duration::ZERO
                }
                Err(error) => {
                    tracing::warn!(%error, "notices cannot be looked for");
                    PAUSE
                }
            };
            while looks.try_join_next().is_some() {}
            if looks.len() >= LOOKS {
                looks.join_next().await;
            }
            stop.run_until_cancelled(sleep(pause)).await;
        }
        while looks.join_next().await.is_some() {}
        Ok(())
    }

    /// One look: what comes to nothing is claimed again when the claim ends.
    async fn decide(&self, due: Vec<DueNotice>) {
        let here = self.here(&due).await;
        let now = self.clock.now();
        let decide = |notice: &DueNotice| Decision {
            chat: notice.chat,
            user: notice.user.clone(),
            seen: here.contains(&(notice.chat, notice.user.clone())).then_some(notice.last),
            later: quiet_until(&notice.preferences, now),
            previews: notice.preferences.notification_previews,
        };
        let decisions: Vec<_> = due.iter().map(decide).collect();
        match self.store.decide_notices(self.holder, &decisions, self.delay).await {
            Ok(decided) => self.metrics.noticed(&decided),
            Err(error) => tracing::warn!(%error, "notices cannot be decided about"),
        }
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
