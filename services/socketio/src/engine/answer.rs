//! What requests are answered with.

use super::forward::Remote;
use super::session::Session;
use crate::reason::DisconnectReason;
use crate::stats::Refusal;
use crate::wire::Exchange;
use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Response, StatusCode};
use http_body::{Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::sync::OwnedSemaphorePermit;

/// The session whose packets an answer carries.
pub(crate) enum Owner {
    Here(Arc<Session>),
    /// The permit is held until they are written.
    Elsewhere {
        remote: Remote,
        _permit: OwnedSemaphorePermit,
    },
}

impl Owner {
    /// They did not reach the client, and are nowhere any more.
    pub(crate) fn lost(&self) {
        match self {
            Self::Here(session) => session.close(DisconnectReason::TransportError),
            Self::Elsewhere { remote, .. } => remote.lost(),
        }
    }
}

/// The body of every answer.
pub(crate) struct Body {
    data: Option<Bytes>,
    /// Whose packets these are: if nobody takes them, they are lost, and the session with them.
    owner: Option<Owner>,
    /// What it is written to.
    exchange: Option<Arc<Exchange>>,
}

impl Body {
    pub(crate) fn new(data: impl Into<Bytes>) -> Self {
        Self { data: Some(data.into()), owner: None, exchange: None }
    }

    pub(super) fn packets(data: Bytes, owner: Owner) -> Self {
        Self { data: Some(data), owner: Some(owner), exchange: None }
    }

    pub(super) fn empty() -> Self {
        Self { data: None, owner: None, exchange: None }
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
        if let (Some(owner), Some(exchange)) = (self.owner.take(), &self.exchange) {
            exchange.taken(owner);
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
        if let (Some(_), Some(owner)) = (&self.data, &self.owner) {
            owner.lost();
        }
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(super) const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=UTF-8");

pub(super) type Answer = Response<Body>;

pub(super) fn answer(status: StatusCode, content_type: HeaderValue, body: Body) -> Answer {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

pub(super) fn text(body: &'static str) -> Answer {
    answer(StatusCode::OK, TEXT, Body::new(body))
}

/// A JSON answer outside of the protocol.
pub(crate) fn error_body(status: StatusCode, body: &'static str) -> Answer {
    answer(status, JSON, Body::new(body))
}

pub(super) fn refusal(refusal: Refusal) -> Answer {
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
