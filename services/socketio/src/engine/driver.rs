//! The one task of a session. It reads, writes, keeps time and runs the handler, side by side:
//! none of them waits for another.

use super::link::{Broken, Link};
use super::session::Session;
use super::timer::Timer;
use super::{Handle, Handler, Unfinished};
use crate::reason::{CloseReason, DisconnectReason};
use crate::websocket::code;
use bytes::Bytes;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Rounds before the runtime may look at other tasks.
const ROUNDS: usize = 16;
/// How long a close frame, and what was queued before it, may take.
const FAREWELL: Duration = Duration::from_secs(2);
/// How long a poll that crossed the client's goodbye is waited for.
const NOOP_GRACE: Duration = Duration::from_millis(250);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

pub(crate) struct Driver<H: Handler> {
    handler: Arc<H>,
    session: Arc<Session>,
    work: Work<H::Connection>,
    link: Option<Box<Link>>,
    timer: Timer,
    stage: Stage,
    /// Held until the handler has been told of the end.
    unfinished: Option<Unfinished>,
}

/// What the handler is doing; its future exists only while it is doing something.
enum Work<C> {
    Idle(C),
    Busy(Boxed<C>),
    /// The session is to go to another server.
    Departing(Boxed<(C, Option<Vec<u8>>)>),
    Closing(Boxed<()>),
    Done,
}

enum Stage {
    Open,
    /// Saying goodbye, at most until then.
    Closed {
        reason: DisconnectReason,
        until: Instant,
    },
}

enum Next {
    Again,
    Wait,
    Done,
}

impl<H: Handler> Driver<H> {
    pub(super) fn new(
        handler: Arc<H>,
        session: Arc<Session>,
        link: Option<Box<Link>>,
        unfinished: Unfinished,
        arrived: Option<Bytes>,
    ) -> Self {
        let handle = Handle(Arc::clone(&session));
        let work = match arrived {
            None => Work::Idle(handler.open(handle)),
            Some(state) => {
                let handler = Arc::clone(&handler);
                Work::Busy(Box::pin(async move { handler.import(handle, state).await }))
            }
        };
        if let Some(link) = &link {
            session.lock().stream = Arc::downgrade(link.stream());
        }
        let timer = Timer::new(Instant::now() + session.core.config.ping_interval);
        let stage = Stage::Open;
        Self { handler, session, work, link, timer, stage, unfinished: Some(unfinished) }
    }

    fn round(&mut self, cx: &mut Context<'_>) -> Next {
        let now = Instant::now();
        let closed = {
            let mut inner = self.session.lock();
            if !inner.driver.as_ref().is_some_and(|driver| driver.will_wake(cx.waker())) {
                inner.driver = Some(cx.waker().clone());
            }
            inner.tick(now);
            if let Some(link) = inner.handover.take() {
                inner.stream = Arc::downgrade(link.stream());
                self.link = Some(link);
            }
            inner.machine.closed()
        };
        match (closed, &self.stage) {
            (None, _) => self.open_round(cx, now),
            (Some(reason), Stage::Open) => {
                self.begin_close(reason, None, now);
                Next::Again
            }
            (Some(_), &Stage::Closed { reason, until }) => {
                self.closed_round(cx, reason, until, now)
            }
        }
    }

    fn open_round(&mut self, cx: &mut Context<'_>, now: Instant) -> Next {
        self.work(cx);
        let mut stalled = None;
        let mut again = false;
        if let Some(link) = &mut self.link {
            match link.poll_read(cx, &self.session, now) {
                Poll::Ready(Ok(())) => again = true,
                Poll::Ready(Err(broken)) => return self.broken(broken, now),
                Poll::Pending => {}
            }
            if let Poll::Ready(Err(broken)) = link.poll_write(cx, &self.session, now) {
                return self.broken(broken, now);
            }
            stalled = link.stalled().map(|since| since + self.session.core.config.write_timeout);
            if stalled.is_some_and(|until| until <= now) {
                self.session.close(DisconnectReason::WriteTimeout);
                return Next::Again;
            }
        }
        if again {
            return Next::Again;
        }
        let due = self.session.lock().machine.next_due();
        match [due, stalled].into_iter().flatten().min() {
            Some(at) if self.timer.poll(cx, at).is_ready() => Next::Again,
            _ => Next::Wait,
        }
    }

    /// Runs the handler until it waits, or has nothing to do.
    fn work(&mut self, cx: &mut Context<'_>) {
        loop {
            match std::mem::replace(&mut self.work, Work::Done) {
                Work::Idle(connection) => match self.next_work(connection) {
                    idle @ Work::Idle(_) => {
                        self.work = idle;
                        return;
                    }
                    busy => self.work = busy,
                },
                Work::Busy(mut future) => match future.as_mut().poll(cx) {
                    Poll::Ready(connection) => self.work = Work::Idle(connection),
                    Poll::Pending => {
                        self.work = Work::Busy(future);
                        return;
                    }
                },
                Work::Departing(mut future) => match future.as_mut().poll(cx) {
                    Poll::Ready((connection, state)) => self.depart(connection, state),
                    Poll::Pending => {
                        self.work = Work::Departing(future);
                        return;
                    }
                },
                Work::Closing(mut future) => match future.as_mut().poll(cx) {
                    Poll::Ready(()) => self.unfinished = None,
                    Poll::Pending => {
                        self.work = Work::Closing(future);
                        return;
                    }
                },
                Work::Done => return,
            }
        }
    }

    fn next_work(&self, mut connection: H::Connection) -> Work<H::Connection> {
        let handler = Arc::clone(&self.handler);
        let mut inner = self.session.lock();
        if std::mem::take(&mut inner.nudged) {
            return Work::Busy(Box::pin(async move {
                handler.woken(&mut connection).await;
                connection
            }));
        }
        let open = matches!(self.stage, Stage::Open);
        if open && inner.is_departing() {
            return Work::Departing(Box::pin(async move {
                let state = handler.export(&mut connection).await;
                (connection, state)
            }));
        }
        if let Some(message) = inner.next_message() {
            return Work::Busy(Box::pin(async move {
                handler.message(&mut connection, message).await;
                connection
            }));
        }
        match self.stage {
            Stage::Open => Work::Idle(connection),
            Stage::Closed { reason, .. } => {
                Work::Closing(Box::pin(async move { handler.close(connection, reason).await }))
            }
        }
    }

    /// The session is another server's now, and its handler is not told of an end; or it ends here.
    fn depart(&mut self, connection: H::Connection, state: Option<Vec<u8>>) {
        if state.is_some_and(|state| self.session.give_away(state, Instant::now())) {
            self.unfinished = None;
        } else {
            self.session.close(DisconnectReason::TransportError);
            self.work = Work::Idle(connection);
        }
    }

    fn broken(&mut self, Broken { reason, code }: Broken, now: Instant) -> Next {
        self.session.close(reason);
        // Somebody else may have closed it a moment ago, for another reason.
        let reason = self.session.lock().machine.closed().unwrap_or(reason);
        if code.is_none() {
            // Nobody is there any more to say goodbye to.
            self.link = None;
        }
        self.begin_close(reason, code, now);
        Next::Again
    }

    /// From here on the session is no longer found, and its handler is told as soon as it is free.
    fn begin_close(&mut self, reason: DisconnectReason, code: Option<u16>, now: Instant) {
        let core = &self.session.core;
        core.stats.closed(reason);
        tracing::debug!(session = self.session.key, %reason, "session closed");
        let owes_noop = {
            let mut inner = self.session.lock();
            if offends(reason) {
                inner.forget_messages();
            }
            inner.machine.owes_noop()
        };
        if !owes_noop {
            core.remove(&self.session.sid);
        }
        let mut patience = if owes_noop { NOOP_GRACE } else { Duration::ZERO };
        if let Some(link) = &mut self.link {
            let flush = matches!(
                reason,
                DisconnectReason::ServerClose(CloseReason::GoingAway | CloseReason::Policy)
            );
            link.begin_farewell(&self.session, code.unwrap_or(close_code(reason)), flush);
            patience = FAREWELL.min(core.config.write_timeout);
        }
        self.stage = Stage::Closed { reason, until: now + patience };
    }

    fn closed_round(
        &mut self,
        cx: &mut Context<'_>,
        reason: DisconnectReason,
        until: Instant,
        now: Instant,
    ) -> Next {
        self.work(cx);
        if until <= now {
            self.link = None;
        } else if let Some(link) = &mut self.link
            && link.poll_farewell(cx).is_ready()
        {
            self.link = None;
            self.stage = Stage::Closed { reason, until: now };
        }
        let owes_noop = self.session.lock().machine.owes_noop();
        if self.link.is_some() || (owes_noop && until > now) {
            return match self.timer.poll(cx, until) {
                Poll::Ready(()) => Next::Again,
                Poll::Pending => Next::Wait,
            };
        }
        // It was left there for the poll that is owed a noop, if any.
        self.session.core.remove(&self.session.sid);
        if matches!(self.work, Work::Done) { Next::Done } else { Next::Wait }
    }
}

impl<H: Handler> Future for Driver<H> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..ROUNDS {
            match self.round(cx) {
                Next::Again => {}
                Next::Wait => return Poll::Pending,
                Next::Done => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// The handler is moved in and out of its futures, and nothing here is pinned in place.
impl<H: Handler> Unpin for Driver<H> {}

impl<H: Handler> Drop for Driver<H> {
    /// A handler that panicked, or a runtime that stops, must not leave a session behind.
    fn drop(&mut self) {
        self.session.close(DisconnectReason::TransportError);
        self.session.core.remove(&self.session.sid);
    }
}

/// Whether what the client said before is no longer to be heard. Otherwise it is: a POST may have been
/// told that it was received.
fn offends(reason: DisconnectReason) -> bool {
    use DisconnectReason as Why;
    matches!(
        reason,
        Why::ProtocolError
            | Why::PayloadTooLarge
            | Why::RequestOverlap
            | Why::TooManyMessages
            | Why::ServerClose(CloseReason::Policy)
    )
}

fn close_code(reason: DisconnectReason) -> u16 {
    use DisconnectReason as Why;
    match reason {
        Why::ServerClose(CloseReason::GoingAway) | Why::PingTimeout => code::GOING_AWAY,
        Why::ServerClose(CloseReason::Slow) | Why::SlowConsumer | Why::WriteTimeout => {
            code::TRY_AGAIN
        }
        Why::ServerClose(CloseReason::Policy) | Why::ConnectTimeout | Why::TooManyMessages => {
            code::POLICY
        }
        Why::ProtocolError | Why::RequestOverlap => code::PROTOCOL,
        Why::PayloadTooLarge => code::TOO_BIG,
        Why::ClientNamespace
        | Why::ServerNamespace
        | Why::TransportClose
        | Why::TransportError
        | Why::Moved => code::NORMAL,
    }
}
