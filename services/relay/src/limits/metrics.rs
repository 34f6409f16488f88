//! What the limiter tells of itself.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};

/// Handles of the limiter's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// 1 while Redis decides.
    pub(crate) up: IntGauge,
    /// Windows that Redis had lost, or did not have yet, and was told.
    pub(crate) merges: IntCounter,
    decisions: IntCounterVec,
}

/// Who decided.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// The window that all pods share.
    Redis,
    /// This pod alone.
    Fallback,
}

/// What was decided.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Outcome {
    /// It counts.
    Allowed,
    /// It had been counted.
    Replay,
    /// The window is full.
    Limited,
    /// Too many attempts.
    Attempts,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            up: IntGauge::new(
                "parley_redis_up",
                "1 while Redis decides about limits, 0 while this pod does by itself.",
            )?,
            merges: IntCounter::new(
                "parley_limiter_merges_total",
                "Windows of users that Redis did not have and was told by this pod.",
            )?,
            decisions: IntCounterVec::new(
                Opts::new(
                    "parley_limiter_decisions_total",
                    "Attempts to send, by who decided and what.",
                ),
                &["source", "outcome"],
            )?,
        };
        registry.register(Box::new(metrics.up.clone()))?;
        registry.register(Box::new(metrics.merges.clone()))?;
        registry.register(Box::new(metrics.decisions.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn decided(&self, source: Source, outcome: Outcome) {
        let source = match source {
            Source::Redis => "redis",
            Source::Fallback => "fallback",
        };
        let outcome = match outcome {
            Outcome::Allowed => "allowed",
            Outcome::Replay => "replay",
            Outcome::Limited => "limited",
            Outcome::Attempts => "attempts",
        };
        self.decisions.with_label_values(&[source, outcome]).inc();
    }
}
