//! The server's handle of one client in one namespace.

use crate::engine::Handle;
use crate::frame::Frame;
use crate::handshake::Transport;
use crate::id::{self, SocketId};
use crate::reason::{CloseReason, Closed, DisconnectReason};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One client in one namespace. Cheap to clone; keeping it does not keep the connection.
#[derive(Clone)]
pub struct Socket(Arc<Inner>);

struct Inner {
    id: SocketId,
    key: u64,
    namespace: Box<str>,
    handle: Handle,
    /// Whether frames go straight to the connection.
    joined: AtomicBool,
    phase: Mutex<Phase>,
}

enum Phase {
    /// The application has not said yes yet. What it sends already has to follow that yes.
    Joining {
        held: Vec<Bytes>,
        leave: bool,
    },
    Joined,
    Left,
}

/// The answer that a client waits for.
#[derive(Debug, PartialEq, Eq)]
pub struct Ack {
    pub(crate) id: u64,
}

/// Why an event was not sent.
#[derive(Debug, thiserror::Error)]
pub enum EmitError {
    /// The connection is closed.
    #[error(transparent)]
    Closed(#[from] Closed),
    /// The arguments have no form in JSON.
    #[error("the arguments of an event cannot be written as JSON")]
    Json(#[from] serde_json::Error),
}

impl Socket {
    pub(crate) fn new(handle: Handle, namespace: Box<str>) -> Self {
        let phase = Phase::Joining { held: Vec::new(), leave: false };
        Self(Arc::new(Inner {
            id: SocketId::random(),
            key: id::next_key(),
            namespace,
            handle,
            joined: AtomicBool::new(false),
            phase: Mutex::new(phase),
        }))
    }

    /// A socket that was joined on another server.
    pub(crate) fn arrived(handle: Handle, namespace: Box<str>, id: SocketId) -> Self {
        Self(Arc::new(Inner {
            id,
            key: id::next_key(),
            namespace,
            handle,
            joined: AtomicBool::new(true),
            phase: Mutex::new(Phase::Joined),
        }))
    }

    /// The public name of this socket.
    pub fn id(&self) -> SocketId {
        self.0.id
    }

    /// A small number that no other socket of this process has.
    pub fn key(&self) -> u64 {
        self.0.key
    }

    /// The namespace it is in.
    pub fn namespace(&self) -> &str {
        &self.0.namespace
    }

    /// How its bytes travel now.
    pub fn transport(&self) -> Transport {
        self.0.handle.transport()
    }

    /// Queues a frame of this socket's namespace; never waits. An outbox that would overflow closes
    /// the connection. What is sent before `connect` has returned follows its answer.
    pub fn send(&self, frame: &Frame) -> Result<(), Closed> {
        if self.0.joined.load(Ordering::Acquire) {
            return self.0.handle.send(frame);
        }
        self.send_early(frame)
    }

    /// As [`Socket::send`], but whatever the connection takes is written before this returns, if nothing waits before it: for
    /// a frame that goes to very many at once, of whom each task would have to be woken. Two frames in a row are two
    /// writes; [`Frame::together`] makes them one.
    pub fn send_now(&self, frame: &Frame) -> Result<(), Closed> {
        if self.0.joined.load(Ordering::Acquire) {
            return self.0.handle.send_now(frame);
        }
        self.send_early(frame)
    }

    /// While the application has not said yes, or no longer.
    #[cold]
    fn send_early(&self, frame: &Frame) -> Result<(), Closed> {
        match &mut *self.0.phase.lock() {
            Phase::Joining { leave: true, .. } | Phase::Left => Err(Closed),
            Phase::Joined => self.0.handle.send(frame),
            Phase::Joining { held, .. } => {
                held.extend_from_slice(frame.parts());
                if self.0.handle.would_hold(held) { Ok(()) } else { Err(Closed) }
            }
        }
    }

    /// How many frames were queued and not written, of all namespaces; also of a connection that is closed.
    pub fn waiting(&self) -> usize {
        self.0.handle.waiting()
    }

    /// Waits until at most half of what may wait for the client does, or the connection is closed:
    /// for whoever has much to say, and can say it piece by piece.
    pub async fn has_room(&self) {
        self.0.handle.has_room().await;
    }

    /// Queues an event. Arguments that are a JSON array, a tuple for instance, are the event's
    /// arguments; anything else is its only one.
    ///
    /// ```no_run
    /// # fn example(socket: &parley_socketio::Socket) -> Result<(), parley_socketio::EmitError> {
    /// socket.emit("moved", &(3, 4))?; // 42["moved",3,4]
    /// socket.emit("said", &"hello")?; // 42["said","hello"]
    /// # Ok(()) }
    /// ```
    pub fn emit(&self, name: &str, args: &impl Serialize) -> Result<(), EmitError> {
        let mut array = b"[".to_vec();
        serde_json::to_writer(&mut array, name)?;
        let args = serde_json::to_vec(args)?;
        match args.as_slice() {
            b"[]" => array.push(b']'),
            [b'[', rest @ ..] => {
                array.push(b',');
                array.extend_from_slice(rest);
            }
            single => {
                array.push(b',');
                array.extend_from_slice(single);
                array.push(b']');
            }
        }
        Ok(self.send(&Frame::event(self.namespace(), &array))?)
    }

    /// Answers an event. `args_json` is a JSON array, and is trusted to be one.
    #[expect(clippy::needless_pass_by_value, reason = "an event is answered once")]
    pub fn ack(&self, ack: Ack, args_json: &[u8]) -> Result<(), Closed> {
        self.send(&Frame::ack(self.namespace(), ack.id, args_json))
    }

    /// Answers an event with attachments, for which `args_json` has the placeholders.
    #[expect(clippy::needless_pass_by_value, reason = "an event is answered once")]
    pub fn ack_binary(
        &self,
        ack: Ack,
        args_json: &[u8],
        attachments: &[Bytes],
    ) -> Result<(), Closed> {
        self.send(&Frame::ack_binary(self.namespace(), ack.id, args_json, attachments))
    }

    /// Closes the connection, and with it every namespace on it. Stock clients see a lost
    /// transport, and come again.
    pub fn close(&self, reason: CloseReason) {
        self.0.handle.close(DisconnectReason::ServerClose(reason));
    }

    /// Says goodbye to this namespace. Stock clients take it as final, and do not come again by
    /// themselves.
    pub fn disconnect(&self) {
        {
            let mut phase = self.0.phase.lock();
            match &mut *phase {
                Phase::Joining { leave, .. } => {
                    *leave = true;
                    return;
                }
                Phase::Left => return,
                Phase::Joined => {
                    self.0.joined.store(false, Ordering::Release);
                    *phase = Phase::Left;
                }
            }
        }
        // A connection that is closed has no need of a goodbye.
        if self.0.handle.send(&Frame::disconnect(self.namespace())).is_ok() {
            self.0.handle.nudge();
        }
    }

    /// Whether nothing can be sent any more.
    pub fn is_closed(&self) -> bool {
        self.has_left() || self.0.handle.is_closed()
    }

    pub(crate) fn has_left(&self) -> bool {
        matches!(*self.0.phase.lock(), Phase::Left)
    }

    /// The application said yes: the client is told, and then gets what was held back.
    pub(crate) fn join(&self) {
        let connected = Frame::connected(self.namespace(), &self.id().to_string());
        let mut phase = self.0.phase.lock();
        let Phase::Joining { held, leave } = std::mem::replace(&mut *phase, Phase::Joined) else {
            return;
        };
        let mut frames = connected.parts().to_vec();
        frames.extend(held);
        // If it is closed meanwhile, the driver will say so.
        let _ = self.0.handle.send_all(&frames);
        self.0.joined.store(true, Ordering::Release);
        drop(phase);
        if leave {
            self.disconnect();
        }
    }

    /// No longer in the namespace, by the application's no or the client's will.
    pub(crate) fn leave(&self) {
        self.0.joined.store(false, Ordering::Release);
        *self.0.phase.lock() = Phase::Left;
    }
}

impl fmt::Debug for Socket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Socket")
            .field("id", &self.id())
            .field("namespace", &self.namespace())
            .finish_non_exhaustive()
    }
}
