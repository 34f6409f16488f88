//! Edits and deletes: who may, when, and what is left.

use std::time::Duration;

use parley_domain::change::ChangeKind;
use parley_domain::ids::{ChatId, MessageId};
use parley_domain::message::{Message, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::version::Version;
use parley_store::{
    AppendMessage, ChangeAs, Cursor, DeleteAs, DeleteMessage, EditMessage, MessageQuery, Order,
};
use serde_json::{Value, json};
use uuid::Uuid;

use crate::fixture::{World, appended, content, new_message, user};

const EVER: Duration = Duration::from_hours(24);

async fn edit(world: &World, chat: ChatId, id: MessageId, by: &str, text: &str) -> EditMessage {
    let (by, text) = (user(by), content(text));
    world.store.edit_message(chat, id, &by, &text, EVER).await.unwrap()
}

async fn delete(world: &World, chat: ChatId, id: MessageId, by: &str) -> DeleteMessage {
    world.store.delete_message(chat, id, &user(by), DeleteAs::Author).await.unwrap()
}

async fn version(world: &World, chat: ChatId) -> u64 {
    world.store.heads(&[chat]).await.unwrap()[0].1.0
}

/// The message as it stands in the history.
async fn kept(world: &World, message: &Message) -> Value {
    let query = MessageQuery {
        before: None,
        after: Some(Cursor::Seq(parley_domain::version::Seq(message.seq.0 - 1))),
        around: None,
        order: Order::OldestFirst,
        page: parley_domain::page::Page { number: 1, limit: 1 },
    };
    let page = world.store.messages(message.chat_id, &query).await.unwrap().unwrap();
    serde_json::to_value(&page.messages[0]).unwrap()
}

/// A direct chat with a message of alice's that has everything.
async fn rich() -> (World, ChatId, NewMessage, Message) {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.direct("alice", "bob").await;
    let first = world.send(chat, "bob", "first").await;
    let new = NewMessage {
        reply_to: Some(first.id),
        metadata: Some(Metadata::parse(json!({ "secret": [1, 2] })).unwrap()),
        ..new_message(chat, "alice", "before", Some("key"))
    };
    let sent = appended(world.append(new.clone()).await);
    (world, chat, new, sent)
}

#[tokio::test]
async fn an_edit_changes_the_text_and_nothing_else_at_a_version_of_its_own() {
    let (world, chat, _, sent) = rich().await;
    let EditMessage::Edited(message, committed) =
        edit(&world, chat, sent.id, "alice", "after").await
    else {
        panic!("refused")
    };
    let mut expected = serde_json::to_value(&sent).unwrap();
    expected["content"] = "after".into();
    expected["changedVersion"] = 3.into();
    expected["editedAt"] = serde_json::to_value(message.edited_at.unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&message).unwrap(), expected);
    assert_eq!(kept(&world, &sent).await, expected);
    assert!(message.edited_at.unwrap() >= message.created_at);
    let [change] = &committed.changes[..] else { panic!("{committed:?}") };
    assert_eq!((change.chat_id, change.version), (chat, Version(3)));
    let ChangeKind::MessageEdited(told) = &change.kind else { panic!("{change:?}") };
    assert_eq!(serde_json::to_value(told).unwrap(), expected);
    assert_eq!((committed.epoch, version(&world, chat).await), (world.store.epoch(), 3));
}

#[tokio::test]
async fn i6_an_edit_is_the_authors_who_is_in_the_chat_and_a_refusal_takes_no_version() {
    let (world, chat, _, sent) = rich().await;
    let group = world.group("alice", &["bob"]).await;
    let (nowhere, nothing) = (Uuid::nil().into(), Uuid::now_v7().into());
    let edit = async |chat, id, by| edit(&world, chat, id, by, "no").await;
    assert!(matches!(edit(nowhere, sent.id, "alice").await, EditMessage::ChatNotFound));
    assert!(matches!(edit(chat, sent.id, "carol").await, EditMessage::NotParticipant));
    assert!(matches!(edit(chat, nothing, "alice").await, EditMessage::MessageNotFound));
    assert!(matches!(edit(group, sent.id, "alice").await, EditMessage::MessageNotFound));
    assert!(matches!(edit(chat, sent.id, "bob").await, EditMessage::NotAuthor));
    let own = world.send(group, "bob", "mine").await;
    let bob = user("bob");
    world.store.remove_participant(group, &bob, &bob, ChangeAs::Participant).await.unwrap();
    assert!(matches!(edit(group, own.id, "bob").await, EditMessage::NotParticipant));
    assert!(matches!(delete(&world, chat, sent.id, "alice").await, DeleteMessage::Deleted(..)));
    assert!(matches!(edit(chat, sent.id, "alice").await, EditMessage::Deleted));
    assert_eq!((version(&world, chat).await, version(&world, group).await), (3, 2));
}

#[tokio::test]
async fn the_edit_window_is_told_by_the_databases_clock() {
    let (world, chat, _, sent) = rich().await;
    let edit = async |window| {
        let (alice, text) = (user("alice"), content("after"));
        world.store.edit_message(chat, sent.id, &alice, &text, window).await.unwrap()
    };
    assert!(matches!(edit(Duration::ZERO).await, EditMessage::WindowOver));
    assert!(matches!(edit(Duration::MAX).await, EditMessage::Edited(..)));
    world.db_execute("update messages set created_at = created_at - interval '1 hour'").await;
    assert!(matches!(edit(Duration::from_mins(59)).await, EditMessage::WindowOver));
    assert!(matches!(edit(Duration::from_mins(61)).await, EditMessage::Edited(..)));
    // A clock that was set back meanwhile makes a message young, not an error.
    world.db_execute("update messages set created_at = created_at + interval '3 hours'").await;
    assert!(matches!(edit(Duration::from_mins(15)).await, EditMessage::Edited(..)));
    assert_eq!(version(&world, chat).await, 5);
}

#[tokio::test]
async fn a_deleted_message_keeps_its_place_and_nothing_of_what_was_said() {
    let (world, chat, _, sent) = rich().await;
    let DeleteMessage::Deleted(message, committed) = delete(&world, chat, sent.id, "alice").await
    else {
        panic!("refused")
    };
    let mut expected = serde_json::to_value(&sent).unwrap();
    expected["content"] = "".into();
    expected["metadata"] = Value::Null;
    expected["changedVersion"] = 3.into();
    expected["deletedAt"] = serde_json::to_value(message.deleted_at.unwrap()).unwrap();
    assert_eq!(serde_json::to_value(&message).unwrap(), expected);
    assert_eq!(kept(&world, &sent).await, expected);
    let [change] = &committed.changes[..] else { panic!("{committed:?}") };
    assert_eq!(change.version, Version(3));
    assert!(
        matches!(&change.kind, ChangeKind::MessageDeleted { by: Some(by), .. } if *by == user("alice"))
    );

    // Once more changes nothing, whoever asks.
    let again = delete(&world, chat, sent.id, "alice").await;
    let DeleteMessage::AlreadyDeleted(same) = again else { panic!("{again:?}") };
    assert_eq!(serde_json::to_value(&same).unwrap(), expected);
    let admin = user("somebody else");
    let again = world.store.delete_message(chat, sent.id, &admin, DeleteAs::Admin).await.unwrap();
    assert!(matches!(again, DeleteMessage::AlreadyDeleted(_)));
    let shown = world.store.chat(chat, &user("bob")).await.unwrap().unwrap();
    assert_eq!((shown.version, shown.message_count, shown.unread_count), (Version(3), 2, 0));
    assert_eq!(shown.last_message.unwrap().content, "");
}

#[tokio::test]
async fn i6_a_delete_is_the_authors_or_an_admins() {
    let (world, chat, _, sent) = rich().await;
    let group = world.group("alice", &["bob"]).await;
    let (nowhere, nothing) = (Uuid::nil().into(), Uuid::now_v7().into());
    let refused = async |chat, id, by| delete(&world, chat, id, by).await;
    assert!(matches!(refused(nowhere, sent.id, "alice").await, DeleteMessage::ChatNotFound));
    assert!(matches!(refused(chat, sent.id, "carol").await, DeleteMessage::NotParticipant));
    assert!(matches!(refused(chat, nothing, "alice").await, DeleteMessage::MessageNotFound));
    assert!(matches!(refused(group, sent.id, "alice").await, DeleteMessage::MessageNotFound));
    assert!(matches!(refused(chat, sent.id, "bob").await, DeleteMessage::NotAuthor));
    assert_eq!(version(&world, chat).await, 2, "a refusal takes no version");
    let host = user("host");
    let admin = async |chat, id| {
        world.store.delete_message(chat, id, &host, DeleteAs::Admin).await.unwrap()
    };
    assert!(matches!(admin(nowhere, sent.id).await, DeleteMessage::ChatNotFound));
    assert!(matches!(admin(chat, nothing).await, DeleteMessage::MessageNotFound));
    assert!(matches!(admin(chat, sent.id).await, DeleteMessage::Deleted(..)));
}

#[tokio::test]
async fn i2_a_replay_shows_the_message_as_it_is_now() {
    let (world, chat, new, sent) = rich().await;
    let replayed = async || {
        let appended = world.append(new.clone()).await;
        let earlier = world.store.earlier_try(&new).await.unwrap().unwrap();
        let (AppendMessage::Appended(appended), AppendMessage::Appended(earlier)) =
            (appended, earlier)
        else {
            panic!("refused")
        };
        assert!(appended.replay && earlier.replay);
        let shown = serde_json::to_value(&appended.message).unwrap();
        assert_eq!(shown, serde_json::to_value(&earlier.message).unwrap());
        assert_eq!(shown["_id"], sent.id.to_string());
        shown["content"].clone()
    };
    assert_eq!(replayed().await, "before");
    edit(&world, chat, sent.id, "alice", "after").await;
    assert_eq!(replayed().await, "after");
    delete(&world, chat, sent.id, "alice").await;
    assert_eq!(replayed().await, "");
    assert_eq!(version(&world, chat).await, 4, "a replay takes no version");
}

#[tokio::test]
async fn i2_an_earlier_try_is_found_without_sending() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.group("alice", &["bob"]).await;
    let new = new_message(chat, "bob", "hi", Some("key"));
    let earlier = async |new: &NewMessage| world.store.earlier_try(new).await.unwrap();
    assert!(earlier(&new).await.is_none());
    world.append(new.clone()).await;
    assert!(earlier(&new_message(chat, "bob", "hi", None)).await.is_none());
    assert!(earlier(&new_message(chat, "alice", "hi", Some("key"))).await.is_none());
    let other = new_message(chat, "bob", "ho", Some("key"));
    assert!(matches!(earlier(&other).await, Some(AppendMessage::IdempotencyConflict)));
    let bob = user("bob");
    world.store.remove_participant(chat, &bob, &bob, ChangeAs::Participant).await.unwrap();
    assert!(matches!(earlier(&new).await, Some(AppendMessage::NotParticipant)));
    assert!(matches!(world.append(new.clone()).await, AppendMessage::NotParticipant));
    let host = NewMessage { by_host: true, ..new };
    assert!(matches!(earlier(&host).await, Some(AppendMessage::Appended(a)) if a.replay));
}
