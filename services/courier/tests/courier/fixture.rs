//! A database, people who write, and couriers.

use std::time::Duration;

use clap::Parser;
use parley_courier::{App, Settings};
use parley_domain::chat::{ChatType, NewChat};
use parley_domain::ids::{ChatId, UserId, WebhookId};
use parley_domain::message::{Content, MessageType, NewMessage};
use parley_domain::user::Profile;
use parley_domain::webhook::{EventFilter, EventKind, WebhookUrl};
use parley_local::testing;
use parley_outbound::webhook::Key;
use parley_runtime::lifecycle::Lifecycle;
use parley_store::{
    AppendMessage, Appender, AppenderSettings, CreateChat, DatabaseSettings, DeliveryQuery,
    DeliveryRecord, NewWebhook, Store, UnknownUsers,
};
use prometheus::Registry;
use secrecy::ExposeSecret;

#[derive(Parser)]
struct StoreSettings {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    appender: AppenderSettings,
}

pub(crate) struct World {
    pub(crate) store: Store,
    appender: Appender,
    url: String,
}

/// A courier that works.
pub(crate) struct Running {
    lifecycle: Lifecycle,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Running {
    /// It is asked to stop, and has.
    pub(crate) async fn stop(mut self) {
        self.lifecycle.stop().cancel();
        self.lifecycle.finished().await;
        self.runtime.take().unwrap().shutdown_background();
    }

    /// It is gone in the midst of everything, as a process that is killed.
    pub(crate) fn die(mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

impl World {
    pub(crate) async fn new() -> Self {
        let url = testing::fresh_database(&testing::database_url());
        let settings = StoreSettings::parse_from(["test", "--database-url", &url]);
        parley_store::migrate(&settings.database).await.unwrap();
        let store = Store::connect(&settings.database).await.unwrap();
        for id in ["alice", "bob", "carol"] {
            let profile = Profile { id: user(id), name: None, avatar: None };
            store.put_user(&profile).await.unwrap();
        }
        let (appender, task) =
            Appender::new(&store, &settings.appender, &Registry::new(), |_| {}).unwrap();
        tokio::spawn(task.run());
        Self { store, appender, url }
    }

    /// A courier on a runtime of its own, quick to look and to try again, that may call this machine.
    pub(crate) async fn courier(&self, arguments: &[&str]) -> Running {
        let all = ["parley-courier", "--database-url", &self.url, "--admin-listen", "127.0.0.1:0"];
        let nats = testing::nats_url();
        let quick = ["--nats-url", &nats, "--courier-poll-ms", "10"];
        let mut all = [&all[..], &quick].concat();
        for (flag, value) in [
            ("--outbound-allow", "127.0.0.1"),
            ("--webhook-retry-ms", "20"),
            ("--webhook-retry-cap-ms", "200"),
            ("--webhook-timeout-ms", "1000"),
            ("--webhook-concurrency", "8"),
        ] {
            if !arguments.contains(&flag) {
                all.extend([flag, value]);
            }
        }
        all.extend(arguments);
        let settings = Settings::parse_from(all);
        let runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = { runtime }.worker_threads(1).enable_all().build().unwrap();
        let lifecycle = Lifecycle::default();
        let started = lifecycle.clone();
        runtime
            .spawn(async move { App::start(settings, &started).await.map(drop) })
            .await
            .unwrap()
            .unwrap();
        Running { lifecycle, runtime: Some(runtime) }
    }

    /// Bypasses the store, for what it has no verb for.
    pub(crate) fn execute(&self, sql: &str) {
        testing::execute(&self.url, sql);
    }

    /// A webhook and its secret.
    pub(crate) async fn webhook(&self, url: &str, events: &[EventKind]) -> (WebhookId, String) {
        let new = NewWebhook {
            url: WebhookUrl::parse(url).unwrap(),
            description: None,
            events: EventFilter::of(events.to_vec()),
        };
        let secret = Key::make().secret();
        let made = self.store.create_webhook(&new, &secret, 50).await.unwrap().unwrap();
        self.store.note_demand().await.unwrap();
        (made.id, secret.expose_secret().to_owned())
    }

    pub(crate) async fn chat(&self, one: &str, other: &str) -> ChatId {
        self.create(one, other, ChatType::Direct).await
    }

    pub(crate) async fn group(&self, one: &str, other: &str) -> ChatId {
        self.create(one, other, ChatType::Group).await
    }

    async fn create(&self, one: &str, other: &str, kind: ChatType) -> ChatId {
        self.create_with(one, &[other.to_owned()], kind).await
    }

    /// A group of people whom the directory does not know yet.
    pub(crate) async fn crowd(&self, creator: &str, others: &[String]) -> ChatId {
        for other in others {
            let profile = Profile { id: user(other), name: None, avatar: None };
            self.store.put_user(&profile).await.unwrap();
        }
        self.create_with(creator, others, ChatType::Group).await
    }

    async fn create_with(&self, creator: &str, others: &[String], kind: ChatType) -> ChatId {
        let others = others.iter().map(|other| user(other)).collect();
        let new = NewChat::parse(user(creator), others, kind, None, None);
        match self.store.create_chat(&new.unwrap(), UnknownUsers::Refuse).await.unwrap() {
            CreateChat::Created(created) => created.id,
            CreateChat::UnknownParticipant(who) => panic!("{who} is not known"),
        }
    }

    pub(crate) async fn say(&self, chat: ChatId, sender: &str, text: &str) {
        let new = NewMessage {
            chat_id: chat,
            sender_id: user(sender),
            message_type: MessageType::Text,
            content: Content::parse(text).unwrap(),
            reply_to: None,
            metadata: None,
            client_message_id: None,
            by_host: false,
            original: None,
            file: None,
        };
        let appended = self.appender.append(new).await.unwrap();
        assert!(matches!(appended, AppendMessage::Appended(_)), "{appended:?}");
    }

    /// The log of a webhook, the oldest first.
    pub(crate) async fn log(&self, webhook: WebhookId) -> Vec<DeliveryRecord> {
        let query = DeliveryQuery { state: None, before: None, limit: 1000 };
        let mut log = self.store.deliveries(webhook, &query).await.unwrap();
        log.reverse();
        log
    }

    /// Waits until something holds of the log.
    pub(crate) async fn until_log(
        &self,
        webhook: WebhookId,
        holds: impl Fn(&[DeliveryRecord]) -> bool,
    ) -> Vec<DeliveryRecord> {
        let deadline = tokio::time::Instant::now() + Duration::from_mins(1);
        let mut looks = tokio::time::interval(Duration::from_millis(20));
        loop {
            looks.tick().await;
            let log = self.log(webhook).await;
            if holds(&log) {
                return log;
            }
            assert!(tokio::time::Instant::now() < deadline, "{log:#?}");
        }
    }
}
