//! A client that says where it was hears what it missed, and then what comes.

use serde_json::json;

use crate::fixture::{ApiPod, Gateway, World, event};
use crate::server::NatsServer;

#[tokio::test]
async fn i4_what_was_missed_is_heard_between_the_ack_and_what_comes() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut away = world.gateway.client("alice").await;
    away.join_at(chat, 0).await;
    away.leave(chat).await;
    for _ in 1..=3 {
        world.api.say(chat);
    }
    for since in [0, 2, 3] {
        let mut client = world.gateway.client("bob").await;
        let ack = client.join_since(chat, since).await;
        assert_eq!((&ack["version"], &ack["resync"]), (&json!(3), &json!(false)));
        for version in since + 1..=3 {
            client.hears(chat, version).await;
        }
        client.hears_nothing().await;
    }
    away.join_since(chat, 0).await;
    world.api.say(chat);
    for version in 1..=4 {
        away.hears(chat, version).await;
    }
    away.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_long_replay_comes_in_pages_while_others_speak() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    for _ in 0..1_000 {
        world.api.chats.commit(chat);
    }
    let (api, chats) = (world.api.publisher(), world.api.chats.clone());
    let speaking = tokio::spawn(async move {
        for _ in 0..500 {
            let version = chats.commit(chat);
            api.publish(&event(chat, version, 0));
            tokio::task::yield_now().await;
        }
    });
    let mut client = world.gateway.client("alice").await;
    let ack = client.join_since(chat, 0).await;
    assert_eq!(ack["resync"], false);
    assert!(ack["version"].as_u64().unwrap() >= 1_000);
    for version in 1..=1_500 {
        client.hears(chat, version).await;
    }
    speaking.await.unwrap();
    client.hears_nothing().await;
    assert!(world.gateway.metric("parley_gateway_asks_total{kind=\"join\"}").await >= 6);
}

#[tokio::test]
async fn a_position_that_leads_nowhere_is_told_to_reload() {
    let world = World::start().await;
    let chat = world.api.chats.create(5_007);
    let forms = [
        json!({ "chatId": chat, "since": 6 }),
        json!({ "chatId": chat, "since": 9_999 }),
        json!({ "chatId": chat, "since": 5_007, "epoch": "000000000000dead" }),
        json!({ "chatId": chat, "epoch": "000000000000dead" }),
    ];
    for form in forms {
        let mut client = world.gateway.client("alice").await;
        let ack = client.ask("join-chat-room", &form).await;
        assert_eq!((&ack["resync"], &ack["success"]), (&json!(true), &json!(true)), "{form}");
        let version = ack["version"].as_u64().unwrap();
        assert_eq!(version, world.api.chats.version(chat));
        world.api.say(chat);
        client.hears(chat, version + 1).await;
        client.hears_nothing().await;
    }
}

#[tokio::test]
async fn i6_whoever_is_removed_during_a_replay_hears_no_more_of_it() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    for _ in 0..500 {
        world.api.chats.commit(chat);
    }
    let gate = world.api.chats.gate(chat);
    let mut client = world.gateway.client("bob").await;
    let join = client.emit("join-chat-room", &json!({ "chatId": chat, "since": 0 })).await;
    // The one before the pod listens, the first page, and the second is asked for.
    gate.add_permits(2);
    world.api.chats.has_been_asked(3).await;
    world.api.chats.refuse(chat, "bob", parley_domain::ask::JoinRefusal::NotParticipant);
    gate.add_permits(10);
    assert_eq!(client.ack(join).await["success"], true);
    let mut last = 0;
    let refusal = loop {
        let (name, payload) = client.event().await;
        if name != "new-message" {
            break (name, payload["code"].clone());
        }
        last += 1;
        assert_eq!(payload["version"], last);
    };
    assert_eq!(refusal, ("error".to_owned(), json!("not_participant")));
    assert!(last == 200 || last == 400, "whole pages: {last}");
    world.api.say(chat);
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_replay_waits_for_a_client_that_reads_slowly() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let gateway = Gateway::start(&nats.url(), &["--outbox-bytes=100000"]).await;
    gateway.is_ready().await;
    let chat = api.chats.create(0);
    // More than the kernel keeps, and a page alone is more than the outbox.
    for _ in 0..1_000 {
        api.chats.commit_as(chat, |version| event(chat, version, 20_000));
    }
    let mut slow = gateway.client("alice").await;
    let join = slow.emit("join-chat-room", &json!({ "chatId": chat, "since": 0 })).await;
    let mut others = gateway.client("bob").await;
    for version in 1_001..=1_010 {
        others.join_since(chat, version - 1).await;
        others.leave(chat).await;
        api.say(chat);
    }
    assert_eq!(slow.ack(join).await["resync"], false);
    for version in 1..=1_010 {
        slow.hears(chat, version).await;
    }
    slow.hears_nothing().await;
    let closed = "parley_gateway_closed_total{reason=\"slow_consumer\"}";
    assert_eq!(gateway.metric(closed).await, 0);
}
