//! A server of the host application: it checks signatures by its own means, and keeps what it was told.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::post;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::Value;
use sha2::Sha256;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What was told once.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) id: String,
    pub(crate) signatures: String,
    pub(crate) timestamp: String,
    pub(crate) raw: Bytes,
    pub(crate) body: Value,
}

#[derive(Default)]
pub(crate) struct Ears {
    told: Mutex<Vec<Told>>,
    /// What is answered; 0 stands for 200, and 1 for an answer that never comes.
    status: AtomicU16,
    /// Chats whose events are refused.
    refused: Mutex<HashSet<String>>,
    heard: Notify,
}

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    pub(crate) ears: Arc<Ears>,
    server: JoinHandle<()>,
}

async fn hear(State(ears): State<Arc<Ears>>, headers: HeaderMap, raw: Bytes) -> Response {
    let header = |name: &str| headers[name].to_str().unwrap().to_owned();
    let body: Value = serde_json::from_slice(&raw).unwrap();
    let chat = body["data"]["chatId"].as_str().unwrap_or_default().to_owned();
    let told = Told {
        id: header("webhook-id"),
        signatures: header("webhook-signature"),
        timestamp: header("webhook-timestamp"),
        raw,
        body,
    };
    ears.told.lock().push(told);
    ears.heard.notify_waiters();
    if ears.refused.lock().contains(&chat) {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    }
    match ears.status.load(Ordering::SeqCst) {
        0 => "thanks".into_response(),
        1 => std::future::pending().await,
        302 => Redirect::temporary("https://elsewhere.example/").into_response(),
        status => StatusCode::from_u16(status).unwrap().into_response(),
    }
}

impl Receiver {
    pub(crate) async fn start() -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), Arc::default()).await
    }

    async fn at(address: SocketAddr, ears: Arc<Ears>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().route("/parley", post(hear)).with_state(ears.clone());
        let server = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, ears, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/parley", self.address)
    }

    /// From here on nobody listens.
    pub(crate) async fn goes_down(&mut self) {
        self.server.abort();
        let _ = (&mut self.server).await;
    }

    /// Somebody listens again, at the same place.
    pub(crate) async fn comes_back(&mut self) {
        *self = Self::at(self.address, self.ears.clone()).await;
    }

    pub(crate) fn answers(&self, status: u16) {
        self.ears.status.store(status, Ordering::SeqCst);
    }

    pub(crate) fn refuses(&self, chat: &str) {
        self.ears.refused.lock().insert(chat.to_owned());
    }

    pub(crate) fn accepts_all(&self) {
        self.ears.refused.lock().clear();
    }

    pub(crate) fn told(&self) -> Vec<Told> {
        self.ears.told.lock().clone()
    }

    /// Waits until something holds of what was told.
    pub(crate) async fn until(&self, holds: impl Fn(&[Told]) -> bool) -> Vec<Told> {
        let waiting = async {
            loop {
                let heard = self.ears.heard.notified();
                tokio::pin!(heard);
                heard.as_mut().enable();
                let told = self.told();
                if holds(&told) {
                    return told;
                }
                heard.await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_mins(1), waiting).await;
        waited.unwrap_or_else(|_| panic!("not told: {:#?}", self.told()))
    }

    /// Waits for so many different events.
    pub(crate) async fn until_events(&self, number: usize) -> Vec<Told> {
        let told = self.until(|told| firsts(told).len() >= number).await;
        firsts(&told)
    }
}

/// Each event once, in the order in which they were first told.
pub(crate) fn firsts(told: &[Told]) -> Vec<Told> {
    let mut seen = HashSet::new();
    told.iter().filter(|told| seen.insert(told.id.clone())).cloned().collect()
}

impl Told {
    /// What was said in the message that it is about.
    pub(crate) fn content(&self) -> &str {
        self.body["data"]["message"]["content"].as_str().unwrap_or_default()
    }

    pub(crate) fn chat(&self) -> &str {
        self.body["data"]["chatId"].as_str().unwrap_or_default()
    }

    /// Whether one of the signatures is by this secret.
    pub(crate) fn is_signed_by(&self, secret: &str) -> bool {
        let key = BASE64_STANDARD.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        let head = format!("{}.{}.", self.id, self.timestamp);
        let mac = mac.chain_update(head).chain_update(&self.raw).finalize().into_bytes();
        let expected = format!("v1,{}", BASE64_STANDARD.encode(mac));
        self.signatures.split(' ').any(|signature| signature == expected)
    }
}
