//! One batch into the database, and its outcomes to those who wait.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use parley_domain::ids::ChatId;
use parley_domain::message::{Message, NewMessage};
use parley_domain::version::Version;
use parley_domain::webhook::EventKind;
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::time::timeout;
use tracing::Span;

use super::OnCommit;
use super::metrics::{Metrics, Refused};
use super::send::Send;
use crate::messages::{BatchOutcome, Outcome, append_batch, replays};
use crate::{AppendMessage, Appended, Committed, Store, StoreError, signed};

/// A connection that whoever commits one batch after the other keeps meanwhile: handing it back costs a round trip.
pub(super) type Held = Option<PoolConnection<Postgres>>;

/// What all shards share.
pub(super) struct Committer {
    pub(super) store: Store,
    pub(super) on_commit: Box<OnCommit>,
    /// After which a send is given up.
    pub(super) deadline: Duration,
    pub(super) patience: Duration,
    pub(super) metrics: Metrics,
}

/// Once a chat of a halved batch turned out to be busy, its later sends wait too: they must not overtake.
fn hold_back(part: Vec<Send>, busy: &mut Vec<Send>) -> Vec<Send> {
    if busy.is_empty() {
        return part;
    }
    let chats: HashSet<ChatId> = busy.iter().map(|send| send.new.chat_id).collect();
    let (late, rest): (Vec<_>, Vec<_>) =
        part.into_iter().partition(|send| chats.contains(&send.new.chat_id));
    busy.extend(late);
    rest
}

/// A span of the commit for each sender that is traced. It is one commit: all but the first are linked to the first.
fn commit_spans(batch: &[Send]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    for send in batch.iter().filter(|send| !send.span.is_none()) {
        let span = tracing::info_span!(parent: &send.span, "commit", messages = batch.len());
        if let Some(first) = spans.first() {
            span.follows_from(first);
        }
        spans.push(span);
    }
    spans
}

/// Which messages that are new are of senders that are traced.
fn traced(batch: &[Send], outcomes: &[Outcome]) -> Vec<(ChatId, Version, Span)> {
    let new = |(send, outcome): (&Send, &Outcome)| match outcome {
        Outcome::Done(AppendMessage::Appended(appended)) if !send.span.is_none() => {
            let message = &appended.message;
            Some((message.chat_id, message.version, send.span.clone()))
        }
        _ => None,
    };
    batch.iter().zip(outcomes).filter_map(new).collect()
}

impl Committer {
    /// Commits a batch and answers its senders; returns the sends whose turn has to come again.
    ///
    /// A batch with something in it that the database cannot take is halved until that one is alone.
    pub(super) async fn commit(
        &self,
        batch: Vec<Send>,
        patient: bool,
        held: &mut Held,
    ) -> Vec<Send> {
        let mut busy = Vec::new();
        let mut parts = vec![self.begin(batch)];
        while let Some(part) = parts.pop() {
            let mut part = hold_back(part, &mut busy);
            if part.is_empty() {
                continue;
            }
            match self.call(&part, patient, held).await {
                Ok(outcome) => self.settle(part, outcome, &mut busy, held).await,
                Err(error) if error.is_of_data() && part.len() > 1 => {
                    self.metrics.halved.inc();
                    let second = part.split_off(part.len() / 2);
                    // The first half comes first: the order of a chat's sends is kept.
                    parts.push(second);
                    parts.push(part);
                }
                Err(error) => part.into_iter().for_each(|send| send.answer(Err(error.clone()))),
            }
        }
        for send in &busy {
            send.wait_again();
        }
        busy
    }

    /// Leaves out what nobody waits for any more.
    fn begin(&self, batch: Vec<Send>) -> Vec<Send> {
        let (begun, late): (Vec<_>, Vec<_>) = batch.into_iter().partition(Send::begin);
        let now = tokio::time::Instant::now();
        for send in begun.iter().filter(|send| !send.passed_over) {
            let left = send.deadline.saturating_duration_since(now);
            self.metrics.waited(self.deadline.saturating_sub(left));
        }
        for send in late {
            // Either its sender has given it up, or is about to.
            if send.ticket.give_up() {
                self.metrics.refused(Refused::Expired);
                send.answer(Err(StoreError::NotBegun("its turn did not come in time")));
            }
        }
        begun
    }

    /// The connection that is kept, or one of the pool's for sends.
    async fn connection(&self, held: &mut Held) -> Result<PoolConnection<Postgres>, sqlx::Error> {
        match held.take() {
            Some(connection) => Ok(connection),
            None => self.store.sends.acquire().await,
        }
    }

    /// The round trip. When it takes too long its outcome is unknown.
    async fn call(
        &self,
        batch: &[Send],
        patient: bool,
        held: &mut Held,
    ) -> Result<BatchOutcome, StoreError> {
        let connection = self.connection(held).await;
        let mut connection =
            connection.map_err(|_| StoreError::NotBegun("no connection to Postgres"))?;
        let told = self.store.told.take();
        let messages: Vec<&NewMessage> = batch.iter().map(|send| &*send.new).collect();
        let started = Instant::now();
        let fresh = !batch.iter().any(|send| send.again);
        let outward = self.store.demand.wants(EventKind::MessageCreated);
        let appending = append_batch(&mut connection, &messages, patient, fresh, &told, outward);
        let spans = commit_spans(batch);
        let called = timeout(self.patience, appending).await;
        drop(spans);
        self.metrics.batch(batch.len(), started.elapsed());
        let Ok(outcome) = called else {
            // What this connection may still say would be taken for the answer to the next question.
            drop(connection.detach());
            self.store.told.put_back(told);
            return Err(StoreError::from(sqlx::Error::PoolTimedOut));
        };
        match &outcome {
            Ok(outcome) => {
                self.metrics.one_by_one.inc_by(u64::from(outcome.one_by_one));
                *held = Some(connection);
            }
            Err(_) => self.store.told.put_back(told),
        }
        outcome
    }

    /// Tells what was committed, then answers.
    async fn settle(
        &self,
        batch: Vec<Send>,
        outcome: BatchOutcome,
        busy: &mut Vec<Send>,
        held: &mut Held,
    ) {
        if let Some(head) = outcome.head {
            let epoch = self.store.epoch();
            let traced = traced(&batch, &outcome.items);
            (self.on_commit)(Committed { changes: outcome.changes, epoch, head, traced });
        }
        let mut repeated = Vec::new();
        for (send, item) in batch.into_iter().zip(outcome.items) {
            match item {
                Outcome::Done(outcome) => send.answer(Ok(outcome)),
                Outcome::Replay(seq) => repeated.push((send, seq)),
                Outcome::Busy => busy.push(send),
            }
        }
        if !repeated.is_empty() {
            self.answer_repeated(repeated, held).await;
        }
    }

    /// Answers sends that were committed before with their messages as they are now.
    async fn answer_repeated(&self, repeated: Vec<(Send, i64)>, held: &mut Held) {
        let read = self.read(&repeated, held).await;
        for (send, seq) in repeated {
            let message = read.as_ref().map(|read| read.get(&(send.new.chat_id.uuid(), seq)));
            let outcome = match message {
                Ok(Some(message)) => {
                    let appended = Appended { message: message.clone(), replay: true };
                    Ok(AppendMessage::Appended(Box::new(appended)))
                }
                Ok(None) => Err(StoreError::inconsistent("messages", format!("no seq {seq}"))),
                Err(error) => Err(error.clone()),
            };
            send.answer(outcome);
        }
    }

    async fn read(
        &self,
        repeated: &[(Send, i64)],
        held: &mut Held,
    ) -> Result<HashMap<(uuid::Uuid, i64), Message>, StoreError> {
        let mut places: Vec<_> =
            repeated.iter().map(|(send, seq)| (send.new.chat_id.uuid(), *seq)).collect();
        places.sort_unstable();
        places.dedup();
        let mut connection = self.connection(held).await?;
        let Ok(read) = timeout(self.patience, replays(&mut connection, &places)).await else {
            drop(connection.detach());
            return Err(StoreError::from(sqlx::Error::PoolTimedOut));
        };
        let messages = read?;
        *held = Some(connection);
        let keyed = messages
            .into_iter()
            .map(|message| ((message.chat_id.uuid(), signed(message.seq.0)), message));
        Ok(keyed.collect())
    }
}
