//! A gateway, and the api pod that it asks.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use clap::Parser;
use futures_util::future::join_all;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_domain::ask::{
    CatchUpAnswer, CatchUpAsk, HeadsAnswer, HeadsAsk, JoinAnswer, JoinAsk, JoinOutcome,
    JoinRefusal, JoinSnapshot, Joins, JoinsAnswer, JoinsAsk, MAX_MISSED, MAX_PAGE_BYTES,
    MAX_PAGE_EVENTS, Missed, MissedEvent, MissedPage, Position, RevokedAnswer, RevokedAsk,
    RoomSnapshot, UserStanding, UsersAnswer, UsersAsk,
};
use parley_domain::bus::{Kind, Origin, RoomEvent};
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

/// The Redis of the test run; tests share it, and have pods, chats and users of their own.
pub(crate) fn redis_url() -> String {
    std::env::var("PARLEY_TEST_REDIS_URL").expect("PARLEY_TEST_REDIS_URL: see CONTRIBUTING.md")
}

/// One of everything.
pub(crate) struct World {
    pub(crate) nats: NatsServer,
    pub(crate) gateway: Gateway,
    pub(crate) api: ApiPod,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::with(&[]).await
    }

    /// The gateway has these settings.
    pub(crate) async fn with(settings: &[&str]) -> Self {
        let nats = NatsServer::start().await;
        let api = ApiPod::start(&nats).await;
        let gateway = Gateway::start(&nats.url(), settings).await;
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
        let redis = format!("--redis-url={}", redis_url());
        let mut named = vec![format!("--pod={POD}"), format!("--jwt-secret={SECRET}")];
        if !more.iter().any(|argument| argument.starts_with("--redis-url")) {
            named.push(redis);
        }
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

    pub(crate) fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    pub(crate) async fn client(&self, user: &str) -> Client {
        Client::connect(self.address, &token_for(user, 60)).await
    }

    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let (status, metrics) = get(self.admin_address, "/metrics").await.expect("metrics");
        assert_eq!(status, 200);
        sample(&metrics, series)
    }

    /// How many connections have ended for this reason.
    pub(crate) async fn closed(&self, reason: &str) -> u64 {
        self.metric(&format!("parley_gateway_closed_total{{reason=\"{reason}\"}}")).await
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
    memberships: Mutex<HashMap<UserId, u64>>,
    asked: AtomicU64,
    /// Most joins that one ask was about.
    asked_together: AtomicU64,
    /// Catch-ups and comparisons that were asked for.
    caught_up: AtomicU64,
    compared: AtomicU64,
}

#[derive(Clone)]
struct Chat {
    version: u64,
    epoch: Epoch,
    /// What was committed since the chat is there.
    events: BTreeMap<u64, RoomEvent>,
    refused: HashMap<UserId, JoinRefusal>,
    /// Whom it is kept for.
    only: Option<Role>,
    gate: Option<Arc<Semaphore>>,
    catch_up_gate: Option<Arc<Semaphore>>,
    away: bool,
}

impl Chat {
    fn missed(&self, position: Position) -> Missed {
        let (version, epoch) = (Version(self.version), self.epoch);
        let behind = self.version.checked_sub(position.since.0);
        let other = position.epoch.is_some_and(|other| other != epoch);
        if other || behind.is_none_or(|behind| behind > MAX_MISSED) {
            return Missed::Resync { version, epoch };
        }
        let mut bytes = 0;
        let fits = |(_, event): &(&u64, &RoomEvent)| {
            bytes += event.event.len() + 100;
            bytes <= MAX_PAGE_BYTES
        };
        let later = self.events.range(position.since.0 + 1..).take(MAX_PAGE_EVENTS);
        let events: Vec<MissedEvent> =
            later.take_while(fits).map(|(version, event)| told(*version, event)).collect();
        let up_to = events.last().map_or(version, |last| last.version);
        Missed::Events(MissedPage { events, up_to, version, epoch })
    }
}

fn told(version: u64, event: &RoomEvent) -> MissedEvent {
    MissedEvent {
        version: Version(version),
        kind: event.kind.code(),
        affected: event.affected.clone(),
        hidden_from: Vec::new(),
        event: String::from_utf8(event.event.to_vec()).unwrap(),
    }
}

impl Chats {
    /// A chat in which everybody may be.
    pub(crate) fn create(&self, version: u64) -> ChatId {
        let id = ChatId::from(Uuid::new_v4());
        let chat = Chat {
            version,
            epoch: EPOCH,
            events: BTreeMap::new(),
            refused: HashMap::new(),
            only: None,
            gate: None,
            catch_up_gate: None,
            away: false,
        };
        self.0.chats.lock().unwrap().insert(id, chat);
        id
    }

    fn change<T>(&self, chat: ChatId, change: impl FnOnce(&mut Chat) -> T) -> T {
        change(self.0.chats.lock().unwrap().get_mut(&chat).unwrap())
    }

    /// The next version, committed and not yet published.
    pub(crate) fn commit(&self, chat: ChatId) -> u64 {
        self.commit_as(chat, |version| event(chat, version, 0))
    }

    /// The same, as an event of the test's.
    pub(crate) fn commit_as(&self, chat: ChatId, event: impl FnOnce(u64) -> RoomEvent) -> u64 {
        self.change(chat, |chat| {
            chat.version += 1;
            chat.events.insert(chat.version, event(chat.version));
            chat.version
        })
    }

    /// The database is put back: what came after `version` is gone, and what follows is another history.
    pub(crate) fn put_back(&self, chat: ChatId, version: u64, epoch: Epoch) {
        self.change(chat, |chat| {
            chat.version = version;
            chat.epoch = epoch;
            chat.events.split_off(&(version + 1));
        });
    }

    pub(crate) fn remove(&self, chat: ChatId) {
        self.0.chats.lock().unwrap().remove(&chat);
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

    /// The same for catch-ups.
    pub(crate) fn gate_catch_ups(&self, chat: ChatId) -> Arc<Semaphore> {
        let gate = Arc::new(Semaphore::new(0));
        self.change(chat, |chat| chat.catch_up_gate = Some(gate.clone()));
        gate
    }

    /// Waits until so many catch-ups were asked for in all.
    pub(crate) async fn has_caught_up(&self, times: u64) {
        eventually("catch-ups", async || {
            (self.0.caught_up.load(Ordering::SeqCst) >= times).then_some(())
        })
        .await;
    }

    /// How often somebody asked where chats stand.
    pub(crate) fn compared(&self) -> u64 {
        self.0.compared.load(Ordering::SeqCst)
    }

    pub(crate) async fn has_compared(&self, times: u64) {
        eventually("comparisons", async || (self.compared() >= times).then_some(())).await;
    }

    /// Whether the pod says that it cannot find out.
    pub(crate) fn set_away(&self, chat: ChatId, away: bool) {
        self.change(chat, |chat| chat.away = away);
    }

    pub(crate) fn asked(&self) -> u64 {
        self.0.asked.load(Ordering::SeqCst)
    }

    /// Most joins that one ask was about.
    pub(crate) fn asked_together(&self) -> u64 {
        self.0.asked_together.load(Ordering::SeqCst)
    }

    /// Waits until so many asks have come in all.
    pub(crate) async fn has_been_asked(&self, times: u64) {
        eventually("asks", async || (self.asked() >= times).then_some(())).await;
    }

    /// Committed, and not yet announced.
    pub(crate) fn revoke(&self, user: &str, seconds: i64) -> Revocation {
        let valid_after = DateTime::from_timestamp(seconds, 0).unwrap();
        let user_id = UserId::parse(user).unwrap();
        self.0.revoked.lock().unwrap().insert(user_id.clone(), valid_after);
        Revocation { user_id, valid_after }
    }

    /// The set of a user's chats is another one, committed and not yet announced.
    pub(crate) fn has_other_chats(&self, user: &str) -> u64 {
        let user = UserId::parse(user).unwrap();
        let mut memberships = self.0.memberships.lock().unwrap();
        let version = memberships.entry(user).or_default();
        *version += 1;
        *version
    }

    fn memberships(&self, user: &UserId) -> u64 {
        self.0.memberships.lock().unwrap().get(user).copied().unwrap_or_default()
    }

    fn answer_users(&self, ask: UsersAsk) -> UsersAnswer {
        let revoked = self.0.revoked.lock().unwrap();
        let standing = |user_id: UserId| UserStanding {
            membership_version: self.memberships(&user_id),
            tokens_valid_after: revoked.get(&user_id).copied(),
            user_id,
        };
        UsersAnswer::Users { users: ask.user_ids.into_iter().map(standing).collect() }
    }

    fn answer_revoked(&self, ask: &RevokedAsk) -> RevokedAnswer {
        let valid_after = self.0.revoked.lock().unwrap().get(&ask.user_id).copied();
        if is_revoked(ask.issued_at, valid_after) {
            RevokedAnswer::Revoked
        } else {
            RevokedAnswer::Counts { membership_version: Some(self.memberships(&ask.user_id)) }
        }
    }

    async fn answer(self, ask: JoinAsk) -> JoinAnswer {
        let chat = self.0.chats.lock().unwrap().get(&ask.chat_id).cloned();
        self.0.asked.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = chat.as_ref().and_then(|chat| chat.gate.as_ref()) {
            gate.acquire().await.unwrap().forget();
        }
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
                    epoch: chat.epoch,
                    missed: ask.position.map(|position| chat.missed(position)),
                    read_pointers: [(ask.user_id, Seq(chat.version / 2))].into(),
                }),
            },
        }
    }

    /// Each by itself, at the same time.
    async fn answer_joins(self, ask: JoinsAsk) -> JoinsAnswer {
        self.0.asked_together.fetch_max(ask.joins.len() as u64, Ordering::SeqCst);
        let answers = ask.joins.into_iter().map(|ask| {
            let (chats, user) = (self.clone(), ask.user_id.clone());
            async move { (user, chats.answer(ask).await) }
        });
        let mut joins = Joins::default();
        for (user, answer) in join_all(answers).await {
            joins.joins.push(match answer {
                JoinAnswer::Joined(JoinSnapshot { version, epoch, read_pointers, missed }) => {
                    let read = read_pointers[&user];
                    joins.rooms.push(RoomSnapshot { version, epoch, read_pointers });
                    joins.missed.extend(missed.clone());
                    let missed = missed.map(|_| joins.missed.len() - 1);
                    JoinOutcome::Joined { room: joins.rooms.len() - 1, read, missed }
                }
                JoinAnswer::Refused { refusal } => JoinOutcome::Refused { refusal },
                JoinAnswer::Unavailable => JoinOutcome::Unavailable,
            });
        }
        JoinsAnswer::Joins(joins)
    }

    async fn answer_catch_up(self, ask: CatchUpAsk) -> CatchUpAnswer {
        let chat = self.0.chats.lock().unwrap().get(&ask.chat_id).cloned();
        self.0.caught_up.fetch_add(1, Ordering::SeqCst);
        if let Some(gate) = chat.as_ref().and_then(|chat| chat.catch_up_gate.as_ref()) {
            gate.acquire().await.unwrap().forget();
        }
        match chat {
            None => CatchUpAnswer::ChatNotFound,
            Some(chat) if chat.away => CatchUpAnswer::Unavailable,
            Some(chat) => CatchUpAnswer::Missed(chat.missed(ask.position)),
        }
    }

    fn answer_heads(&self, ask: &HeadsAsk) -> HeadsAnswer {
        self.0.compared.fetch_add(1, Ordering::SeqCst);
        let chats = self.0.chats.lock().unwrap();
        let asked: Vec<_> =
            ask.chat_ids.iter().filter_map(|id| Some((*id, chats.get(id)?))).collect();
        if asked.iter().any(|(_, chat)| chat.away) {
            return HeadsAnswer::Unavailable;
        }
        let epoch = asked.first().map_or(EPOCH, |(_, chat)| chat.epoch);
        let heads = asked.iter().map(|(id, chat)| (*id, Version(chat.version))).collect();
        HeadsAnswer::Heads { heads, epoch }
    }
}

impl ApiPod {
    pub(crate) async fn start(nats: &NatsServer) -> Self {
        Self::with(nats, Chats::default()).await
    }

    /// Waits until it can be asked.
    pub(crate) async fn with(nats: &NatsServer, chats: Chats) -> Self {
        Self::answering(nats, chats, true).await
    }

    /// One of the release that was asked about one join at a time.
    pub(crate) async fn of_an_older_release(nats: &NatsServer) -> Self {
        Self::answering(nats, Chats::default(), false).await
    }

    async fn answering(nats: &NatsServer, chats: Chats, many_joins: bool) -> Self {
        let settings = NatsSettings::at(&nats.url());
        let bus = Bus::connect(&settings, "api", &Registry::new()).await.unwrap();
        let (publisher, task) = bus.publisher();
        tokio::spawn(task.run());
        let stop = CancellationToken::new();
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| chats.clone().answer(ask);
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        if many_joins {
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| chats.clone().answer_joins(ask);
            tokio::spawn(async move { bus.answer(answer, stop.cancelled_owned()).await });
        }
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| std::future::ready(chats.answer_revoked(&ask));
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| chats.clone().answer_catch_up(ask);
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| std::future::ready(chats.answer_heads(&ask));
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        tokio::spawn({
            let (bus, stop, chats) = (bus.clone(), stop.clone(), chats.clone());
            let answer = move |ask| std::future::ready(chats.answer_users(ask));
            async move { bus.answer(answer, stop.cancelled_owned()).await }
        });
        tokio::spawn(bus.announce_heads().run(stop.clone().cancelled_owned()));
        eventually("the api pod listens", async || {
            let joins = if many_joins { "joins" } else { "join" };
            for kind in [joins, "join", "revoked", "catch-up", "heads", "users"] {
                let subscriptions = nats.subscriptions(&format!("ask.{kind}")).await;
                if subscriptions.is_empty() {
                    return None;
                }
            }
            Some(())
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

    pub(crate) fn bus(&self) -> &Bus {
        &self.bus
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
        membership_versions: Vec::new(),
        origin: Origin::default(),
        event: Bytes::from(parley_domain::event::encode("new-message", &payload)),
    }
}

pub(crate) const SECOND: Duration = Duration::from_secs(1);
