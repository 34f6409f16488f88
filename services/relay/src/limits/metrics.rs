//! What the limiter tells of itself.

use std::time::Duration;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, Registry,
    register_histogram_with_registry as histogram,
    register_int_counter_vec_with_registry as counters,
    register_int_counter_with_registry as counter, register_int_gauge_with_registry as gauge,
};

/// Handles of the limiter's metrics; cheap to clone.
#[derive(Clone)]
pub(crate) struct Metrics {
    /// 1 while Redis decides.
    pub(crate) up: IntGauge,
    /// Windows that Redis had lost, or did not have yet, and was told.
    pub(crate) merges: IntCounter,
    decisions: IntCounterVec,
    seconds: Histogram,
}

/// Who decided.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// The window that all pods share.
    Redis,
    /// This pod alone.
    Fallback,
}

impl Source {
    const ALL: [Self; 2] = [Self::Redis, Self::Fallback];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Redis => "redis",
            Self::Fallback => "fallback",
        }
    }
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

impl Outcome {
    const ALL: [Self; 4] = [Self::Allowed, Self::Replay, Self::Limited, Self::Attempts];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Allowed => "allowed",
            Self::Replay => "replay",
            Self::Limited => "limited",
            Self::Attempts => "attempts",
        }
    }
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let metrics = Self {
            up: gauge!(
                "parley_redis_up",
                "1 while Redis decides about limits, 0 while this pod does by itself.",
                registry
            )?,
            merges: counter!(
                "parley_limiter_merges_total",
                "Windows of users that Redis did not have and was told by this pod.",
                registry
            )?,
            decisions: counters!(
                "parley_limiter_decisions_total",
                "Attempts to send, by who decided and what.",
                &["source", "outcome"],
                registry
            )?,
            seconds: histogram!(
                "parley_limiter_redis_seconds",
                "Time that Redis took to decide about an attempt to send, or was waited for in vain.",
                vec![0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0],
                registry
            )?,
        };
        for source in Source::ALL {
            for outcome in Outcome::ALL {
                metrics.decisions.with_label_values(&[source.as_str(), outcome.as_str()]);
            }
        }
        Ok(metrics)
    }

    pub(crate) fn decided(&self, source: Source, outcome: Outcome) {
        self.decisions.with_label_values(&[source.as_str(), outcome.as_str()]).inc();
    }

    pub(crate) fn asked(&self, took: Duration) {
        self.seconds.observe(took.as_secs_f64());
    }
}
