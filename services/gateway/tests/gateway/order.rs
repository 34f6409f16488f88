//! What a member hears, in which order; and that nobody waits for somebody else.

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::UserId;
use serde_json::json;

use crate::fixture::{ApiPod, Gateway, World, event};
use crate::server::{NatsServer, eventually};

#[tokio::test]
async fn i3_two_that_overtake_each_other_are_heard_in_order() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    for version in [2, 1, 5, 4, 3, 6] {
        world.api.chats.commit(chat);
        world.api.publish(chat, version);
    }
    for version in 1..=6 {
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn i3_what_comes_twice_is_heard_once() {
    let world = World::start().await;
    let chat = world.api.chats.create(3);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 3).await;
    for version in [3, 4, 4, 1, 5, 4, 5, 7, 7, 6, 6, 8] {
        world.api.publish(chat, version);
    }
    for version in 4..=8 {
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn i4_what_the_bus_has_lost_is_heard_in_its_place() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    for version in 1..=6 {
        world.api.chats.commit(chat);
        if version % 2 == 1 {
            world.api.publish(chat, version);
        }
    }
    for version in 1..=6 {
        client.hears(chat, version).await;
    }
    for version in [2, 4, 6] {
        world.api.publish(chat, version); // too late
    }
    world.api.say(chat);
    client.hears(chat, 7).await;
    client.hears_nothing().await;
    let catch_ups = "parley_gateway_catch_ups_total{cause=\"gap\"}";
    assert_eq!(world.gateway.metric(catch_ups).await, 1);
    assert_eq!(world.gateway.metric("parley_gateway_asks_total{kind=\"catch_up\"}").await, 1);
}

#[tokio::test]
async fn i4_what_cannot_be_read_is_counted_and_missed() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    let stranger = async_nats::connect(world.nats.url()).await.unwrap();
    for bytes in [&b""[..], b"garbage", &[9; 100], &[1; 7]] {
        stranger.publish(format!("chat.{chat}"), bytes.to_vec().into()).await.unwrap();
    }
    stranger.flush().await.unwrap();
    world.gateway.reaches("parley_bus_unreadable_total", 4).await;
    world.api.say(chat);
    client.hears(chat, 1).await;
    // One of them was version 2.
    world.api.chats.commit(chat);
    world.api.say(chat);
    client.hears(chat, 2).await;
    client.hears(chat, 3).await;
}

#[tokio::test]
async fn i3_rooms_do_not_mix() {
    let world = World::start().await;
    let chats: Vec<_> = (0..20).map(|_| world.api.chats.create(0)).collect();
    let mut everywhere = world.gateway.client("alice").await;
    let mut in_one = world.gateway.client("bob").await;
    for chat in &chats {
        everywhere.join_at(*chat, 0).await;
    }
    in_one.join_at(chats[7], 0).await;
    for _ in 0..10 {
        for chat in &chats {
            world.api.say(*chat);
        }
    }
    let mut heard = std::collections::HashMap::new();
    for _ in 0..200 {
        let (name, payload) = everywhere.event().await;
        assert_eq!(name, "new-message");
        let last = heard.entry(payload["chatId"].to_string()).or_insert(0);
        *last += 1;
        assert_eq!(payload["version"], *last);
    }
    for version in 1..=10 {
        in_one.hears(chats[7], version).await;
    }
    in_one.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_client_that_does_not_read_is_closed_and_delays_nobody() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let gateway = Gateway::start(&nats.url(), &["--outbox-bytes=100000"]).await;
    let chat = api.chats.create(0);
    let (mut reader, mut sleeper) = (gateway.client("alice").await, gateway.client("bob").await);
    reader.join_at(chat, 0).await;
    sleeper.join_at(chat, 0).await;
    let slow = "parley_gateway_closed_total{reason=\"slow_consumer\"}";
    // The kernel keeps some megabytes for a client that does not read; beyond them, the outbox does.
    eventually("the slow client is closed", async || {
        for _ in 0..50 {
            let version = api.chats.commit(chat);
            api.publisher().publish(&event(chat, version, 20_000));
            reader.hears(chat, version).await;
        }
        (gateway.metric(slow).await == 1).then_some(())
    })
    .await;
    assert_eq!(gateway.metric("parley_gateway_connections").await, 1);
    drop(sleeper);
}

#[tokio::test]
async fn a_receipt_for_some_is_heard_by_them_only() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut clients = Vec::new();
    for user in ["alice", "bob", "carol"] {
        let mut client = world.gateway.client(user).await;
        client.join_at(chat, 0).await;
        clients.push(client);
    }
    let receipt = |affected: &[&str]| {
        let affected = affected.iter().map(|user| UserId::parse(user).unwrap()).collect();
        let (kind, version) = (Kind::MessagesRead, None);
        let payload = json!({ "chatId": chat });
        let read = parley_domain::event::encode("messages-read", &payload).into();
        RoomEvent { kind, version, affected, event: read, ..event(chat, 1, 0) }
    };
    world.api.publisher().publish(&receipt(&["alice", "carol", "dave"]));
    world.api.publisher().publish(&receipt(&[]));
    for (client, receipts) in clients.iter_mut().zip([2, 1, 2]) {
        for _ in 0..receipts {
            assert_eq!(client.event().await.0, "messages-read");
        }
        client.hears_nothing().await;
    }
}
