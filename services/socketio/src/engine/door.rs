//! Requests of sessions that are elsewhere, and what other servers pass on of those that are here.

use super::answer::{Answer, error_body, refusal, text};
use super::forward::{Forwarding, Notice, Remote};
use super::http::{Posting, Routed, poll, switching, switching_to_websocket};
use super::machine::Refused;
use super::moving::{Arriving, Asked, Departing};
use super::session::Session;
use super::upgrade::{Probing, Upgrade};
use super::{Core, calls};
use crate::handshake::{Query, Transport};
use crate::stats::Refusal;
use http::header::{self, HeaderValue};
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use std::sync::Arc;

/// Whom a listener is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// Clients, of whom nothing is believed.
    Clients,
    /// Other servers.
    Peers,
}

/// A session that is not here may live on another server.
pub(super) fn route_elsewhere(
    core: &Arc<Core>,
    sid: &str,
    request: Request<Incoming>,
    transport: Transport,
    accept: Option<HeaderValue>,
) -> Result<Routed, Refusal> {
    let remote = Remote::new(core, sid).ok_or(Refusal::UnknownSession)?;
    match (transport, accept) {
        (Transport::WebSocket, Some(accept)) => {
            core.admits_now()?;
            Ok(Routed::Fetch(remote, accept))
        }
        (Transport::Polling, None) if [Method::GET, Method::POST].contains(request.method()) => {
            let forwarding = Forwarding::begin(remote, &request);
            Ok(Routed::Forward(forwarding, request.into_body()))
        }
        _ => Err(Refusal::BadRequest),
    }
}

/// What another server passes on: only about sessions that are here, so that nothing goes round in circles.
pub(super) fn route_peer(core: &Arc<Core>, request: Request<Incoming>) -> Result<Routed, Refusal> {
    let known = core.calls.as_ref().is_some_and(|calls| calls.knows(request.headers()));
    if !known {
        return Err(Refusal::Forbidden);
    }
    let query = Query::new(request.uri().query().unwrap_or_default());
    let query = query.ok_or(Refusal::BadRequest)?;
    let session = query.get("sid").and_then(|sid| core.find(&sid));
    let session = session.ok_or(Refusal::UnknownSession)?;
    let moves = request.headers().get(header::UPGRADE) == Some(&calls::MOVE);
    match *request.method() {
        Method::GET if moves => Ok(depart(session)),
        Method::GET => poll(session),
        Method::POST => Ok(Routed::Post(Posting::begin(session)?, request.into_body())),
        Method::DELETE => {
            let notice = query.get("notice").and_then(|notice| Notice::parse(&notice));
            session.notice(notice.ok_or(Refusal::BadRequest)?);
            Ok(Routed::Done(text("ok"), None))
        }
        _ => Err(Refusal::BadMethod),
    }
}

fn depart(session: Arc<Session>) -> Routed {
    let begun = session.lock().machine.begin_probe();
    match begun {
        Ok(()) => {
            let departing = Upgrade::Depart(Departing(Probing(session)));
            Routed::Done(switching(calls::MOVE), Some(departing))
        }
        Err(Refused::Closed | Refused::Farewell) => {
            Routed::Done(refusal(Refusal::UnknownSession), None)
        }
        Err(Refused::Overlap | Refused::WrongTransport) => {
            Routed::Done(error_body(StatusCode::CONFLICT, r#"{"message":"Upgraded"}"#), None)
        }
    }
}

/// Asks for a session, whose client is not to notice that it is fetched.
pub(super) async fn fetch(
    remote: Remote,
    accept: HeaderValue,
) -> Result<(Answer, Option<Upgrade>), Refusal> {
    let core = Arc::clone(&remote.core);
    let upgrade = match Arriving::ask(remote).await? {
        Asked::Yes(arriving) => Upgrade::Arrive(arriving),
        Asked::Taken => Upgrade::Dismiss(core),
    };
    Ok((switching_to_websocket(accept), Some(upgrade)))
}
