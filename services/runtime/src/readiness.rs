//! Whether this pod wants traffic, and if not, why.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

/// The conditions that must all hold. A process without conditions is ready until it drains.
#[derive(Clone, Default)]
pub struct Readiness(Arc<Inner>);

#[derive(Default)]
struct Inner {
    draining: AtomicBool,
    conditions: Mutex<Vec<(&'static str, Arc<AtomicBool>)>>,
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

    /// From now on the pod wants no new traffic, whatever holds.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// What stands against traffic now; empty means ready.
    pub fn missing(&self) -> Vec<&'static str> {
        let draining = self.0.draining.load(Ordering::Acquire).then_some("draining");
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
}
