//! I8: what a send writes does not grow with the number of participants.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use parley_domain::ids::ChatId;
use serde_json::Value;
use sqlx::postgres::PgArguments;
use sqlx::query::Query;
use sqlx::types::Json;
use sqlx::{Connection, Executor, PgConnection, Postgres, Row};

use crate::fixture::{World, serve};

macro_rules! function {
    () => {
        "append_messages_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)"
    };
}

/// As `messages::at_once` has it.
macro_rules! outward {
    ($explain:literal) => {
        concat!(
            $explain,
            "with answer as (select * from ",
            function!(),
            ")
            , outward as (
                insert into outbox (kind, chat_ids, seqs, counts)
                select 'message.created', array_agg(c.id), array_agg(c.seq), array_agg(c.messages)
                from answer
                cross join lateral unnest($1, answer.seqs, $2) as c (id, seq, messages)
                where answer.done and c.seq is not null
                having count(*) > 0
            )
            select * from answer"
        )
    };
}

const SIZES: [u32; 3] = [2, 100, 10_000];
const CROWD: u32 = 300;
const SENDS: usize = 300;
/// The statement of a send, without and with a row for webhooks.
const SENDS_ONLY: [&str; 2] = [
    concat!("select * from ", function!()),
    concat!("explain (analyze, wal, timing off, format json) select * from ", function!()),
];
const SENDS_OUTWARD: [&str; 2] =
    [outward!(""), outward!("explain (analyze, wal, timing off, format json) ")];

/// A world with one group of so many, `user-1`, `user-2` … Their rows share pages with those of another group, as
/// they would anywhere: on a full page a send also removes the row's former version. Nobody else does: an autovacuum that
/// came by would do it for some of the sends.
async fn group_of(size: u32) -> (World, ChatId) {
    let world = World::with(&["user-1", "user-2"]).await;
    let chat = world.group("user-1", &["user-2"]).await;
    let crowd = world.group("user-1", &["user-2"]).await;
    let most = size.max(CROWD);
    let fill = format!(
        "insert into users (id) select 'user-' || n from generate_series(3, {most}) n;
         insert into participants (chat_id, user_id, role)
         select '{chat}', 'user-' || n, 'member' from generate_series(3, {size}) n;
         insert into participants (chat_id, user_id, role)
         select '{crowd}', 'user-' || n, 'member' from generate_series(3, {CROWD}) n;
         update chats set participant_count = {size} where id = '{chat}';
         alter table users set (autovacuum_enabled = false);
         alter table chats set (autovacuum_enabled = false);
         alter table messages set (autovacuum_enabled = false);
         alter table participants set (autovacuum_enabled = false);
         alter table pending_heads set (autovacuum_enabled = false);
         alter table outbox set (autovacuum_enabled = false);
         vacuum analyze"
    );
    for statement in fill.split(';') {
        world.db_execute(statement).await;
    }
    (world, chat)
}

/// A batch of one from `user-2`, as the appender sends it.
fn call(sql: &'static str, chat: ChatId, told: Vec<i64>) -> Query<'static, Postgres, PgArguments> {
    let tail = uuid::Uuid::now_v7().simple().to_string()[12..].to_owned();
    sqlx::query(sql)
        .bind(vec![chat.uuid()])
        .bind(vec![1i64])
        .bind(vec![1])
        .bind(vec!["user-2".to_owned()])
        .bind(vec![1i64])
        .bind(vec![1])
        .bind(vec![1])
        .bind(vec!["user-2".to_owned()])
        .bind(vec!["text".to_owned()])
        .bind(vec!["how much is it?".to_owned()])
        .bind(vec![None::<uuid::Uuid>])
        .bind(vec![None::<String>])
        .bind(vec![Some(uuid::Uuid::now_v7().to_string())])
        .bind(vec![Some(vec![7u8; 32])])
        .bind(vec![tail])
        .bind(false)
        .bind(told)
}

async fn heads(connection: &mut PgConnection) -> Vec<i64> {
    let rows = connection.fetch_all("select id from pending_heads").await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// WAL records and bytes of each of so many sends to each group that wrote no whole page: those come with a checkpoint, from
/// whoever touches a page first. The groups take turns: what else the server does decides which dead rows a send may remove,
/// and is the same for all of them so.
async fn wal(groups: &[(World, ChatId)], explained: &'static str) -> Vec<Vec<(u64, u64)>> {
    let mut connections = Vec::new();
    for (world, _) in groups {
        connections.push(world.connection().await);
    }
    let mut samples = vec![Vec::new(); groups.len()];
    for _ in 0..SENDS {
        for (group, connection) in connections.iter_mut().enumerate() {
            let told = heads(connection).await;
            let send = call(explained, groups[group].1, told);
            let row = send.fetch_one(connection).await.unwrap();
            let Json(plan): Json<Value> = row.get(0);
            let number = |name: &str| plan[0]["Plan"][name].as_u64().unwrap();
            if number("WAL FPI") == 0 {
                samples[group].push((number("WAL Records"), number("WAL Bytes")));
            }
        }
    }
    samples
}

/// Rows that one send writes, table by table: inserted, updated, deleted.
async fn rows(world: &World, chat: ChatId, sql: &'static str) -> BTreeMap<String, (i64, i64, i64)> {
    let mut connection = world.connection().await;
    let told = heads(&mut connection).await;
    assert_eq!(told.len(), 1, "of the send before");
    let mut transaction = connection.begin().await.unwrap();
    call(sql, chat, told).fetch_one(&mut *transaction).await.unwrap();
    let written =
        "select relname::text, n_tup_ins, n_tup_upd, n_tup_del from pg_stat_xact_user_tables
                   where n_tup_ins + n_tup_upd + n_tup_del > 0";
    let rows = transaction.fetch_all(written).await.unwrap();
    transaction.commit().await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2), row.get(3)))).collect()
}

#[tokio::test]
async fn i8_a_send_costs_the_same_in_a_chat_of_2_of_100_and_of_10_000() {
    println!("{}", costs_the_same(SENDS_ONLY, None).await);
}

#[tokio::test]
async fn i8_a_send_that_a_webhook_wants_costs_one_row_more_in_a_chat_of_any_size() {
    println!("{}", costs_the_same(SENDS_OUTWARD, Some(("outbox", (1, 0, 0)))).await);
}

/// Sends write as much in chats of any size: these rows, and `more`. Says how much.
async fn costs_the_same(
    [sql, explained]: [&'static str; 2],
    more: Option<(&str, (i64, i64, i64))>,
) -> String {
    let mut groups = Vec::new();
    for size in SIZES {
        groups.push(group_of(size).await);
    }
    let samples = wal(&groups, explained).await;
    let (mut measured, mut said) = (Vec::new(), String::new());
    for ((size, (world, chat)), samples) in SIZES.into_iter().zip(&groups).zip(samples) {
        assert!(samples.len() > SENDS / 2, "{size}: checkpoints all the time");
        #[expect(clippy::cast_precision_loss, reason = "a few hundred sends of a few kilobytes")]
        let mean = |of: fn(&(u64, u64)) -> u64| {
            samples.iter().map(of).sum::<u64>() as f64 / samples.len() as f64
        };
        let (records, bytes) = (mean(|sample| sample.0), mean(|sample| sample.1));
        let _ = writeln!(
            said,
            "{size} participants: {records:.2} WAL records, {bytes:.1} bytes a send, {} samples",
            samples.len()
        );
        measured.push((size, records, bytes, rows(world, *chat, sql).await));
    }
    let (_, records, bytes, rows) = &measured[0];
    let _ = write!(said, "rows a send (inserted, updated, deleted): {rows:?}");
    let expected = [
        ("chats", (0, 1, 0)),
        ("messages", (1, 0, 0)),
        ("participants", (0, 1, 0)),
        ("pending_heads", (1, 0, 1)),
    ];
    let expected = expected.into_iter().chain(more);
    assert_eq!(*rows, expected.map(|(table, rows)| (table.to_owned(), rows)).collect());
    for (size, other_records, other_bytes, other_rows) in &measured[1..] {
        assert_eq!(other_rows, rows, "rows with {size} participants");
        assert!((other_records / records - 1.0).abs() < 0.05, "{measured:?}");
        assert!((other_bytes / bytes - 1.0).abs() < 0.05, "{measured:?}");
    }
    said
}

#[tokio::test]
async fn i8_a_send_updates_its_chat_in_place() {
    let (world, chat) = group_of(100).await;
    let (appender, _) = serve(&world.store, &[]);
    for _ in 0..SENDS {
        let new = crate::fixture::new_message(chat, "user-2", "hi", None);
        crate::fixture::appended(appender.append(new).await.unwrap());
    }
    let mut connection = world.connection().await;
    // A connection tells its numbers when it ends.
    world.store.close().await;
    let until = Instant::now() + std::time::Duration::from_secs(20);
    let (updated, in_place) = loop {
        let sql =
            "select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'chats'";
        let row = connection.fetch_one(sql).await.unwrap();
        let (updated, in_place): (i64, i64) = (row.get(0), row.get(1));
        if updated >= i64::try_from(SENDS).unwrap() {
            break (updated, in_place);
        }
        assert!(Instant::now() < until, "{updated} updates were told");
    };
    println!("chats: {in_place} of {updated} updates in place");
    assert!(in_place * 100 >= updated * 99, "{in_place} of {updated}");
    let indexes =
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'chats'::regclass";
    for row in connection.fetch_all(indexes).await.unwrap() {
        let index: String = row.get(0);
        for changing in ["version", "last_seq", "last_message_at"] {
            assert!(!index.contains(changing), "a send changes what {index} covers");
        }
    }
}
