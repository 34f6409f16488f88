use std::time::Duration;

use futures_util::future::join_all;
use parley_domain::bus::Origin;
use parley_domain::file::{FileName, FileType, Sniffer};
use parley_domain::ids::{AttachmentId, ChatId};
use parley_domain::message::{NewFile, NewMessage};
use parley_store::{AppendMessage, DeleteAs, DeleteMessage};
use uuid::Uuid;

use crate::fixture::{World, appended, new_message, serve, user};

const HOUR: Duration = Duration::from_hours(1);

fn file_type() -> FileType {
    let mut sniffer = Sniffer::default();
    sniffer.look(b"words");
    sniffer.finish(&FileName::parse("a").unwrap()).unwrap()
}

fn file(name: &str) -> NewFile {
    let id = AttachmentId::from(Uuid::now_v7());
    NewFile {
        id,
        name: FileName::parse(name).unwrap(),
        file_type: file_type(),
        size: 5,
        digest: [7; 32],
        storage_key: format!("key of {id}"),
    }
}

fn with_file(chat: ChatId, client_id: Option<&str>, file: &NewFile) -> NewMessage {
    NewMessage {
        file: Some(Box::new(file.clone())),
        ..new_message(chat, "alice", "look", client_id)
    }
}

async fn loose(world: &World) -> Vec<String> {
    world.store.loose_objects(100).await.unwrap()
}

async fn count(world: &World, table: &str) -> i64 {
    let sql = format!("select count(*) from {table}");
    let mut connection = world.connection().await;
    sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn i1_a_file_and_its_message_are_one_transaction() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let file = file("a.txt");
    world.store.expect_object(&file.storage_key, HOUR).await.unwrap();
    let message = appended(world.append(with_file(chat, None, &file)).await);
    assert_eq!((message.attachments[0].id, message.attachments[0].size), (file.id, 5));
    assert_eq!((count(&world, "loose_objects").await, count(&world, "attachments").await), (0, 1));
    let found = world.store.file(chat, file.id).await.unwrap().unwrap();
    assert_eq!((found.filename.as_str(), &found.storage_key), ("a.txt", &file.storage_key));
    let event = world.log.lock().last().unwrap().changes[0].clone();
    assert!(format!("{:?}", event.event(world.store.epoch(), Origin::default())).contains("a.txt"));

    // Released too late: it belongs to a message.
    world.store.release_object(&file.storage_key).await.unwrap();
    assert!(loose(&world).await.is_empty());
}

#[tokio::test]
async fn an_object_whose_time_is_over_becomes_no_message() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let (late, unknown) = (file("late"), file("unknown"));
    world.store.expect_object(&late.storage_key, Duration::ZERO).await.unwrap();
    for file in [&late, &unknown] {
        let refused = world.appender.append(with_file(chat, None, file)).await;
        assert!(refused.is_err(), "{refused:?}");
    }
    assert_eq!((count(&world, "messages").await, count(&world, "attachments").await), (0, 0));
    assert_eq!(loose(&world).await, [late.storage_key.as_str()]);
    // Others of the same batch are not its victims.
    let (appender, _) = serve(&world.store, &[]);
    let good = file("good");
    world.store.expect_object(&good.storage_key, HOUR).await.unwrap();
    let sends = [
        with_file(chat, Some("a"), &late),
        new_message(chat, "bob", "hi", Some("b")),
        with_file(chat, Some("c"), &good),
    ];
    let outcomes = join_all(sends.map(|new| appender.append(new))).await;
    let good: Vec<bool> = outcomes.iter().map(Result::is_ok).collect();
    assert_eq!(good, [false, true, true]);
}

#[tokio::test]
async fn i2_a_repeated_file_takes_one_object_and_leaves_the_other() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let files = [file("a"), file("a"), file("b")];
    for file in &files {
        world.store.expect_object(&file.storage_key, HOUR).await.unwrap();
    }
    // All at once, so that some share a batch.
    let sends = files.iter().map(|file| world.append(with_file(chat, Some("c"), file)));
    let outcomes = join_all(sends).await;
    let first = appended(outcomes[0].clone());
    assert_eq!(appended(outcomes[1].clone()).attachments[0].id, first.attachments[0].id);
    assert!(matches!(outcomes[2], AppendMessage::IdempotencyConflict), "another name");
    let again = NewFile { digest: [8; 32], ..files[0].clone() };
    let other = world.append(with_file(chat, Some("c"), &again)).await;
    assert!(matches!(other, AppendMessage::IdempotencyConflict), "another content");
    assert_eq!((count(&world, "loose_objects").await, count(&world, "attachments").await), (2, 1));
    assert!(
        world
            .store
            .has_tried(chat, &user("alice"), &"c".to_owned().try_into().unwrap())
            .await
            .unwrap()
    );
    assert!(
        !world
            .store
            .has_tried(chat, &user("bob"), &"c".to_owned().try_into().unwrap())
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn a_file_dies_with_its_message_in_one_transaction() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let files = [file("a"), file("b")];
    let mut messages = Vec::new();
    for file in &files {
        world.store.expect_object(&file.storage_key, HOUR).await.unwrap();
        messages.push(appended(world.append(with_file(chat, None, file)).await));
    }
    let alice = user("alice");
    let delete = world.store.delete_message(chat, messages[0].id, &alice, DeleteAs::Author);
    let DeleteMessage::Deleted(tombstone, _) = delete.await.unwrap() else { panic!() };
    assert!(tombstone.attachments.is_empty());
    assert_eq!(world.store.file(chat, files[0].id).await.unwrap(), None);
    assert!(world.store.file(chat, files[1].id).await.unwrap().is_some());
    assert_eq!(loose(&world).await, [files[0].storage_key.as_str()]);
    assert_eq!(count(&world, "attachments").await, 1, "no name of it is kept");
}

#[tokio::test]
async fn loose_objects_have_their_turn_and_one_that_stays_keeps_nobody_waiting() {
    let world = World::new().await;
    let store = &world.store;
    for (key, lease) in [("stuck", 0), ("due", 0), ("under way", 3600)] {
        store.expect_object(key, Duration::from_secs(lease)).await.unwrap();
    }
    assert_eq!(store.loose_objects(1).await.unwrap(), ["stuck"]);
    store.objects_stay(&["stuck".to_owned()], HOUR).await.unwrap();
    assert_eq!(loose(&world).await, ["due"]);
    store.objects_removed(&["due".to_owned()]).await.unwrap();
    assert!(loose(&world).await.is_empty());
    store.release_object("under way").await.unwrap();
    assert_eq!(loose(&world).await, ["under way"]);
    assert_eq!(count(&world, "loose_objects").await, 2);
}

#[tokio::test]
async fn an_object_that_a_send_is_taking_is_not_removed_meanwhile() {
    let world = World::with(&["alice", "bob"]).await;
    world.store.expect_object("taken", Duration::from_millis(300)).await.unwrap();
    let mut connection = world.connection().await;
    let mut taking = sqlx::Connection::begin(&mut connection).await.unwrap();
    // As append_messages_2 does it.
    sqlx::query("delete from loose_objects where storage_key = 'taken'")
        .execute(&mut *taking)
        .await
        .unwrap();
    let over = "select pg_sleep(greatest(0, extract(epoch from remove_after - clock_timestamp())))
                from loose_objects where storage_key = 'taken'";
    world.db_execute(over).await;
    assert!(loose(&world).await.is_empty(), "its row is held");
    taking.rollback().await.unwrap();
    assert_eq!(loose(&world).await, ["taken"]);
}
