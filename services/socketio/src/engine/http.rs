//! Requests: handshakes, polls and posts.

use super::answer::{Answer, Body, Owner, TEXT, answer, error_body, refusal, text};
use super::door::{Door, fetch, route_elsewhere, route_peer};
use super::forward::{Forwarding, Remote};
use super::machine::Refused;
use super::packet::{self, Packet};
use super::session::{Session, wake};
use super::upgrade::{Probing, Upgrade};
use super::{Core, Engine};
use crate::config::Cors;
use crate::handshake::{Handshake, Query, Transport};
use crate::reason::{CloseReason, DisconnectReason};
use crate::stats::Refusal;
use crate::websocket;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use tokio::time::{Instant, timeout};

/// Answers one request to an engine's path. What is to become of the connection after a 101 comes
/// with the answer.
///
/// The request takes effect now, not when the future is first polled: hyper drops the future of a
/// client that is gone already, and even then its session has to end.
pub(crate) fn respond(
    engine: Engine,
    door: Door,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> impl Future<Output = (Answer, Option<Upgrade>)> {
    let core = engine.core;
    let origin = request.headers().get(header::ORIGIN).cloned();
    let preflight = request.method() == Method::OPTIONS && core.config.cors != Cors::None;
    let routed = if door == Door::Peers {
        route_peer(&core, request)
    } else if !origin_allowed(&core.config.cors, origin.as_ref()) {
        Err(Refusal::Forbidden)
    } else if preflight {
        Ok(Routed::Done(preflight_answer(request.headers()), None))
    } else {
        route(&core, request, peer)
    };
    async move {
        let (mut response, upgrade) = finished(&core, routed).await;
        if door == Door::Clients {
            add_cors(&core.config.cors, origin, response.headers_mut());
        }
        (response, upgrade)
    }
}

async fn finished(core: &Core, routed: Result<Routed, Refusal>) -> (Answer, Option<Upgrade>) {
    finish(routed).await.unwrap_or_else(|refused| {
        core.stats.refused(refused);
        (refusal(refused), None)
    })
}

/// What a request has come to so far.
pub(super) enum Routed {
    Done(Answer, Option<Upgrade>),
    Poll(ParkedPoll),
    Post(Posting, Incoming),
    /// A request of a session that lives elsewhere.
    Forward(Forwarding, Incoming),
    /// A WebSocket for a session that lives elsewhere.
    Fetch(Remote, HeaderValue),
}

async fn finish(routed: Result<Routed, Refusal>) -> Result<(Answer, Option<Upgrade>), Refusal> {
    match routed? {
        Routed::Done(answer, upgrade) => Ok((answer, upgrade)),
        Routed::Poll(parked) => Ok((parked.await?, None)),
        Routed::Post(posting, body) => Ok((post(posting, body).await?, None)),
        Routed::Forward(forwarding, body) => Ok((forwarding.run(body).await?, None)),
        Routed::Fetch(remote, accept) => fetch(remote, accept).await,
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
    let uri = request.uri().clone();
    let query = Query::new(uri.query().unwrap_or_default()).ok_or(Refusal::BadRequest)?;
    let transport = match query.get("transport").as_deref() {
        Some("polling") => Transport::Polling,
        Some("websocket") => Transport::WebSocket,
        _ => return Err(Refusal::UnknownTransport),
    };
    let accept = websocket_key(&request);
    let session = match query.get("sid").filter(|sid| !sid.is_empty()) {
        Some(sid) => match core.find(&sid) {
            Some(session) => Some(session),
            None => return route_elsewhere(core, &sid, request, transport, accept),
        },
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
            Ok(Routed::Done(switching_to_websocket(accept), Some(upgrade)))
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
        return Ok(Routed::Done(switching_to_websocket(accept), Some(upgrade)));
    }
    let session = core.open(handshake, None, Instant::now())?;
    let packet = Bytes::from(session.open_packet());
    Ok(Routed::Done(
        answer(StatusCode::OK, TEXT, Body::packets(packet, Owner::Here(session))),
        None,
    ))
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

pub(super) fn switching(protocol: HeaderValue) -> Answer {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, protocol);
    response
}

pub(super) fn switching_to_websocket(accept: HeaderValue) -> Answer {
    let mut response = switching(HeaderValue::from_static("websocket"));
    response.headers_mut().insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    response
}

/// A GET: answered with what waits, or as soon as something does.
pub(super) fn poll(session: Arc<Session>) -> Result<Routed, Refusal> {
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
pub(super) struct ParkedPoll {
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
                Ok(answer(
                    StatusCode::OK,
                    TEXT,
                    Body::packets(body, Owner::Here(Arc::clone(session))),
                ))
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
pub(super) struct Posting {
    session: Arc<Session>,
    finished: bool,
}

impl Posting {
    pub(super) fn begin(session: Arc<Session>) -> Result<Self, Refusal> {
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
            let mut inner = self.session.lock();
            inner.machine.end_post();
            if inner.is_departing() {
                wake(&mut inner.driver);
            }
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
