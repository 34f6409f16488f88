use futures_util::future::join_all;
use parley_domain::chat::ChatType;
use parley_domain::ids::ChatId;
use parley_domain::message::{Message, MessageType, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::page::Page;
use parley_domain::version::{Seq, Version};
use parley_store::{AppendMessage, Cursor, MessageQuery, Order};
use serde_json::json;
use uuid::Uuid;

use crate::fixture::{World, new_message, user};

const NEWEST: MessageQuery = MessageQuery {
    before: None,
    after: None,
    around: None,
    order: Order::NewestFirst,
    page: Page { number: 1, limit: 100 },
};

async fn page(world: &World, chat: ChatId, query: MessageQuery) -> Vec<Message> {
    world.store.messages(chat, &query).await.unwrap().unwrap().messages
}

fn seqs(messages: &[Message]) -> Vec<u64> {
    messages.iter().map(|message| message.seq.0).collect()
}

#[tokio::test]
async fn i1_i5_parallel_sends_are_numbered_without_holes_and_in_order_of_time() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.create("alice", &["bob", "carol"], ChatType::Group).await.id;
    let sends = (0..120).map(|n| world.send(chat, ["alice", "bob", "carol"][n % 3], "hi"));
    let answered = join_all(sends).await;
    let kept = page(&world, chat, MessageQuery { order: Order::OldestFirst, ..NEWEST }).await;
    let rest =
        MessageQuery { page: Page { number: 2, limit: 100 }, order: Order::OldestFirst, ..NEWEST };
    let kept = [kept, page(&world, chat, rest).await].concat();
    assert_eq!(seqs(&kept), (1..=120).collect::<Vec<_>>());
    for pair in kept.windows(2) {
        assert!(pair[0].created_at < pair[1].created_at, "time rises strictly with seq");
        assert!(pair[0].id < pair[1].id, "ids rise with seq");
    }
    assert!(kept.iter().all(|message| message.version.0 == message.seq.0));
    let mut answered = seqs(&answered);
    answered.sort_unstable();
    assert_eq!(answered, (1..=120).collect::<Vec<_>>(), "everything acknowledged is there");
}

#[tokio::test]
async fn i2_one_client_message_id_makes_one_message_whatever_is_retried_in_parallel() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let requests: Vec<NewMessage> = (0..10)
        .flat_map(|n| {
            std::iter::repeat_n(new_message(chat, "alice", "hi", Some(&format!("id-{n}"))), 8)
        })
        .collect();
    let outcomes = join_all(requests.into_iter().map(|new| world.appender.append(new))).await;
    let appended: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome.unwrap() {
            AppendMessage::Appended(appended) => *appended,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(appended.iter().filter(|appended| !appended.replay).count(), 10);
    for same in appended.chunks(8) {
        assert!(same.iter().all(|one| one.message.id == same[0].message.id));
    }
    assert_eq!(page(&world, chat, NEWEST).await.len(), 10);
    let chat = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    assert_eq!((chat.version, chat.message_count), (Version(10), 10), "a replay takes no number");
}

#[tokio::test]
async fn i2_another_request_under_the_same_id_is_a_conflict() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let original = NewMessage {
        metadata: Some(Metadata::parse(json!({ "b": 1, "a": 2 })).unwrap()),
        ..new_message(chat, "alice", "hi", Some("id"))
    };
    let send = async |new: &NewMessage| world.append(new.clone()).await;
    assert!(matches!(send(&original).await, AppendMessage::Appended(new) if !new.replay));
    let reordered = NewMessage {
        metadata: Some(Metadata::parse(json!({ "a": 2, "b": 1 })).unwrap()),
        ..original.clone()
    };
    assert!(matches!(send(&reordered).await, AppendMessage::Appended(same) if same.replay));
    for other in [
        new_message(chat, "alice", "hi", Some("id")),
        NewMessage { message_type: MessageType::System, ..original.clone() },
        NewMessage { content: new_message(chat, "alice", "ho", None).content, ..original.clone() },
    ] {
        assert!(matches!(send(&other).await, AppendMessage::IdempotencyConflict));
    }
    // Ids are the sender's own.
    let bobs = NewMessage { sender_id: user("bob"), ..original };
    assert!(matches!(send(&bobs).await, AppendMessage::Appended(new) if !new.replay));
}

#[tokio::test]
async fn i6_only_current_participants_send_and_a_refusal_takes_no_number() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.direct("alice", "bob").await;
    let send = async |new: NewMessage| world.append(new).await;
    let nowhere = Uuid::nil().into();
    assert!(matches!(
        send(new_message(nowhere, "alice", "hi", None)).await,
        AppendMessage::ChatNotFound
    ));
    assert!(matches!(
        send(new_message(chat, "carol", "hi", None)).await,
        AppendMessage::NotParticipant
    ));
    let elsewhere = world.direct("alice", "carol").await;
    let foreign = world.send(elsewhere, "alice", "hi").await;
    let reply = NewMessage { reply_to: Some(foreign.id), ..new_message(chat, "alice", "hi", None) };
    assert!(matches!(send(reply).await, AppendMessage::ReplyNotFound));
    world.db_execute("update participants set left_at = now() where user_id = 'bob'").await;
    assert!(matches!(
        send(new_message(chat, "bob", "hi", None)).await,
        AppendMessage::NotParticipant
    ));
    let host = NewMessage { by_host: true, ..new_message(chat, "carol", "hi", None) };
    assert!(
        matches!(send(host).await, AppendMessage::Appended(_)),
        "the host application speaks anywhere"
    );
    assert_eq!(world.send(chat, "alice", "hi").await.seq, Seq(2));
}

#[tokio::test]
async fn a_message_comes_back_as_it_was_sent() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let first = world.send(chat, "bob", "first").await;
    let text = "  \u{1F469}\u{200D}\u{1F680} <b>'; drop table messages; --\n";
    let new = NewMessage {
        reply_to: Some(first.id),
        metadata: Some(Metadata::parse(json!({ "n": 1.5, "deep": [{ "x": null }] })).unwrap()),
        ..new_message(chat, "alice", text, Some("id"))
    };
    let AppendMessage::Appended(appended) = world.append(new).await else {
        panic!("refused");
    };
    let answered = serde_json::to_value(&appended.message).unwrap();
    let kept = serde_json::to_value(&page(&world, chat, NEWEST).await[0]).unwrap();
    assert_eq!(answered, kept);
    assert_eq!(kept["content"], text);
    assert_eq!(kept["metadata"], json!({ "n": 1.5, "deep": [{ "x": null }] }));
    assert_eq!(kept["replyToMessageId"], first.id.to_string());
    assert_eq!(kept["clientMessageId"], "id");
}

#[tokio::test]
async fn pages_and_cursors_of_every_kind_agree() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let mut all = Vec::new();
    for n in 0..10 {
        all.push(world.send(chat, "alice", &n.to_string()).await);
    }
    let of = |cursor: fn(&Message) -> Cursor, seq: usize| Some(cursor(&all[seq - 1]));
    let by_seq: fn(&Message) -> Cursor = |message| Cursor::Seq(message.seq);
    let by_id: fn(&Message) -> Cursor = |message| Cursor::Id(message.id);
    let by_time: fn(&Message) -> Cursor = |message| Cursor::Time(message.created_at.0);
    let read = async |query| seqs(&page(&world, chat, query).await);
    for kind in [by_seq, by_id, by_time] {
        assert_eq!(read(MessageQuery { before: of(kind, 4), ..NEWEST }).await, [3, 2, 1]);
        assert_eq!(read(MessageQuery { after: of(kind, 8), ..NEWEST }).await, [10, 9]);
        let between = MessageQuery { after: of(kind, 2), before: of(kind, 6), ..NEWEST };
        assert_eq!(read(between).await, [5, 4, 3]);
        assert_eq!(read(MessageQuery { before: of(kind, 1), ..NEWEST }).await, [0u64; 0]);
    }
    let small = Page { number: 1, limit: 3 };
    let oldest = MessageQuery { page: small, order: Order::OldestFirst, ..NEWEST };
    assert_eq!(read(oldest).await, [1, 2, 3]);
    assert_eq!(read(MessageQuery { after: of(by_id, 3), ..oldest }).await, [4, 5, 6]);
    assert_eq!(read(MessageQuery { around: of(by_id, 5), page: small, ..NEWEST }).await, [6, 5, 4]);
    assert_eq!(
        read(MessageQuery { around: of(by_seq, 1), page: small, ..NEWEST }).await,
        [3, 2, 1]
    );
    assert_eq!(read(MessageQuery { around: of(by_seq, 10), page: small, ..NEWEST }).await, [10, 9]);
    let third = MessageQuery { page: Page { number: 3, limit: 4 }, ..NEWEST };
    let answer = world.store.messages(chat, &third).await.unwrap().unwrap();
    assert_eq!(seqs(&answer.messages), [2, 1]);
    assert_eq!(answer.pagination.next_before, None);
    assert_eq!((answer.pagination.page.total, answer.pagination.page.has_next), (10, false));
    assert_eq!(answer.version, Version(10));
    let first = MessageQuery { page: Page { number: 1, limit: 4 }, ..NEWEST };
    let answer = world.store.messages(chat, &first).await.unwrap().unwrap();
    assert_eq!(answer.pagination.next_before, Some(all[6].id));
    assert!(world.store.messages(Uuid::nil().into(), &first).await.unwrap().is_none());
}

#[tokio::test]
async fn unread_counts_others_messages_only() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.create("alice", &["bob", "carol"], ChatType::Group).await.id;
    for sender in ["alice", "bob", "alice", "carol"] {
        world.send(chat, sender, "hi").await;
    }
    let chat = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    let counts = chat.unread_counts.unwrap();
    assert_eq!(
        [&counts[&user("alice")], &counts[&user("bob")], &counts[&user("carol")]],
        [&2, &3, &3]
    );
}
