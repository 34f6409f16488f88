//! Connections that end leave nothing behind.

use serde_json::json;

use crate::client::Client;
use crate::fixture::{World, token_for};
use crate::server::eventually;

async fn is_empty(world: &World) {
    world.gateway.reaches("parley_gateway_connections", 0).await;
    world.gateway.reaches("parley_gateway_rooms", 0).await;
}

#[tokio::test]
async fn i9_who_disconnects_leaves_no_member_and_no_room() {
    let world = World::start().await;
    let chats: Vec<_> = (0..4).map(|_| world.api.chats.create(0)).collect();
    let mut clients = Vec::new();
    for number in 0..20 {
        let mut client = world.gateway.client(&format!("user-{number}")).await;
        for chat in &chats {
            client.join_at(*chat, 0).await;
        }
        clients.push(client);
    }
    assert_eq!(world.gateway.rooms().await, 4);
    assert_eq!(world.gateway.metric("parley_gateway_connections").await, 20);
    for (number, mut client) in clients.into_iter().enumerate() {
        match number % 4 {
            0 => client.close().await,
            1 => client.send("1").await,
            2 => client.send("41").await,
            _ => {}
        }
        // Whatever was said before, the TCP connection is gone now.
    }
    is_empty(&world).await;
    for chat in chats {
        world.has_subscriptions(chat, 0).await;
    }
}

#[tokio::test]
async fn i9_who_disconnects_while_it_joins_leaves_nothing_either() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let gate = world.api.chats.gate(chat);
    for asks in 1..=10 {
        let mut client =
            Client::connect(world.gateway.address, &token_for(&format!("user-{asks}"), 60)).await;
        client.emit("join-chat-room", &json!(chat)).await;
        world.api.chats.has_been_asked(asks).await;
    }
    gate.add_permits(1_000);
    is_empty(&world).await;
    world.has_subscriptions(chat, 0).await;
}

#[tokio::test]
async fn what_others_hear_does_not_depend_on_those_who_are_gone() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut alice = world.gateway.client("alice").await;
    alice.join_at(chat, 0).await;
    for version in 1..=20 {
        let mut guest = world.gateway.client("guest").await;
        guest.join_at(chat, version - 1).await;
        drop(guest);
        world.api.say(chat);
        alice.hears(chat, version).await;
    }
    world.gateway.reaches("parley_gateway_connections", 1).await;
    let delivered = "parley_gateway_delivered_total";
    let before = world.gateway.metric(delivered).await;
    world.api.say(chat);
    alice.hears(chat, 21).await;
    eventually("an event for one", async || {
        (world.gateway.metric(delivered).await == before + 1).then_some(())
    })
    .await;
}
