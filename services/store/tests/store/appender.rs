//! The appender: one message per key, dense numbers, and nobody waits for somebody else's trouble.

mod at_once;
mod bounds;
mod heads;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::future::join_all;
use parley_domain::ids::ChatId;
use parley_domain::message::NewMessage;
use parley_store::{
    AddParticipant, AppendMessage, ChangeAs, Committed, DeleteAs, DeleteMessage, EditMessage,
    RemoveParticipant, Store, StoreError,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{Connection, Row};
use tokio::time::timeout;
use uuid::Uuid;

use crate::fixture::{World, appended, content, new_message, room_for, serve, user};

/// Enough for whatever must happen on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// For appenders whose bounds are not the point.
const PATIENT: [&str; 4] = ["--append-queue", "100000", "--send-ms", "60000"];

/// At one chat that somebody holds.
const WRITERS: u64 = 1_000;

/// A message as its row has it.
#[derive(Debug)]
struct Kept {
    seq: i64,
    version: i64,
    id: Uuid,
    created_at: DateTime<Utc>,
    content: String,
    client_id: Option<String>,
}

async fn kept(world: &World, chat: ChatId) -> Vec<Kept> {
    let sql = "select seq, version, id, created_at, content, client_message_id from messages
               where chat_id = $1 order by seq";
    let mut connection = world.connection().await;
    let rows = sqlx::query(sql).bind(chat.uuid()).fetch_all(&mut connection).await.unwrap();
    let kept = rows.iter().map(|row| Kept {
        seq: row.get(0),
        version: row.get(1),
        id: row.get(2),
        created_at: row.get(3),
        content: row.get(4),
        client_id: row.get(5),
    });
    kept.collect()
}

fn texts(kept: &[Kept]) -> Vec<&str> {
    kept.iter().map(|one| one.content.as_str()).collect()
}

fn assert_dense_and_rising(kept: &[Kept]) {
    for (number, one) in (1..).zip(kept) {
        assert_eq!(one.seq, number);
    }
    for pair in kept.windows(2) {
        assert!(pair[0].created_at < pair[1].created_at, "{pair:?}");
        assert!(pair[0].id < pair[1].id, "{pair:?}");
        assert!(pair[0].version < pair[1].version, "{pair:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_i5_a_thousand_keys_eight_times_over_two_appenders_make_a_thousand_messages() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let second = Store::connect(&world.settings).await.unwrap();
    let appenders = [serve(&world.store, &PATIENT), serve(&second, &PATIENT)];
    let sends = (0..8_000).map(|n| {
        // The eight of a key are neither neighbours nor with one appender only.
        let (key, appender) = (n % 1_000, appenders[(n % 2) ^ ((n / 1_000) % 2)].0.clone());
        let new = new_message(chat, "alice", &format!("body {key}"), Some(&format!("key {key}")));
        tokio::spawn(async move { (key, appender.append(new).await.unwrap()) })
    });
    let mut answers: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    for answer in join_all(sends).await {
        match answer.unwrap() {
            (key, AppendMessage::Appended(new)) => answers.entry(key).or_default().push(new),
            (key, other) => panic!("{key}: {other:?}"),
        }
    }
    for (key, eight) in &answers {
        assert_eq!(eight.iter().filter(|answer| !answer.replay).count(), 1, "key {key}");
        let shown = |n: usize| serde_json::to_value(&eight[n].message).unwrap();
        assert!((1..8).all(|n| shown(n) == shown(0)), "key {key}: {eight:?}");
        assert_eq!(eight[0].message.content, format!("body {key}"));
    }
    let kept = kept(&world, chat).await;
    assert_eq!((answers.len(), kept.len()), (1_000, 1_000));
    assert_dense_and_rising(&kept);
    assert!(kept.iter().all(|one| one.version == one.seq), "only messages take versions here");
    let keys: BTreeSet<_> = kept.iter().map(|one| one.client_id.clone()).collect();
    assert_eq!(keys.len(), 1_000);
    let told = appenders.iter().flat_map(|(_, log)| log.lock().clone());
    assert_eq!(told.flat_map(|committed: Committed| committed.changes).count(), 1_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn i2_of_different_bodies_under_one_key_one_wins_and_the_others_conflict() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let second = Store::connect(&world.settings).await.unwrap();
    let appenders = [serve(&world.store, &PATIENT).0, serve(&second, &PATIENT).0];
    let sends = (0..800).map(|n| {
        let (key, body, appender) = (n % 100, n / 100 % 4, appenders[n / 400].clone());
        let new = new_message(chat, "alice", &format!("body {body}"), Some(&format!("key {key}")));
        tokio::spawn(async move { (key, body, appender.append(new).await.unwrap()) })
    });
    let mut answers: BTreeMap<usize, Vec<(String, AppendMessage)>> = BTreeMap::new();
    for answer in join_all(sends).await {
        let (key, body, answer) = answer.unwrap();
        answers.entry(key).or_default().push((format!("body {body}"), answer));
    }
    let kept = kept(&world, chat).await;
    assert_dense_and_rising(&kept);
    assert_eq!(kept.len(), 100);
    for (key, eight) in answers {
        let name = Some(format!("key {key}"));
        let winner = kept.iter().find(|one| one.client_id == name).unwrap();
        for (body, answer) in &eight {
            match answer {
                AppendMessage::Appended(same) if *body == winner.content => {
                    assert_eq!(same.message.id.uuid(), winner.id);
                }
                AppendMessage::IdempotencyConflict if *body != winner.content => {}
                other => panic!("{key}, {body}, won by {}: {other:?}", winner.content),
            }
        }
        let new = |(_, answer): &&(_, _)| matches!(answer, AppendMessage::Appended(a) if !a.replay);
        assert_eq!(eight.iter().filter(new).count(), 1);
    }
}

/// All at once, in this order: on one thread they are all there when the shard looks.
async fn batch(world: &World, news: Vec<NewMessage>) -> Vec<Result<AppendMessage, StoreError>> {
    let (appender, log) = serve(&world.store, &["--append-shards", "1"]);
    let outcomes = join_all(news.into_iter().map(|new| appender.append(new))).await;
    world.log.lock().append(&mut log.lock());
    outcomes
}

#[tokio::test]
async fn i2_duplicates_in_one_batch_share_one_message() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let same = || new_message(chat, "alice", "hi", Some("key"));
    let other = new_message(chat, "alice", "ho", Some("key"));
    let bobs = new_message(chat, "bob", "hi", Some("key"));
    let outcomes = batch(&world, vec![same(), same(), other, bobs, same()]).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    let [
        AppendMessage::Appended(first),
        AppendMessage::Appended(second),
        AppendMessage::IdempotencyConflict,
        AppendMessage::Appended(bobs),
        AppendMessage::Appended(last),
    ] = &outcomes[..]
    else {
        panic!("{outcomes:?}")
    };
    assert_eq!([first.replay, second.replay, bobs.replay, last.replay], [false, true, false, true]);
    assert_eq!((first.message.id, first.message.id), (second.message.id, last.message.id));
    assert_eq!([first.message.seq.0, bobs.message.seq.0], [1, 2]);
    assert_eq!(texts(&kept(&world, chat).await), ["hi", "hi"]);
    assert_eq!(world.log.lock().len(), 1, "it was one commit");
}

#[tokio::test]
async fn i2_a_duplicate_behind_a_refused_one_in_the_same_batch_gets_its_own_verdict() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let good = || new_message(chat, "alice", "hi", Some("key"));
    let bad = || NewMessage { reply_to: Some(Uuid::now_v7().into()), ..good() };
    let outcomes = batch(&world, vec![bad(), good(), bad(), good()]).await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(matches!(outcomes[0], AppendMessage::ReplyNotFound), "{outcomes:?}");
    assert!(matches!(&outcomes[1], AppendMessage::Appended(a) if !a.replay), "{outcomes:?}");
    // Another request under the key of a message that is there by now, or an answer to nothing.
    let refused = |outcome: &AppendMessage| {
        matches!(outcome, AppendMessage::IdempotencyConflict | AppendMessage::ReplyNotFound)
    };
    assert!(refused(&outcomes[2]), "{outcomes:?}");
    assert!(matches!(&outcomes[3], AppendMessage::Appended(a) if a.replay), "{outcomes:?}");
    assert_eq!(texts(&kept(&world, chat).await), ["hi"]);
}

#[tokio::test]
async fn one_refused_item_of_a_batch_refuses_no_other() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (chat, other) = (world.direct("alice", "bob").await, world.direct("bob", "carol").await);
    let elsewhere = world.send(other, "carol", "elsewhere").await;
    let hi = |text| new_message(chat, "alice", text, None);
    let outcomes = batch(
        &world,
        vec![
            hi("one"),
            NewMessage { reply_to: Some(elsewhere.id), ..hi("foreign reply") },
            NewMessage { chat_id: Uuid::nil().into(), ..hi("nowhere") },
            NewMessage { sender_id: user("carol"), ..hi("stranger") },
            new_message(other, "bob", "two", None),
            hi("three"),
        ],
    )
    .await;
    let outcomes: Vec<_> = outcomes.into_iter().map(Result::unwrap).collect();
    assert!(matches!(
        outcomes[..],
        [
            AppendMessage::Appended(_),
            AppendMessage::ReplyNotFound,
            AppendMessage::ChatNotFound,
            AppendMessage::NotParticipant,
            AppendMessage::Appended(_),
            AppendMessage::Appended(_),
        ]
    ));
    assert_eq!(texts(&kept(&world, chat).await), ["one", "three"]);
    assert_eq!(texts(&kept(&world, other).await), ["elsewhere", "two"]);
}

#[tokio::test]
async fn class_34_a_chat_that_somebody_holds_delays_no_other_and_keeps_its_order() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (held, free) = (world.direct("alice", "bob").await, world.direct("bob", "carol").await);
    let (appender, _) = serve(&world.store, &[&PATIENT[..], &["--append-shards", "1"]].concat());
    let mut other = world.connection().await;
    let mut holder = other.begin().await.unwrap();
    let lock = "select from chats where id = $1 for update";
    sqlx::query(lock).bind(held.uuid()).execute(&mut *holder).await.unwrap();
    let waiting: Vec<_> = (0..WRITERS)
        .map(|n| {
            let new = new_message(held, "alice", &n.to_string(), None);
            let appender = appender.clone();
            tokio::spawn(async move { appended(appender.append(new).await.unwrap()) })
        })
        .collect();
    for n in 0..20 {
        let send = appender.append(new_message(free, "bob", &n.to_string(), None));
        appended(timeout(SOON, send).await.unwrap().unwrap());
    }
    assert!(waiting.iter().all(|send| !send.is_finished()));
    assert!(kept(&world, held).await.is_empty());
    holder.rollback().await.unwrap();
    let sent = timeout(SOON, join_all(waiting)).await.unwrap();
    let seqs: Vec<u64> = sent.into_iter().map(|message| message.unwrap().seq.0).collect();
    assert_eq!(seqs, (1..=WRITERS).collect::<Vec<_>>());
    let last = appender.append(new_message(held, "bob", "last", None));
    assert_eq!(appended(last.await.unwrap()).seq.0, WRITERS + 1);
    assert_dense_and_rising(&kept(&world, held).await);
}

#[tokio::test]
async fn a_message_that_the_database_cannot_take_fails_alone() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let check = "alter table messages add constraint sound check (content <> 'poison')";
    world.db_execute(check).await;
    let (chat, other) = (world.direct("alice", "bob").await, world.direct("alice", "carol").await);
    let news = (0..40).map(|n| match n {
        7 | 8 | 29 => new_message(chat, "alice", "poison", None),
        _ => new_message(if n % 4 == 0 { other } else { chat }, "alice", &n.to_string(), None),
    });
    let outcomes = batch(&world, news.collect()).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        let poisoned = [7, 8, 29].contains(&n);
        match outcome {
            Err(StoreError::Unexpected(_)) if poisoned => {}
            Ok(AppendMessage::Appended(new)) if !new.replay && !poisoned => {}
            other => panic!("{n}: {other:?}"),
        }
    }
    for (chat, rest) in [(other, 0), (chat, 1)] {
        let expected = (0..40).filter(|n| ![7, 8, 29].contains(n) && (n % 4).min(1) == rest);
        let kept = kept(&world, chat).await;
        assert_eq!(texts(&kept), expected.map(|n| n.to_string()).collect::<Vec<_>>());
        assert_dense_and_rising(&kept);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i5_sends_edits_deletes_and_memberships_at_once_take_dense_versions() {
    let people = ["ann", "ben", "cem", "dee", "eve", "fay"];
    let world = Arc::new(World::with(&people).await);
    let chat = world.group(people[0], &people[1..4]).await;
    let first = world.send(chat, people[0], "first").await;
    let tasks = (0..12).map(|task| {
        let (world, mut rng) = (world.clone(), StdRng::seed_from_u64(task));
        tokio::spawn(async move {
            let mut versions = Vec::new();
            let mut mine = first.id;
            for _ in 0..25 {
                versions.extend(change(&world, chat, &people, &mut mine, &mut rng).await);
            }
            versions
        })
    });
    let mut versions: Vec<u64> = vec![first.version.0];
    for task in join_all(tasks).await {
        versions.extend(task.unwrap());
    }
    versions.sort_unstable();
    let heads = world.store.heads(&[chat]).await.unwrap();
    assert_eq!(versions, (1..=heads[0].1.0).collect::<Vec<_>>());
    assert_dense_and_rising(&kept(&world, chat).await);
}

/// One random change; the versions that it says it took.
async fn change(
    world: &World,
    chat: ChatId,
    people: &[&str],
    mine: &mut parley_domain::ids::MessageId,
    rng: &mut StdRng,
) -> Vec<u64> {
    let taken = |committed: Committed| {
        committed.changes.iter().map(|change| change.version.0).collect::<Vec<_>>()
    };
    let store = &world.store;
    let guest = user(people[rng.random_range(4..people.len())]);
    match rng.random_range(0..8) {
        0..4 => {
            let sent = world.send(chat, people[0], "hi").await;
            *mine = sent.id;
            vec![sent.version.0]
        }
        4 => {
            let (editor, text) = (user(people[0]), content("ho"));
            match store.edit_message(chat, *mine, &editor, &text, SOON * 60).await.unwrap() {
                EditMessage::Edited(_, committed) => taken(committed),
                _ => Vec::new(),
            }
        }
        5 => {
            let by = user(people[1]);
            match store.delete_message(chat, *mine, &by, DeleteAs::Admin).await.unwrap() {
                DeleteMessage::Deleted(_, committed) => taken(committed),
                _ => Vec::new(),
            }
        }
        6 => match store
            .add_participant(chat, &guest, &guest, ChangeAs::Admin, &room_for(9))
            .await
            .unwrap()
        {
            AddParticipant::Added(_, committed) => taken(committed),
            _ => Vec::new(),
        },
        _ => match store.remove_participant(chat, &guest, &guest, ChangeAs::Admin).await.unwrap() {
            RemoveParticipant::Removed(_, committed) => taken(committed),
            _ => Vec::new(),
        },
    }
}
