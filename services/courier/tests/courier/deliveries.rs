use std::collections::HashMap;
use std::time::{Duration, Instant, SystemTime};

use parley_domain::webhook::EventKind;
use parley_outbound::webhook::Key;
use parley_store::{DeliveryState, ReplayRange};
use secrecy::ExposeSecret;

use crate::fixture::World;
use crate::receiver::{Receiver, Told, firsts};

const MESSAGES: &[EventKind] = &[EventKind::MessageCreated];

#[tokio::test]
async fn what_happens_is_told_signed_once_and_in_the_order_of_its_chat() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, secret) = world.webhook(&receiver.url(), &[]).await;
    let chats = [world.chat("alice", "bob").await, world.chat("alice", "carol").await];
    for n in 0..50 {
        world.say(chats[n % 2], "alice", &n.to_string()).await;
    }
    let courier = world.courier(&[]).await;
    receiver.until_events(52).await;
    world.until_log(webhook, |log| log.iter().all(|it| it.state == DeliveryState::Delivered)).await;
    courier.stop().await;
    let told = receiver.told();
    assert_eq!(told.len(), 52, "once each");
    for (chat, first) in chats.iter().zip([0, 1]) {
        let chat = chat.to_string();
        let told: Vec<_> = told.iter().filter(|told| told.chat() == chat).collect();
        assert_eq!(told[0].body["type"], "chat.created");
        let said: Vec<i32> = told[1..].iter().map(|told| told.content().parse().unwrap()).collect();
        assert_eq!(said, (first..50).step_by(2).collect::<Vec<i32>>());
    }
    let other = Key::make().secret().expose_secret().to_owned();
    assert!(told.iter().all(|told| told.is_signed_by(&secret) && !told.is_signed_by(&other)));
    let log = world.log(webhook).await;
    let last = log[0].last.clone().unwrap();
    assert_eq!((last.attempt, last.status, last.answer.as_deref()), (1, Some(200), Some("thanks")));
}

#[tokio::test]
async fn class_21_a_rotated_secret_leaves_no_gap() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, first) = world.webhook(&receiver.url(), MESSAGES).await;
    let _courier = world.courier(&[]).await;
    let chat = world.chat("alice", "bob").await;
    let second = Key::make().secret();
    world.store.rotate_webhook_secret(webhook, &second, Duration::from_hours(1)).await.unwrap();
    world.say(chat, "alice", "by both").await;
    let told = receiver.until_events(1).await;
    let second = second.expose_secret();
    assert!(told[0].is_signed_by(&first) && told[0].is_signed_by(second));
    let third = Key::make().secret();
    world.store.rotate_webhook_secret(webhook, &third, Duration::ZERO).await.unwrap();
    world.say(chat, "alice", "by the third").await;
    let told = receiver.until_events(2).await;
    assert!(told[1].is_signed_by(third.expose_secret()) && !told[1].is_signed_by(second));
}

/// A receiver refuses what is old; so nothing that is told anew may be.
#[tokio::test]
async fn class_21_each_attempt_is_signed_anew_with_its_own_time_and_under_its_old_id() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (_, secret) = world.webhook(&receiver.url(), MESSAGES).await;
    receiver.answers(500);
    let _courier = world.courier(&[]).await;
    let chat = world.chat("alice", "bob").await;
    world.say(chat, "alice", "hi").await;
    let seconds = |told: &Told| told.timestamp.parse::<i64>().unwrap();
    let later = |told: &[Told]| told.last().is_some_and(|it| seconds(it) > seconds(&told[0]));
    let told = receiver.until(later).await;
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    for attempt in &told {
        assert_eq!(attempt.id, told[0].id);
        assert!(attempt.is_signed_by(&secret));
        assert!(seconds(attempt).unsigned_abs().abs_diff(now) < 60);
        let aged = Told { timestamp: (seconds(attempt) - 600).to_string(), ..attempt.clone() };
        let renamed = Told { id: format!("{}x", attempt.id), ..attempt.clone() };
        let changed = Told { raw: [&attempt.raw[..], b" "].concat().into(), ..attempt.clone() };
        for forged in [aged, renamed, changed] {
            assert!(!forged.is_signed_by(&secret));
        }
    }
}

#[tokio::test]
async fn several_couriers_share_the_work_and_keep_the_order() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.webhook(&receiver.url(), MESSAGES).await;
    let mut chats = Vec::new();
    for (one, other) in [("alice", "bob"), ("alice", "carol"), ("bob", "carol")] {
        chats.push(world.chat(one, other).await);
    }
    let couriers = [world.courier(&[]).await, world.courier(&[]).await, world.courier(&[]).await];
    for n in 0..90 {
        let sender = if n % 3 == 2 { "bob" } else { "alice" };
        world.say(chats[n % 3], sender, &n.to_string()).await;
    }
    receiver.until_events(90).await;
    for courier in couriers {
        courier.stop().await;
    }
    let told = receiver.told();
    assert_eq!(told.len(), 90, "nobody told anything twice");
    let mut last: HashMap<String, i32> = HashMap::new();
    for told in &told {
        let said: i32 = told.content().parse().unwrap();
        let before = last.insert(told.chat().to_owned(), said);
        assert!(before.is_none_or(|before| before < said), "{before:?} before {said}");
    }
}

#[tokio::test]
async fn a_slow_pace_is_kept_and_no_turn_is_lost_though_more_lanes_wait_than_it_lets() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.webhook(&receiver.url(), MESSAGES).await;
    for n in 0..64 {
        let chat = world.group("alice", "bob").await;
        world.say(chat, "alice", &n.to_string()).await;
    }
    let slow = ["--webhook-rate", "8", "--webhook-concurrency", "64"];
    let _courier = world.courier(&slow).await;
    receiver.until_events(1).await;
    let began = Instant::now();
    receiver.until_events(64).await;
    // 63 turns of an eighth of a second; with all lanes claimed at once, the last 2 s of the first 8 s came to nothing.
    let took = began.elapsed();
    assert!(took > Duration::from_secs(7) && took < Duration::from_millis(9_500), "{took:?}");
    assert_eq!(receiver.told().len(), 64);
}

#[tokio::test]
async fn what_was_delivered_is_replayed_under_its_ids() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let _courier = world.courier(&[]).await;
    let chat = world.chat("alice", "bob").await;
    for text in ["one", "two", "three"] {
        world.say(chat, "alice", text).await;
    }
    let log = world
        .until_log(webhook, |log| {
            log.len() == 3 && log.iter().all(|it| it.state == DeliveryState::Delivered)
        })
        .await;
    let range = ReplayRange {
        from: log[1].occurred_at,
        to: log[2].occurred_at + Duration::from_millis(1),
        delivered_too: true,
        after: None,
        most: 10,
    };
    world.store.replay_range(webhook, &range).await.unwrap();
    let told = receiver.until(|told| told.len() == 5).await;
    let said: Vec<_> = told.iter().map(Told::content).collect();
    assert_eq!(said, ["one", "two", "three", "two", "three"]);
    assert_eq!(firsts(&told).len(), 3);
}
