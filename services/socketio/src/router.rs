//! One listener for several engines.

use crate::engine::{Body, Door, Engine, Upgrade, error_body, respond};
use crate::stats::Stats;
use crate::wire::{Exchange, Wire};
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use socket2::SockRef;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

/// How long nothing is accepted after the system refused to, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Enough for any head a client of this protocol sends, and all that a connection may buffer.
const MAX_HEAD: usize = 32 * 1024;
/// How long a connection may be idle between requests. Longer than balancers keep theirs (60 s mostly):
/// a request that they send on one that is just being closed fails.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);
/// So many connections may always be served at a time.
const MIN_ROOM: usize = 64;

/// Serves engines at their paths on one listener. Everything else is answered with 404.
#[derive(Clone, Debug, Default)]
pub struct Router {
    engines: Vec<(Engine, Door)>,
}

impl Router {
    /// A router that knows no path.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine at the path of its configuration.
    #[must_use]
    pub fn mount(mut self, engine: Engine) -> Self {
        self.engines.push((engine, Door::Clients));
        self
    }

    /// Adds what other servers pass on for an engine, at the same path: on a listener that clients
    /// do not reach. What does not have the secret is refused. It has to be served for longer than
    /// the clients: until [`Engine::close_all`] has returned.
    #[must_use]
    pub fn mount_peers(mut self, engine: Engine) -> Self {
        self.engines.push((engine, Door::Peers));
        self
    }

    /// Accepts connections until `stop`; those that were accepted live on.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let router = Arc::new(self);
        let header_timeout = router.longest(|engine| engine.core().config.header_timeout);
        let mut http = http1::Builder::new();
        // This timer of hyper's runs between requests too; for the head alone there is another.
        http.timer(TokioTimer::new())
            .header_read_timeout(IDLE_TIMEOUT + header_timeout)
            .max_buf_size(MAX_HEAD);
        let write_timeout = router.longest(|engine| engine.core().config.write_timeout);
        let room = Arc::new(Semaphore::new(router.room()));
        let (mut refused, mut full) = (false, false);
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    if !refused {
                        tracing::warn!(%error, "cannot accept connections; trying again");
                    }
                    refused = true;
                    stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                    continue;
                }
            };
            if refused {
                tracing::info!("connections are accepted again");
                refused = false;
            }
            let Ok(permit) = Arc::clone(&room).try_acquire_owned() else {
                if !full {
                    tracing::warn!("too many connections; new ones are closed");
                }
                full = true;
                router.count(|stats| &stats.connections_dropped);
                continue;
            };
            if full {
                tracing::info!("there is room for connections again");
                full = false;
            }
            if let Err(error) = tune(&stream, write_timeout) {
                tracing::debug!(%error, "connection ended before it was served");
                continue;
            }
            let exchange = Arc::<Exchange>::default();
            let wire = Wire::new(stream, Arc::clone(&exchange), header_timeout);
            let router = Arc::clone(&router);
            tokio::spawn(connection(http.clone(), router, wire, exchange, peer, permit));
        }
        Ok(())
    }

    /// How many connections there may be that are no session's WebSocket.
    fn room(&self) -> usize {
        let sessions = self.engines.iter().map(|(engine, _)| engine.core().config.max_connections);
        let sessions = sessions.fold(0, usize::saturating_add);
        sessions.saturating_add(sessions / 4).clamp(MIN_ROOM, Semaphore::MAX_PERMITS)
    }

    /// What happens before it is known which engine a connection is for counts for each.
    fn count(&self, counter: impl Fn(&Stats) -> &AtomicU64) {
        for (engine, _) in &self.engines {
            counter(&engine.core().stats).fetch_add(1, Relaxed);
        }
    }

    fn longest(&self, time: impl Fn(&Engine) -> Duration) -> Duration {
        self.engines.iter().map(|(engine, _)| time(engine)).max().unwrap_or(Duration::from_secs(10))
    }

    /// The engine at a path; a missing trailing slash is forgiven.
    fn find(&self, path: &str) -> Option<&(Engine, Door)> {
        let wanted = path.trim_end_matches('/');
        self.engines.iter().find(|(engine, _)| {
            let mounted = &engine.core().config.path;
            path == mounted || wanted == mounted.trim_end_matches('/')
        })
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> impl Future<Output = (Response<Body>, Option<Upgrade>)> {
        let found = self.find(request.uri().path());
        let answer = found.map(|(engine, door)| respond(engine.clone(), *door, request, peer));
        async {
            match answer {
                Some(answer) => answer.await,
                None => (error_body(StatusCode::NOT_FOUND, r#"{"message":"Not found"}"#), None),
            }
        }
    }
}

/// Bytes that the system takes of a connection before it can send them. By itself it takes up to 4 MB, four outboxes: who
/// reads nothing would cost that much more, and be noticed so much later.
#[cfg(target_os = "linux")]
const UNSENT: u32 = 64 * 1024;

fn tune(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    {
        let socket = SockRef::from(stream);
        socket.set_tcp_user_timeout(Some(write_timeout))?;
        socket.set_tcp_notsent_lowat(UNSENT)?;
    }
    Ok(())
}

/// One TCP connection: requests, and perhaps a WebSocket after them. The socket is taken back from
/// hyper, so that nothing of HTTP is kept for as long as the WebSocket lives.
async fn connection(
    http: http1::Builder,
    router: Arc<Router>,
    wire: Wire,
    exchange: Arc<Exchange>,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
) {
    // Requests that have arrived on older connections come first: a client may have given up a poll
    // there before it came here.
    tokio::task::yield_now().await;
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| {
        exchange.begin();
        let answer = router.answer(request, peer);
        let (upgrade, exchange) = (&upgrade, &exchange);
        async move {
            let (mut response, next) = answer.await;
            *upgrade.lock() = next;
            response.body_mut().write_to(exchange);
            exchange.end();
            Ok::<_, Infallible>(response)
        }
    });
    let served = http.serve_connection(TokioIo::new(wire), service).without_shutdown().await;
    exchange.close();
    if exchange.was_late() {
        router.count(|stats| &stats.head_timeouts);
    }
    match served {
        Ok(parts) => {
            let upgrade = upgrade.lock().take();
            if let Some(upgrade) = upgrade {
                let stream = parts.io.into_inner().into_stream();
                tokio::spawn(run(upgrade, stream, parts.read_buf, permit));
            }
        }
        Err(error) => tracing::trace!(%error, "HTTP connection ended"),
    }
}

/// Holds the permit until the connection is a session's, or gone.
async fn run(
    upgrade: Upgrade,
    stream: TcpStream,
    leftover: bytes::Bytes,
    _permit: OwnedSemaphorePermit,
) {
    upgrade.run(stream, &leftover).await;
}
