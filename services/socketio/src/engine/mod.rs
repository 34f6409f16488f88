//! An Engine.IO 4 server: messages of text and bytes over long-polling and WebSocket.
//!
//! [`Engine`] is the layer below [`Server`](crate::Server), and can be used alone: implement
//! [`Handler`] and mount the engine on a [`Router`](crate::Router).
//!
//! How the parts stand to each other: a `machine` knows the protocol and the clock, and does no
//! I/O; a `session` puts it under one lock together with the outbox and the inbox; a `driver` is
//! the one task of a session; `http` answers requests, in the words of
//! `answer`; a `link` is a WebSocket, and `upgrade` leads there.

mod answer;
mod calls;
mod door;
mod driver;
mod forward;
mod http;
mod link;
mod machine;
mod moving;
mod outbox;
mod pace;
mod packet;
mod session;
mod timer;
mod transfer;
mod upgrade;

pub(crate) use self::answer::{Body, Owner, error_body};
pub(crate) use self::door::Door;
pub(crate) use self::http::respond;
pub use self::session::Handle;
pub(crate) use self::session::Session;
pub(crate) use self::transfer::{Packed, Said};
pub(crate) use self::upgrade::Upgrade;

use self::calls::Calls;
use self::driver::Driver;
use self::link::Link;
use self::transfer::Transfer;
use crate::config::Config;
use crate::handshake::{Handshake, Transport};
use crate::peers::Peers;
use crate::reason::{CloseReason, DisconnectReason};
use crate::stats::{Now, Refusal, Stats, StatsSnapshot};
use bytes::Bytes;
use hashbrown::HashMap;
use parking_lot::Mutex;
use rand::seq::SliceRandom as _;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The application behind an Engine.IO server.
pub trait Handler: Send + Sync + 'static {
    /// What is kept for each session.
    type Connection: Send + 'static;

    /// A session opened.
    fn open(&self, handle: Handle) -> Self::Connection;

    /// One message, in order: the next is handed over when this future is done. A future that
    /// panics ends the session without [`Handler::close`].
    fn message(
        &self,
        connection: &mut Self::Connection,
        message: Message,
    ) -> impl Future<Output = ()> + Send;

    /// The session ended. Called exactly once, after the last message.
    fn close(
        &self,
        connection: Self::Connection,
        reason: DisconnectReason,
    ) -> impl Future<Output = ()> + Send;

    /// The client goes on over a WebSocket to another server: what has to be known there. None: the
    /// session cannot go along, and is closed. If it goes, [`Handler::close`] is not called for it.
    fn export(
        &self,
        _connection: &mut Self::Connection,
    ) -> impl Future<Output = Option<Vec<u8>>> + Send {
        std::future::ready(None)
    }

    /// A session came from another server, with what [`Handler::export`] gave there.
    fn import(
        &self,
        handle: Handle,
        _state: Bytes,
    ) -> impl Future<Output = Self::Connection> + Send {
        std::future::ready(self.open(handle))
    }

    /// The layer above asked for its turn.
    #[doc(hidden)]
    fn woken(&self, _connection: &mut Self::Connection) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A message from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
        }
    }
}

/// A server cannot be one of several.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPeers {
    /// [`Config::id_prefix`] is no name and a dot.
    #[error("the prefix of session ids is not a name and a dot")]
    Name,
    /// The secret has characters that a header cannot have.
    #[error("the secret has to be visible ASCII")]
    Secret,
}

/// An Engine.IO server at one path. Cheap to clone; all clones are the same server.
#[derive(Clone)]
pub struct Engine {
    core: Arc<Core>,
}

impl Engine {
    /// An engine that is not yet reachable: mount it on a [`Router`](crate::Router).
    pub fn new<H: Handler>(config: Config, handler: H) -> Self {
        Self::build(config, handler, None)
    }

    /// One of several servers behind a balancer that sends any request of a session to any of them:
    /// polls are passed on to the session's server, and a session moves to where its WebSocket
    /// arrives, so the handler has to implement [`Handler::export`]. [`Config::id_prefix`] has to be
    /// this server's name, of letters, digits, `-` and `_`, and a dot. What others pass on is taken
    /// by [`Router::mount_peers`](crate::Router::mount_peers).
    pub fn with_peers<H: Handler>(
        config: Config,
        handler: H,
        peers: Peers,
    ) -> Result<Self, InvalidPeers> {
        let name = config.id_prefix.strip_suffix('.').ok_or(InvalidPeers::Name)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(InvalidPeers::Name);
        }
        let calls = Calls::new(peers).ok_or(InvalidPeers::Secret)?;
        Ok(Self::build(config, handler, Some(Arc::new(calls))))
    }

    fn build<H: Handler>(config: Config, handler: H, calls: Option<Arc<Calls>>) -> Self {
        let handler = Arc::new(handler);
        let start = move |session, link, unfinished, arrived| {
            tokio::spawn(Driver::new(Arc::clone(&handler), session, link, unfinished, arrived));
        };
        Self {
            core: Arc::new(Core {
                config,
                stats: Stats::default(),
                sessions: Mutex::default(),
                draining: AtomicBool::new(false),
                unfinished: AtomicUsize::new(0),
                finished: Notify::new(),
                leaving: CancellationToken::new(),
                calls,
                start: Box::new(start),
            }),
        }
    }

    /// From now on new sessions are refused with 503.
    pub fn refuse_new(&self) {
        self.core.draining.store(true, Ordering::SeqCst);
    }

    /// Whether new sessions are refused.
    pub fn refuses_new(&self) -> bool {
        self.core.draining.load(Ordering::SeqCst)
    }

    /// Refuses new sessions, and closes those that are open in random order, one `every` after the other.
    /// Until its turn a session is served as before. Returns when the last has been closed.
    pub async fn close_paced(&self, reason: CloseReason, every: Duration) {
        self.refuse_new();
        let mut sessions: Vec<_> = self.core.sessions.lock().values().cloned().collect();
        sessions.shuffle(&mut rand::rng());
        let close = |session: Arc<Session>| {
            let open = !session.is_closed();
            session.close(DisconnectReason::ServerClose(reason));
            open
        };
        pace::paced(sessions, every, close).await;
    }

    /// Refuses new sessions, closes all, and waits until their handlers have been told, and until polls
    /// of other servers' sessions have been released.
    pub async fn close_all(&self, reason: CloseReason) {
        self.refuse_new();
        self.core.leaving.cancel();
        let sessions: Vec<_> = self.core.sessions.lock().values().cloned().collect();
        for session in sessions {
            session.close(DisconnectReason::ServerClose(reason));
        }
        loop {
            let finished = self.core.finished.notified();
            if self.core.unfinished.load(Ordering::SeqCst) == 0 {
                break;
            }
            finished.await;
        }
        if let Some(calls) = &self.core.calls {
            calls.finished().await;
        }
    }

    /// Open sessions.
    pub fn connections(&self) -> usize {
        self.core.sessions.lock().len()
    }

    /// What has been counted so far. It looks at every session.
    pub fn stats(&self) -> StatsSnapshot {
        let sessions: Vec<_> = self.core.sessions.lock().values().cloned().collect();
        let waiting = sessions.iter().map(|session| session.lock().outbox.waiting());
        let (outbox_frames, outbox_bytes) =
            waiting.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
        self.core.stats.snapshot(Now {
            connections: sessions.len(),
            max_connections: self.core.config.max_connections,
            outbox_frames,
            outbox_bytes,
        })
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine").field("path", &self.core.config.path).finish_non_exhaustive()
    }
}

/// What all sessions of an engine share.
pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) stats: Stats,
    sessions: Mutex<HashMap<Box<str>, Arc<Session>>>,
    draining: AtomicBool,
    /// Sessions whose handler has not yet been told of the end.
    unfinished: AtomicUsize,
    finished: Notify,
    /// Cancelled when this server goes: polls of other servers' sessions have to come by somebody else.
    leaving: CancellationToken,
    calls: Option<Arc<Calls>>,
    start: Box<Start>,
}

/// Spawns the driver of a session, for the engine's kind of handler.
type Start = dyn Fn(Arc<Session>, Option<Box<Link>>, Unfinished, Option<Bytes>) + Send + Sync;

impl Core {
    /// Whether there would be room for a session.
    fn admits(&self, open: usize) -> Result<(), Refusal> {
        if self.draining.load(Ordering::SeqCst) {
            return Err(Refusal::Draining);
        }
        if open >= self.config.max_connections { Err(Refusal::Full) } else { Ok(()) }
    }

    fn admits_now(&self) -> Result<(), Refusal> {
        let open = self.sessions.lock().len();
        self.admits(open)
    }

    /// Opens a session and starts its driver. Over a WebSocket the first frame is the open packet;
    /// over polling it is the answer to the request.
    fn open(
        self: &Arc<Self>,
        handshake: Handshake,
        link: Option<Box<Link>>,
        now: Instant,
    ) -> Result<Arc<Session>, Refusal> {
        let transport = handshake.transport();
        let session = Session::new(Arc::clone(self), Arc::new(handshake), transport, now);
        let session = Arc::new(session);
        let opened = match transport {
            Transport::Polling => &self.stats.opened_polling,
            Transport::WebSocket => {
                let open = packet::frame(&session.open_packet());
                session.lock().outbox.push_control(open);
                &self.stats.opened_websocket
            }
        };
        let unfinished = {
            let mut sessions = self.sessions.lock();
            self.admits(sessions.len())?;
            sessions.insert(session.sid.clone(), Arc::clone(&session));
            // Under the lock: `close_all` waits for this session, or it was refused.
            Unfinished::new(Arc::clone(self))
        };
        (self.start)(Arc::clone(&session), link, unfinished, None);
        opened.fetch_add(1, Ordering::Relaxed);
        Ok(session)
    }

    /// Takes over a session of another server's, unless there is no room: then its client has to come
    /// again.
    fn adopt(
        self: &Arc<Self>,
        transfer: Transfer,
        link: Box<Link>,
        now: Instant,
    ) -> Result<(), Box<Link>> {
        let (session, state) = Session::arrived(Arc::clone(self), transfer, now);
        let session = Arc::new(session);
        let unfinished = {
            let mut sessions = self.sessions.lock();
            if self.admits(sessions.len()).is_err() {
                return Err(link);
            }
            sessions.insert(session.sid.clone(), Arc::clone(&session));
            Unfinished::new(Arc::clone(self))
        };
        (self.start)(session, Some(link), unfinished, Some(state));
        Ok(())
    }

    fn find(&self, sid: &str) -> Option<Arc<Session>> {
        self.sessions.lock().get(sid).cloned()
    }

    fn remove(&self, sid: &str) {
        self.sessions.lock().remove(sid);
    }
}

/// One session whose handler has not yet been told of the end.
struct Unfinished(Arc<Core>);

impl Unfinished {
    fn new(core: Arc<Core>) -> Self {
        core.unfinished.fetch_add(1, Ordering::SeqCst);
        Self(core)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if self.0.unfinished.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.0.finished.notify_waiters();
        }
    }
}
