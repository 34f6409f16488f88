//! How a pod lets go of its connections: at a steady rate, so that the others and the api pods can take them.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parley_socketio::{Application, CloseReason, Server};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};

/// How fast connections are closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    pub(crate) per_second: u32,
    /// The longest that it may take; a pod that has more is faster.
    pub(crate) within: Duration,
}

impl Pace {
    /// The time from one to the next.
    fn every(self, connections: usize) -> Duration {
        let connections = u32::try_from(connections).unwrap_or(u32::MAX).max(1);
        (Duration::from_secs(1) / self.per_second).min(self.within / connections)
    }
}

/// Accepts connections until the pod drains, refuses new ones from then on, and ends after `stop`, when everybody is gone.
/// Those that are open are served until their turn, and `gone` is dropped after the last of them.
pub(crate) async fn serve<A: Application>(
    server: Arc<Server<A>>,
    listener: TcpListener,
    pace: Pace,
    (draining, stop): (CancellationToken, CancellationToken),
    gone: DropGuard,
) -> anyhow::Result<()> {
    let closed = CancellationToken::new();
    let serving = server.clone().serve(listener, closed.clone());
    let emptying = async {
        tokio::select! {
            () = draining.cancelled() => {}
            () = stop.cancelled() => {}
        }
        server.refuse_new();
        let connections = server.connections();
        let every = pace.every(connections);
        tracing::info!(connections, ?every, "closing connections one by one");
        server.close_paced(CloseReason::GoingAway, every).await;
        tracing::info!("all connections are told to go elsewhere");
        stop.cancelled().await;
        server.close_all(CloseReason::GoingAway).await;
        closed.cancel();
        Ok(())
    };
    tokio::try_join!(serving, emptying).context("accept connections")?;
    drop(gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_with_more_than_fits_into_the_time_is_faster() {
        let pace = Pace { per_second: 500, within: Duration::from_secs(20) };
        for (connections, every) in [(0, 2_000), (1, 2_000), (10_000, 2_000), (20_000, 1_000)] {
            assert_eq!(pace.every(connections), Duration::from_micros(every), "{connections}");
        }
    }
}
