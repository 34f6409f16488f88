use std::collections::HashMap;

use parley_domain::webhook::EventKind;
use parley_store::DeliveryState;

use crate::fixture::World;
use crate::receiver::{Receiver, Told, firsts};

const MESSAGES: &[EventKind] = &[EventKind::MessageCreated];

fn said(told: &[Told]) -> Vec<&str> {
    told.iter().map(Told::content).collect()
}

#[tokio::test]
async fn a_chat_whose_event_is_refused_waits_and_no_other_does() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.webhook(&receiver.url(), MESSAGES).await;
    let _courier = world.courier(&[]).await;
    let bad = world.chat("alice", "bob").await;
    let good = world.chat("alice", "carol").await;
    receiver.refuses(&bad.to_string());
    world.say(bad, "alice", "first").await;
    world.say(bad, "alice", "second").await;
    receiver.until(|told| told.len() >= 3).await;
    for n in 0..20 {
        world.say(good, "alice", &n.to_string()).await;
    }
    receiver.until_events(21).await;
    assert!(!said(&receiver.told()).contains(&"second"), "it has to wait for the first");
    receiver.accepts_all();
    let told = receiver.until_events(22).await;
    let of_bad: Vec<_> = told.iter().filter(|it| it.chat() == bad.to_string()).cloned().collect();
    assert_eq!(said(&of_bad), ["first", "second"]);
}

#[tokio::test]
async fn a_webhook_that_is_down_misses_nothing_and_holds_up_no_other() {
    let (world, mut down, up) =
        (World::new().await, Receiver::start().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&down.url(), MESSAGES).await;
    world.webhook(&up.url(), MESSAGES).await;
    let _courier = world.courier(&[]).await;
    let chats = [world.chat("alice", "bob").await, world.chat("alice", "carol").await];
    down.goes_down().await;
    for n in 0..60 {
        world.say(chats[n % 2], "alice", &n.to_string()).await;
    }
    up.until_events(60).await;
    world.until_log(webhook, |log| log.iter().any(|it| it.attempts > 5)).await;
    let standing = world.store.webhook(webhook).await.unwrap().unwrap();
    assert!(standing.failing_since.is_some() && standing.waiting == 60);
    down.comes_back().await;
    let told = down.until_events(60).await;
    for chat in chats {
        let numbers = told.iter().filter(|it| it.chat() == chat.to_string());
        let numbers: Vec<i32> = numbers.map(|it| it.content().parse().unwrap()).collect();
        assert!(numbers.len() == 30 && numbers.is_sorted(), "{numbers:?}");
    }
    world.until_log(webhook, |log| log.iter().all(|it| it.state == DeliveryState::Delivered)).await;
    assert!(world.store.webhook(webhook).await.unwrap().unwrap().failing_since.is_none());
}

#[tokio::test]
async fn what_a_courier_that_died_had_claimed_is_told_by_another_under_the_same_ids() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let mut chats = Vec::new();
    for (one, other) in [("alice", "bob"), ("alice", "carol"), ("bob", "carol")] {
        chats.push((world.chat(one, other).await, one));
    }
    let short = ["--webhook-timeout-ms", "300"];
    let mut couriers = vec![world.courier(&short).await, world.courier(&short).await];
    for n in 0..300 {
        let (chat, sender) = chats[n % 3];
        world.say(chat, sender, &n.to_string()).await;
        if n % 100 == 50 {
            couriers.remove(0).die();
            couriers.push(world.courier(&short).await);
        }
    }
    let told = receiver.until_events(300).await;
    let mut last: HashMap<&str, i32> = HashMap::new();
    for told in &told {
        let said: i32 = told.content().parse().unwrap();
        let before = last.insert(told.chat(), said);
        assert!(before.is_none_or(|before| before < said), "{before:?} before {said}");
    }
    let log = world
        .until_log(webhook, |log| log.iter().all(|it| it.state == DeliveryState::Delivered))
        .await;
    assert_eq!((log.len(), firsts(&receiver.told()).len()), (300, 300));
}

#[tokio::test]
async fn redirects_and_silence_are_failures_and_what_was_tried_for_long_enough_is_given_up() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let _courier =
        world.courier(&["--webhook-retry-seconds", "0", "--webhook-timeout-ms", "100"]).await;
    let chat = world.chat("alice", "bob").await;
    let mut outcomes = Vec::new();
    for (n, status) in [302, 1, 500].into_iter().enumerate() {
        receiver.answers(status);
        world.say(chat, "alice", "hi").await;
        let dead = |it: &parley_store::DeliveryRecord| it.state == DeliveryState::Dead;
        let log = world.until_log(webhook, |log| log.len() == n + 1 && dead(&log[n])).await;
        let last = log[n].last.clone().unwrap();
        outcomes.push((last.status, last.error));
    }
    let redirect = "the answer is a redirect (307 Temporary Redirect)".to_owned();
    let silence = "the deadline was over while waiting for the answer".to_owned();
    let expected = [(Some(307), Some(redirect)), (None, Some(silence)), (Some(500), None)];
    assert_eq!(outcomes, expected);
    receiver.answers(0);
    let log = world.log(webhook).await;
    world.store.replay(webhook, log[0].id).await.unwrap().unwrap();
    world.until_log(webhook, |log| log[0].state == DeliveryState::Delivered).await;
}

#[tokio::test]
async fn what_is_old_goes_though_something_else_cannot() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let (off, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let courier = world.courier(&[]).await;
    let chat = world.chat("alice", "bob").await;
    world.say(chat, "alice", "hi").await;
    for webhook in [webhook, off] {
        let delivered = |it: &parley_store::DeliveryRecord| it.state == DeliveryState::Delivered;
        world.until_log(webhook, |log| log.len() == 1 && delivered(&log[0])).await;
    }
    courier.stop().await;
    // One waits for too long, and cannot be given up; the other was delivered long ago, and an empty lane is old.
    world.execute(&format!(
        "update webhooks set disabled_at = now() where id = '{off}'; \
         update webhook_deliveries set state = 'waiting' where webhook_id = '{off}'; \
         update webhook_deliveries set settled_at = now() - interval '9 days', retry_from = now() - interval '9 days'; \
         update webhook_lanes set due_at = now() - interval '9 days' where webhook_id = '{webhook}'; \
         alter table webhook_deliveries add check (state <> 'dead')"
    ));
    let _courier = world.courier(&[]).await;
    world.until_log(webhook, <[_]>::is_empty).await;
    assert_eq!(world.log(off).await[0].state, DeliveryState::Waiting, "that was not possible");
}

#[tokio::test]
async fn class_18_what_may_not_be_called_is_not() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&receiver.url(), MESSAGES).await;
    let _courier = world.courier(&["--outbound-allow", "10.0.0.1"]).await;
    let chat = world.chat("alice", "bob").await;
    world.say(chat, "alice", "hi").await;
    let log = world.until_log(webhook, |log| log.first().is_some_and(|it| it.attempts > 1)).await;
    let error = log[0].last.clone().unwrap().error.unwrap();
    assert!(error.contains("not a public one"), "{error}");
    assert!(receiver.told().is_empty());
}

#[tokio::test]
async fn a_webhook_that_says_it_is_gone_is_switched_off() {
    let (world, gone, other) =
        (World::new().await, Receiver::start().await, Receiver::start().await);
    let (webhook, _) = world.webhook(&gone.url(), MESSAGES).await;
    world.webhook(&other.url(), &[EventKind::WebhookDisabled]).await;
    let _courier = world.courier(&[]).await;
    gone.answers(410);
    let chat = world.chat("alice", "bob").await;
    world.say(chat, "alice", "hi").await;
    let told = other.until_events(1).await;
    assert_eq!(told[0].body["data"]["webhookId"], webhook.to_string());
    assert_eq!(told[0].body["data"]["reason"], "gone");
    let standing = world.store.webhook(webhook).await.unwrap().unwrap();
    assert_eq!((standing.disabled.unwrap().1.as_str(), standing.waiting), ("gone", 1));
}
