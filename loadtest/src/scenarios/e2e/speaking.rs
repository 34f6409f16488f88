//! Messages at a steady rate, each into another chat than the ones before, and when each was begun.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use tokio::time::sleep_until;

use crate::http::Connection;
use crate::load::{Requests as _, on_this_thread};
use crate::scenarios::send::requests::{Client, Sender};
use crate::window::WARM_UP;

/// So many take turns, so that a slow answer makes nobody late.
const CONNECTIONS: usize = 16;
/// How long nobody speaks into a chat again: by then its last message was heard, or is far too late.
const AGAIN: Duration = Duration::from_secs(1);

/// When the messages into each chat were begun that were not heard yet.
pub(super) struct Begun {
    beginning: Instant,
    chats: Box<[Mutex<VecDeque<Instant>>]>,
}

impl Begun {
    pub(super) fn now(chats: usize) -> Self {
        let chats = std::iter::repeat_with(Mutex::default).take(chats).collect();
        Self { beginning: Instant::now(), chats }
    }

    /// The next message of a chat was heard: how long it took, in microseconds, if it was begun after the warm-up.
    pub(super) fn heard(&self, chat: usize) -> Result<Option<u32>> {
        let begun = self.chats[chat].lock().pop_front();
        let begun = begun.context("a message was heard that nobody has sent")?;
        Ok(self.is_warm(begun).then(|| micros(begun.elapsed())))
    }

    fn note(&self, chat: usize, moment: Instant) {
        self.chats[chat].lock().push_back(moment);
    }

    fn is_warm(&self, begun: Instant) -> bool {
        begun >= self.beginning + WARM_UP
    }
}

fn micros(took: Duration) -> u32 {
    u32::try_from(took.as_micros()).unwrap_or(u32::MAX)
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
            if self.begun.is_warm(from) {
                said.answered.push(micros(from.elapsed()));
            }
        }
        Ok(said)
    }
}
