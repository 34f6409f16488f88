//! A gateway, and the api pod that it asks.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::Parser;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinRefusal, JoinSnapshot, RevokedAnswer, RevokedAsk,
};
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::token::{Revocation, is_revoked};
use parley_domain::user::Role;
use parley_domain::version::{Epoch, Seq, Version};
use parley_gateway::{App, Settings};
use parley_relay::{Bus, NatsSettings, Publisher};
use parley_runtime::lifecycle::Lifecycle;
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio_util::sync::{CancellationToken, DropGuard};
use uuid::Uuid;

use crate::client::Client;
use crate::server::{NatsServer, eventually, get, sample, soon};

pub(crate) const SECRET: &str = "0123456789abcdef0123456789abcdef";
pub(crate) const POD: &str = "gateway-under-test";
pub(crate) const EPOCH: Epoch = Epoch(0xfeed);

/// A token that ends in so many seconds.
pub(crate) fn token_for(user: &str, seconds: i64) -> String {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let claims = json!({ "sub": user, "exp": i64::try_from(now).unwrap() + seconds });
    sign(&claims, SECRET)
}

pub(crate) fn sign(claims: &Value, secret: &str) -> String {
    let key = EncodingKey::from_secret(secret.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

/// One of everything.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) gateway: Gateway,
    pub(crate) api: ApiPod,
}

impl World {
    pub(crate) async fn start() -> Self {
        let nats = NatsServer::start().await;
        let api = ApiPod::start(&nats).await;
        let gateway = Gateway::start(&nats.url(), &[]).await;
        gateway.is_ready().await;
        Self { nats, gateway, api }
    }

    /// NATS comes back where it was, and the api pod is there again.
    pub(crate) async fn nats_returns(&mut self) {
        self.nats.start_again().await;
        self.api.is_connected(true).await;
    }

    /// NATS goes away, and both pods have noticed.
    pub(crate) async fn nats_goes(&mut self) {
        self.nats.stop();
        self.api.is_connected(false).await;
        self.gateway.is_not_ready("nats").await;
    }

    /// Waits until the server has so many subscriptions to the chat.
    pub(crate) async fn has_subscriptions(&self, chat: ChatId, number: usize) {
        let subject = format!("chat.{chat}");
        eventually("the number of subscriptions", async || {
            (self.nats.subscriptions(&subject).await.len() == number).then_some(())
        })
        .await;
    }
}

/// A gateway pod in this process; it ends with this value.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    admin_address: SocketAddr,
    pub(crate) lifecycle: Lifecycle,
    _stop: DropGuard,
}

impl Gateway {
    /// Does not wait until it is ready.
    pub(crate) async fn start(nats_url: &str, more: &[&str]) -> Self {
        let arguments = ["test", "--listen=127.0.0.1:0", "--admin-listen=127.0.0.1:0"];
        let named = [format!("--pod={POD}"), format!("--jwt-secret={SECRET}")];
        let arguments = arguments.into_iter().chain(named.iter().map(String::as_str));
        let settings = arguments.chain(["--nats-url", nats_url]).chain(more.iter().copied());
        let lifecycle = Lifecycle::default();
        let app = App::start(Settings::parse_from(settings), &lifecycle).await.unwrap();
        Self {
            address: app.address,
            admin_address: app.admin_address,
            _stop: lifecycle.stop().drop_guard(),
            lifecycle,
        }
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::connect(self.address, &token_for(user, 60)).await
    }

    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let (status, metrics) = get(self.admin_address, "/metrics").await.expect("metrics");
        assert_eq!(status, 200);
        sample(&metrics, series)
    }

    pub(crate) async fn reaches(&self, series: &str, value: u64) {
        eventually(&format!("{series} becomes {value}"), async || {
            (self.metric(series).await == value).then_some(())
        })
        .await;
    }

    pub(crate) async fn rooms(&self) -> u64 {
        self.metric("parley_gateway_rooms").await
    }

    pub(crate) async fn is_ready(&self) {
        eventually("the gateway is ready", async || {
            (get(self.admin_address, "/readyz").await? == (200, "ready\n".to_owned())).then_some(())
        })
        .await;
    }

    pub(crate) async fn is_not_ready(&self, why: &str) {
        let answer = (503, format!("not ready: {why}\n"));
        eventually("the gateway is not ready", async || {
            (get(self.admin_address, "/readyz").await? == answer).then_some(())
        })
        .await;
    }
}

/// Answers and publishes as an api pod does, out of this process's memory.
pub(crate) struct ApiPod {
    bus: Bus,
    publisher: Publisher,
    pub(crate) chats: Chats,
    _stop: DropGuard,
}

/// What is committed. An ask waits for a permit where a gate is set, after it has read the chat.
#[derive(Clone, Default)]
pub(crate) struct Chats(Arc<Inner>);

#[derive(Default)]
struct Inner {
    chats: Mutex<HashMap<ChatId, Chat>>,
    revoked: Mutex<HashMap<UserId, DateTime<Utc>>>,
    asked: AtomicU64,
    answered: AtomicU64,
}

#[derive(Clone, Default)]
struct Chat {
    version: u64,
    refused: HashMap<UserId, JoinRefusal>,
    /// Whom it is kept for.
    only: Option<Role>,
    gate: Option<Arc<Semaphore>>,
    away: bool,
}

impl Chats {
    /// A chat in which everybody may be.
    pub(crate) fn create(&self, version: u64) -> ChatId {
        let id = ChatId::from(Uuid::new_v4());
        self.0.chats.lock().unwrap().insert(id, Chat { version, ..Chat::default() });
        id
    }

    fn change<T>(&self, chat: ChatId, change: impl FnOnce(&mut Chat) -> T) -> T {
        change(self.0.chats.lock().unwrap().get_mut(&chat).unwrap())
    }

    /// The next version, committed and not yet published.
    pub(crate) fn commit(&self, chat: ChatId) -> u64 {
        self.change(chat, |chat| {
            chat.version += 1;
            chat.version
        })
    }

    pub(crate) fn version(&self, chat: ChatId) -> u64 {
        self.change(chat, |chat| chat.version)
    }

    pub(crate) fn refuse(&self, chat: ChatId, user: &str, refusal: JoinRefusal) {
        let user = UserId::parse(user).unwrap();
        self.change(chat, |chat| chat.refused.insert(user, refusal));
    }

    /// Only users of this role may be in it.
    pub(crate) fn keep_for(&self, chat: ChatId, role: Role) {
        self.change(chat, |chat| chat.only = Some(role));
    }

    /// From now on answers about this chat wait for a permit, after they have read it.
    pub(crate) fn gate(&self, chat: ChatId) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.change(chat, |chat| chat.gate = Some(gate.clone()));
        gate
    }

    /// Whether the pod says that it cannot find out.
    pub(crate) fn set_away(&self, chat: ChatId, away: bool) {
        self.change(chat, |chat| chat.away = away);
    }

    pub(crate) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Waits until so many asks have come in all.
    pub(crate) async fn has_been_asked(&self, times: u64) {
        eventually("asks", async || (self.asked() >= times).then_some(())).await;
    }

    /// Waits until so many answers were given in all.
    pub(crate) async fn has_answered(&self, times: u64) {
        eventually("answers", async || {
            (self.0.answered.load(Ordering::SeqCst) >= times).then_some(())
        })
        .await;
    }

    /// Committed, and not yet announced.
    pub(crate) fn revoke(&self, user: &str, seconds: i64) -> Revocation {
        let valid_after = DateTime::from_timestamp(seconds, 0).unwrap();
        let user_id = UserId::parse(user).unwrap();
        self.0.revoked.lock().unwrap().insert(user_id.clone(), valid_after);
        Revocation { user_id, valid_after }
    }

    fn answer_revoked(&self, ask: &RevokedAsk) -> RevokedAnswer {
        let valid_after = self.0.revoked.lock().unwrap().get(&ask.user_id).copied();
        if is_revoked(ask.issued_at, valid_after) {
            RevokedAnswer::Revoked
        } else {
            RevokedAnswer::Counts
        }
    }

    async fn answer(self, ask: JoinAsk) -> JoinAnswer {
        let chat = self.0.chats.lock().unwrap().get(&ask.chat_id).cloned();
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = chat.as_ref().and_then(|chat| chat.gate.as_ref()) {
            gate.acquire().await.unwrap().forget();
        }
        self.0.answered.fetch_add(1, Ordering::SeqCst);
        match chat {
            None => JoinAnswer::Refused { refusal: JoinRefusal::ChatNotFound },
            Some(chat) if chat.away => JoinAnswer::Unavailable,
            Some(chat) if chat.only.is_some_and(|role| role != ask.role) => {
                JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant }
            }
            Some(chat) => match chat.refused.get(&ask.user_id) {
                Some(&refusal) => JoinAnswer::Refused { refusal },
                None => JoinAnswer::Joined(JoinSnapshot {
                    version: Version(chat.version),
                    epoch: EPOCH,
                    read_pointers: [(ask.user_id, Seq(chat.version / 2))].into(),
                    missed: None,
                }),
            },
        }
    }
}

impl ApiPod {
    pub(crate) async fn start(nats: &NatsServer) -> Self {
        Self::with(nats, Chats::default()).await
    }

    /// Waits until it can be asked.
    pub(crate) async fn with(nats: &NatsServer, chats: Chats) -> Self {
        let settings = NatsSettings { nats_url: vec![nats.url()] };
        let bus = Bus::connect(&settings, "api", &Registry::new()).await.unwrap();
        let (publisher, task) = bus.publisher();
        tokio::spawn(task.run());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| chats.clone().answer(ask);
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| std::future::ready(chats.answer_revoked(&ask));
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        eventually("the api pod listens", async || {
            let join = nats.subscriptions("ask.join").await;
            let revoked = nats.subscriptions("ask.revoked").await;
            (!join.is_empty() && !revoked.is_empty()).then_some(())
        })
        .await;
        let api = Self { bus, publisher, chats, _stop: stop.drop_guard() };
        api.is_connected(true).await;
        api
    }

    pub(crate) async fn is_connected(&self, connected: bool) {
        soon(self.bus.state().wait_for(|state| state.connected == connected)).await.unwrap();
    }

    /// Says on the bus that these tokens were revoked.
    pub(crate) async fn announce(&self, revocation: &Revocation) {
        assert!(self.bus.announce_revocation(revocation).await);
    }

    /// Says on the bus that this version was committed.
    pub(crate) fn publish(&self, chat: ChatId, version: u64) {
        self.publisher.publish(&event(chat, version, 0));
    }

    pub(crate) fn publisher(&self) -> Publisher {
        self.publisher.clone()
    }

    /// Commits and publishes.
    pub(crate) fn say(&self, chat: ChatId) -> u64 {
        let version = self.chats.commit(chat);
        self.publish(chat, version);
        version
    }
}

/// The event of this version, with so many characters of content.
pub(crate) fn event(chat_id: ChatId, version: u64, padding: usize) -> RoomEvent {
    let payload = json!({ "chatId": chat_id, "version": version, "pad": "x".repeat(padding) });
    RoomEvent {
        kind: Kind::NewMessage,
        chat_id,
        version: Some(Version(version)),
        epoch: EPOCH,
        affected: Vec::new(),
        event: Bytes::from(parley_domain::event::encode("new-message", &payload)),
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
