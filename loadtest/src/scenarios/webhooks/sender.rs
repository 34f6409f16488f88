//! People who send at a steady rate, however fast they are answered.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Description, Token};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};

use crate::http::{Connection, address, request};
use crate::load::{ask_all, on_this_thread};

const CONTENT: &str = "Shall we meet at the station at half past seven, or is that too early for the others? Tell me soon.";

/// Chats, each with the request of one of its people.
pub(super) struct People {
    pods: Vec<String>,
    requests: Arc<[Vec<u8>]>,
}

/// Sends that go on.
pub(super) struct Sending {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
    thread: JoinHandle<Result<()>>,
}

impl People {
    /// Makes so many direct chats.
    pub(super) fn make(cluster: &Description, chats: u32) -> Result<Self> {
        let pods: Vec<_> = cluster.api.iter().map(|pod| address(&pod.url).to_owned()).collect();
        let first = pods.first().context("there is no api pod")?;
        let token = |number: u32| {
            let user = format!("hook-{number}");
            Token { ttl: Duration::from_hours(24), ..Token::user(&user) }.sign(&cluster.jwt.secret)
        };
        let tokens = (0..=chats).map(token).collect::<Result<Vec<_>>>()?;
        let seen = tokens.iter().map(|token| request("GET", "/api/chat?limit=1", token, ""));
        ask_all(first, seen.collect())?;
        let chat = |number: usize| {
            let body = json!({ "participantIds": [format!("hook-{number}")] }).to_string();
            request("POST", "/api/chat", &tokens[0], &body)
        };
        let made = ask_all(first, (1..tokens.len()).map(chat).collect())?;
        let body = json!({ "content": CONTENT }).to_string();
        let mut requests = Vec::with_capacity(made.len());
        for (answer, token) in made.iter().zip(&tokens[1..]) {
            let answer: Value = serde_json::from_slice(answer)?;
            let id = answer["data"]["chat"]["_id"].as_str().context("no chat")?;
            let path = format!("/api/chat/{id}/messages");
            requests.push(request("POST", &path, token, &body));
        }
        Ok(Self { pods, requests: requests.into() })
    }

    /// Begins to send, so many a second.
    pub(super) fn send(&self, rate: u32) -> Sending {
        let (stop, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let sender = Sender {
            pods: self.pods.clone(),
            requests: self.requests.clone(),
            stop: stop.clone(),
            sent: sent.clone(),
        };
        let thread = std::thread::spawn(move || on_this_thread(sender.run(rate)));
        Sending { stop, sent, thread }
    }
}

impl Sending {
    /// Messages that were answered with 201.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::SeqCst)
    }

    /// Lets what has begun end; says how many were sent.
    pub(super) fn stop(self) -> Result<u64> {
        self.stop.store(true, Ordering::SeqCst);
        self.thread.join().map_err(|_| anyhow::anyhow!("the senders have panicked"))??;
        Ok(self.sent.load(Ordering::SeqCst))
    }
}

struct Sender {
    pods: Vec<String>,
    requests: Arc<[Vec<u8>]>,
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

impl Sender {
    /// Each of some connections sends its share, into one chat after the other.
    async fn run(self, rate: u32) -> Result<()> {
        const CONNECTIONS: u32 = 20;
        let sender = Arc::new(self);
        let each = Duration::from_secs(1) * CONNECTIONS / rate.max(1);
        let tasks: Vec<_> = (0..CONNECTIONS as usize)
            .map(|number| tokio::task::spawn_local(sender.clone().one(number, each)))
            .collect();
        for task in tasks {
            task.await.context("a sender has panicked")??;
        }
        Ok(())
    }

    async fn one(self: Arc<Self>, number: usize, each: Duration) -> Result<()> {
        let mut connection = Connection::open(&self.pods[number % self.pods.len()]).await?;
        let mut turns = interval(each);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.stop.load(Ordering::SeqCst) {
            turns.tick().await;
            let chat = rand::random_range(0..self.requests.len());
            let answer = connection.exchange(&self.requests[chat]).await?;
            if answer.status != 201 {
                bail!("a send was answered with {}", answer.status);
            }
            self.sent.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}
