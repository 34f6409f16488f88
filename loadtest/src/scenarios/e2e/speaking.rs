//! Messages at a steady rate, each into another chat than the ones before, and when each was begun.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tokio::time::sleep_until;

use crate::http::Connection;
use crate::load::{Requests as _, on_this_thread};
use crate::scenarios::send::requests::{Client, Sender};
use crate::window::WARM_UP;

/// So many take turns, so that a slow answer makes nobody late.
const CONNECTIONS: usize = 16;
/// Before anybody speaks into a chat again, its last message was heard, or is far too late.
const AGAIN: Duration = Duration::from_secs(1);

/// When the last message into each chat was begun.
pub(super) struct Begun {
    beginning: Instant,
    /// Microseconds after the beginning.
    at: Box<[AtomicU64]>,
}

impl Begun {
    pub(super) fn now(chats: usize) -> Self {
        let at = std::iter::repeat_with(AtomicU64::default).take(chats).collect();
        Self { beginning: Instant::now(), at }
    }

    /// The warm-up is over.
    pub(super) fn is_warm(&self) -> bool {
        self.beginning.elapsed() >= WARM_UP
    }

    /// How long ago that was, in microseconds.
    pub(super) fn since(&self, chat: usize) -> u32 {
        let ago = self.micros(Instant::now()) - self.at[chat].load(Ordering::Acquire);
        u32::try_from(ago).unwrap_or(u32::MAX)
    }

    fn note(&self, chat: usize, moment: Instant) {
        self.at[chat].store(self.micros(moment), Ordering::Release);
    }

    fn micros(&self, moment: Instant) -> u64 {
        u64::try_from(moment.duration_since(self.beginning).as_micros()).unwrap_or(u64::MAX)
    }
}

/// Who speaks, and how fast.
pub(super) struct Speaking {
    pub(super) pods: Vec<String>,
    /// One for each chat.
    pub(super) senders: Arc<[Sender]>,
    pub(super) rate: u32,
    pub(super) time: Duration,
    pub(super) begun: Arc<Begun>,
}

/// What was said.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) sent: u64,
    /// How long answers took after the warm-up, in microseconds.
    pub(super) answered: Vec<u32>,
}

impl Speaking {
    /// How many chats so many messages a second need.
    pub(super) fn chats(rate: u32) -> usize {
        let each = AGAIN.as_secs_f64() * f64::from(rate);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a few thousand"
        )]
        let chats = each.ceil() as usize;
        chats.next_multiple_of(CONNECTIONS) + CONNECTIONS
    }

    /// Speaks all the time, on this thread.
    pub(super) fn run(self) -> Result<Said> {
        on_this_thread(async move {
            let speaking = Arc::new(self);
            let speakers = 0..CONNECTIONS;
            let speakers: Vec<_> = speakers
                .map(|number| tokio::task::spawn_local(Arc::clone(&speaking).one(number)))
                .collect();
            let mut all = Said::default();
            for speaker in speakers {
                let said = speaker.await.context("a speaker has panicked")??;
                all.sent += said.sent;
                all.answered.extend(said.answered);
            }
            Ok(all)
        })
    }

    /// One connection: into one of its chats after the other, when it is its turn.
    async fn one(self: Arc<Self>, number: usize) -> Result<Said> {
        let mut connection = Connection::open(&self.pods[number % self.pods.len()]).await?;
        let mut said = Said::default();
        let mut request = Vec::new();
        for turn in (number..).step_by(CONNECTIONS) {
            let due = self.begun.beginning + Duration::from_secs(turn as u64) / self.rate;
            if due >= self.begun.beginning + self.time {
                break;
            }
            let is_late = Instant::now() > due;
            sleep_until(due.into()).await;
            // A timer that is late is no fault of the server; an answer that was late is.
            let from = if is_late { due } else { Instant::now() };
            let chat = turn % self.senders.len();
            self.begun.note(chat, from);
            request.clear();
            Client { senders: Arc::clone(&self.senders), own: Some(chat) }.write(&mut request);
            let answer = connection.exchange(&request).await?;
            if answer.status != 201 {
                bail!("a send was answered with {}", answer.status);
            }
            said.sent += 1;
            if due >= self.begun.beginning + WARM_UP {
                let took = u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX);
                said.answered.push(took);
            }
        }
        Ok(said)
    }
}
