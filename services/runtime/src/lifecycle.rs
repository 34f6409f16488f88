//! Start, soft stop, hard stop.
//!
//! At the first SIGTERM or SIGINT the pod is not ready any more, serves on for as long as balancers need to notice, and then
//! asks every task to finish; another one, or the end of the grace period, drops what has not. A task that ends although nobody asked it to takes the process down: a pod that does half of its
//! work is worse than one that is restarted.

use std::future::Future;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};
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

/// How a process stops once it is asked to.
#[derive(Debug, Clone, Copy)]
pub struct Shutdown {
    /// How long it goes on as before, only not ready: a balancer that has not noticed yet must not meet a closed door.
    pub linger: Duration,
    /// From the signal on; what has not ended by then is dropped.
    pub grace: Duration,
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

    /// Waits for a signal or a broken task, then stops everything. A second signal ends the lingering, too.
    pub async fn run(self, Shutdown { linger, grace }: Shutdown) -> anyhow::Result<Ending> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let broke = tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = self.failed.cancelled() => true,
        };
        tracing::info!(grace_seconds = grace.as_secs(), "stopping");
        let end = Instant::now() + grace;
        self.readiness.drain();
        if !broke {
            tokio::select! {
                () = sleep(linger) => {}
                () = self.failed.cancelled() => {}
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        self.soft.cancel();
        let finished = tokio::select! {
            () = self.finished() => true,
            () = sleep_until(end) => false,
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
