//! A WebSocket under a session: the socket, what was read too early, what is being written.

use super::packet::Packet;
use super::session::Session;
use crate::reason::DisconnectReason;
use crate::websocket::{self, Decoder, Item, code};
use bytes::Bytes;
use socket2::SockRef;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice, Read as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::time::Instant;

const READ_BUFFER: usize = 64 * 1024;
/// Frames of one `writev`.
const BATCH: usize = 64;

thread_local! {
    /// What a connection reads into: it needs no buffer of its own unless a frame is incomplete.
    static BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BUFFER].into_boxed_slice());
}

pub(crate) struct Link {
    /// Shared with whoever may write at once while nothing waits; see `Inner::write_now`.
    stream: Arc<TcpStream>,
    decoder: Decoder,
    /// Read, but not decoded yet: the inbox was full, or another task read it.
    carry: Carry,
    writing: VecDeque<Bytes>,
    /// Bytes of the first frame that are gone.
    offset: usize,
    /// The answer to the client's last ping.
    pong: Option<Bytes>,
    /// Since when nothing could be written, though something waited.
    stalled: Option<Instant>,
    farewell: Farewell,
}

/// Bytes that are used from the front. They are not moved up, and let go when all are used.
#[derive(Debug, Default)]
struct Carry {
    bytes: Vec<u8>,
    used: usize,
}

impl Carry {
    fn new(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), used: 0 }
    }

    fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    fn rest(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    fn advance(&mut self, used: usize) {
        self.used += used;
        if self.used == self.bytes.len() {
            *self = Self::default();
        }
    }
}

#[derive(Debug)]
enum Farewell {
    Writing,
    ShuttingDown,
    /// Until the client is done: a socket closed with unread bytes would be reset, and the reset
    /// would overtake the close frame.
    Draining,
}

/// The link is of no more use, for this reason and with this close code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) reason: DisconnectReason,
    pub(crate) code: Option<u16>,
}

impl Broken {
    pub(super) fn io(error: &io::Error) -> Self {
        tracing::debug!(%error, "WebSocket connection failed");
        let reason = match error.kind() {
            // The system has the same deadline for what was written, and may notice first.
            io::ErrorKind::TimedOut => DisconnectReason::WriteTimeout,
            _ => DisconnectReason::TransportError,
        };
        Self { reason, code: None }
    }
}

impl From<websocket::Violation> for Broken {
    fn from(violation: websocket::Violation) -> Self {
        let reason = match violation {
            websocket::Violation::TooBig => DisconnectReason::PayloadTooLarge,
            _ => DisconnectReason::ProtocolError,
        };
        Self { reason, code: Some(violation.code()) }
    }
}

impl Link {
    pub(crate) fn new(stream: TcpStream, carry: &[u8], max_payload: usize) -> Self {
        Self {
            stream: Arc::new(stream),
            decoder: Decoder::new(max_payload),
            carry: Carry::new(carry),
            writing: VecDeque::new(),
            offset: 0,
            pong: None,
            stalled: None,
            farewell: Farewell::Writing,
        }
    }

    /// The socket, for as long as this link lives.
    pub(crate) fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Reads once and gives the session what came. Ready with whether to try again.
    pub(crate) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        now: Instant,
    ) -> Poll<Result<(), Broken>> {
        {
            let mut inner = session.lock();
            if inner.inbox_is_full() {
                if !inner.machine.is_paused() {
                    session.core.stats.inbox_pauses.fetch_add(1, Relaxed);
                    inner.machine.pause();
                }
                return Poll::Pending;
            }
            inner.machine.resume(now);
        }
        if !self.carry.is_empty() {
            let mut carry = std::mem::take(&mut self.carry);
            let used = self.feed(carry.rest(), session, now)?;
            carry.advance(used);
            self.carry = carry;
            return Poll::Ready(Ok(()));
        }
        BUFFER.with_borrow_mut(|buffer| match ready!(poll_read(&self.stream, cx, buffer)) {
            Ok(0) => {
                let reason = DisconnectReason::TransportClose;
                Poll::Ready(Err(Broken { reason, code: None }))
            }
            Ok(read) => {
                let used = self.feed(&mut buffer[..read], session, now)?;
                self.carry = Carry::new(&buffer[used..read]);
                Poll::Ready(Ok(()))
            }
            Err(error) => Poll::Ready(Err(Broken::io(&error))),
        })
    }

    /// Decodes `input` until the inbox is full, and says how far it came.
    fn feed(&mut self, input: &mut [u8], session: &Session, now: Instant) -> Result<usize, Broken> {
        let stats = &session.core.stats;
        let mut inner = session.lock();
        let mut used = 0;
        while used < input.len() && !inner.inbox_is_full() {
            if inner.machine.closed().is_some() {
                return Ok(input.len());
            }
            let (taken, item) = self.decoder.next(&mut input[used..])?;
            used += taken;
            match item {
                Some(Item::Text(text)) => {
                    stats.received(text.len());
                    inner.receive(Packet::parse(text), now);
                }
                Some(Item::Binary(data)) => {
                    stats.received(data.len());
                    inner.receive(Ok(Packet::Binary(Bytes::copy_from_slice(data))), now);
                }
                Some(Item::Ping(payload)) => self.pong = Some(websocket::pong_frame(payload)),
                Some(Item::Close(code)) => {
                    let reason = DisconnectReason::TransportClose;
                    return Err(Broken { reason, code: Some(code.unwrap_or(code::NORMAL)) });
                }
                Some(Item::Pong) | None => {}
            }
        }
        Ok(used)
    }

    /// Writes what waits. Ready when nothing does any more.
    pub(crate) fn poll_write(
        &mut self,
        cx: &mut Context<'_>,
        session: &Session,
        now: Instant,
    ) -> Poll<Result<(), Broken>> {
        loop {
            if self.writing.is_empty() {
                let mut inner = session.lock();
                if let Some(pong) = self.pong.take() {
                    inner.outbox.push_control(pong);
                }
                inner.outbox.take_all(&mut self.writing, &mut self.offset);
                inner.writer_idle = self.writing.is_empty();
            }
            if self.writing.is_empty() {
                self.stalled = None;
                return Poll::Ready(Ok(()));
            }
            match self.poll_write_batch(cx) {
                Poll::Ready(Ok((frames, bytes))) => {
                    self.stalled = None;
                    session.core.stats.written(frames, bytes);
                    session.lock().written(frames, bytes);
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(Broken::io(&error))),
                Poll::Pending => {
                    self.stalled.get_or_insert(now);
                    return Poll::Pending;
                }
            }
        }
    }

    /// One write; the frames it finished, and their bytes.
    fn poll_write_batch(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(usize, usize)>> {
        let written = loop {
            ready!(self.stream.poll_write_ready(cx))?;
            match write(&self.stream, self.writing.iter(), self.offset) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => break written?,
            }
        };
        let (mut frames, mut bytes) = (0, 0);
        let mut left = written + self.offset;
        while let Some(frame) = self.writing.pop_front_if(|frame| frame.len() <= left) {
            left -= frame.len();
            frames += 1;
            bytes += frame.len();
        }
        self.offset = left;
        Poll::Ready(Ok((frames, bytes)))
    }

    /// Since when nothing could be written.
    pub(crate) fn stalled(&self) -> Option<Instant> {
        self.stalled
    }

    /// Puts a close frame behind what is being written, and behind what waits if `flush`.
    pub(crate) fn begin_farewell(&mut self, session: &Session, code: u16, flush: bool) {
        let mut inner = session.lock();
        if flush {
            inner.outbox.take_all(&mut self.writing, &mut self.offset);
        } else {
            self.writing.truncate(usize::from(self.offset > 0));
            inner.outbox.take_begun(&mut self.writing, &mut self.offset);
        }
        inner.outbox.clear();
        self.writing.push_back(websocket::close_frame(code));
    }

    /// Writes the rest, says that nothing follows, and waits for the client to be done.
    pub(crate) fn poll_farewell(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            match self.farewell {
                Farewell::Writing if self.writing.is_empty() => {
                    self.farewell = Farewell::ShuttingDown;
                }
                Farewell::Writing => {
                    if ready!(self.poll_write_batch(cx)).is_err() {
                        return Poll::Ready(());
                    }
                }
                Farewell::ShuttingDown => {
                    if SockRef::from(&*self.stream).shutdown(Shutdown::Write).is_err() {
                        return Poll::Ready(());
                    }
                    self.farewell = Farewell::Draining;
                }
                Farewell::Draining => {
                    let read = BUFFER.with_borrow_mut(|buffer| poll_read(&self.stream, cx, buffer));
                    if !matches!(ready!(read), Ok(1..)) {
                        return Poll::Ready(());
                    }
                }
            }
        }
    }

    /// Whether the next message is a text as expected, outside of a session's traffic: for a probe.
    pub(crate) async fn next_text(
        &mut self,
        expected: impl Fn(&str) -> bool + Send,
    ) -> Result<bool, Broken> {
        loop {
            while !self.carry.is_empty() {
                let (used, item) = self.decoder.next(self.carry.rest())?;
                let outcome = match item {
                    Some(Item::Text(text)) => Some(expected(text)),
                    Some(Item::Binary(_)) => Some(false),
                    Some(Item::Ping(payload)) => {
                        self.pong = Some(websocket::pong_frame(payload));
                        None
                    }
                    Some(Item::Close(_)) => {
                        let reason = DisconnectReason::TransportClose;
                        return Err(Broken { reason, code: Some(code::NORMAL) });
                    }
                    Some(Item::Pong) | None => None,
                };
                self.carry.advance(used);
                if let Some(outcome) = outcome {
                    return Ok(outcome);
                }
            }
            self.writing.extend(self.pong.take());
            self.flush().await?;
            let read = poll_fn(|cx| {
                BUFFER.with_borrow_mut(|buffer| {
                    let polled = poll_read(&self.stream, cx, buffer);
                    polled.map_ok(|read| Carry::new(&buffer[..read]))
                })
            });
            self.carry = read.await.map_err(|error| Broken::io(&error))?;
            if self.carry.is_empty() {
                return Err(Broken { reason: DisconnectReason::TransportClose, code: None });
            }
        }
    }

    /// Writes one frame, outside of a session's traffic.
    pub(crate) async fn send(&mut self, frame: Bytes) -> Result<(), Broken> {
        self.writing.push_back(frame);
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Broken> {
        while !self.writing.is_empty() {
            let written = poll_fn(|cx| self.poll_write_batch(cx)).await;
            written.map_err(|error| Broken::io(&error))?;
        }
        Ok(())
    }

    /// Ends a WebSocket that never became a session's.
    pub(crate) async fn dismiss(mut self, code: u16) {
        self.writing.push_back(websocket::close_frame(code));
        poll_fn(|cx| self.poll_farewell(cx)).await;
    }
}

/// Reads once. The socket is shared, so this is not `AsyncRead`. What fills less than the buffer was all that there was:
/// the runtime is told so, and does not have to ask the system in vain for more.
fn poll_read(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        let mut all = None;
        let tried = stream.try_io(Interest::READABLE, || {
            let read = (&*SockRef::from(stream)).read(buffer)?;
            if (1..buffer.len()).contains(&read) {
                all = Some(read);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Ok(read)
        });
        match (all, tried) {
            (Some(read), _) => return Poll::Ready(Ok(read)),
            (None, Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            (None, tried) => return Poll::Ready(tried),
        }
    }
}

/// One write of as many frames as it takes, without the bytes of the first that are gone. A single frame needs no `writev`,
/// of which the system reads the slices first.
pub(super) fn write<'a>(
    stream: &TcpStream,
    mut frames: impl ExactSizeIterator<Item = &'a Bytes>,
    offset: usize,
) -> io::Result<usize> {
    let written = match (frames.len(), frames.next()) {
        (1, Some(frame)) => stream.try_write(&frame[offset..])?,
        (_, first) => write_many(stream, first.into_iter().chain(frames), offset)?,
    };
    if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(written) }
}

fn write_many<'a>(
    stream: &TcpStream,
    frames: impl Iterator<Item = &'a Bytes>,
    offset: usize,
) -> io::Result<usize> {
    let mut slices = [IoSlice::new(&[]); BATCH];
    let mut count = 0;
    for (slice, frame) in slices.iter_mut().zip(frames) {
        *slice = IoSlice::new(if count == 0 { &frame[offset..] } else { frame });
        count += 1;
    }
    stream.try_write_vectored(&slices[..count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_carried_is_used_from_the_front_and_let_go() {
        let mut carry = Carry::new(b"hello");
        carry.advance(2);
        assert_eq!(carry.rest(), b"llo");
        assert!(!carry.is_empty());
        carry.advance(3);
        assert_eq!((carry.is_empty(), carry.bytes.capacity(), carry.used), (true, 0, 0));
        assert_eq!(Carry::new(&[]).bytes.capacity(), 0);
    }
}
