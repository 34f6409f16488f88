//! Removing from storage what belongs to no message: uploads that came to nothing, and the files of deleted messages.
//!
//! Every pod does it, some things twice: removing what is gone already is no error.

use std::sync::Arc;
use std::time::Duration;

use parley_files::Storage;
use parley_store::{Store, StoreError};
use prometheus::IntCounter;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// How often a pod looks when nothing rings.
const EVERY: Duration = Duration::from_secs(10);
/// Most objects of one look; a full one is followed by the next at once.
const AT_ONCE: u32 = 100;
/// How long the storage may take for one object.
const DEADLINE: Duration = Duration::from_secs(30);
/// When an object that could not be removed has its turn again.
const PAUSE: Duration = Duration::from_mins(1);

/// The remover of a pod.
pub(crate) struct Remover {
    pub(crate) store: Store,
    pub(crate) storage: Storage,
    pub(crate) bell: Arc<Notify>,
    /// Objects that were removed.
    pub(crate) removed: IntCounter,
    /// Objects that could not be removed for now.
    pub(crate) failed: IntCounter,
}

impl Remover {
    /// Removes what there is when the bell rings, and now and then, until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        while stop.run_until_cancelled(self.round()).await.is_some() {
            tokio::select! {
                () = self.bell.notified() => {}
                () = sleep(EVERY) => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
        Ok(())
    }

    async fn round(&self) {
        if let Err(error) = self.remove_all().await {
            tracing::debug!(%error, "loose objects could not be looked for");
        }
    }

    async fn remove_all(&self) -> Result<(), StoreError> {
        loop {
            let keys = self.store.loose_objects(AT_ONCE).await?;
            let full = keys.len() == AT_ONCE as usize;
            let (mut gone, mut left) = (Vec::new(), Vec::new());
            for key in keys {
                match timeout(DEADLINE, self.storage.remove(&key)).await {
                    Ok(Ok(())) => gone.push(key),
                    outcome => {
                        tracing::warn!(?outcome, "an object could not be removed");
                        left.push(key);
                    }
                }
            }
            self.failed.inc_by(left.len() as u64);
            self.store.objects_removed(&gone).await?;
            self.removed.inc_by(gone.len() as u64);
            if !left.is_empty() {
                self.store.objects_stay(&left, PAUSE).await?;
            }
            if !full {
                return Ok(());
            }
        }
    }
}
