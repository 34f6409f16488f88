//! A migrated database, and people who act in it.

use std::sync::Arc;

use clap::Parser;
use parking_lot::Mutex;
use parley_domain::ask::{JoinAnswer, JoinAsk};
use parley_domain::chat::{ChatType, NewChat};
use parley_domain::ids::{ChatId, ClientMessageId, UserId};
use parley_domain::message::{Content, Message, MessageType, NewMessage};
use parley_domain::user::{Name, Profile, Role};
use parley_local::testing;
use parley_store::{
    AppendMessage, Appender, AppenderSettings, ComesBack, Committed, CreateChat, CreatedChat,
    DatabaseSettings, ParticipantSettings, Store, UnknownUsers,
};
use prometheus::Registry;
use secrecy::ExposeSecret;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
}

#[derive(Parser)]
struct SendSettings {
    #[command(flatten)]
    appender: AppenderSettings,
}

/// With patience: many tests share a machine.
pub(crate) fn settings(url: &str) -> DatabaseSettings {
    let arguments = ["test", "--database-url", url, "--database-wait-ms", "30000"];
    Settings::parse_from(arguments).database
}

/// What an appender's `on_commit` has heard, in its order.
pub(crate) type Log = Arc<Mutex<Vec<Committed>>>;

/// An appender that is served, with these arguments of its settings, and what it tells.
pub(crate) fn serve(store: &Store, arguments: &[&str]) -> (Appender, Log) {
    let settings = appender_settings(arguments);
    let log = Log::default();
    let heard = log.clone();
    let on_commit = move |committed| heard.lock().push(committed);
    let (appender, task) = Appender::new(store, &settings, &Registry::new(), on_commit).unwrap();
    tokio::spawn(task.run());
    (appender, log)
}

pub(crate) fn appender_settings(arguments: &[&str]) -> AppenderSettings {
    SendSettings::parse_from(["test"].iter().chain(arguments)).appender
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) settings: DatabaseSettings,
    pub(crate) appender: Appender,
    pub(crate) log: Log,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = testing::fresh_database(&testing::database_url());
        let settings = settings(&database);
        parley_store::migrate(&settings).await.unwrap();
        let store = Store::connect(&settings).await.unwrap();
        let (appender, log) = serve(&store, &[]);
        Self { store, settings, appender, log }
    }

    /// With these people in the directory.
    pub(crate) async fn with(people: &[&str]) -> Self {
        let world = Self::new().await;
        world.know(people).await;
        world
    }

    /// Puts people into the directory.
    pub(crate) async fn know(&self, people: &[&str]) {
        for person in people {
            self.store.put_user(&profile(person, None)).await.unwrap();
        }
    }

    pub(crate) async fn create(
        &self,
        creator: &str,
        others: &[&str],
        chat_type: ChatType,
    ) -> CreatedChat {
        match self
            .store
            .create_chat(&new_chat(creator, others, chat_type), UnknownUsers::Refuse)
            .await
            .unwrap()
        {
            CreateChat::Created(created) => {
                // What a test finds untold is its own.
                self.store.told(created.head.as_slice()).await.unwrap();
                created
            }
            other @ CreateChat::UnknownParticipant(_) => panic!("{other:?}"),
        }
    }

    pub(crate) async fn direct(&self, one: &str, other: &str) -> ChatId {
        self.create(one, &[other], ChatType::Direct).await.id
    }

    pub(crate) async fn group(&self, creator: &str, others: &[&str]) -> ChatId {
        self.create(creator, others, ChatType::Group).await.id
    }

    pub(crate) async fn append(&self, new: NewMessage) -> AppendMessage {
        self.appender.append(new).await.unwrap()
    }

    pub(crate) async fn send(&self, chat: ChatId, sender: &str, text: &str) -> Message {
        appended(self.append(new_message(chat, sender, text, None)).await)
    }

    pub(crate) async fn join(&self, chat_id: ChatId, who: &str) -> JoinAnswer {
        let ask = JoinAsk { chat_id, user_id: user(who), role: Role::User, position: None };
        self.store.join(&ask).await.unwrap()
    }

    /// Commits without waiting for the disk from here on, for tests that commit a lot.
    pub(crate) async fn hasty(self) -> Self {
        let off = "do $$ begin execute format('alter database %I set synchronous_commit = off', \
                   current_database()); end $$";
        self.db_execute(off).await;
        let Self { store, settings, .. } = self;
        store.close().await;
        let store = Store::connect(&settings).await.unwrap();
        let (appender, log) = serve(&store, &[]);
        Self { store, settings, appender, log }
    }

    /// A connection that goes round the store.
    pub(crate) async fn connection(&self) -> PgConnection {
        PgConnection::connect(self.settings.database_url.expose_secret()).await.unwrap()
    }

    /// Bypasses the store, for what it has no verb for.
    pub(crate) async fn db_execute(&self, sql: &str) {
        let mut connection = self.connection().await;
        sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    }
}

/// The message of a send that must have succeeded.
pub(crate) fn appended(outcome: AppendMessage) -> Message {
    match outcome {
        AppendMessage::Appended(appended) => appended.message,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

/// Groups of at most so many, of people whom the directory knows.
pub(crate) const fn room_for(most: u32) -> ParticipantSettings {
    ParticipantSettings {
        group_participants: most,
        unknown_users: UnknownUsers::Refuse,
        unarchive: ComesBack::Never,
    }
}

pub(crate) fn content(text: &str) -> Content {
    Content::parse(text).unwrap()
}

pub(crate) fn profile(id: &str, name: Option<&str>) -> Profile {
    Profile { id: user(id), name: name.map(|name| Name::parse(name).unwrap()), avatar: None }
}

pub(crate) fn new_chat(creator: &str, others: &[&str], chat_type: ChatType) -> NewChat {
    let others = others.iter().map(|id| user(id)).collect();
    NewChat::parse(user(creator), others, chat_type, None, None).unwrap()
}

pub(crate) fn new_message(
    chat_id: ChatId,
    sender: &str,
    text: &str,
    client_id: Option<&str>,
) -> NewMessage {
    NewMessage {
        chat_id,
        sender_id: user(sender),
        message_type: MessageType::Text,
        by_host: false,
        content: content(text),
        reply_to: None,
        metadata: None,
        client_message_id: client_id.map(|id| ClientMessageId::parse(id).unwrap()),
        file: None,
        original: None,
    }
}
