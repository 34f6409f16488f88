//! One connection: made, asked, and given up.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use crate::client::MOST_HEADERS;
use crate::target::{Host, Place};
use crate::{OutboundError, Stage};

/// Most bytes of an answer's head.
const MOST_HEAD: usize = 16 * 1024;
/// Addresses of a host that are tried; all of them are checked.
const TRIED: usize = 4;

/// A connection to an address that was checked. Dropped, it is closed, whatever was on its way.
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    pub(crate) made: Instant,
    _moving: AbortOnDropHandle<()>,
}

/// What came of a request.
pub(crate) enum Asked {
    Answered(Response<Incoming>),
    /// The connection was closed before any of it was sent.
    Unsent(Request<Full<Bytes>>),
}

impl Connection {
    /// Connects to the first of the addresses that takes it, and to no other.
    pub(crate) async fn make(
        place: &Place,
        addresses: &[IpAddr],
        tls: &TlsConnector,
        end: Instant,
    ) -> Result<Self, OutboundError> {
        let mut failed = OutboundError::Unresolved("it has no address".to_owned());
        let tried = addresses.len().min(TRIED);
        for (place_in_turn, address) in addresses.iter().take(TRIED).enumerate() {
            // One that does not answer leaves the others their share of the time.
            let left = end.saturating_duration_since(Instant::now());
            let share = Instant::now() + share(left, tried - place_in_turn);
            let attempt = Self::to(place, SocketAddr::new(*address, place.port), tls);
            match timeout_at(share, attempt).await {
                Ok(Ok(connection)) => return Ok(connection),
                Ok(Err(error)) => failed = error,
                Err(_) => failed = OutboundError::TimedOut(Stage::Connecting),
            }
        }
        Err(failed)
    }

    async fn to(
        place: &Place,
        address: SocketAddr,
        tls: &TlsConnector,
    ) -> Result<Self, OutboundError> {
        let stream = TcpStream::connect(address).await.map_err(|error| broken(&error))?;
        stream.set_nodelay(true).map_err(|error| broken(&error))?;
        if !place.https {
            return Self::over(stream).await;
        }
        let name = server_name(&place.host)?;
        Self::over(tls.connect(name, stream).await.map_err(|error| tls_failed(&error))?).await
    }

    async fn over<S>(stream: S) -> Result<Self, OutboundError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handshake = http1::Builder::new()
            .max_headers(MOST_HEADERS)
            .max_buf_size(MOST_HEAD)
            .handshake(TokioIo::new(stream));
        let (sender, connection) = handshake.await.map_err(|error| of_http(&error))?;
        // What goes wrong is told to whoever asks.
        let moving = tokio::spawn(async move { drop(connection.await) });
        let moving = AbortOnDropHandle::new(moving);
        Ok(Self { sender, made: Instant::now(), _moving: moving })
    }

    /// Whether the next request can be sent, as far as is known.
    pub(crate) fn is_ready(&self) -> bool {
        self.sender.is_ready()
    }

    /// Waits until the next request can be sent; says whether it can.
    pub(crate) async fn becomes_ready(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    pub(crate) async fn ask(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Asked, OutboundError> {
        match self.sender.try_send_request(request).await {
            Ok(response) => Ok(Asked::Answered(response)),
            Err(mut error) => match error.take_message() {
                Some(request) => Ok(Asked::Unsent(request)),
                None => Err(of_http(error.error())),
            },
        }
    }
}

/// What one of so many attempts may take of the time that is left.
fn share(left: Duration, attempts: usize) -> Duration {
    left / u32::try_from(attempts).unwrap_or(u32::MAX).max(1)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, OutboundError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| OutboundError::Invalid("has a host that no certificate can name")),
    }
}

fn broken(error: &std::io::Error) -> OutboundError {
    OutboundError::Connection(error.to_string())
}

fn tls_failed(error: &std::io::Error) -> OutboundError {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    tls.map_or_else(|| broken(error), |tls| OutboundError::Tls(tls.to_string()))
}

/// What HTTP's failure was.
pub(crate) fn of_http(error: &hyper::Error) -> OutboundError {
    if error.is_parse_too_large() {
        return OutboundError::HeadersTooLarge;
    }
    if error.is_parse() {
        return OutboundError::Protocol(error.to_string());
    }
    let source = std::error::Error::source(error);
    OutboundError::Connection(source.map_or_else(|| error.to_string(), ToString::to_string))
}

/// A connector of these settings.
pub(crate) fn connector(config: rustls::ClientConfig) -> TlsConnector {
    TlsConnector::from(Arc::new(config))
}
