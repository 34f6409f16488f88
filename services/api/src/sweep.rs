//! Finding what was committed and never told: its pod died in between, or the bus was away.
//!
//! Every pod sweeps, and so some things are told twice; whoever has heard a version drops it.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use parley_domain::ask::Position;
use parley_domain::bus::RoomEvent;
use parley_domain::ids::ChatId;
use parley_domain::version::Version;
use parley_relay::Publisher;
use parley_store::{CatchUp, Head, Store, StoreError, UntoldHead};
use prometheus::IntCounter;
use tokio::sync::oneshot;
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::memberships;

/// How often a pod looks.
const EVERY: Duration = Duration::from_secs(1);
/// What is younger is most likely being told right now.
const AGE: Duration = Duration::from_secs(2);
/// Most heads of one look; a full one is followed by the next at once.
const AT_ONCE: u32 = 500;
/// How long the bus may take for what was found.
const DEADLINE: Duration = Duration::from_secs(2);

/// The sweeper of a pod.
pub(crate) struct Sweep {
    pub(crate) store: Store,
    pub(crate) publisher: Publisher,
    /// Changes that were told by a sweep.
    pub(crate) swept: IntCounter,
}

impl Sweep {
    /// Looks every second, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let swept = stop.run_until_cancelled(self.sweep()).await;
            if let Some(Err(error)) = swept {
                tracing::debug!(%error, "a sweep was not finished");
            }
        }
        Ok(())
    }

    async fn sweep(&self) -> Result<(), StoreError> {
        // Within one sweep a chat is told up to its present end once, however many heads speak of it.
        let mut told = HashMap::new();
        // One that cannot be told must not keep the others from being told.
        let mut failed = HashSet::new();
        // The bus does not take any more.
        let mut refused = false;
        loop {
            let untold = self.store.untold(AGE, AT_ONCE).await?;
            let chats = untold.iter().flat_map(|untold| untold.chats.iter().copied());
            for (chat, since) in starts(chats, &told) {
                let outcome = if refused { Ok(None) } else { self.tell(chat, since).await };
                match outcome {
                    Ok(Some(up_to)) => drop(told.insert(chat, up_to)),
                    Ok(None) => {
                        refused = true;
                        failed.insert(chat);
                    }
                    Err(error) => {
                        tracing::warn!(chat.id = %chat, %error, "a chat could not be told");
                        failed.insert(chat);
                    }
                }
            }
            for chat in untold.iter().flat_map(|untold| untold.made.iter().copied()) {
                if refused || !self.tell_made(chat).await {
                    failed.insert(chat);
                }
            }
            let whole = |it: &&UntoldHead| {
                it.chats.iter().map(|(chat, _)| chat).chain(&it.made).all(|it| !failed.contains(it))
            };
            let heads: Vec<Head> = untold.iter().filter(whole).map(|it| it.head).collect();
            self.store.told(&heads).await?;
            // What was told is told, also where the bus took no more.
            if refused || untold.len() < AT_ONCE as usize || heads.is_empty() {
                return Ok(());
            }
        }
    }

    /// Tells the people of a chat that was made; says whether they are told.
    async fn tell_made(&self, chat: ChatId) -> bool {
        match memberships::found(&self.store, chat).await {
            Ok(events) => self.publish(&events).await,
            Err(error) => {
                tracing::warn!(chat.id = %chat, %error, "a new chat could not be told");
                false
            }
        }
    }

    /// Tells everything of a chat after a version, and says up to where; `None` when the bus does not take it.
    async fn tell(&self, chat: ChatId, since: Version) -> Result<Option<Version>, StoreError> {
        let mut since = since;
        loop {
            let position = Position { since, epoch: None };
            let (changes, up_to, version, epoch, hidden) =
                match self.store.catch_up(chat, position).await? {
                    Some(CatchUp::Changes { changes, up_to, version, epoch, hidden }) => {
                        (changes, up_to, version, epoch, hidden)
                    }
                    // Too much for anybody to hear one by one: the last change makes every room notice the gap.
                    Some(CatchUp::Resync { version, .. }) if version.0 > since.0 => {
                        since = Version(version.0 - 1);
                        continue;
                    }
                    Some(CatchUp::Resync { version, .. }) => return Ok(Some(version)),
                    None => return Ok(Some(since)),
                };
            // What is not for everybody is left to the rooms: what it shows follows, and they ask for what is missing before.
            let told = changes.iter().filter(|change| !hidden.contains_key(&change.version));
            let mut events: Vec<RoomEvent> =
                told.map(|change| change.event(epoch, change.origin())).collect();
            events.extend(memberships::of_changes(&self.store, &changes).await?);
            if !self.publish(&events).await {
                return Ok(None);
            }
            self.swept.inc_by(events.len() as u64);
            if up_to >= version {
                return Ok(Some(up_to));
            }
            since = up_to;
        }
    }

    async fn publish(&self, events: &[RoomEvent]) -> bool {
        let (done, all_told) = oneshot::channel();
        self.publisher.publish_all(events, move || {
            // Whoever does not wait any more has given up.
            let _ = done.send(());
        });
        matches!(timeout(DEADLINE, all_told).await, Ok(Ok(())))
    }
}

/// From where each chat has to be told: from the earliest of its heads, unless this sweep has told it already.
fn starts(
    untold: impl Iterator<Item = (ChatId, Version)>,
    told: &HashMap<ChatId, Version>,
) -> HashMap<ChatId, Version> {
    let mut starts: HashMap<ChatId, Version> = HashMap::new();
    for (chat, before) in untold {
        if told.get(&chat).is_none_or(|told| *told <= before) {
            starts.entry(chat).and_modify(|start| *start = before.min(*start)).or_insert(before);
        }
    }
    starts
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn chat(number: u128) -> ChatId {
        Uuid::from_u128(number).into()
    }

    #[test]
    fn a_chat_is_told_from_its_earliest_head_and_once_a_sweep() {
        let untold = [(1, 7), (2, 3), (1, 4), (3, 9)];
        let untold = untold.map(|(id, version)| (chat(id), Version(version)));
        let told = HashMap::from([(chat(2), Version(5)), (chat(3), Version(9))]);
        assert_eq!(
            starts(untold.into_iter(), &told),
            HashMap::from([(chat(1), Version(4)), (chat(3), Version(9))])
        );
    }
}
