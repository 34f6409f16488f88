//! Calls to real sockets: what is refused, and what is answered.
#![expect(clippy::unwrap_used, reason = "tests")]

mod calls;
mod corpus;
mod receiver;
mod redirects;
mod tls;

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use parley_outbound::{Answer, Client, OutboundError, Policy, Resolve, Roots, Target};

/// Far longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// A resolver with a script: each question after a name gets the next answer, and the last one for good.
#[derive(Default)]
struct Script {
    answers: Mutex<HashMap<String, Vec<Vec<IpAddr>>>>,
    asked: Mutex<Vec<String>>,
}

impl Script {
    fn of(name: &str, answers: &[&[&str]]) -> Arc<Self> {
        let script = Self::default();
        let parse = |all: &&[&str]| all.iter().map(|one| one.parse().unwrap()).collect();
        script.answers.lock().insert(name.to_owned(), answers.iter().map(parse).collect());
        Arc::new(script)
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }
}

#[async_trait]
impl Resolve for Script {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        self.asked.lock().push(name.to_owned());
        let mut answers = self.answers.lock();
        let answers = answers.get_mut(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() })
    }
}

fn client(policy: Policy) -> Client {
    Client::new(policy, Roots::public()).unwrap()
}

fn local() -> Policy {
    Policy::allowing(["127.0.0.1", "::1"]).unwrap()
}

/// Parses and calls, as who is given a URL does.
async fn call(client: &Client, url: &str) -> Result<Answer, OutboundError> {
    let target = Target::parse(url, client.policy())?;
    client.post(&target, http::HeaderMap::new(), "{}".into(), PATIENCE).await
}
