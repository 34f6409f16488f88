//! When tokens end, and the connections with them. One task for the whole pod, whatever the number of connections.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use parley_domain::time::Clock;
use parley_socketio::{CloseReason, Socket};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::metrics::{Metrics, SentAway};

/// How long the clock is not looked at; it may be set, and a timer would not notice.
const LOOK: Duration = Duration::from_secs(1);

/// What ends with its token; clones share it.
#[derive(Clone, Default)]
pub(crate) struct Expiries(Arc<Shared<Socket>>);

struct Shared<T> {
    /// By the time of the end; the number tells apart what ends together.
    ends: Mutex<BTreeMap<(DateTime<Utc>, u64), T>>,
    /// Something ends sooner than all before.
    sooner: Notify,
}

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self { ends: Mutex::default(), sooner: Notify::new() }
    }
}

impl<T> Shared<T> {
    fn insert(&self, at: DateTime<Utc>, key: u64, what: T) {
        let mut ends = self.ends.lock();
        let first = ends.first_key_value().is_none_or(|(first, _)| (at, key) < *first);
        ends.insert((at, key), what);
        if first {
            self.sooner.notify_one();
        }
    }

    fn remove(&self, at: DateTime<Utc>, key: u64) -> Option<T> {
        self.ends.lock().remove(&(at, key))
    }

    /// Takes out what has ended by now, and says when the next does.
    fn ended(&self, now: DateTime<Utc>) -> (Vec<T>, Option<DateTime<Utc>>) {
        let mut ends = self.ends.lock();
        let mut ended = Vec::new();
        while let Some(first) = ends.first_entry() {
            if first.key().0 > now {
                return (ended, Some(first.key().0));
            }
            ended.push(first.remove());
        }
        (ended, None)
    }
}

/// One connection among them; it is taken out with this value.
pub(crate) struct Expiry {
    expiries: Expiries,
    at: DateTime<Utc>,
    key: u64,
}

impl Expiries {
    /// Has `socket` closed at `at`.
    pub(crate) fn add(&self, at: DateTime<Utc>, socket: &Socket) -> Expiry {
        self.0.insert(at, socket.key(), socket.clone());
        Expiry { expiries: self.clone(), at, key: socket.key() }
    }

    /// Closes what ends, until `stop`. A stock client comes back by itself, with a newer token if it has one.
    pub(crate) async fn run(
        self,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            let now = clock.now();
            let (ended, next) = self.0.ended(now);
            for socket in ended {
                if !socket.is_closed() {
                    metrics.sent_away(SentAway::TokenExpired);
                    socket.close(CloseReason::Policy);
                }
            }
            let pause = next.and_then(|next| (next - now).to_std().ok()).unwrap_or(LOOK).min(LOOK);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.0.sooner.notified() => {}
                () = stop.cancelled() => return Ok(()),
            }
        }
    }
}

impl Expiry {
    /// When the connection ends.
    pub(crate) const fn at(&self) -> DateTime<Utc> {
        self.at
    }

    /// There is another token; says whether the connection was not closed yet.
    pub(crate) fn put_off(&mut self, at: DateTime<Utc>) -> bool {
        let Some(socket) = self.expiries.0.remove(self.at, self.key) else { return false };
        self.at = at;
        self.expiries.0.insert(at, self.key, socket);
        true
    }
}

impl Drop for Expiry {
    fn drop(&mut self) {
        self.expiries.0.remove(self.at, self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    #[test]
    fn everything_ends_at_its_time_and_not_before() {
        let ends = Shared::default();
        for (second, key) in [(5, 1), (3, 2), (5, 3), (9, 4)] {
            ends.insert(at(second), key, key);
        }
        assert_eq!(ends.ended(at(2)), (vec![], Some(at(3))));
        assert_eq!(ends.ended(at(5)), (vec![2, 1, 3], Some(at(9))));
        assert_eq!(ends.remove(at(9), 4), Some(4));
        assert_eq!(ends.ended(at(100)), (vec![], None));
    }

    #[tokio::test]
    async fn only_what_ends_before_all_others_wakes() {
        let ends = Shared::default();
        let woken = async |within: u64| {
            let wait = Duration::from_millis(within);
            tokio::time::timeout(wait, ends.sooner.notified()).await.is_ok()
        };
        ends.insert(at(5), 1, ());
        assert!(woken(1_000).await);
        ends.insert(at(6), 2, ());
        assert!(!woken(20).await);
        ends.insert(at(4), 3, ());
        assert!(woken(1_000).await);
    }
}
