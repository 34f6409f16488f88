//! A call, from its target to its answer.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use crate::connection::{Asked, Connection, connector, of_http};
use crate::pool::Pool;
use crate::target::{Host, Place};
use crate::{OutboundError, Policy, Resolve, Roots, Stage, SystemResolver, Target};

/// Most bytes of an answer that are kept; with more, the connection is closed.
pub const MOST_ANSWER: usize = 64 * 1024;
/// Most headers of an answer.
pub const MOST_HEADERS: usize = 64;

/// What was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    /// No redirect.
    pub status: StatusCode,
    /// As they came.
    pub headers: HeaderMap,
    /// At most [`MOST_ANSWER`] bytes.
    pub body: Bytes,
    /// Whether there was more.
    pub truncated: bool,
}

/// Calls targets; clones share their connections.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    policy: Policy,
    resolver: Arc<dyn Resolve>,
    tls: TlsConnector,
    pool: Pool,
}

impl Client {
    /// Calls what the policy allows, by the names that the system resolves.
    pub fn new(policy: Policy, roots: Roots) -> Result<Self, OutboundError> {
        Self::resolving(policy, roots, Arc::new(SystemResolver::default()))
    }

    /// The same, by the names of another resolver.
    pub fn resolving(
        policy: Policy,
        roots: Roots,
        resolver: Arc<dyn Resolve>,
    ) -> Result<Self, OutboundError> {
        let tls = connector(roots.config()?);
        Ok(Self(Arc::new(Inner { policy, resolver, tls, pool: Pool::default() })))
    }

    /// What is allowed: for who parses a [`Target`].
    pub fn policy(&self) -> &Policy {
        &self.0.policy
    }

    /// Connections that wait for their next request.
    pub fn idle(&self) -> usize {
        self.0.pool.count()
    }

    /// Sends a body and reads the answer, all of it within the deadline. A request that may have arrived is not sent
    /// again.
    pub async fn post(
        &self,
        target: &Target,
        headers: HeaderMap,
        body: Bytes,
        deadline: Duration,
    ) -> Result<Answer, OutboundError> {
        let (place, end) = (&target.place, Instant::now() + deadline);
        let mut request = request(target, headers, body)?;
        while let Some(mut kept) = self.0.pool.take(place) {
            match within(end, Stage::Asking, kept.ask(request)).await? {
                Asked::Answered(response) => return self.finish(place, kept, response, end).await,
                Asked::Unsent(unsent) => request = unsent,
            }
        }
        let addresses = within(end, Stage::Resolving, self.addresses(place)).await?;
        let mut fresh = Connection::make(place, &addresses, &self.0.tls, end).await?;
        match within(end, Stage::Asking, fresh.ask(request)).await? {
            Asked::Answered(response) => self.finish(place, fresh, response, end).await,
            Asked::Unsent(_) => {
                let text = "it was closed before the request was sent".to_owned();
                Err(OutboundError::Connection(text))
            }
        }
    }

    /// All addresses of the place, every one of them allowed.
    async fn addresses(&self, place: &Place) -> Result<Vec<IpAddr>, OutboundError> {
        let (named, addresses) = match &place.host {
            Host::Address(address) => (false, vec![*address]),
            Host::Name(name) => {
                let resolved = self.0.resolver.resolve(name).await;
                let resolved =
                    resolved.map_err(|error| OutboundError::Unresolved(error.to_string()))?;
                (self.0.policy.names(name), resolved)
            }
        };
        for address in &addresses {
            self.0.policy.check(named, *address)?;
        }
        Ok(addresses)
    }

    async fn finish(
        &self,
        place: &Place,
        mut connection: Connection,
        response: Response<Incoming>,
        end: Instant,
    ) -> Result<Answer, OutboundError> {
        let (head, body) = response.into_parts();
        if head.status.is_redirection() {
            return Err(OutboundError::Redirected(head.status));
        }
        let (body, truncated) = within(end, Stage::Reading, read(body)).await?;
        // A connection becomes ready again when its answer was read to the end, if it stays open at all.
        if !truncated && within(end, Stage::Reading, ready(&mut connection)).await.unwrap_or(false)
        {
            self.0.pool.keep(place, connection);
        }
        Ok(Answer { status: head.status, headers: head.headers, body, truncated })
    }
}

async fn ready(connection: &mut Connection) -> Result<bool, OutboundError> {
    Ok(connection.becomes_ready().await)
}

async fn within<T>(
    end: Instant,
    stage: Stage,
    work: impl Future<Output = Result<T, OutboundError>>,
) -> Result<T, OutboundError> {
    timeout_at(end, work).await.unwrap_or(Err(OutboundError::TimedOut(stage)))
}

/// What is said about the connection, the body and the host is ours to say.
fn request(
    target: &Target,
    mut headers: HeaderMap,
    body: Bytes,
) -> Result<Request<Full<Bytes>>, OutboundError> {
    for ours in [CONNECTION, CONTENT_LENGTH, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE] {
        headers.remove(ours);
    }
    let host = HeaderValue::from_str(&target.place.authority());
    headers.insert(HOST, host.map_err(|_| OutboundError::Invalid("has a host that is no name"))?);
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.clone().into();
    *request.headers_mut() = headers;
    Ok(request)
}

/// The body as far as it is kept, and whether there was more.
async fn read(mut body: Incoming) -> Result<(Bytes, bool), OutboundError> {
    let mut kept = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|error| of_http(&error))?.into_data() else { continue };
        let room = MOST_ANSWER - kept.len();
        if data.len() > room {
            kept.extend_from_slice(&data[..room]);
            return Ok((kept.freeze(), true));
        }
        kept.extend_from_slice(&data);
    }
    Ok((kept.freeze(), false))
}
