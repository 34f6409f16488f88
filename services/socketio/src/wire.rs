//! A TCP connection under HTTP, with what hyper does not do: a time for the head alone, and knowing
//! whether an answer was written.

use crate::engine::Owner;
use parking_lot::Mutex;
use std::future::Future as _;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What is going on on a connection: known to its wire, to the service, and to the answer.
#[derive(Default)]
pub(crate) struct Exchange(Mutex<State>);

#[derive(Default)]
struct State {
    turn: Turn,
    /// A head did not come in time.
    late: bool,
    /// Whose packets hyper has taken, and not yet written.
    unwritten: Option<Owner>,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Turn {
    /// A head is due: the first, or one that has begun.
    #[default]
    Head,
    /// A request is being answered.
    Answer,
    /// There is an answer, not written yet.
    Write,
    /// The last was answered: the client may take its time.
    Idle,
}

impl Exchange {
    /// A head has come.
    pub(crate) fn begin(&self) {
        self.0.lock().turn = Turn::Answer;
    }

    /// There is an answer.
    pub(crate) fn end(&self) {
        self.0.lock().turn = Turn::Write;
    }

    /// Packets of this session are about to be written.
    pub(crate) fn taken(&self, owner: Owner) {
        self.0.lock().unwritten = Some(owner);
    }

    /// The connection has ended. Packets that were not written are lost, and the session with them.
    pub(crate) fn close(&self) {
        let unwritten = self.0.lock().unwritten.take();
        if let Some(owner) = unwritten {
            owner.lost();
        }
    }

    /// Hyper holds nothing that is to be written.
    fn written(&self) {
        let mut state = self.0.lock();
        state.unwritten = None;
        if state.turn == Turn::Write {
            state.turn = Turn::Idle;
        }
    }

    /// Something was read: whether it began a new head.
    fn begin_head(&self) -> bool {
        let mut state = self.0.lock();
        let begins = state.turn == Turn::Idle;
        if begins {
            state.turn = Turn::Head;
        }
        begins
    }

    /// Whether the connection has ended because a head did not come in time.
    pub(crate) fn was_late(&self) -> bool {
        self.0.lock().late
    }

    fn awaits_head(&self) -> bool {
        self.0.lock().turn == Turn::Head
    }
}

pub(crate) struct Wire {
    stream: TcpStream,
    exchange: Arc<Exchange>,
    header_timeout: Duration,
    /// When the head that is due has to be there.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Wire {
    /// The first head is due from the beginning, later ones from their first byte.
    pub(crate) fn new(
        stream: TcpStream,
        exchange: Arc<Exchange>,
        header_timeout: Duration,
    ) -> Self {
        Self { stream, exchange, header_timeout, deadline: None }
    }

    pub(crate) fn into_stream(self) -> TcpStream {
        self.stream
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if Pin::new(&mut self.stream).poll_read(cx, buffer)?.is_ready() {
            if self.exchange.begin_head() {
                self.deadline = None;
            }
            return Poll::Ready(Ok(()));
        }
        if !self.exchange.awaits_head() {
            self.deadline = None;
            return Poll::Pending;
        }
        let timeout = self.header_timeout;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(deadline.as_mut().poll(cx));
        self.exchange.0.lock().late = true;
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// Called by hyper when its own buffer is empty: the system has everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.exchange.written();
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
