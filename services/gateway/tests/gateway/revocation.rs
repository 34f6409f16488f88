//! Revoked tokens: neither in, nor in for long.

use serde_json::json;

use crate::client::{Client, Heard};
use crate::fixture::{ApiPod, Chats, Gateway, SECOND, SECRET, World, sign};
use crate::server::NatsServer;

/// A token that was issued then.
fn issued(user: &str, at: i64) -> String {
    sign(&json!({ "sub": user, "iat": at, "exp": 4_000_000_000_u64 }), SECRET)
}

async fn attempt(gateway: &Gateway, token: &str) -> Heard {
    let mut client = Client::open(gateway.address, "", None).await;
    client.send(&format!("40{}", json!({ "token": token }))).await;
    client.next().await
}

fn is_revoked(heard: &Heard) -> bool {
    matches!(heard, Heard::ConnectError(error) if error["data"]["code"] == "token_revoked")
}

#[tokio::test]
async fn a_revoked_token_does_not_connect() {
    let world = World::start().await;
    world.api.chats.revoke("alice", 1_000);
    for old in [issued("alice", 999), issued("alice", 1_000)] {
        assert!(is_revoked(&attempt(&world.gateway, &old).await));
    }
    let undated = sign(&json!({ "sub": "alice", "exp": 4_000_000_000_u64 }), SECRET);
    assert!(is_revoked(&attempt(&world.gateway, &undated).await));
    assert_eq!(attempt(&world.gateway, &issued("alice", 1_001)).await, Heard::Connected);
    assert_eq!(attempt(&world.gateway, &issued("bob", 999)).await, Heard::Connected);
    let series = "parley_gateway_connects_total{outcome=\"token_revoked\"}";
    assert_eq!(world.gateway.metric(series).await, 3);
}

#[tokio::test]
async fn an_announced_revocation_closes_what_the_token_opened() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut old = Client::connect(world.gateway.address, &issued("alice", 1_000)).await;
    let mut new = Client::connect(world.gateway.address, &issued("alice", 1_001)).await;
    let mut bob = Client::connect(world.gateway.address, &issued("bob", 1_000)).await;
    for client in [&mut old, &mut new, &mut bob] {
        client.join_at(chat, 0).await;
    }
    let revocation = world.api.chats.revoke("alice", 1_000);
    let begun = tokio::time::Instant::now();
    world.api.announce(&revocation).await;
    assert_eq!(old.next().await, Heard::Closed(Some(1001)));
    assert!(begun.elapsed() < SECOND);
    assert!(is_revoked(&attempt(&world.gateway, &issued("alice", 1_000)).await));
    world.api.say(chat);
    for client in [&mut new, &mut bob] {
        client.hears(chat, 1).await;
    }
}

#[tokio::test]
async fn i6_who_could_not_be_asked_about_enters_no_room() {
    let nats = NatsServer::start().await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    let chats = Chats::default();
    let chat = chats.create(0);
    chats.revoke("alice", 1_000);
    let mut client = Client::connect(gateway.address, &issued("alice", 1_000)).await;
    client.emit("join-chat-room", &json!(chat)).await;
    let api = ApiPod::with(&nats, chats).await;
    assert_eq!(client.next().await, Heard::Closed(Some(1001)));
    assert_eq!(api.chats.asked(), 0, "nobody asked for the room");
}
