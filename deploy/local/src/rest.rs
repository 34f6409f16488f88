//! A small HTTP client: for readiness, for the demo's data and for system tests.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;
use ureq::Agent;
use ureq::http::Request;

const JSON: &str = "application/json";

/// Speaks to one address as one user.
#[derive(Clone, Debug)]
pub struct Client {
    base: String,
    token: Option<String>,
    agent: Agent,
}

/// What came back, whatever the status.
#[derive(Clone, Debug)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; `Null` when it is not JSON.
    pub body: Value,
    headers: ureq::http::HeaderMap,
}

impl Client {
    /// A client of this address; without a token it is nobody.
    pub fn new(base: &str, token: Option<String>) -> Self {
        Self { base: base.trim_end_matches('/').to_owned(), token, agent: agent(20) }
    }

    /// Reads.
    pub fn get(&self, path: &str) -> Result<Answer> {
        self.send("GET", path, None)
    }

    /// Sends with POST.
    pub fn post(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("POST", path, Some((JSON, body.to_string().into())))
    }

    /// Sends with PUT.
    pub fn put(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("PUT", path, Some((JSON, body.to_string().into())))
    }

    /// Sends with PATCH.
    pub fn patch(&self, path: &str, body: &Value) -> Result<Answer> {
        self.send("PATCH", path, Some((JSON, body.to_string().into())))
    }

    /// Sends any text as JSON, also what is none.
    pub fn post_text(&self, path: &str, body: &str) -> Result<Answer> {
        self.send("POST", path, Some((JSON, body.into())))
    }

    /// Sends a form with this boundary.
    pub fn post_form(&self, path: &str, boundary: &str, body: &[u8]) -> Result<Answer> {
        let kind = format!("multipart/form-data; boundary={boundary}");
        self.send("POST", path, Some((&kind, body.into())))
    }

    /// Deletes.
    pub fn delete(&self, path: &str) -> Result<Answer> {
        self.send("DELETE", path, None)
    }

    fn send(&self, method: &str, path: &str, body: Option<(&str, Vec<u8>)>) -> Result<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.base));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let sent = match body {
            Some((kind, body)) => {
                let request = request.header("content-type", kind);
                self.agent.run(request.body(body)?)
            }
            None => self.agent.run(request.body(())?),
        };
        let mut answer = sent.with_context(|| format!("{method} {path}"))?;
        let text = answer.body_mut().read_to_string()?;
        Ok(Answer {
            status: answer.status().as_u16(),
            body: serde_json::from_str(&text).unwrap_or(Value::Null),
            headers: answer.headers().clone(),
        })
    }
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The `data` of a good answer; any other answer is an error.
    pub fn data(&self) -> Result<&Value> {
        if !(200..300).contains(&self.status) || self.body["success"] != Value::Bool(true) {
            bail!("answered {}: {}", self.status, self.body);
        }
        Ok(&self.body["data"])
    }
}

/// Whether the address answers 200.
pub(crate) fn is_ok(url: &str) -> bool {
    agent(2).get(url).call().is_ok_and(|answer| answer.status() == 200)
}

/// Whether anything at all is answered.
pub(crate) fn answers(url: &str) -> bool {
    agent(2).get(url).call().is_ok()
}

pub(crate) fn agent(seconds: u64) -> Agent {
    // No proxy of the environment: everything is on this machine.
    let config = Agent::config_builder()
        .http_status_as_error(false)
        .proxy(None)
        .timeout_global(Some(Duration::from_secs(seconds)))
        .build();
    config.new_agent()
}
