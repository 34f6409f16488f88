//! Polls of sessions that live elsewhere: passed on to their server, once.

use super::Core;
use super::answer::{Answer, Body, Owner, answer};
use super::calls::{CallError, Calls};
use crate::reason::DisconnectReason;
use crate::stats::{Forwarded, Refusal};
use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

/// What a server that is asked for something may take beyond the timings of the protocol.
const SLACK: Duration = Duration::from_secs(5);
/// How long a notice may take.
const NOTICE: Duration = Duration::from_secs(5);
/// What an answer may have beyond its packets.
const OVERHEAD: usize = 64 * 1024;

/// A session that lives on another server.
#[derive(Clone)]
pub(crate) struct Remote {
    pub(super) core: Arc<Core>,
    pub(super) calls: Arc<Calls>,
    sid: Box<str>,
}

/// What the owner of a session is told, without a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// The client gave up a poll: the end of the session, unless it is for an upgrade.
    GivenUp,
    /// Something of it was lost, or could not be passed on.
    Lost,
    /// The client sent more than it may.
    TooLarge,
    /// The server that a poll came by is going away: the client is to poll by another one.
    Release,
}

impl Notice {
    const ALL: [Self; 4] = [Self::GivenUp, Self::Lost, Self::TooLarge, Self::Release];

    fn as_str(self) -> &'static str {
        match self {
            Self::GivenUp => "given_up",
            Self::Lost => "lost",
            Self::TooLarge => "too_large",
            Self::Release => "release",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|notice| notice.as_str() == text)
    }

    /// The reason for which it ends the session, if it does by itself.
    pub(super) fn reason(self) -> Option<DisconnectReason> {
        match self {
            Self::Lost => Some(DisconnectReason::TransportError),
            Self::TooLarge => Some(DisconnectReason::PayloadTooLarge),
            Self::GivenUp | Self::Release => None,
        }
    }
}

impl Remote {
    /// The session behind this id, if the id is of a server's that is not this one.
    pub(super) fn new(core: &Arc<Core>, sid: &str) -> Option<Self> {
        let calls = core.calls.clone()?;
        let (server, _) = sid.split_once('.')?;
        let own = core.config.id_prefix.split('.').next();
        // It becomes part of requests.
        let plain = sid.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
        let elsewhere = !server.is_empty() && own != Some(server) && plain && sid.len() <= 128;
        elsewhere.then(|| Self { core: Arc::clone(core), calls, sid: sid.into() })
    }

    pub(super) fn server(&self) -> &str {
        self.sid.split('.').next().unwrap_or_default()
    }

    pub(super) fn target(&self, parameters: &str) -> String {
        format!("{}?{parameters}&sid={}", self.core.config.path, self.sid)
    }

    /// Tells the owner, in the background. If that fails, the session ends by its heartbeat.
    pub(super) fn tell(&self, notice: Notice) {
        let Ok(permit) = Arc::clone(&self.calls.notices).try_acquire_owned() else { return };
        let remote = self.clone();
        tokio::spawn(async move {
            let told = async {
                let address = remote.calls.find(remote.server()).await?;
                let target = remote.target(&format!("notice={}", notice.as_str()));
                let request = Request::delete(target).body(Full::default());
                let request = request.map_err(|_| CallError::Broken)?;
                remote.calls.call(address, request, OVERHEAD).await
            };
            if !matches!(timeout(NOTICE, told).await, Ok(Ok(_))) {
                tracing::debug!(server = remote.server(), ?notice, "a notice in vain");
            }
            drop(permit);
        });
    }

    /// What was answered for it did not reach the client.
    pub(super) fn lost(&self) {
        self.tell(Notice::Lost);
    }
}

/// A request that is being passed on. If it goes away, so does the session, as it would here.
pub(super) struct Forwarding {
    remote: Remote,
    method: Method,
    target: PathAndQuery,
    finished: bool,
}

impl Forwarding {
    pub(super) fn begin(remote: Remote, request: &Request<Incoming>) -> Self {
        let target = request.uri().path_and_query().cloned();
        let target = target.unwrap_or_else(|| PathAndQuery::from_static("/"));
        Self { remote, method: request.method().clone(), target, finished: false }
    }

    pub(super) async fn run(mut self, body: Incoming) -> Result<Answer, Refusal> {
        let permit = Arc::clone(&self.remote.calls.in_flight).try_acquire_owned();
        let Ok(permit) = permit else {
            return Err(self.fail(Forwarded::TooMany, Notice::Lost, Refusal::Full));
        };
        let body = if self.method == Method::POST { self.read(body).await? } else { Bytes::new() };
        let answered = match timeout(self.patience(), self.ask(body)).await {
            Ok(Ok(response)) => {
                self.finished = true;
                self.remote.core.stats.forwarded(Forwarded::Answered);
                return Ok(self.answer(response, permit));
            }
            Ok(Err(CallError::Unknown)) => Forwarded::UnknownServer,
            Ok(Err(CallError::Unreachable)) => Forwarded::Unreachable,
            Ok(Err(CallError::Broken | CallError::Refused)) => Forwarded::Broken,
            Err(_) => Forwarded::TimedOut,
        };
        Err(self.fail(answered, Notice::Lost, Refusal::UnknownSession))
    }

    /// Longer than a poll can last: it is answered with the next ping at the latest, or the session
    /// ends for want of a pong.
    fn patience(&self) -> Duration {
        let config = &self.remote.core.config;
        config.ping_interval + config.ping_timeout + config.write_timeout + SLACK
    }

    async fn ask(&self, body: Bytes) -> Result<Response<Bytes>, CallError> {
        let Remote { core, calls, .. } = &self.remote;
        let address = calls.find(self.remote.server()).await?;
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = self.target.clone().into();
        let limit = core.config.max_payload + core.config.outbox_bytes * 2 + OVERHEAD;
        let call = calls.call(address, request, limit);
        tokio::pin!(call);
        tokio::select! {
            response = &mut call => return response,
            // The owner answers it then, and the client polls by somebody else.
            () = core.leaving.cancelled() => self.remote.tell(Notice::Release),
        }
        call.await
    }

    /// The whole body: half of one must not begin to take effect elsewhere.
    async fn read(&mut self, body: Incoming) -> Result<Bytes, Refusal> {
        let config = &self.remote.core.config;
        let read = Limited::new(body, config.max_payload).collect();
        match timeout(config.body_timeout, read).await {
            Ok(Ok(body)) => Ok(body.to_bytes()),
            Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
                Err(self.fail(Forwarded::BadBody, Notice::TooLarge, Refusal::TooLarge))
            }
            Ok(Err(_)) | Err(_) => {
                Err(self.fail(Forwarded::BadBody, Notice::Lost, Refusal::BadRequest))
            }
        }
    }

    fn fail(&mut self, outcome: Forwarded, notice: Notice, refusal: Refusal) -> Refusal {
        self.finished = true;
        tracing::debug!(server = self.remote.server(), ?outcome, "not passed on");
        self.remote.core.stats.forwarded(outcome);
        // There is nobody to be told.
        if !matches!(outcome, Forwarded::UnknownServer | Forwarded::Unreachable) {
            self.remote.tell(notice);
        }
        refusal
    }

    fn answer(&self, response: Response<Bytes>, permit: OwnedSemaphorePermit) -> Answer {
        let (head, data) = response.into_parts();
        let carries = self.method == Method::GET && head.status == StatusCode::OK;
        let body = if carries {
            Body::packets(data, Owner::Elsewhere { remote: self.remote.clone(), _permit: permit })
        } else {
            Body::new(data)
        };
        let content_type = head.headers.get(header::CONTENT_TYPE).cloned();
        answer(head.status, content_type.unwrap_or(HeaderValue::from_static("text/plain")), body)
    }
}

impl Drop for Forwarding {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        self.remote.core.stats.forwarded(Forwarded::GivenUp);
        let given_up = if self.method == Method::GET { Notice::GivenUp } else { Notice::Lost };
        self.remote.tell(given_up);
    }
}
