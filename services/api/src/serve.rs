//! The HTTP server: connections are bounded, and none can hold its place by being slow.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::sleep;
use tokio_io_timeout::TimeoutStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::metrics::Metrics;
use crate::settings::HttpSettings;

/// Most bytes of a request's head; hyper answers a longer one with 431.
const MAX_HEAD: usize = 32 * 1024;
/// Most header fields of a request.
const MAX_FIELDS: usize = 100;
/// How long nothing is accepted when the process has no descriptors left.
const PAUSE: Duration = Duration::from_millis(100);

/// How long, after a stop, a connection may still bring a request that was on its way. A balancer does not send one twice.
const LAST_WORDS: Duration = Duration::from_millis(250);

/// Serves until `stop`; then finishes the requests that were begun, or are on their way.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    settings: HttpSettings,
    metrics: Metrics,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(settings.max_connections as usize));
    metrics.limits().connections.set(settings.max_connections.into());
    let connections = TaskTracker::new();
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(settings.idle())
        .max_headers(MAX_FIELDS)
        .max_buf_size(MAX_HEAD);
    let serve = |stream, place| {
        let connection = Connection {
            stream,
            place,
            router: router.clone(),
            builder: builder.clone(),
            write_patience: settings.write_patience(),
            stop: stop.clone(),
            metrics: metrics.clone(),
        };
        connections.spawn(connection.serve());
    };
    while let Some(accepted) = stop.run_until_cancelled(accept(&listener, &places)).await {
        match accepted {
            Ok((stream, place)) => serve(stream, place),
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(PAUSE).await;
            }
        }
    }
    // Who is connected in the kernel's queue has perhaps spoken already, and would be reset with it.
    let listener = listener.into_std()?;
    while let (Ok(place), Ok((stream, _))) = (places.clone().try_acquire_owned(), listener.accept())
    {
        if let Ok(stream) = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream))
        {
            serve(stream, place);
        }
    }
    drop(listener);
    connections.close();
    connections.wait().await;
    Ok(())
}

/// The next connection, once there is a place for it; until then it waits in the kernel's queue.
async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> io::Result<(TcpStream, OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

struct Connection {
    stream: TcpStream,
    place: OwnedSemaphorePermit,
    router: Router,
    builder: http1::Builder,
    write_patience: Duration,
    stop: CancellationToken,
    metrics: Metrics,
}

impl Connection {
    async fn serve(self) {
        let Self { stream, place: _place, router, builder, write_patience, stop, metrics } = self;
        let _counted = metrics.connected();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY");
        }
        let service = TowerToHyperService::new(router);
        // Whoever does not read its answer must not hold a part of it for ever.
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(write_patience));
        let stream = TokioIo::new(Box::pin(stream));
        let mut connection = pin!(builder.serve_connection(stream, service));
        let served = tokio::select! {
            served = connection.as_mut() => served,
            () = async { stop.cancelled().await; sleep(LAST_WORDS).await } => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = served {
            // A client that went away, or that does not speak HTTP.
            tracing::debug!(%error, "a connection has ended");
        }
    }
}
