//! One listener for several engines.

use crate::engine::{Body, Engine, Upgrade, error_body, respond};
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
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

/// How long nothing is accepted after the system refused to, for want of file descriptors mostly.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Enough for any head a client of this protocol sends, and all that a connection may buffer.
const MAX_HEAD: usize = 32 * 1024;

/// Serves engines at their paths on one listener. Everything else is answered with 404.
#[derive(Clone, Debug, Default)]
pub struct Router {
    engines: Vec<Engine>,
}

impl Router {
    /// A router that knows no path.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an engine at the path of its configuration.
    #[must_use]
    pub fn mount(mut self, engine: Engine) -> Self {
        self.engines.push(engine);
        self
    }

    /// Accepts connections until `stop`; those that were accepted live on.
    pub async fn serve(self, listener: TcpListener, stop: CancellationToken) -> io::Result<()> {
        let router = Arc::new(self);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(router.longest(|engine| engine.core().config.header_timeout))
            .max_buf_size(MAX_HEAD);
        let write_timeout = router.longest(|engine| engine.core().config.write_timeout);
        while let Some(accepted) = stop.run_until_cancelled(listener.accept()).await {
            match accepted {
                Ok((stream, peer)) => {
                    if let Err(error) = tune(&stream, write_timeout) {
                        tracing::debug!(%error, "connection ended before it was served");
                        continue;
                    }
                    tokio::spawn(connection(http.clone(), Arc::clone(&router), stream, peer));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection; trying again");
                    stop.run_until_cancelled(tokio::time::sleep(ACCEPT_PAUSE)).await;
                }
            }
        }
        Ok(())
    }

    fn longest(&self, time: impl Fn(&Engine) -> Duration) -> Duration {
        self.engines.iter().map(time).max().unwrap_or(Duration::from_secs(10))
    }

    /// The engine at a path; a missing trailing slash is forgiven.
    fn find(&self, path: &str) -> Option<&Engine> {
        let wanted = path.trim_end_matches('/');
        self.engines.iter().find(|engine| {
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
        let answer = found.map(|engine| respond(engine.clone(), request, peer));
        async {
            match answer {
                Some(answer) => answer.await,
                None => (error_body(StatusCode::NOT_FOUND, r#"{"message":"Not found"}"#), None),
            }
        }
    }
}

fn tune(stream: &TcpStream, write_timeout: Duration) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    SockRef::from(stream).set_tcp_user_timeout(Some(write_timeout))?;
    Ok(())
}

/// One TCP connection: requests, and perhaps a WebSocket after them. The socket is taken back from
/// hyper, so that nothing of HTTP is kept for as long as the WebSocket lives.
async fn connection(
    http: http1::Builder,
    router: Arc<Router>,
    stream: TcpStream,
    peer: SocketAddr,
) {
    // Requests that have arrived on older connections come first: a client may have given up a poll
    // there before it came here.
    tokio::task::yield_now().await;
    let upgrade = Mutex::new(None);
    let service = service_fn(|request| {
        let answer = router.answer(request, peer);
        let upgrade = &upgrade;
        async move {
            let (response, next) = answer.await;
            *upgrade.lock() = next;
            Ok::<_, Infallible>(response)
        }
    });
    let served = http.serve_connection(TokioIo::new(stream), service).without_shutdown().await;
    match served {
        Ok(parts) => {
            let upgrade = upgrade.lock().take();
            if let Some(upgrade) = upgrade {
                tokio::spawn(run(upgrade, parts.io.into_inner(), parts.read_buf));
            }
        }
        Err(error) => tracing::trace!(%error, "HTTP connection ended"),
    }
}

async fn run(upgrade: Upgrade, stream: TcpStream, leftover: bytes::Bytes) {
    upgrade.run(stream, &leftover).await;
}
