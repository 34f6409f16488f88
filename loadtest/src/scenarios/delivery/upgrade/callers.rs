//! Callers of the REST interface as they are everywhere: through the balancer, on connections that are kept, and without a second
//! try. Whatever is not a 2xx is a failure.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use parley_local::{Client, Description, Token};
use serde_json::json;

/// Failures that are kept word by word.
const TOLD: usize = 5;

/// They call until they are stopped.
pub(super) struct Callers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    good: AtomicU64,
    bad: AtomicU64,
    told: Mutex<Vec<String>>,
}

/// What came of it.
pub(super) struct Calls {
    pub(super) good: u64,
    pub(super) bad: u64,
    /// The first few failures.
    pub(super) told: Vec<String>,
}

impl Callers {
    /// As many, each in a chat of its own with one other.
    pub(super) fn start(cluster: &Description, count: usize, pause: Duration) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..count)
            .map(|number| {
                let caller = Caller::new(cluster, number)?;
                let shared = Arc::clone(&shared);
                Ok(std::thread::spawn(move || caller.call(&shared, pause)))
            })
            .collect::<Result<_>>()?;
        Ok(Self { shared, threads })
    }

    pub(super) fn stop(self) -> Result<Calls> {
        self.shared.over.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| anyhow!("a caller has panicked"))?;
        }
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        let told = self.shared.told.lock().clone();
        Ok(Calls { good: count(&self.shared.good), bad: count(&self.shared.bad), told })
    }
}

struct Caller {
    client: Client,
    chat: String,
}

impl Caller {
    fn new(cluster: &Description, number: usize) -> Result<Self> {
        let client = |user: String| -> Result<Client> {
            let ttl = Duration::from_hours(24);
            let token = Token { ttl, ..Token::user(&user) }.sign(&cluster.jwt.secret)?;
            Ok(Client::new(&cluster.url, Some(token)))
        };
        let other = format!("called-{number}");
        // The directory learns of whoever comes with a token.
        client(other.clone())?.get("/api/chat?limit=1")?.data()?;
        let client = client(format!("caller-{number}"))?;
        let body = json!({ "type": "direct", "participantIds": [other] });
        let made = client.post("/api/chat", &body)?;
        let chat = made.data()?["chat"]["_id"].as_str().context("no chat")?.to_owned();
        Ok(Self { client, chat })
    }

    /// Sends and reads in turns.
    fn call(&self, shared: &Shared, pause: Duration) {
        let path = format!("/api/chat/{}/messages", self.chat);
        for turn in 0_u64.. {
            if shared.over.load(Ordering::Relaxed) {
                return;
            }
            let answer = match turn % 3 {
                0 => self.client.post(&path, &json!({ "content": "during an upgrade" })),
                1 => self.client.get(&format!("{path}?limit=20")),
                _ => self.client.get("/api/chat?limit=20"),
            };
            let failure = match answer {
                Ok(answer) if (200..300).contains(&answer.status) => None,
                Ok(answer) => Some(format!("{}: {}", answer.status, answer.body)),
                Err(error) => Some(format!("{error:#}")),
            };
            shared.count(failure);
            std::thread::sleep(pause);
        }
    }
}

impl Shared {
    fn count(&self, failure: Option<String>) {
        let Some(failure) = failure else {
            self.good.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.bad.fetch_add(1, Ordering::Relaxed);
        let mut told = self.told.lock();
        if told.len() < TOLD {
            told.push(failure);
        }
    }
}
