//! Waiting has bounds, and whoever is told that nothing was begun can rely on it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parley_domain::message::Content;
use parley_store::{
    AppendMessage, AppenderSettings, DatabaseSettings, Store, StoreError, TooFewConnections,
};
use secrecy::ExposeSecret;
use sqlx::Connection;
use tokio::time::timeout;

use super::{SOON, assert_dense_and_rising, kept, texts};
use crate::fixture::{World, appended, appender_settings, new_message, serve, settings, user};
use crate::wire::Wire;

#[tokio::test]
async fn i9_a_full_queue_refuses_what_comes_next_and_commits_what_waits() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let (appender, _) = serve(&world.store, &["--append-queue", "4", "--send-ms", "60000"]);
    let mut other = world.connection().await;
    let mut holder = other.begin().await.unwrap();
    let lock = "select from chats where id = $1 for update";
    sqlx::query(lock).bind(chat.uuid()).execute(&mut *holder).await.unwrap();
    let sends: Vec<_> = (0..10)
        .map(|n| {
            let (appender, text) = (appender.clone(), n.to_string());
            let new = new_message(chat, "alice", &text, None);
            tokio::spawn(async move { appender.append(new).await })
        })
        .collect();
    let (waiting, refused) = {
        let mut sends = sends.into_iter();
        (sends.by_ref().take(4).collect::<Vec<_>>(), sends.collect::<Vec<_>>())
    };
    for outcome in timeout(SOON, join_all(refused)).await.unwrap() {
        assert!(matches!(outcome.unwrap(), Err(StoreError::NotBegun(_))));
    }
    assert!(waiting.iter().all(|send| !send.is_finished()));
    holder.rollback().await.unwrap();
    for outcome in timeout(SOON, join_all(waiting)).await.unwrap() {
        appended(outcome.unwrap().unwrap());
    }
    assert_eq!(texts(&kept(&world, chat).await), ["0", "1", "2", "3"]);
    let later = appender.append(new_message(chat, "bob", "there is room again", None));
    assert_eq!(appended(later.await.unwrap()).seq.0, 5);
}

#[tokio::test]
async fn i9_a_chat_that_stays_locked_is_answered_within_the_deadline() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (chat, free) = (world.direct("alice", "bob").await, world.direct("bob", "carol").await);
    let (appender, _) = serve(&world.store, &["--send-ms", "400"]);
    let mut other = world.connection().await;
    let mut holder = other.begin().await.unwrap();
    let lock = "select from chats where id = $1 for update";
    sqlx::query(lock).bind(chat.uuid()).execute(&mut *holder).await.unwrap();
    let begun = Instant::now();
    let mut sends: Vec<_> = Vec::new();
    for n in 0..6 {
        let key = format!("key {n}");
        let new = new_message(chat, "alice", &key, Some(&key));
        sends.push(appender.append(new));
    }
    let outcomes = join_all(sends).await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    for outcome in &outcomes {
        assert!(
            matches!(outcome, Err(StoreError::NotBegun(_) | StoreError::Unavailable(_))),
            "{outcome:?}"
        );
    }
    appended(appender.append(new_message(free, "bob", "hi", None)).await.unwrap());
    holder.rollback().await.unwrap();
    // The same keys again: whatever the first tries came to, there is one message of each.
    for n in 0..6 {
        let key = format!("key {n}");
        until_sent(&appender, || new_message(chat, "alice", &key, Some(&key))).await;
    }
    let kept = kept(&world, chat).await;
    assert_dense_and_rising(&kept);
    let mut keys: Vec<_> = texts(&kept);
    keys.sort_unstable();
    assert_eq!(keys, ["key 0", "key 1", "key 2", "key 3", "key 4", "key 5"]);
}

/// Sends under a key until it is said to be committed.
async fn until_sent(
    appender: &parley_store::Appender,
    new: impl Fn() -> parley_domain::message::NewMessage,
) {
    let sent = async {
        loop {
            match appender.append(new()).await {
                Ok(outcome) => break appended(outcome),
                Err(StoreError::NotBegun(_) | StoreError::Unavailable(_)) => {
                    tokio::task::yield_now().await;
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    };
    timeout(SOON, sent).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn i1_i2_i9_a_database_that_hangs_is_answered_in_time_and_found_again() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chats = [world.direct("alice", "bob").await, world.direct("alice", "carol").await];
    let (wire, over) = Wire::to_database(world.settings.database_url.expose_secret()).await;
    let store = Store::connect(&settings(&over)).await.unwrap();
    let (appender, _) = serve(&store, &["--send-ms", "500"]);
    let deadline = Duration::from_millis(500);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let senders = (0..16).map(|sender| {
        let (appender, stopped, chat) = (appender.clone(), stopped.clone(), chats[sender % 2]);
        tokio::spawn(async move {
            let mut answers = Vec::new();
            for n in 0.. {
                if *stopped.borrow() {
                    break;
                }
                let key = format!("{sender}/{n}");
                let new = new_message(chat, "alice", &key, Some(&key));
                let begun = Instant::now();
                let outcome = appender.append(new).await;
                answers.push((key, outcome, begun.elapsed()));
            }
            answers
        })
    });
    let senders: Vec<_> = senders.collect();
    until_sent(&appender, || new_message(chats[0], "alice", "before", Some("before"))).await;
    wire.hold();
    // Longer than a commit is waited for: the hanging connection itself is given up.
    let hung = Instant::now();
    while hung.elapsed() < deadline * 4 {
        let answer = appender.append(new_message(chats[1], "alice", "in vain", None)).await;
        assert!(
            matches!(answer, Err(StoreError::NotBegun(_) | StoreError::Unavailable(_)))
                || hung.elapsed() < deadline * 2,
            "{answer:?}"
        );
    }
    wire.release();
    until_sent(&appender, || new_message(chats[1], "alice", "after", Some("after"))).await;
    stop.send_replace(true);
    let mut counts = BTreeMap::new();
    let mut rows = kept(&world, chats[0]).await;
    let mut all = Vec::new();
    for sender in timeout(SOON, join_all(senders)).await.unwrap() {
        all.extend(sender.unwrap());
    }
    rows.clear();
    for chat in chats {
        let of_chat = kept(&world, chat).await;
        assert_dense_and_rising(&of_chat);
        rows.extend(of_chat);
    }
    for (key, outcome, took) in all {
        let there = rows.iter().filter(|row| row.client_id.as_ref() == Some(&key)).count();
        let (name, sound) = match &outcome {
            Ok(AppendMessage::Appended(_)) => ("appended", there == 1),
            Err(StoreError::NotBegun(_)) => ("not begun", there == 0),
            Err(StoreError::Unavailable(_)) => ("unknown", there <= 1),
            _ => ("neither", false),
        };
        *counts.entry(name).or_insert(0) += 1;
        assert!(sound, "{key}: {outcome:?}, {there} rows");
        assert!(took < deadline * 4, "{key} was answered after {took:?}");
    }
    assert!(counts["appended"] > 0, "{counts:?}");
    assert!(counts.len() > 1, "the database never hung: {counts:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_a_replay_does_not_wait_for_a_connection_that_others_have() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (chat, locked) = (world.direct("alice", "bob").await, world.direct("alice", "carol").await);
    let edited = world.send(locked, "alice", "to be edited").await.id;
    let few = DatabaseSettings {
        database_connections: 4,
        ..settings(world.settings.database_url.expose_secret())
    };
    let store = Store::connect(&few).await.unwrap();
    let (appender, _) = serve(&store, &[]);
    let new = new_message(chat, "alice", "once", Some("once"));
    let first = appended(appender.append(new.clone()).await.unwrap());

    let mut other = world.connection().await;
    let mut holder = other.begin().await.unwrap();
    let lock = "select from chats where id = $1 for update";
    sqlx::query(lock).bind(locked.uuid()).execute(&mut *holder).await.unwrap();
    let mut watcher = world.connection().await;
    let alice = user("alice");
    let content = Content::parse("edited").unwrap();
    let edit = || store.edit_message(locked, edited, &alice, &content, Duration::from_mins(15));
    let replay = async {
        let waiting = "select count(*) from pg_stat_activity
                       where datname = current_database() and wait_event_type = 'Lock'";
        // Not in the holder's transaction, which would see the same activity for ever.
        let both_wait = async {
            while sqlx::query_scalar::<_, i64>(waiting).fetch_one(&mut watcher).await.unwrap() < 2 {
                tokio::task::yield_now().await;
            }
        };
        timeout(SOON, both_wait).await.unwrap();
        let replay = timeout(Duration::from_secs(1), appender.append(new)).await;
        holder.rollback().await.unwrap();
        appended(replay.expect("it waits for a connection").unwrap())
    };
    let (one, two, replay) = tokio::join!(edit(), edit(), replay);
    assert!(one.is_ok() && two.is_ok());
    assert_eq!(replay.id, first.id);
}

#[test]
fn settings_that_leave_nobody_else_a_connection_are_refused() {
    let check = |shards: u32, connections: u32| {
        let appender = AppenderSettings { append_shards: shards, ..appender_settings(&[]) };
        let database =
            DatabaseSettings { database_connections: connections, ..settings("postgres://x/y") };
        appender.check(&database)
    };
    assert_eq!((check(1, 20), check(1, 3), check(8, 10)), (Ok(()), Ok(()), Ok(())));
    for (shards, connections) in [(1, 2), (1, 1), (8, 9), (64, 20)] {
        assert_eq!(check(shards, connections), Err(TooFewConnections));
    }
}
