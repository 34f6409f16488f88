//! I7 when everything happens at once. What is done commutes, or the end is compared with the rows.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::future::join_all;
use parking_lot::Mutex;
use parley_domain::ids::{ChatId, MessageId};
use parley_domain::version::Seq;
use parley_store::{ChangeAs, DeleteAs, MarkRead, MarkUnread};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use sqlx::{PgConnection, Row};
use uuid::Uuid;

use super::{new_seed, same, setting};
use crate::fixture::{World, appended, new_message, room_for, user};

const PEOPLE: [&str; 5] = ["ann", "ben", "cem", "dee", "eve"];

/// What was done so far by all tasks together. Sends, single reads and deletes give the same end in any order.
#[derive(Default)]
struct Done {
    sent: BTreeMap<MessageId, &'static str>,
    read: BTreeSet<(&'static str, MessageId)>,
    deleted: BTreeSet<MessageId>,
}

impl Done {
    fn recent(&self, rng: &mut StdRng, most: usize) -> Vec<MessageId> {
        let newest = self.sent.keys().rev().take(most * 2);
        newest.filter(|_| rng.random_ratio(2, 3)).take(most).copied().collect()
    }

    fn unread(&self, who: &'static str) -> u64 {
        let unread = self.sent.iter().filter(|(id, author)| {
            **author != who && !self.read.contains(&(who, **id)) && !self.deleted.contains(*id)
        });
        unread.count() as u64
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_what_was_never_read_stays_unread_while_all_send_read_and_delete_at_once() {
    let (seed, operations) = (new_seed(), setting("PARLEY_MODEL_CONCURRENT", 1_800));
    println!("PARLEY_MODEL_SEED={seed} PARLEY_MODEL_CONCURRENT={operations}");
    let world = Arc::new(World::with(&PEOPLE).await.hasty().await);
    for round in 0..operations.div_ceil(600) {
        let chat = world.group(PEOPLE[0], &PEOPLE[1..]).await;
        let done = Arc::new(Mutex::new(Done::default()));
        let tasks = (0..10u64).map(|task| {
            let rng = StdRng::seed_from_u64(seed ^ (round << 32) ^ task);
            tokio::spawn(send_read_delete(world.clone(), chat, done.clone(), rng, 60))
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        let shown = world.store.chat(chat, &user(PEOPLE[0])).await.unwrap().unwrap();
        let got = shown.unread_counts.unwrap();
        let expected = PEOPLE.map(|who| (user(who), done.lock().unread(who))).into();
        if let Err(wrong) = same("unreadCounts", &expected, &got) {
            panic!("PARLEY_MODEL_SEED={seed}, round {round}: {wrong}");
        }
        agree_with_rows(&world, chat, &format!("seed {seed}, round {round}")).await;
    }
}

async fn send_read_delete(
    world: Arc<World>,
    chat: ChatId,
    done: Arc<Mutex<Done>>,
    mut rng: StdRng,
    operations: usize,
) {
    for _ in 0..operations {
        let who = PEOPLE[rng.random_range(0..PEOPLE.len())];
        match rng.random_range(0..10) {
            0..5 => {
                let sent = world.send(chat, who, "hi").await;
                done.lock().sent.insert(sent.id, who);
            }
            5..9 => {
                let ids = done.lock().recent(&mut rng, 20);
                done.lock().read.extend(ids.iter().map(|id| (who, *id)));
                let marked = world.store.mark_read(chat, &user(who), Some(&ids)).await.unwrap();
                assert!(matches!(marked, MarkRead::Marked(_)));
            }
            _ => {
                let Some(id) = done.lock().recent(&mut rng, 1).pop() else { continue };
                done.lock().deleted.insert(id);
                let by = user(who);
                world.store.delete_message(chat, id, &by, DeleteAs::Admin).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_counters_agree_with_the_rows_after_everything_at_once() {
    let (seed, operations) = (new_seed(), setting("PARLEY_MODEL_CONCURRENT", 1_800));
    println!("PARLEY_MODEL_SEED={seed} PARLEY_MODEL_CONCURRENT={operations}");
    let world = Arc::new(World::with(&PEOPLE).await.hasty().await);
    for round in 0..operations.div_ceil(600) {
        let chat = world.group(PEOPLE[0], &PEOPLE[1..]).await;
        let known = Arc::new(Mutex::new(Vec::new()));
        let tasks = (0..10u64).map(|task| {
            let rng = StdRng::seed_from_u64(seed ^ (round << 32) ^ task);
            tokio::spawn(anything(world.clone(), chat, known.clone(), rng, 60))
        });
        for task in join_all(tasks).await {
            task.unwrap();
        }
        let place = format!("PARLEY_MODEL_SEED={seed}, round {round}");
        agree_with_rows(&world, chat, &place).await;
        // Drifts of a counter that cancel each other show when the pointer moves over all of it.
        let first = known.lock().iter().min().copied().unwrap();
        for who in PEOPLE {
            let back = world.store.mark_unread(chat, &user(who), first).await.unwrap();
            assert!(!matches!(back, MarkUnread::MessageNotFound));
        }
        agree_with_rows(&world, chat, &format!("{place}, after marking as unread")).await;
        for who in PEOPLE {
            match world.store.mark_read(chat, &user(who), None).await.unwrap() {
                MarkRead::Marked(marked) => assert_eq!(marked.unread, 0, "{place}, {who}"),
                MarkRead::NotParticipant => {}
            }
        }
        agree_with_rows(&world, chat, &format!("{place}, after reading all")).await;
    }
}

/// Membership too; `ann` stays, so that somebody always may send.
async fn anything(
    world: Arc<World>,
    chat: ChatId,
    known: Arc<Mutex<Vec<MessageId>>>,
    mut rng: StdRng,
    operations: usize,
) {
    let store = &world.store;
    for _ in 0..operations {
        let who = PEOPLE[rng.random_range(0..PEOPLE.len())];
        let id = user(who);
        let recent: Vec<MessageId> = known.lock().iter().rev().take(20).copied().collect();
        match rng.random_range(0..20) {
            0..8 => {
                let new = new_message(chat, who, "hi", None);
                let outcome = world.append(new).await;
                if matches!(outcome, parley_store::AppendMessage::Appended(_)) {
                    known.lock().push(appended(outcome).id);
                }
            }
            8..12 => drop(store.mark_read(chat, &id, Some(&recent)).await.unwrap()),
            12..14 => drop(store.mark_read(chat, &id, None).await.unwrap()),
            14..16 => {
                let Some(from) = recent.get(rng.random_range(0..20)) else { continue };
                store.mark_unread(chat, &id, *from).await.unwrap();
            }
            16..18 => {
                let Some(which) = recent.get(rng.random_range(0..20)) else { continue };
                store.delete_message(chat, *which, &id, DeleteAs::Admin).await.unwrap();
            }
            18 if who != PEOPLE[0] => {
                store.remove_participant(chat, &id, &id, ChangeAs::Admin).await.unwrap();
            }
            _ => drop(
                store
                    .add_participant(chat, &id, &id, ChangeAs::Admin, &room_for(10))
                    .await
                    .unwrap(),
            ),
        }
    }
}

/// Counts by the messages themselves, the pointers and the single reads, and compares with what the store says.
async fn agree_with_rows(world: &World, chat: ChatId, place: &str) {
    let mut connection = world.connection().await;
    let shown = world.store.chat(chat, &user(PEOPLE[0])).await.unwrap().unwrap();
    let expected = naive(&mut connection, chat).await;
    let got = shown.unread_counts.unwrap().into_iter();
    let got: BTreeMap<String, u64> = got.map(|(who, unread)| (who.to_string(), unread)).collect();
    if let Err(wrong) = same("unreadCounts by the rows", &expected, &got) {
        panic!("{place}: {wrong}");
    }
    for participant in shown.participants {
        assert!(participant.read_up_to <= Seq(shown.message_count), "{place}: {participant:?}");
    }
}

async fn naive(connection: &mut PgConnection, chat: ChatId) -> BTreeMap<String, u64> {
    let people = "select user_id, greatest(read_seq, joined_seq) as above from participants
                  where chat_id = $1 and left_at is null";
    let people = sqlx::query(people).bind(chat.uuid()).fetch_all(&mut *connection).await.unwrap();
    let messages = rows(
        connection,
        "select seq, sender_id from messages
                  where chat_id = $1 and deleted_at is null",
        chat.uuid(),
    )
    .await;
    let singly = rows(
        connection,
        "select seq, user_id from read_exceptions
                  where chat_id = $1",
        chat.uuid(),
    )
    .await;
    let unread = |person: &sqlx::postgres::PgRow| {
        let (who, above): (String, i64) = (person.get(0), person.get(1));
        let others = messages.iter().filter(|(seq, sender)| *seq > above && *sender != who);
        let unread = others.filter(|(seq, _)| !singly.contains(&(*seq, who.clone()))).count();
        (who, unread as u64)
    };
    people.iter().map(unread).collect()
}

async fn rows(
    connection: &mut PgConnection,
    sql: &'static str,
    chat: Uuid,
) -> BTreeSet<(i64, String)> {
    let rows = sqlx::query(sql).bind(chat).fetch_all(connection).await.unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

/// The end of the chat moves while it is read: whoever reads singly up to the newest message must not take a message
/// as read that comes in between.
#[tokio::test(flavor = "multi_thread")]
async fn i7_a_message_that_arrives_while_the_newest_is_read_stays_unread() {
    let world = Arc::new(World::with(&["ann", "ben"]).await.hasty().await);
    let chat = world.direct("ann", "ben").await;
    // Many own messages after the pointer: what the reader's pointer has to pass takes a while.
    let fill = format!(
        "insert into messages (chat_id, seq, id, version, sender_id, type, content, created_at)
         select '{chat}', n, gen_random_uuid(), n, 'ann', 'text', 'hi', now() from generate_series(1, 4000) n;
         update chats set version = 4000, last_seq = 4000 where id = '{chat}';
         update participants set sent_count = 4000 where chat_id = '{chat}' and user_id = 'ann'"
    );
    world.db_execute(&fill).await;
    let reader = user("ann");
    let mut said = vec![world.send(chat, "ben", "first").await.id];
    for round in 0..20 {
        let read = world.store.mark_read(chat, &reader, Some(&said));
        let sends = join_all((0..5).map(|_| world.send(chat, "ben", "in between")));
        let (read, sent) = tokio::join!(read, sends);
        let MarkRead::Marked(marked) = read.unwrap() else { panic!("not in") };
        let seqs: Vec<Seq> = sent.iter().map(|message| message.seq).collect();
        let shown = world.store.chat(chat, &reader).await.unwrap().unwrap();
        assert_eq!(
            shown.unread_count, 5,
            "round {round}: read up to {}, and {seqs:?} came meanwhile",
            marked.read_up_to
        );
        said.extend(sent.iter().map(|message| message.id));
        let begin = shown_at(&world, chat, 1).await;
        let back = world.store.mark_unread(chat, &reader, begin).await.unwrap();
        let all = said.len() as u64;
        assert_eq!(back, MarkUnread::Marked { unread: all, read_up_to: Seq(0) });
    }
}

async fn shown_at(world: &World, chat: ChatId, seq: i64) -> MessageId {
    let mut connection = world.connection().await;
    let id = sqlx::query("select id from messages where chat_id = $1 and seq = $2");
    let row = id.bind(chat.uuid()).bind(seq).fetch_one(&mut connection).await.unwrap();
    row.get::<Uuid, _>(0).into()
}
