//! A send that waits, and who may still call it off.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parley_domain::message::NewMessage;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;
use tracing::Span;

use crate::{AppendMessage, StoreError};

const WAITING: u8 = 0;
const BEGUN: u8 = 1;
const GIVEN_UP: u8 = 2;

/// Decides between the sender that gives up and the shard that begins: exactly one of them is first, so a sender that
/// gave up in time knows that nothing will happen.
#[derive(Clone)]
pub(super) struct Ticket(Arc<AtomicU8>);

impl Ticket {
    pub(super) fn new() -> Self {
        Self(Arc::new(AtomicU8::new(WAITING)))
    }

    /// By the sender: true when it was not begun, and never will be.
    pub(super) fn give_up(&self) -> bool {
        self.swap(WAITING, GIVEN_UP)
    }

    fn begin(&self) -> bool {
        self.swap(WAITING, BEGUN)
    }

    fn wait_again(&self) {
        self.swap(BEGUN, WAITING);
    }

    fn swap(&self, from: u8, to: u8) -> bool {
        self.0.compare_exchange(from, to, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }
}

/// A message on its way into the database.
pub(super) struct Send {
    pub(super) new: Box<NewMessage>,
    /// It is known to have been tried before.
    pub(super) again: bool,
    pub(super) answer: oneshot::Sender<Result<AppendMessage, StoreError>>,
    pub(super) ticket: Ticket,
    pub(super) deadline: Instant,
    /// Its chat was locked elsewhere when its turn came.
    pub(super) passed_over: bool,
    /// What the sender does, if that is traced.
    pub(super) span: Span,
    /// Its place in the queue and its bytes, free again when it is dropped.
    pub(super) _held: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl Send {
    /// Whether it is worth beginning: somebody waits for it and will for a while. From here on its outcome may be
    /// unknown to the sender.
    pub(super) fn begin(&self) -> bool {
        Instant::now() < self.deadline && self.ticket.begin()
    }

    /// Nothing was done; its turn comes again.
    pub(super) fn wait_again(&self) {
        self.ticket.wait_again();
    }

    pub(super) fn answer(self, outcome: Result<AppendMessage, StoreError>) {
        // Whoever does not wait any more has had its answer.
        let _ = self.answer.send(outcome);
    }
}
