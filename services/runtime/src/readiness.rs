//! Whether this pod wants traffic, and if not, why.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

/// The conditions that must all hold. A process without conditions is ready until it drains.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    draining: CancellationToken,
    /// Whether it is cancelled, for who asks with every request: a token asks a lock.
    is_draining: AtomicBool,
    conditions: Mutex<Vec<(&'static str, Arc<AtomicBool>)>>,
    remaining: OnceLock<Box<Count>>,
}

type Count = dyn Fn() -> usize + Send + Sync;

/// How far a pod is with leaving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drain {
    /// Whether it has begun.
    pub draining: bool,
    /// What is still to be moved elsewhere; `None` for a pod that has nothing to move.
    pub remaining: Option<usize>,
}

impl fmt::Display for Drain {
    /// As JSON.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let remaining = self.remaining.map_or_else(|| "null".to_owned(), |left| left.to_string());
        write!(f, "{{\"draining\":{},\"remaining\":{remaining}}}", self.draining)
    }
}

/// One thing that must hold, set by whoever watches over it. It starts as not fulfilled.
#[derive(Clone)]
pub struct Condition(Arc<AtomicBool>);

impl Condition {
    /// Whether it holds now.
    pub fn set(&self, fulfilled: bool) {
        self.0.store(fulfilled, Ordering::Release);
    }
}

impl Readiness {
    /// Adds a condition.
    pub fn condition(&self, name: &'static str) -> Condition {
        let flag = Arc::new(AtomicBool::new(false));
        self.0.conditions.lock().push((name, flag.clone()));
        Condition(flag)
    }

    /// From now on the pod wants no new traffic, whatever holds, and lets go of what it has. There is no way back but a new
    /// process.
    pub fn drain(&self) {
        self.0.is_draining.store(true, Ordering::Release);
        self.0.draining.cancel();
    }

    /// Cancelled when the pod begins to drain: by hand, or because it is to stop.
    pub fn draining(&self) -> CancellationToken {
        self.0.draining.clone()
    }

    /// Whether it has begun to.
    pub fn is_draining(&self) -> bool {
        self.0.is_draining.load(Ordering::Acquire)
    }

    /// Says how to count what a drain has to move elsewhere. The first that says so counts.
    pub fn set_remaining(&self, count: impl Fn() -> usize + Send + Sync + 'static) {
        // A second one would be a mistake of the process, which its own drain would show.
        let _ = self.0.remaining.set(Box::new(count));
    }

    /// How far the pod is with leaving.
    pub fn drained(&self) -> Drain {
        let remaining = self.0.remaining.get().map(|count| count());
        Drain { draining: self.is_draining(), remaining }
    }

    /// What stands against traffic now; empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let draining = self.is_draining().then_some("draining");
        let conditions = self.0.conditions.lock();
        let unfulfilled = conditions.iter().filter(|(_, flag)| !flag.load(Ordering::Acquire));
        draining.into_iter().chain(unfulfilled.map(|(name, _)| *name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_when_everything_holds_and_not_draining() {
        let readiness = Readiness::default();
        assert!(readiness.missing().is_empty());
        let database = readiness.condition("postgres");
        assert_eq!(readiness.missing(), ["postgres"]);
        database.set(true);
        assert!(readiness.missing().is_empty());
        database.set(false);
        readiness.drain();
        assert_eq!(readiness.missing(), ["draining", "postgres"]);
    }

    #[test]
    fn a_drain_says_what_is_left() {
        let readiness = Readiness::default();
        assert_eq!(readiness.drained().to_string(), r#"{"draining":false,"remaining":null}"#);
        let left = Arc::new(std::sync::atomic::AtomicUsize::new(3));
        let counted = left.clone();
        readiness.set_remaining(move || counted.load(Ordering::SeqCst));
        let draining = readiness.draining();
        assert!(!draining.is_cancelled());
        readiness.clone().drain();
        assert!(draining.is_cancelled());
        assert_eq!(readiness.drained().to_string(), r#"{"draining":true,"remaining":3}"#);
        left.store(0, Ordering::SeqCst);
        assert_eq!(readiness.drained().remaining, Some(0));
    }
}
