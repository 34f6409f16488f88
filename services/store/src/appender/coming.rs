//! Sends that are on their way to a shard: a batch that is about to begin waits a moment for them, because whoever comes
//! too late waits for a whole commit, and a batch of few costs nearly as much as one of many.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::timeout;

/// The longest wait for those who are on their way: a fraction of what a commit takes. A lone send has nobody to wait for.
const PATIENCE: Duration = Duration::from_millis(1);

/// How many have set out, and how many of them have come or turned back.
#[derive(Default)]
pub(super) struct Coming {
    set_out: AtomicU64,
    settled: AtomicU64,
    /// How many have to be settled before whoever waits is woken.
    awaited: AtomicU64,
    enough: Notify,
}

/// One that is on its way, until this is dropped.
pub(super) struct OnItsWay(Arc<Coming>);

impl Coming {
    pub(super) fn set_out(self: &Arc<Self>) -> OnItsWay {
        self.set_out.fetch_add(1, Ordering::AcqRel);
        OnItsWay(self.clone())
    }

    /// Waits until as many are settled as have set out by now, but not for long. Only one may wait.
    pub(super) async fn settled(&self) {
        let awaited = self.set_out.load(Ordering::Acquire);
        self.awaited.store(awaited, Ordering::Release);
        let _ = timeout(PATIENCE, async {
            while self.settled.load(Ordering::Acquire) < awaited {
                self.enough.notified().await;
            }
        })
        .await;
        self.awaited.store(u64::MAX, Ordering::Release);
    }
}

impl Drop for OnItsWay {
    fn drop(&mut self) {
        let settled = self.0.settled.fetch_add(1, Ordering::AcqRel) + 1;
        if settled >= self.0.awaited.load(Ordering::Acquire) {
            self.0.enough.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_when_nobody_is_on_the_way() {
        let coming = Arc::new(Coming::default());
        drop(coming.set_out());
        assert_eq!(coming.settled().now_or_never(), Some(()));
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_had_set_out_are_waited_for_and_nobody_else() {
        let coming = Arc::new(Coming::default());
        let (first, second) = (coming.set_out(), coming.set_out());
        let mut waiting = std::pin::pin!(coming.settled());
        assert_eq!(waiting.as_mut().now_or_never(), None);
        let late = coming.set_out();
        drop(first);
        assert_eq!(waiting.as_mut().now_or_never(), None);
        drop(second);
        assert_eq!(waiting.as_mut().now_or_never(), Some(()));
        drop(late);
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_long() {
        let coming = Arc::new(Coming::default());
        let _lost = coming.set_out();
        let begun = Instant::now();
        coming.settled().await;
        assert!(begun.elapsed() <= 2 * PATIENCE);
    }
}
