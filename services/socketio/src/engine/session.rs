//! One session, shared by its driver, its requests and everybody who sends to it.

use super::forward::Notice;
use super::link::{self, Broken, Link};
use super::machine::{Due, Machine, Received, Timings};
use super::outbox::{Outbox, Overflow};
use super::packet::{self, Malformed, Packet};
use super::transfer::{Packed, Transfer};
use super::{Core, Message};
use crate::handshake::{Handshake, Transport};
use crate::reason::{Closed, DisconnectReason};
use crate::stats::Stats;
use crate::{frame, id};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::sync::{Arc, Weak, atomic::Ordering::Relaxed};
use std::task::{Poll, Waker};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::Instant;

/// Packets of one polling payload: the Python client refuses to read more.
const MAX_PAYLOAD_PACKETS: usize = 16;

pub(crate) struct Session {
    pub(crate) key: u64,
    pub(crate) sid: Box<str>,
    pub(crate) core: Arc<Core>,
    pub(crate) handshake: Arc<Handshake>,
    pub(crate) opened: Instant,
    inner: Mutex<Inner>,
}

/// Everything about a session that changes, under one short lock.
pub(crate) struct Inner {
    pub(crate) machine: Machine,
    pub(crate) outbox: Outbox,
    inbox: VecDeque<Message>,
    inbox_bytes: usize,
    max_inbox: usize,
    max_inbox_bytes: usize,
    /// The handler asked to be called.
    pub(crate) nudged: bool,
    /// A parked poll is to be released.
    pub(crate) noop: bool,
    /// The writer has nothing to do and waits for something.
    pub(crate) writer_idle: bool,
    /// The socket of the session's WebSocket, if it has one.
    pub(crate) stream: Weak<TcpStream>,
    /// The WebSocket that takes over.
    pub(crate) handover: Option<Box<Link>>,
    /// The server that takes over waits here.
    departing: Option<oneshot::Sender<Transfer>>,
    pub(crate) driver: Option<Waker>,
    pub(crate) poller: Option<Waker>,
    pub(crate) poster: Option<Waker>,
    /// Who waits for the outbox to have room.
    roomers: Vec<Waker>,
}

impl Session {
    pub(crate) fn new(
        core: Arc<Core>,
        handshake: Arc<Handshake>,
        transport: Transport,
        now: Instant,
    ) -> Self {
        let config = &core.config;
        let timings =
            Timings { ping_interval: config.ping_interval, ping_timeout: config.ping_timeout };
        let machine = Machine::new(transport, timings, now);
        let sid = id::session_id(&config.id_prefix);
        Self::with(core, sid, handshake, machine, now)
    }

    /// A session that another server gave away, and what the layer above knew of it there.
    pub(crate) fn arrived(core: Arc<Core>, transfer: Transfer, now: Instant) -> (Self, Bytes) {
        let Transfer { sid, handshake, age, heart, outbox, inbox, state } = transfer;
        let opened = now.checked_sub(age).unwrap_or(now);
        let machine = Machine::arrived(heart, now);
        let handshake = Arc::new(Handshake::from(handshake));
        let session = Self::with(core, sid.into_boxed_str(), handshake, machine, opened);
        {
            let mut inner = session.lock();
            for Packed(frame) in outbox {
                inner.outbox.push_control(frame);
            }
            for said in inbox {
                inner.put_message(said.into());
            }
        }
        (session, state.0)
    }

    fn with(
        core: Arc<Core>,
        sid: Box<str>,
        handshake: Arc<Handshake>,
        machine: Machine,
        opened: Instant,
    ) -> Self {
        let config = &core.config;
        let inner = Inner {
            machine,
            outbox: Outbox::new(config.outbox_frames, config.outbox_bytes),
            inbox: VecDeque::new(),
            inbox_bytes: 0,
            max_inbox: config.inbox_events.max(1),
            max_inbox_bytes: config.max_payload.max(1),
            nudged: false,
            noop: false,
            writer_idle: false,
            stream: Weak::new(),
            handover: None,
            departing: None,
            driver: None,
            poller: None,
            poster: None,
            roomers: Vec::new(),
        };
        Self { key: id::next_key(), sid, handshake, opened, core, inner: Mutex::new(inner) }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock()
    }

    /// The packet that opens the session.
    pub(crate) fn open_packet(&self) -> String {
        let config = &self.core.config;
        let upgrades = match self.handshake.transport() {
            Transport::Polling => r#""websocket""#,
            Transport::WebSocket => "",
        };
        format!(
            r#"0{{"sid":"{}","upgrades":[{upgrades}],"pingInterval":{},"pingTimeout":{},"maxPayload":{}}}"#,
            self.sid,
            config.ping_interval.as_millis(),
            config.ping_timeout.as_millis(),
            config.max_payload,
        )
    }

    /// Queues these frames together; never waits.
    pub(crate) fn push(&self, frames: &[Bytes]) -> Result<(), Closed> {
        self.push_with(|inner| {
            inner.outbox.push(frames)?;
            Ok(inner.take_writer())
        })
    }

    /// Writes these frames at once, as far as the connection takes them and nothing waits before them; the rest is queued.
    /// Never waits.
    pub(crate) fn write(&self, frames: &[Bytes]) -> Result<(), Closed> {
        self.push_with(|inner| {
            inner.outbox.room_for(frames)?;
            if inner.writer_idle && !inner.machine.is_polling() {
                return inner.write_now(frames, &self.core.stats);
            }
            inner.outbox.push(frames)?;
            Ok(inner.take_writer())
        })
    }

    fn push_with(
        &self,
        put: impl FnOnce(&mut Inner) -> Result<Option<Waker>, Unsent>,
    ) -> Result<(), Closed> {
        let writer = {
            let mut inner = self.lock();
            if inner.machine.closed().is_some() {
                return Err(Closed);
            }
            match put(&mut inner) {
                Ok(writer) => writer,
                Err(unsent) => {
                    if matches!(unsent, Unsent::Overflow) {
                        self.core.stats.outbox_overflows.fetch_add(1, Relaxed);
                    }
                    inner.close(unsent.reason());
                    return Err(Closed);
                }
            }
        };
        if let Some(writer) = writer {
            writer.wake();
        }
        Ok(())
    }

    pub(crate) fn close(&self, reason: DisconnectReason) {
        self.lock().close(reason);
    }

    /// What another server says, by which a request came.
    pub(super) fn notice(&self, notice: Notice) {
        let mut inner = self.lock();
        if notice == Notice::Release {
            inner.noop = true;
            wake(&mut inner.poller);
        } else if let Some(reason) = notice.reason() {
            inner.close(reason);
        } else if inner.machine.give_up_forwarded_poll() {
            inner.close(DisconnectReason::TransportError);
        }
    }

    /// The client has upgraded on another server: what there is of the session comes out here, once nobody works on
    /// it. None: it has no upgrade to finish.
    pub(crate) fn depart(&self) -> Option<oneshot::Receiver<Transfer>> {
        let mut inner = self.lock();
        inner.machine.upgrade(Instant::now()).ok()?;
        let (departing, transfer) = oneshot::channel();
        inner.departing = Some(departing);
        wake(&mut inner.driver);
        wake(&mut inner.poller);
        Some(transfer)
    }

    /// Gives the session away, with what the layer above knows of it. Whether somebody took it.
    pub(crate) fn give_away(&self, state: Vec<u8>, now: Instant) -> bool {
        let mut inner = self.lock();
        let Some(departing) = inner.departing.take() else { return false };
        if inner.machine.closed().is_some() {
            return false;
        }
        let transfer = Transfer {
            sid: self.sid.clone().into_string(),
            handshake: self.handshake.record(),
            age: now.saturating_duration_since(self.opened),
            heart: inner.machine.heart(now),
            outbox: inner.outbox.take().into_iter().map(Packed).collect(),
            inbox: std::iter::from_fn(|| inner.next_message()).map(Into::into).collect(),
            state: Packed(state.into()),
        };
        inner.close(DisconnectReason::Moved);
        departing.send(transfer).is_ok()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().machine.closed().is_some()
    }

    pub(crate) fn transport(&self) -> Transport {
        if self.lock().machine.is_polling() { Transport::Polling } else { Transport::WebSocket }
    }
}

impl Inner {
    /// Who is to be woken because something can be written.
    fn take_writer(&mut self) -> Option<Waker> {
        if self.machine.is_polling() {
            self.poller.take()
        } else if std::mem::take(&mut self.writer_idle) {
            self.driver.take()
        } else {
            None
        }
    }

    /// Writes what the socket takes of these, before which nothing waits, and queues the rest. Who is to be woken for that.
    fn write_now(&mut self, frames: &[Bytes], stats: &Stats) -> Result<Option<Waker>, Unsent> {
        let written = match self.stream.upgrade().map(|it| link::write(&it, frames.iter(), 0)) {
            Some(Ok(written)) => written,
            // The system says only once what is wrong with a socket.
            Some(Err(error)) if error.kind() != io::ErrorKind::WouldBlock => {
                return Err(Unsent::Broken(Broken::io(&error)));
            }
            Some(Err(_)) | None => 0,
        };
        let (mut whole, mut left) = (0, written);
        while let Some(frame) = frames.get(whole).filter(|frame| frame.len() <= left) {
            left -= frame.len();
            whole += 1;
        }
        stats.written(whole, written - left);
        if whole == frames.len() {
            return Ok(None);
        }
        self.outbox.push_rest(&frames[whole..], left);
        Ok(self.take_writer())
    }

    /// Closes the session, unless it is closed already.
    pub(crate) fn close(&mut self, reason: DisconnectReason) {
        if self.machine.close(reason) {
            self.departing = None;
            wake(&mut self.driver);
            wake(&mut self.poller);
            wake(&mut self.poster);
            self.wake_roomers();
        }
    }

    /// These frames of the outbox no longer wait.
    pub(crate) fn written(&mut self, frames: usize, bytes: usize) {
        self.outbox.written(frames, bytes);
        if self.outbox.has_room() {
            self.wake_roomers();
        }
    }

    fn wake_roomers(&mut self) {
        for roomer in std::mem::take(&mut self.roomers) {
            roomer.wake();
        }
    }

    pub(crate) fn inbox_is_full(&self) -> bool {
        self.inbox.len() >= self.max_inbox || self.inbox_bytes >= self.max_inbox_bytes
    }

    /// One packet of the client. What it breaks closes the session. The driver has to look at the
    /// inbox afterwards.
    pub(crate) fn receive(&mut self, packet: Result<Packet<'_>, Malformed>, now: Instant) {
        let message = match packet.map(|packet| self.machine.receive(packet, now)) {
            Ok(Received::Text(text)) => Message::Text(text.to_owned()),
            Ok(Received::Binary(data)) => Message::Binary(data),
            Ok(Received::Nothing) => return,
            Ok(Received::Close(reason)) => return self.close(reason),
            Err(Malformed) => return self.close(DisconnectReason::ProtocolError),
        };
        self.put_message(message);
    }

    fn put_message(&mut self, message: Message) {
        self.inbox_bytes += message.len();
        self.inbox.push_back(message);
    }

    /// Whether the session is to go now. What is being posted goes along.
    pub(crate) fn is_departing(&self) -> bool {
        self.departing.is_some() && !self.machine.is_posting()
    }

    pub(crate) fn next_message(&mut self) -> Option<Message> {
        let message = self.inbox.pop_front()?;
        self.inbox_bytes -= message.len();
        if self.inbox.is_empty() {
            self.inbox = VecDeque::new();
        }
        wake(&mut self.poster);
        Some(message)
    }

    /// Nobody wants these any more.
    pub(crate) fn forget_messages(&mut self) {
        self.inbox = VecDeque::new();
        self.inbox_bytes = 0;
    }

    /// Does what time has brought.
    pub(crate) fn tick(&mut self, now: Instant) {
        while let Some(due) = self.machine.due(now) {
            match due {
                Due::Ping => {
                    self.outbox.push_control(packet::frame(packet::PING));
                    if let Some(writer) = self.take_writer() {
                        writer.wake();
                    }
                }
                Due::Noop => {
                    self.noop = true;
                    wake(&mut self.poller);
                }
                Due::Close(reason) => self.close(reason),
            }
        }
    }

    /// A polling payload of what waits, at least one frame if there is any.
    pub(crate) fn take_payload(&mut self, limit: usize) -> Option<(Bytes, usize)> {
        let mut body = Vec::new();
        let mut frames = 0;
        while frames < MAX_PAYLOAD_PACKETS
            && let Some(frame) = self.outbox.pop_if(|frame| packet::append(&mut body, frame, limit))
        {
            self.written(1, frame.len());
            frames += 1;
        }
        (frames > 0).then(|| (Bytes::from(body), frames))
    }
}

/// Why frames were not taken.
enum Unsent {
    Overflow,
    Broken(Broken),
}

impl Unsent {
    fn reason(&self) -> DisconnectReason {
        match self {
            Self::Overflow => DisconnectReason::SlowConsumer,
            Self::Broken(broken) => broken.reason,
        }
    }
}

impl From<Overflow> for Unsent {
    fn from(Overflow: Overflow) -> Self {
        Self::Overflow
    }
}

pub(crate) fn wake(waker: &mut Option<Waker>) {
    if let Some(waker) = waker.take() {
        waker.wake();
    }
}

/// A session's end of the connection, for the handler and whoever it gives it to. Cheap to clone.
#[derive(Clone)]
pub struct Handle(pub(crate) Arc<Session>);

impl Handle {
    /// A number that no other session of this process has.
    pub fn key(&self) -> u64 {
        self.0.key
    }

    /// What is kept of the request that opened the session.
    pub fn handshake(&self) -> &Arc<Handshake> {
        &self.0.handshake
    }

    /// Queues a text message; never waits. An outbox that would overflow closes the session.
    pub fn send_text(&self, text: &str) -> Result<(), Closed> {
        self.send(&frame::Frame::text(text))
    }

    /// Queues a binary message; never waits. An outbox that would overflow closes the session.
    pub fn send_binary(&self, data: &[u8]) -> Result<(), Closed> {
        self.send(&frame::Frame::binary(data))
    }

    pub(crate) fn send(&self, frame: &frame::Frame) -> Result<(), Closed> {
        self.0.push(frame.parts())
    }

    pub(crate) fn send_now(&self, frame: &frame::Frame) -> Result<(), Closed> {
        self.0.write(frame.parts())
    }

    pub(crate) fn send_all(&self, frames: &[Bytes]) -> Result<(), Closed> {
        self.0.push(frames)
    }

    /// Whether an outbox would hold as much; otherwise the session is closed.
    pub(crate) fn would_hold(&self, frames: &[Bytes]) -> bool {
        let config = &self.0.core.config;
        let bytes: usize = frames.iter().map(Bytes::len).sum();
        let fits = frames.len() <= config.outbox_frames && bytes <= config.outbox_bytes;
        if !fits {
            self.0.core.stats.outbox_overflows.fetch_add(1, Relaxed);
            self.0.close(DisconnectReason::SlowConsumer);
        }
        fits && !self.0.is_closed()
    }

    /// How many frames wait to be written, or waited when the session ended.
    pub fn waiting(&self) -> usize {
        self.0.lock().outbox.waiting().0
    }

    /// Waits until at most half of what may wait for the client does, or the session is closed.
    pub async fn has_room(&self) {
        poll_fn(|cx| {
            let mut inner = self.0.lock();
            if inner.machine.closed().is_some() || inner.outbox.has_room() {
                return Poll::Ready(());
            }
            if !inner.roomers.iter().any(|roomer| roomer.will_wake(cx.waker())) {
                inner.roomers.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    pub(crate) fn opened(&self) -> Instant {
        self.0.opened
    }

    /// Asks for [`Handler::woken`](super::Handler::woken).
    pub(crate) fn nudge(&self) {
        let mut inner = self.0.lock();
        inner.nudged = true;
        wake(&mut inner.driver);
    }

    pub(crate) fn set_patience(&self, patience: Option<(Instant, DisconnectReason)>) {
        let mut inner = self.0.lock();
        inner.machine.set_patience(patience);
        wake(&mut inner.driver);
    }

    /// Closes the session.
    pub fn close(&self, reason: DisconnectReason) {
        self.0.close(reason);
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// How its bytes travel now.
    pub fn transport(&self) -> Transport {
        self.0.transport()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").field("key", &self.0.key).finish_non_exhaustive()
    }
}
