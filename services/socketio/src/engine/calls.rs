//! Requests to other servers: to find them, to be known to them, and the connections there.

use crate::peers::{Directory, Peers};
use bytes::Bytes;
use hashbrown::HashMap;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};
use socket2::SockRef;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// How long a server that lives takes to accept a connection.
const CONNECT: Duration = Duration::from_secs(2);
/// How long polls take to come back that were released.
const FINISH: Duration = Duration::from_secs(2);
/// Connections to one server that are kept for the next request.
const KEPT: usize = 64;
/// For so long: the other end keeps them for more than a minute.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// Notices on their way at one time. What is left out, the heartbeat finds.
const NOTICES: usize = 1024;

const SECRET: HeaderName = HeaderName::from_static("x-peer-secret");
/// What a connection that a session moves over is called.
pub(super) const MOVE: HeaderValue = HeaderValue::from_static("session");

/// The way to the other servers.
pub(crate) struct Calls {
    directory: Arc<dyn Directory>,
    secret: HeaderValue,
    digest: [u8; 32],
    pub(super) in_flight: Arc<Semaphore>,
    max_in_flight: u32,
    pub(super) notices: Arc<Semaphore>,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    connections: HashMap<SocketAddr, Vec<(Line, Instant)>>,
    tidied: Option<Instant>,
}

/// An open connection to another server. Nobody else drives it: with this it is gone.
struct Line {
    sender: SendRequest<Full<Bytes>>,
    connection: Connection<TokioIo<TcpStream>, Full<Bytes>>,
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CallError {
    /// No server of that name lives.
    Unknown,
    /// It cannot be reached: nothing was asked.
    Unreachable,
    /// It was asked, and did not answer.
    Broken,
    /// It takes this server for a stranger.
    Refused,
}

impl Calls {
    /// None: the secret is no header's value.
    pub(super) fn new(peers: Peers) -> Option<Self> {
        let most = peers.max_forwards.min(Semaphore::MAX_PERMITS);
        let max_in_flight = u32::try_from(most).unwrap_or(u32::MAX);
        let mut secret = HeaderValue::from_str(&peers.secret).ok()?;
        secret.set_sensitive(true);
        Some(Self {
            directory: peers.directory,
            digest: Sha256::digest(secret.as_bytes()).into(),
            secret,
            in_flight: Arc::new(Semaphore::new(max_in_flight as usize)),
            max_in_flight,
            notices: Arc::new(Semaphore::new(NOTICES)),
            idle: Mutex::default(),
        })
    }

    /// Waits until everything that was passed on is answered, and is not waited for for ever.
    pub(super) async fn finished(&self) {
        // The semaphore is never closed.
        let _ = timeout(FINISH, self.in_flight.acquire_many(self.max_in_flight)).await;
    }

    /// Whether a request comes from one of the others. Digests are compared: how far two of them are
    /// the same says nothing about the secret.
    pub(super) fn knows(&self, headers: &HeaderMap) -> bool {
        headers
            .get(&SECRET)
            .is_some_and(|secret| Sha256::digest(secret.as_bytes()).as_slice() == self.digest)
    }

    pub(super) async fn find(&self, server: &str) -> Result<SocketAddr, CallError> {
        self.directory.find(server).await.ok_or(CallError::Unknown)
    }

    /// One request and its whole answer, at most `limit` bytes of it. It is never repeated: nobody
    /// knows whether it took effect. A future that is dropped closes its connection, by which the
    /// other end learns of it.
    pub(super) async fn call(
        &self,
        address: SocketAddr,
        mut request: Request<Full<Bytes>>,
        limit: usize,
    ) -> Result<Response<Bytes>, CallError> {
        self.sign(address, &mut request)?;
        let mut line = self.line(address).await?;
        let Line { sender, connection } = &mut line;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|_| CallError::Broken)?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, limit).collect().await.map_err(|_| CallError::Broken)?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        let response: Response<Bytes> = driven(connection, answer).await?;
        self.keep(address, line);
        if response.status() == StatusCode::FORBIDDEN {
            tracing::error!(%address, "another server has another secret");
            return Err(CallError::Refused);
        }
        Ok(response)
    }

    /// A request to speak differently. The connection, or the answer that it was refused with.
    pub(super) async fn switch(
        &self,
        address: SocketAddr,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Result<TokioIo<Upgraded>, StatusCode>, CallError> {
        self.sign(address, &mut request)?;
        let headers = request.headers_mut();
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, MOVE);
        let Line { mut sender, connection } = Line::open(address).await?;
        let mut connection = connection.with_upgrades();
        let switched = async {
            let response = sender.send_request(request).await.map_err(|_| CallError::Broken)?;
            if response.status() != StatusCode::SWITCHING_PROTOCOLS {
                return Ok(Err(response.status()));
            }
            let upgraded = hyper::upgrade::on::<Response<Incoming>>(response).await;
            upgraded.map(|it| Ok(TokioIo::new(it))).map_err(|_| CallError::Broken)
        };
        driven(&mut connection, switched).await
    }

    fn sign(
        &self,
        address: SocketAddr,
        request: &mut Request<Full<Bytes>>,
    ) -> Result<(), CallError> {
        let host = HeaderValue::from_str(&address.to_string());
        let headers = request.headers_mut();
        headers.insert(header::HOST, host.map_err(|_| CallError::Unreachable)?);
        headers.insert(SECRET, self.secret.clone());
        Ok(())
    }

    /// A connection that takes a request, kept or new.
    async fn line(&self, address: SocketAddr) -> Result<Line, CallError> {
        while let Some(mut line) = self.kept(address) {
            // Nothing was sent yet: if the other end has closed it, there may be another.
            let Line { sender, connection } = &mut line;
            if driven(connection, sender.ready()).await.is_ok() {
                return Ok(line);
            }
        }
        Line::open(address).await
    }

    fn kept(&self, address: SocketAddr) -> Option<Line> {
        let mut idle = self.idle.lock();
        let (line, since) = idle.connections.get_mut(&address)?.pop()?;
        (since.elapsed() < KEPT_FOR).then_some(line)
    }

    fn keep(&self, address: SocketAddr, line: Line) {
        let now = Instant::now();
        let mut idle = self.idle.lock();
        if idle.tidied.is_none_or(|at| now - at > KEPT_FOR) {
            idle.tidied = Some(now);
            idle.connections.retain(|_, lines| {
                lines.retain(|(_, since)| now - *since < KEPT_FOR);
                !lines.is_empty()
            });
        }
        let lines = idle.connections.entry(address).or_default();
        if lines.len() < KEPT && !line.sender.is_closed() {
            lines.push((line, now));
        }
    }
}

impl Line {
    async fn open(address: SocketAddr) -> Result<Self, CallError> {
        let opened = timeout(CONNECT, TcpStream::connect(address)).await;
        let Ok(Ok(stream)) = opened else { return Err(CallError::Unreachable) };
        // A connection without these works as well.
        let _ = stream.set_nodelay(true);
        #[cfg(target_os = "linux")]
        let _ = SockRef::from(&stream).set_tcp_user_timeout(Some(CONNECT * 5));
        let opened = http1::handshake(TokioIo::new(stream)).await;
        let (sender, connection) = opened.map_err(|_| CallError::Unreachable)?;
        Ok(Self { sender, connection })
    }
}

/// Does `work` on a connection, which moves only meanwhile.
async fn driven<T>(connection: &mut (impl Future + Unpin), work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    tokio::select! {
        biased;
        done = &mut work => return done,
        _ = connection => {}
    }
    // It has ended: what it brought last is there, or an error is.
    work.await
}
