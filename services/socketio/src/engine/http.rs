//! Requests: handshakes, polls, posts, and the way to a WebSocket.

use super::link::{Broken, Link};
use super::machine::Refused;
use super::packet::{self, Packet};
use super::session::{Session, wake};
use super::{Core, Engine};
use crate::config::Cors;
use crate::handshake::{Handshake, Query, Transport};
use crate::reason::{CloseReason, DisconnectReason};
use crate::stats::Refusal;
use crate::websocket::{self, code};
use crate::wire::Exchange;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a WebSocket that nobody wants may take to go.
const DISMISSAL: Duration = Duration::from_secs(1);

/// The body of every answer.
pub(crate) struct Body {
    data: Option<Bytes>,
    /// Whose packets these are: if nobody takes them, they are lost, and the session with them.
    session: Option<Arc<Session>>,
    /// What it is written to.
    exchange: Option<Arc<Exchange>>,
}

impl Body {
    pub(crate) fn new(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), session: None, exchange: None }
    }

    fn packets(data: Bytes, session: Arc<Session>) -> Self {
        Self { data: Some(data), session: Some(session), exchange: None }
    }

    fn empty() -> Self {
        Self { data: None, session: None, exchange: None }
    }

    /// Its packets are lost, too, if this connection ends before they are written.
    pub(crate) fn write_to(&mut self, exchange: &Arc<Exchange>) {
        self.exchange = Some(Arc::clone(exchange));
    }
}

impl http_body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(data) = self.data.take() else { return Poll::Ready(None) };
        if let (Some(session), Some(exchange)) = (self.session.take(), &self.exchange) {
            exchange.taken(session);
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.data.as_ref().map_or(0, |data| data.len() as u64))
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let (Some(_), Some(session)) = (&self.data, &self.session) {
            session.close(DisconnectReason::TransportError);
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

type Answer = Response<Body>;

fn answer(status: StatusCode, content_type: HeaderValue, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

fn text(body: &'static str) -> Answer {
    answer(StatusCode::OK, TEXT, Body::new(body))
}

/// A JSON answer outside of the protocol.
pub(crate) fn error_body(status: StatusCode, body: &'static str) -> Answer {
    answer(status, JSON, Body::new(body))
}

fn refusal(refusal: Refusal) -> Answer {
    let (status, body) = match refusal {
        Refusal::UnknownTransport => (400, r#"{"code":0,"message":"Transport unknown"}"#),
        Refusal::UnknownSession => (400, r#"{"code":1,"message":"Session ID unknown"}"#),
        Refusal::BadMethod => (400, r#"{"code":2,"message":"Bad handshake method"}"#),
        Refusal::BadRequest => (400, r#"{"code":3,"message":"Bad request"}"#),
        Refusal::Forbidden => (403, r#"{"code":4,"message":"Forbidden"}"#),
        Refusal::UnsupportedVersion => {
            (400, r#"{"code":5,"message":"Unsupported protocol version"}"#)
        }
        Refusal::Full => (503, r#"{"message":"Too many connections"}"#),
        Refusal::Draining => (503, r#"{"message":"Going away"}"#),
        Refusal::TooLarge => (413, r#"{"message":"Payload too large"}"#),
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    error_body(status, body)
}

/// What becomes of a TCP connection once `101 Switching Protocols` has been sent.
pub(crate) enum Upgrade {
    /// A new session.
    Open(Arc<Core>, Handshake),
    /// A session that may move here.
    Probe(Probing),
    /// A session that is not to have this one: it is upgraded, or about to be.
    Dismiss(Arc<Core>),
}

impl Upgrade {
    pub(crate) async fn run(self, stream: TcpStream, leftover: &[u8]) {
        match self {
            Self::Open(core, handshake) => {
                let link = Link::new(stream, leftover, core.config.max_payload);
                if let Err(refusal) = core.open(handshake, Some(Box::new(link)), Instant::now()) {
                    core.stats.refused(refusal);
                }
            }
            Self::Probe(probing) => {
                let patience = probing.0.core.config.upgrade_timeout;
                let link = Link::new(stream, leftover, probing.0.core.config.max_payload);
                if let Err(error) = timeout(patience, probing.run(link)).await {
                    tracing::debug!(%error, "upgrade not finished in time");
                }
            }
            Self::Dismiss(core) => {
                let link = Link::new(stream, leftover, core.config.max_payload);
                if let Err(error) = timeout(DISMISSAL, link.dismiss(code::NORMAL)).await {
                    tracing::debug!(%error, "dismissed WebSocket stayed");
                }
            }
        }
    }
}

/// A WebSocket that wants to take over a polling session, until it has or is gone.
pub(crate) struct Probing(Arc<Session>);

impl Probing {
    async fn run(self, mut link: Link) {
        let code = match self.probe(&mut link).await {
            Ok(true) => return self.take_over(link).await,
            Ok(false) => Some(code::NORMAL),
            Err(Broken { code, .. }) => code,
        };
        let session = Arc::clone(&self.0);
        drop(self);
        tracing::debug!(session = session.key, "upgrade failed");
        if let Some(code) = code {
            link.dismiss(code).await;
        }
    }

    /// Whether the client probed, and then asked for the upgrade.
    async fn probe(&self, link: &mut Link) -> Result<bool, Broken> {
        if !link.next_text(|text| text == packet::PROBE_PING).await? {
            return Ok(false);
        }
        {
            let mut inner = self.0.lock();
            inner.machine.answer_probe(Instant::now());
            wake(&mut inner.driver);
        }
        link.send(packet::frame(packet::PROBE_PONG)).await?;
        link.next_text(|text| text == packet::UPGRADE).await
    }

    /// From here on the session's packets travel over the WebSocket, first those that still waited.
    async fn take_over(self, link: Link) {
        let refused = {
            let mut inner = self.0.lock();
            match inner.machine.upgrade(Instant::now()) {
                Ok(()) => {
                    inner.handover = Some(Box::new(link));
                    wake(&mut inner.driver);
                    wake(&mut inner.poller);
                    wake(&mut inner.poster);
                    self.0.core.stats.upgraded.fetch_add(1, Relaxed);
                    None
                }
                Err(_) => Some(link),
            }
        };
        if let Some(link) = refused {
            link.dismiss(code::NORMAL).await;
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if inner.machine.is_polling() {
            if inner.machine.end_probe() {
                inner.close(DisconnectReason::TransportError);
            }
            self.0.core.stats.upgrades_failed.fetch_add(1, Relaxed);
        }
    }
}

/// Answers one request to an engine's path. What is to become of the connection after a 101 comes
/// with the answer.
///
/// The request takes effect now, not when the future is first polled: hyper drops the future of a
/// client that is gone already, and even then its session has to end.
pub(crate) fn respond(
    engine: Engine,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = (Answer, Option<Upgrade>)> {
    let core = engine.core;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS && core.config.cors != Cors::None;
    let routed = if !origin_allowed(&core.config.cors, origin.as_ref()) {
        Err(Refusal::Forbidden)
    } else if preflight {
        Ok(Routed::Done(preflight_answer(request.headers()), None))
    } else {
        route(&core, request, peer)
    };
    async move {
        let (mut response, upgrade) = match finish(routed).await {
            Ok(done) => done,
            Err(refused) => {
                core.stats.refused(refused);
                (refusal(refused), None)
            }
        };
        add_cors(&core.config.cors, origin, response.headers_mut());
        (response, upgrade)
    }
}

/// What a request has come to so far.
enum Routed {
    Done(Answer, Option<Upgrade>),
    Poll(ParkedPoll),
    Post(Posting, Incoming),
}

async fn finish(routed: Result<Routed, Refusal>) -> Result<(Answer, Option<Upgrade>), Refusal> {
    match routed? {
        Routed::Done(answer, upgrade) => Ok((answer, upgrade)),
        Routed::Poll(parked) => Ok((parked.await?, None)),
        Routed::Post(posting, body) => Ok((post(posting, body).await?, None)),
    }
}

fn origin_allowed(cors: &Cors, origin: Option<&HeaderValue>) -> bool {
    match (cors, origin) {
        (Cors::List(allowed), Some(origin)) => allowed.iter().any(|one| one.as_bytes() == origin),
        _ => true,
    }
}

fn preflight_answer(requested: &HeaderMap) -> Answer {
    let mut response = answer(StatusCode::NO_CONTENT, TEXT, Body::empty());
    let headers = response.headers_mut();
    headers
        .insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET,POST,OPTIONS"));
    if let Some(names) = requested.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
    }
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

fn add_cors(cors: &Cors, origin: Option<HeaderValue>, headers: &mut HeaderMap) {
    match (cors, origin) {
        (Cors::None, _) => {}
        (Cors::Any, _) => {
            let any = HeaderValue::from_static("*");
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, any);
        }
        (Cors::List(_), origin) => {
            headers.insert(header::VARY, HeaderValue::from_static("Origin"));
            if let Some(origin) = origin {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                let yes = HeaderValue::from_static("true");
                headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, yes);
            }
        }
    }
}

/// The checks, in the order of the reference server.
fn route(
    core: &Arc<Core>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Result<Routed, Refusal> {
    let query = Query::new(request.uri().query().unwrap_or_default());
    let query = query.ok_or(Refusal::BadRequest)?;
    let transport = match query.get("transport").as_deref() {
        Some("polling") => Transport::Polling,
        Some("websocket") => Transport::WebSocket,
        _ => return Err(Refusal::UnknownTransport),
    };
    let accept = websocket_key(&request);
    let session = match query.get("sid").filter(|sid| !sid.is_empty()) {
        Some(sid) => Some(core.find(&sid).ok_or(Refusal::UnknownSession)?),
        None if request.method() != Method::GET => return Err(Refusal::BadMethod),
        None => None,
    };
    match (session, transport) {
        (Some(session), Transport::WebSocket) => {
            let accept = accept.ok_or(Refusal::BadRequest)?;
            let begun = session.lock().machine.begin_probe();
            let upgrade = match begun {
                Ok(()) => Upgrade::Probe(Probing(session)),
                Err(Refused::Closed | Refused::Farewell) => return Err(Refusal::UnknownSession),
                Err(_) => Upgrade::Dismiss(Arc::clone(core)),
            };
            Ok(Routed::Done(switching(accept), Some(upgrade)))
        }
        (Some(session), Transport::Polling) => {
            if accept.is_some() {
                return Err(Refusal::BadRequest);
            }
            match *request.method() {
                Method::GET => poll(session),
                Method::POST => Ok(Routed::Post(Posting::begin(session)?, request.into_body())),
                _ => Err(Refusal::BadRequest),
            }
        }
        (None, transport) => {
            if accept.is_some() != (transport == Transport::WebSocket) {
                return Err(Refusal::BadRequest);
            }
            if query.get("EIO").as_deref() != Some("4") {
                return Err(Refusal::UnsupportedVersion);
            }
            let handshake = Handshake::new(query, request.headers(), peer, transport)?;
            open(core, handshake, accept)
        }
    }
}

fn open(
    core: &Arc<Core>,
    handshake: Handshake,
    accept: Option<HeaderValue>,
) -> Result<Routed, Refusal> {
    if let Some(accept) = accept {
        core.admits_now()?;
        let upgrade = Upgrade::Open(Arc::clone(core), handshake);
        return Ok(Routed::Done(switching(accept), Some(upgrade)));
    }
    let session = core.open(handshake, None, Instant::now())?;
    let packet = Bytes::from(session.open_packet());
    Ok(Routed::Done(answer(StatusCode::OK, TEXT, Body::packets(packet, session)), None))
}

/// The answer to the key of a WebSocket handshake, if the request is one.
fn websocket_key(request: &Request<Incoming>) -> Option<HeaderValue> {
    let headers = request.headers();
    let lists = |name: HeaderName, token: &str| {
        headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .any(|value| value.split(',').any(|one| one.trim().eq_ignore_ascii_case(token)))
    };
    let asks = request.method() == Method::GET
        && lists(header::CONNECTION, "upgrade")
        && lists(header::UPGRADE, "websocket")
        && headers.get(header::SEC_WEBSOCKET_VERSION).is_some_and(|version| version == "13");
    if !asks {
        return None;
    }
    let accept = websocket::accept_key(headers.get(header::SEC_WEBSOCKET_KEY)?.as_bytes())?;
    HeaderValue::from_str(&accept).ok()
}

fn switching(accept: HeaderValue) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// A GET: answered with what waits, or as soon as something does.
fn poll(session: Arc<Session>) -> Result<Routed, Refusal> {
    {
        let mut inner = session.lock();
        let now = Instant::now();
        inner.tick(now);
        match inner.machine.begin_poll(now) {
            Ok(()) => inner.noop = false,
            Err(Refused::Farewell) => return Ok(Routed::Done(text(packet::NOOP), None)),
            Err(Refused::WrongTransport) => return Err(Refusal::BadRequest),
            Err(Refused::Closed) => return Err(Refusal::UnknownSession),
            Err(Refused::Overlap) => {
                inner.close(DisconnectReason::RequestOverlap);
                return Err(Refusal::BadRequest);
            }
        }
        // The driver has a new thing to keep time for.
        wake(&mut inner.driver);
    }
    Ok(Routed::Poll(ParkedPoll { session, answered: false }))
}

/// A GET that waits. If it goes away unanswered, so does the session: a client that gave up a poll
/// gave up the transport, unless it moves to another.
struct ParkedPoll {
    session: Arc<Session>,
    answered: bool,
}

impl Future for ParkedPoll {
    type Output = Result<Answer, Refusal>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let result = {
            let session = &self.session;
            let mut inner = session.lock();
            if let Some(reason) = inner.machine.closed() {
                Ok(closed_poll(reason))
            } else if !inner.machine.is_polling() {
                Err(Refusal::BadRequest)
            } else if let Some((body, frames)) = inner.take_payload(session.core.config.max_payload)
            {
                session.core.stats.written(frames, body.len());
                inner.machine.end_poll();
                Ok(answer(StatusCode::OK, TEXT, Body::packets(body, Arc::clone(session))))
            } else if std::mem::take(&mut inner.noop) {
                inner.machine.end_poll();
                Ok(text(packet::NOOP))
            } else {
                inner.poller = Some(cx.waker().clone());
                return Poll::Pending;
            }
        };
        self.answered = true;
        Poll::Ready(result)
    }
}

impl Drop for ParkedPoll {
    fn drop(&mut self) {
        if self.answered {
            return;
        }
        let mut inner = self.session.lock();
        if inner.machine.give_up_poll() {
            inner.close(DisconnectReason::TransportError);
        }
    }
}

/// The answer to a poll that was parked when its session ended. No request is refused here: the end
/// itself has been counted, with its reason.
fn closed_poll(reason: DisconnectReason) -> Answer {
    match reason {
        DisconnectReason::TransportClose => text(packet::NOOP),
        DisconnectReason::RequestOverlap => text(packet::CLOSE),
        DisconnectReason::ServerClose(CloseReason::GoingAway) => refusal(Refusal::Draining),
        DisconnectReason::ServerClose(_) => {
            error_body(StatusCode::SERVICE_UNAVAILABLE, r#"{"message":"Closed by the server"}"#)
        }
        _ => refusal(Refusal::UnknownSession),
    }
}

/// A POST that is being handled. If it goes away, so does the session.
struct Posting {
    session: Arc<Session>,
    finished: bool,
}

impl Posting {
    fn begin(session: Arc<Session>) -> Result<Self, Refusal> {
        {
            let mut inner = session.lock();
            inner.tick(Instant::now());
            match inner.machine.begin_post() {
                Ok(()) => {}
                Err(Refused::Closed | Refused::Farewell) => return Err(Refusal::UnknownSession),
                Err(Refused::WrongTransport) => return Err(Refusal::BadRequest),
                Err(Refused::Overlap) => {
                    inner.close(DisconnectReason::RequestOverlap);
                    return Err(Refusal::BadRequest);
                }
            }
        }
        Ok(Self { session, finished: false })
    }

    fn fail(&self, reason: DisconnectReason, refusal: Refusal) -> Refusal {
        self.session.close(reason);
        refusal
    }

    /// Hands one packet over as soon as there is room for it; false if the session is closed.
    async fn deliver(&self, packet: Result<Packet<'_>, packet::Malformed>) -> bool {
        let mut packet = Some(packet);
        poll_fn(|cx| {
            let mut inner = self.session.lock();
            if inner.machine.closed().is_some() {
                return Poll::Ready(false);
            }
            if inner.inbox_is_full() {
                if !inner.machine.is_paused() {
                    self.session.core.stats.inbox_pauses.fetch_add(1, Relaxed);
                    inner.machine.pause();
                }
                inner.poster = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let now = Instant::now();
            inner.machine.resume(now);
            if let Some(packet) = packet.take() {
                inner.receive(packet, now);
                wake(&mut inner.driver);
            }
            Poll::Ready(true)
        })
        .await
    }
}

impl Drop for Posting {
    fn drop(&mut self) {
        if self.finished {
            self.session.lock().machine.end_post();
        } else {
            self.session.close(DisconnectReason::TransportError);
        }
    }
}

/// Why there is no body.
enum NoBody {
    TooLarge,
    Broken,
    /// The session closed meanwhile.
    Closed,
}

impl Posting {
    /// The whole body in one piece: a chunk of HTTP may be a single byte, and is not kept as one.
    async fn read(&self, mut body: Incoming) -> Result<Vec<u8>, NoBody> {
        let limit = self.session.core.config.max_payload;
        if body.size_hint().lower() > limit as u64 {
            return Err(NoBody::TooLarge);
        }
        let mut whole = Vec::new();
        loop {
            let frame = tokio::select! {
                biased;
                () = self.closed() => return Err(NoBody::Closed),
                frame = body.frame() => frame,
            };
            let Some(frame) = frame else { return Ok(whole) };
            let frame = frame.map_err(|_| NoBody::Broken)?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - whole.len() {
                return Err(NoBody::TooLarge);
            }
            whole.extend_from_slice(&data);
        }
    }

    async fn closed(&self) {
        poll_fn(|cx| {
            let mut inner = self.session.lock();
            if inner.machine.closed().is_some() {
                return Poll::Ready(());
            }
            inner.poster = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A POST: a payload of packets.
async fn post(mut posting: Posting, body: Incoming) -> Result<Answer, Refusal> {
    let patience = posting.session.core.config.body_timeout;
    let body = match timeout(patience, posting.read(body)).await {
        Ok(Ok(body)) => body,
        Ok(Err(NoBody::Closed)) => return Err(Refusal::BadRequest),
        Ok(Err(NoBody::TooLarge)) => {
            return Err(posting.fail(DisconnectReason::PayloadTooLarge, Refusal::TooLarge));
        }
        Ok(Err(NoBody::Broken)) | Err(_) => {
            return Err(posting.fail(DisconnectReason::TransportError, Refusal::BadRequest));
        }
    };
    let Ok(body) = simdutf8::basic::from_utf8(&body) else {
        return Err(posting.fail(DisconnectReason::ProtocolError, Refusal::BadRequest));
    };
    for packet in packet::payload(body) {
        posting.session.core.stats.received(packet.as_ref().map_or(0, Packet::len));
        if !posting.deliver(packet).await {
            break;
        }
    }
    posting.finished = true;
    let closed = posting.session.lock().machine.closed();
    match closed {
        None | Some(DisconnectReason::TransportClose) => Ok(text("ok")),
        Some(_) => Err(Refusal::BadRequest),
    }
}
