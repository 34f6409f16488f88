//! Gateways ask, api pods answer.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::{Client, Message};
use futures_util::StreamExt;
use parley_domain::ask::{
    CatchUpAnswer, CatchUpAsk, HeadsAnswer, HeadsAsk, JoinAnswer, JoinAsk, JoinsAnswer, JoinsAsk,
    RevokedAnswer, RevokedAsk, UsersAnswer, UsersAsk,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::bus::Bus;
use crate::{RelayError, subject};

/// Asks that one api pod works on at a time; more wait in the subscription, and their askers give up after 2 s.
const CONCURRENT_ANSWERS: usize = 256;
/// The same of asks that are many at once.
const CONCURRENT_BATCHES: usize = 16;
/// How long a pod that goes waits for an ask that may be on its way.
const DRAIN: Duration = Duration::from_millis(200);

/// Why an ask brought no answer. All of them pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AskError {
    /// No api pod listens.
    #[error("no api pod answers")]
    NoApiPod,
    /// An api pod was asked and did not answer in time, or the bus is away.
    #[error("no answer came in time")]
    NoAnswer,
    /// The answer could not be read.
    #[error("the answer could not be read")]
    Unreadable,
}

impl AskError {
    pub(crate) const ALL: [Self; 3] = [Self::NoApiPod, Self::NoAnswer, Self::Unreadable];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NoApiPod => "no_api_pod",
            Self::NoAnswer => "no_answer",
            Self::Unreadable => "unreadable",
        }
    }
}

/// A question to any api pod.
pub trait Ask: Serialize + DeserializeOwned + Send + 'static {
    /// What is answered.
    type Answer: Serialize + DeserializeOwned + Send;
    /// Where it is asked.
    const SUBJECT: &'static str;
    /// The answer of a pod that cannot find out.
    const UNAVAILABLE: Self::Answer;
    /// How many of them one api pod works on at a time.
    const CONCURRENT: usize = CONCURRENT_ANSWERS;
}

impl Ask for JoinAsk {
    type Answer = JoinAnswer;
    const SUBJECT: &'static str = subject::ASK_JOIN;
    const UNAVAILABLE: JoinAnswer = JoinAnswer::Unavailable;
}

impl Ask for JoinsAsk {
    type Answer = JoinsAnswer;
    const SUBJECT: &'static str = subject::ASK_JOINS;
    const UNAVAILABLE: JoinsAnswer = JoinsAnswer::Unavailable;
    const CONCURRENT: usize = CONCURRENT_BATCHES;
}

impl Ask for CatchUpAsk {
    type Answer = CatchUpAnswer;
    const SUBJECT: &'static str = subject::ASK_CATCH_UP;
    const UNAVAILABLE: CatchUpAnswer = CatchUpAnswer::Unavailable;
}

impl Ask for HeadsAsk {
    type Answer = HeadsAnswer;
    const SUBJECT: &'static str = subject::ASK_HEADS;
    const UNAVAILABLE: HeadsAnswer = HeadsAnswer::Unavailable;
}

impl Ask for RevokedAsk {
    type Answer = RevokedAnswer;
    const SUBJECT: &'static str = subject::ASK_REVOKED;
    const UNAVAILABLE: RevokedAnswer = RevokedAnswer::Unavailable;
}

impl Ask for UsersAsk {
    type Answer = UsersAnswer;
    const SUBJECT: &'static str = subject::ASK_USERS;
    const UNAVAILABLE: UsersAnswer = UsersAnswer::Unavailable;
}

impl Bus {
    /// Asks one api pod; waits at most 2 s.
    pub async fn ask<A: Ask>(&self, ask: &A) -> Result<A::Answer, AskError> {
        let began = Instant::now();
        let answer = self.ask_once(ask).await;
        let failed = answer.as_ref().err().copied();
        self.metrics.asked(A::SUBJECT, began.elapsed(), failed);
        answer
    }

    async fn ask_once<A: Ask>(&self, ask: &A) -> Result<A::Answer, AskError> {
        let question = serde_json::to_vec(ask).map_err(|_| AskError::Unreadable)?;
        let answer = self.request(A::SUBJECT, question.into()).await;
        let answer = answer.map_err(|error| match error {
            RequestErrorKind::NoResponders => AskError::NoApiPod,
            _ => AskError::NoAnswer,
        })?;
        serde_json::from_slice(&answer.payload).map_err(|_| AskError::Unreadable)
    }

    /// Answers asks of a kind, each by one pod of all that do this, until `stop` is done; then finishes what was begun.
    pub async fn answer<A, F, Fut>(
        &self,
        answer: F,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<(), RelayError>
    where
        A: Ask,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A::Answer> + Send + 'static,
    {
        let group = subject::API_PODS.to_owned();
        let mut asks = self
            .client
            .queue_subscribe(A::SUBJECT, group)
            .await
            .map_err(RelayError::unavailable)?;
        let answer = Arc::new(answer);
        let places = Arc::new(Semaphore::new(A::CONCURRENT));
        tokio::pin!(stop);
        loop {
            let ask = tokio::select! {
                () = &mut stop => break,
                ask = asks.next() => match ask {
                    Some(ask) => ask,
                    None => return Err(RelayError::unavailable("the subscription to asks ended")),
                },
            };
            self.answer_one(ask, &answer, &places).await;
        }
        // Leave the queue group first, so that no ask comes to a pod that goes; then answer what had come already.
        if asks.drain().await.is_ok() {
            while let Ok(Some(ask)) = timeout(DRAIN, asks.next()).await {
                self.answer_one(ask, &answer, &places).await;
            }
        }
        let everything = u32::try_from(A::CONCURRENT).unwrap_or(u32::MAX);
        let _ = places.acquire_many(everything).await;
        Ok(())
    }

    /// Begins to answer, once there is a place for it.
    async fn answer_one<A, F, Fut>(&self, ask: Message, answer: &Arc<F>, places: &Arc<Semaphore>)
    where
        A: Ask,
        F: Fn(A) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = A::Answer> + Send + 'static,
    {
        // The semaphore is never closed.
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let (bus, answer) = (self.clone(), answer.clone());
        tokio::spawn(async move {
            let began = Instant::now();
            reply(&bus.client, ask, answer.as_ref()).await;
            bus.metrics.answered(A::SUBJECT, began.elapsed());
            drop(place);
        });
    }
}

async fn reply<A, F, Fut>(client: &Client, message: Message, answer: &F)
where
    A: Ask,
    F: Fn(A) -> Fut,
    Fut: Future<Output = A::Answer>,
{
    let Some(reply_to) = message.reply else { return };
    let answer = match serde_json::from_slice(&message.payload) {
        Ok(ask) => answer(ask).await,
        Err(error) => {
            tracing::warn!(%error, "an ask could not be read");
            A::UNAVAILABLE
        }
    };
    let Ok(answer) = serde_json::to_vec(&answer) else { return };
    if let Err(error) = client.publish(reply_to, answer.into()).await {
        tracing::warn!(%error, "an answer could not be sent");
    }
}
