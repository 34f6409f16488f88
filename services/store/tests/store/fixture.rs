//! A migrated database, and people who act in it.

use clap::Parser;
use parley_domain::chat::{ChatType, NewChat};
use parley_domain::ids::{ChatId, ClientMessageId, UserId};
use parley_domain::message::{Content, Message, MessageType, NewMessage};
use parley_domain::user::{Name, Profile};
use parley_local::testing;
use parley_store::{AppendMessage, CreateChat, CreatedChat, DatabaseSettings, Store};
use sqlx::PgPool;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    database: DatabaseSettings,
}

pub(crate) fn settings(url: &str) -> DatabaseSettings {
    Settings::parse_from(["test", "--database-url", url]).database
}

pub(crate) struct World {
    pub(crate) store: Store,
    pub(crate) settings: DatabaseSettings,
}

impl World {
    pub(crate) async fn new() -> Self {
        let database = testing::fresh_database(&testing::database_url());
        let settings = settings(&database);
        parley_store::migrate(&settings).await.unwrap();
        let store = Store::connect(&settings).await.unwrap();
        Self { store, settings }
    }

    /// With these people in the directory.
    pub(crate) async fn with(people: &[&str]) -> Self {
        let world = Self::new().await;
        for person in people {
            world.store.put_user(&profile(person, None)).await.unwrap();
        }
        world
    }

    pub(crate) async fn create(
        &self,
        creator: &str,
        others: &[&str],
        chat_type: ChatType,
    ) -> CreatedChat {
        match self.store.create_chat(&new_chat(creator, others, chat_type)).await.unwrap() {
            CreateChat::Created(created) => created,
            other @ CreateChat::UnknownParticipant(_) => panic!("{other:?}"),
        }
    }

    pub(crate) async fn direct(&self, one: &str, other: &str) -> ChatId {
        self.create(one, &[other], ChatType::Direct).await.id
    }

    pub(crate) async fn send(&self, chat: ChatId, sender: &str, text: &str) -> Message {
        match self.store.append_message(&new_message(chat, sender, text, None)).await.unwrap() {
            AppendMessage::Appended(appended) => appended.message,
            other => panic!("{other:?}"),
        }
    }

    /// Bypasses the store, for what it has no verb for yet.
    pub(crate) async fn db_execute(&self, sql: &'static str) {
        let pool = PgPool::connect(&self.settings.database_url).await.unwrap();
        sqlx::query(sql).execute(&pool).await.unwrap();
        pool.close().await;
    }
}

pub(crate) fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
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
        content: Content::parse(text).unwrap(),
        reply_to: None,
        metadata: None,
        client_message_id: client_id.map(|id| ClientMessageId::parse(id).unwrap()),
    }
}
