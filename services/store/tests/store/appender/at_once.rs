//! Batches that are committed at once, and those that have to be looked at one by one.

use std::time::Instant;

use futures_util::future::join_all;
use parley_domain::message::NewMessage;
use parley_domain::metadata::Metadata;
use parley_store::{AppendMessage, Appender, ChangeAs, Store, StoreError};
use prometheus::Registry;
use serde_json::json;
use sqlx::{Connection, Executor, PgConnection, Row};
use uuid::Uuid;

use super::{SOON, kept, texts};
use crate::fixture::{World, appended, appender_settings, new_message, profile, serve, user};

/// An appender of one shard, and what it counts.
struct Counting {
    appender: Appender,
    registry: Registry,
}

impl Counting {
    fn over(world: &World) -> Self {
        let registry = Registry::new();
        let (appender, task) =
            Appender::new(&world.store, &appender_settings(&[]), &registry, |_| {}).unwrap();
        tokio::spawn(task.run());
        Self { appender, registry }
    }

    /// All in one batch: on one thread they are all there when the shard looks.
    async fn send(&self, news: Vec<NewMessage>) -> Vec<AppendMessage> {
        let sends = news.into_iter().map(|new| self.appender.append(new));
        let outcomes: Result<_, StoreError> = join_all(sends).await.into_iter().collect();
        outcomes.unwrap()
    }

    /// Commits that were looked at one by one.
    #[expect(clippy::cast_possible_truncation, reason = "a counter of a few")]
    fn one_by_one(&self) -> i64 {
        let metrics = self.registry.gather();
        let family = metrics.iter().find(|it| it.name() == "parley_append_one_by_one_total");
        family.unwrap().get_metric()[0].get_counter().get_value() as i64
    }
}

fn shown(outcome: &AppendMessage) -> serde_json::Value {
    serde_json::to_value(appended(outcome.clone())).unwrap()
}

#[tokio::test]
async fn what_is_told_of_a_first_try_is_what_the_database_has_kept() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    world.store.put_user(&profile("bob", Some("Bob"))).await.unwrap();
    let (chat, other) = (world.direct("alice", "bob").await, world.direct("bob", "carol").await);
    let first = world.send(chat, "alice", "first").await;
    let news = vec![
        new_message(other, "carol", "there", Some("c")),
        NewMessage { reply_to: Some(first.id), ..new_message(chat, "bob", "an answer", Some("a")) },
        NewMessage {
            metadata: Some(Metadata::parse(json!({ "b": [1, 2.50], "a": "x" })).unwrap()),
            ..new_message(chat, "bob", "with metadata", Some("b"))
        },
        new_message(chat, "alice", "last", Some("d")),
    ];
    let counting = Counting::over(&world);
    let sent = counting.send(news.clone()).await;
    assert_eq!(counting.one_by_one(), 0);
    let again = counting.send(news).await;
    assert_eq!(counting.one_by_one(), 1, "one batch of replays");
    assert_eq!(
        sent.iter().map(shown).collect::<Vec<_>>(),
        again.iter().map(shown).collect::<Vec<_>>()
    );
    assert_eq!(shown(&sent[1])["sender"]["name"], "Bob");
    assert_eq!(texts(&kept(&world, chat).await), ["first", "an answer", "with metadata", "last"]);
    let kept: Vec<_> = kept(&world, chat).await.iter().map(|kept| kept.id).collect();
    assert!(kept.is_sorted(), "{kept:?}");
}

#[tokio::test]
async fn i2_a_batch_with_anything_but_first_tries_of_participants_is_looked_at_one_by_one() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (chat, other) =
        (world.group("alice", &["bob", "carol"]).await, world.direct("alice", "bob").await);
    let carol = user("carol");
    world.store.remove_participant(chat, &carol, &carol, ChangeAs::Participant).await.unwrap();
    let known = new_message(other, "bob", "known", Some("known"));
    world.append(known.clone()).await;
    let odd = [
        (known.clone(), "replay"),
        (new_message(other, "bob", "something else", Some("known")), "conflict"),
        (new_message(other, "carol", "let me in", None), "stranger"),
        (new_message(chat, "carol", "I was here", None), "left"),
        (new_message(Uuid::nil().into(), "bob", "nowhere", None), "no chat"),
        (
            NewMessage {
                reply_to: Some(Uuid::nil().into()),
                ..new_message(other, "bob", "what?", None)
            },
            "no such message",
        ),
    ];
    let counting = Counting::over(&world);
    for (number, (odd, what)) in (1..).zip(odd) {
        let good = |text| new_message(chat, "alice", text, Some(&format!("{what}, {text}")));
        let outcomes = counting.send(vec![good("before"), odd, good("behind")]).await;
        assert_eq!(counting.one_by_one(), number, "{what}");
        let fresh = |outcome: &AppendMessage| matches!(outcome, AppendMessage::Appended(appended) if !appended.replay);
        let fresh: Vec<_> = outcomes.iter().map(fresh).collect();
        assert_eq!(fresh, [true, false, true], "{what}: {outcomes:?}");
    }
    let kept = kept(&world, chat).await;
    super::assert_dense_and_rising(&kept);
    assert_eq!(kept.len(), 12);
}

#[tokio::test]
async fn i2_what_is_known_to_be_tried_again_is_looked_for_first() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let counting = Counting::over(&world);
    let new = new_message(chat, "alice", "hi", Some("key"));
    let again = || counting.appender.expect(chat).append_again(new.clone());
    let first = again().await.unwrap();
    assert!(matches!(&first, AppendMessage::Appended(appended) if !appended.replay), "{first:?}");
    let second = again().await.unwrap();
    assert!(matches!(&second, AppendMessage::Appended(appended) if appended.replay), "{second:?}");
    assert_eq!((counting.one_by_one(), shown(&first)), (2, shown(&second)));
}

/// Rows of these tables that were read by going through a table.
async fn read_in_passing(connection: &mut PgConnection) -> i64 {
    let sql = "select coalesce(sum(seq_tup_read), 0)::bigint from pg_stat_user_tables
               where relname in ('chats', 'participants', 'users', 'messages')";
    connection.fetch_one(sql).await.unwrap().get(0)
}

#[tokio::test]
async fn a_plan_that_was_made_for_empty_tables_reads_by_key() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let mut connection = world.connection().await;
    // A connection tells its numbers when it ends.
    world.store.close().await;
    let store = Store::connect(&world.settings).await.unwrap();
    let before = read_in_passing(&mut connection).await;
    let (appender, _) = serve(&store, &[]);
    for number in 0..30 {
        appended(
            appender.append(new_message(chat, "alice", &number.to_string(), None)).await.unwrap(),
        );
    }
    drop(appender);
    store.close().await;
    let until = Instant::now() + SOON;
    let told = "select n_tup_ins from pg_stat_user_tables where relname = 'messages'";
    while connection.fetch_one(told).await.unwrap().get::<i64, _>(0) < 30 {
        assert!(Instant::now() < until, "the numbers were never told");
    }
    assert_eq!(read_in_passing(&mut connection).await, before);
    connection.close().await.unwrap();
}
