//! The log of what was delivered: it is looked at, replayed, and forgotten.

use std::time::Duration;

use parley_domain::webhook::EventKind;
use parley_store::{
    DeliveryQuery, DeliveryState, Due, Released, ReplayRange, Retention, Settlement, WebhookChange,
};
use sqlx::{Executor, Row};
use uuid::Uuid;

use super::{attempted, chat_of_two, succeeded};
use crate::fixture::World;

#[tokio::test]
async fn what_was_given_up_or_delivered_is_replayed_in_order_under_its_ids() {
    let world = World::with(&["alice", "bob"]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    let chat = chat_of_two(&world).await;
    for text in ["one", "two", "three"] {
        world.send(chat, "alice", text).await;
    }
    world.fan_out().await;
    let holder = Uuid::new_v4();
    let claimed = world.claim(holder).await;
    let dues = &claimed.lanes[0].deliveries;
    let dead = attempted(&dues[0], DeliveryState::Dead, 500);
    let attempts = vec![dead, succeeded(&dues[1]), succeeded(&dues[2])];
    let released = vec![Released { webhook, lane: chat.into(), pause: Duration::ZERO }];
    world.settle(holder, Settlement { attempts, released, health: vec![] }).await;
    let (from, to) = (dues[0].occurred_at, dues[2].occurred_at);
    let range = ReplayRange { from, to, delivered_too: false, after: None, most: 10 };
    assert_eq!(world.replay(webhook, &range).await.count, 1, "the dead one");
    let range = ReplayRange { delivered_too: true, ..range };
    assert_eq!(world.replay(webhook, &range).await.count, 1, "and another");
    world.store.replay(webhook, dues[2].id).await.unwrap().unwrap();
    let again = world.deliver().await;
    let ids = |dues: &[Due]| dues.iter().map(|due| due.event_id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(dues));
    assert_eq!((again[0].attempt, again[0].failed), (2, 0));
    let query = DeliveryQuery { state: None, before: None, limit: 10 };
    let log = world.store.deliveries(webhook, &query).await.unwrap();
    assert!(log.iter().all(|it| it.state == DeliveryState::Delivered && it.attempts == 2));
    let (_, attempts) = world.store.delivery(webhook, dues[0].id).await.unwrap().unwrap();
    assert_eq!(attempts.iter().map(|it| it.status).collect::<Vec<_>>(), [Some(500), Some(204)]);
}

#[tokio::test]
async fn a_replay_goes_on_after_its_last_one_and_tells_each_once_whatever_is_delivered_meanwhile() {
    let world = World::with(&["alice", "bob"]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    let other = world.webhook(&[EventKind::MessageRead]).await;
    let chat = chat_of_two(&world).await;
    futures_util::future::join_all((0..7).map(|_| world.send(chat, "alice", "hi"))).await;
    world.fan_out().await;
    let first = world.deliver().await;
    let (from, to) = (first[0].occurred_at, first[6].occurred_at + Duration::from_millis(1));
    let mut range = ReplayRange { from, to, delivered_too: true, after: None, most: 3 };
    let mut again = Vec::new();
    loop {
        let replayed = world.replay(webhook, &range).await;
        assert!(replayed.count <= 3);
        // Delivered before the next one: without its place, that would begin with the same ones.
        again.extend(world.deliver().await);
        range.after = replayed.last.or(range.after);
        if !replayed.more {
            break;
        }
    }
    let ids = |dues: &[Due]| dues.iter().map(|due| due.event_id).collect::<Vec<_>>();
    assert_eq!(ids(&again), ids(&first));
    let nothing = world.store.replay_range(other, &range).await.unwrap();
    assert_eq!(nothing, None, "that one is another webhook's");
}

#[tokio::test]
async fn the_log_replays_and_what_is_given_up_are_found_by_their_indexes() {
    let world = World::with(&[]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    let log = format!(
        "insert into webhook_deliveries \
         (webhook_id, lane, event_id, kind, occurred_at, retry_from, settled_at, state) \
         select '{webhook}', gen_random_uuid(), gen_random_uuid(), 'message.created', moment, moment, moment, state \
         from generate_series(1, 20000) n, lateral (select now() - n * interval '1 second' as moment \
         , case when n % 50 = 0 then 'dead' when n % 2 = 0 then 'waiting' else 'delivered' end as state) s; \
         analyze webhook_deliveries"
    );
    world.db_execute(&log).await;
    let query = DeliveryQuery { state: Some(DeliveryState::Dead), before: None, limit: 20 };
    assert_eq!(world.store.deliveries(webhook, &query).await.unwrap().len(), 20);
    let now = world.connection().await.fetch_one("select clock_timestamp()").await.unwrap();
    let to: chrono::DateTime<chrono::Utc> = now.get(0);
    let from = to - Duration::from_mins(2);
    let range = ReplayRange { from, to, delivered_too: true, after: None, most: 100 };
    assert!(world.replay(webhook, &range).await.count > 50);
    let change = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    world.store.change_webhook(webhook, &change).await.unwrap();
    let (day, hours) = (Duration::from_hours(24), Duration::from_hours(5));
    let keep = Retention { delivered: day, dead: day, waiting: hours };
    assert!(world.store.give_up_deliveries(&keep, 100).await.unwrap() > 50);
    // A connection tells how it found what it was asked for when it ends, at the latest.
    world.store.close().await;
    let scans = "select count(*) from pg_stat_user_indexes where idx_scan > 0 and indexrelname in \
        ('webhook_deliveries_given_up', 'webhook_deliveries_by_time', 'webhook_deliveries_retried')";
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while world.number(scans).await < 3 {
        assert!(tokio::time::Instant::now() < deadline, "one of them is not used");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn i9_what_is_old_goes_and_what_waits_stays() {
    let world = World::with(&["alice", "bob"]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    let chat = chat_of_two(&world).await;
    world.send(chat, "alice", "delivered").await;
    world.fan_out().await;
    world.deliver().await;
    world.send(chat, "alice", "waits").await;
    world.fan_out().await;
    let day = Duration::from_hours(24);
    let keep = Retention { delivered: day, dead: day, waiting: day };
    assert_eq!(world.store.forget_deliveries(&keep, 100).await.unwrap(), 0);
    let old = "update webhook_deliveries set settled_at = settled_at - interval '2 days', retry_from = retry_from - interval '2 days'";
    world.db_execute(old).await;
    assert_eq!(world.store.forget_deliveries(&keep, 100).await.unwrap(), 1);
    assert_eq!(world.number("select count(*) from webhook_attempts").await, 0);
    assert_eq!(world.store.give_up_deliveries(&keep, 100).await.unwrap(), 0, "it is switched on");
    let change = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    world.store.change_webhook(webhook, &change).await.unwrap();
    assert_eq!(world.store.give_up_deliveries(&keep, 100).await.unwrap(), 1);
    assert_eq!(world.store.webhook_standings().await.unwrap().waiting, 0);
    world.db_execute("update webhook_lanes set due_at = now() - interval '2 hours'").await;
    assert!(world.store.remove_webhook(webhook).await.unwrap());
    assert_eq!(world.store.forget_deliveries(&keep, 100).await.unwrap(), 1);
    world.db_execute("update webhooks set removed_at = now() - interval '2 hours'").await;
    world.store.forget_lanes().await.unwrap();
    for table in ["webhooks", "webhook_lanes", "webhook_deliveries"] {
        let left: i64 = {
            let sql = sqlx::AssertSqlSafe(format!("select count(*) from {table}"));
            world.connection().await.fetch_one(sql).await.unwrap().get(0)
        };
        assert_eq!(left, 0, "{table}");
    }
}
