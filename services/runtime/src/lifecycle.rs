//! Start, soft stop, hard stop.
//!
//! The first SIGTERM or SIGINT asks every task to finish; the second one, or the end of the grace period, drops
//! what has not. A task that ends although nobody asked it to takes the process down: a pod that does half of its
//! work is worse than one that is restarted.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::readiness::Readiness;

/// The life of one process.
#[derive(Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    failed: CancellationToken,
    tasks: TaskTracker,
    readiness: Readiness,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Everything finished.
    Clean,
    /// Something had to be dropped, or broke.
    Forced,
}

impl Lifecycle {
    /// Cancelled when the process is asked to stop.
    pub fn stop(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// The pod's readiness.
    pub fn readiness(&self) -> &Readiness {
        &self.readiness
    }

    /// Runs a task that has to end by itself after [`Lifecycle::stop`], and not before.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let (soft, failed) = (self.soft.clone(), self.failed.clone());
        self.tasks.spawn(async move {
            // A panic unwinds through this guard; a proper end disarms it.
            let alarm = failed.drop_guard();
            match task.await {
                Ok(()) if soft.is_cancelled() => drop(alarm.disarm()),
                Ok(()) => tracing::error!(task = name, "a task ended too early; the pod stops"),
                Err(error) => tracing::error!(
                    task = name,
                    error = format!("{error:#}"),
                    "a task failed; the pod stops"
                ),
            }
        });
    }

    /// Runs a task to the very end of the process: a stop neither asks it to finish nor waits for it. For what has to
    /// be reachable while everything else stops.
    pub fn background<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let alarm = self.failed.clone().drop_guard();
        tokio::spawn(async move {
            let ended = task.await.map_err(|error| format!("{error:#}"));
            tracing::error!(task = name, ?ended, "a task ended too early; the pod stops");
            drop(alarm);
        });
    }

    /// Waits until every task has ended after a stop.
    pub async fn finished(&self) {
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Waits for a signal or a broken task, then stops everything within `grace`.
    pub async fn run(self, grace: Duration) -> anyhow::Result<Ending> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let broke = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = self.failed.cancelled() => true,
        };
        tracing::info!(grace_seconds = grace.as_secs(), "stopping");
        self.readiness.drain();
        self.soft.cancel();
        let finished = tokio::select! {
            () = self.finished() => true,
            () = tokio::time::sleep(grace) => false,
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
        };
        if finished {
            tracing::info!("stopped");
        } else {
            tracing::warn!(tasks = self.tasks.len(), "stopped before everything had finished");
        }
        Ok(if finished && !broke { Ending::Clean } else { Ending::Forced })
    }
}
