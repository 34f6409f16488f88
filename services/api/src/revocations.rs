//! Learning of revocations: from the bus at once, from the database a little later.

use std::time::{Duration, Instant};

use parley_domain::token::Revocation;
use parley_relay::Bus;
use parley_store::{Store, StoreError};
use tokio::time::{MissedTickBehavior, interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::app::State;

/// How often a pod looks into the database for what it may not have heard.
const EVERY: Duration = Duration::from_secs(5);
/// How long a look may take.
const DEADLINE: Duration = Duration::from_secs(10);
/// A revocation is dated when its transaction begins, and can be seen when it is committed: a look goes back by more
/// than any transaction takes.
const OVERLAP: Duration = Duration::from_mins(1);
/// Revocations of one page.
const PAGE: u32 = 1_000;

/// Listens and looks until `stop`.
pub(crate) async fn run(state: State, bus: Bus, stop: CancellationToken) -> anyhow::Result<()> {
    let hear = |revocation: Revocation| state.callers.hear(&revocation);
    let heard = async { anyhow::Ok(bus.hear_revocations(hear, stop.cancelled()).await?) };
    tokio::try_join!(heard, look(&state, &stop)).map(drop)
}

async fn look(state: &State, stop: &CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // What was revoked before this pod began needs no look: every token is asked about when it is first seen.
    let mut looked = Instant::now();
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        let begun = Instant::now();
        let age = begun.saturating_duration_since(looked) + OVERLAP;
        let hear = |revocation: &Revocation| state.callers.hear(revocation);
        let read = timeout(DEADLINE, read(&state.store, age, hear));
        match stop.run_until_cancelled(read).await {
            Some(Ok(Ok(()))) => looked = begun,
            Some(Ok(Err(error))) => tracing::debug!(%error, "revocations could not be read"),
            Some(Err(_)) => tracing::warn!("revocations could not be read in time"),
            None => {}
        }
    }
    Ok(())
}

/// Hands over the revocations of the last `age`, page by page.
async fn read(store: &Store, age: Duration, hear: impl Fn(&Revocation)) -> Result<(), StoreError> {
    let mut last: Option<Revocation> = None;
    loop {
        let page = store.revocations(age, last.as_ref(), PAGE).await?;
        let is_last = page.len() < PAGE as usize;
        page.iter().for_each(&hear);
        last = page.into_iter().last();
        if is_last {
            return Ok(());
        }
    }
}
