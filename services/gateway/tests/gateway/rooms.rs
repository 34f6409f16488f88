//! A room's subscription: one for all, for as long as somebody is there and a second longer.

use std::time::Duration;

use tokio::time::Instant;

use crate::fixture::{SECOND, World};

#[tokio::test]
async fn all_sockets_of_a_room_share_one_subscription() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut clients = Vec::new();
    for number in 0..5 {
        let mut client = world.gateway.client(&format!("user-{number}")).await;
        client.join_at(chat, 0).await;
        clients.push(client);
    }
    // The same user again, and a room that was joined twice.
    clients.push(world.gateway.client("user-0").await);
    for client in clients.iter_mut().rev().take(2) {
        client.join_at(chat, 0).await;
    }
    world.has_subscriptions(chat, 1).await;
    assert_eq!(world.gateway.rooms().await, 1);
    world.api.say(chat);
    for client in &mut clients {
        client.hears(chat, 1).await;
        client.hears_nothing().await;
    }
    assert_eq!(world.gateway.metric("parley_gateway_delivered_total").await, 6);
    assert_eq!(world.gateway.metric("parley_bus_received_total").await, 1);
}

#[tokio::test]
async fn the_last_one_out_ends_the_subscription_about_a_second_later() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    bob.join_at(chat, 0).await;
    alice.leave(chat).await;
    world.api.say(chat);
    bob.hears(chat, 1).await;
    let before = Instant::now();
    bob.leave(chat).await;
    world.has_subscriptions(chat, 0).await;
    let took = before.elapsed();
    assert!(took >= Duration::from_millis(990), "it lingers: {took:?}");
    assert!(took < SECOND * 5, "and not for long: {took:?}");
    assert_eq!(world.gateway.rooms().await, 0);
    bob.join_at(chat, 1).await;
    world.has_subscriptions(chat, 1).await;
}

#[tokio::test]
async fn who_comes_back_within_the_second_finds_the_same_subscription() {
    let world = World::start().await;
    let (chat, other) = (world.api.chats.create(0), world.api.chats.create(0));
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    client.join_at(other, 0).await;
    let subject = format!("chat.{chat}");
    let subscriptions = world.nats.subscriptions(&subject).await;
    assert_eq!(subscriptions.len(), 1);
    client.leave(chat).await;
    client.join_at(chat, 0).await;
    // Another room, left later, is given up: by then this one would have been, too.
    client.leave(other).await;
    world.has_subscriptions(other, 0).await;
    assert_eq!(world.nats.subscriptions(&subject).await, subscriptions);
    world.api.say(chat);
    client.hears(chat, 1).await;
}

#[tokio::test]
async fn what_is_said_into_an_empty_room_is_in_the_next_answer() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    client.leave(chat).await;
    for _ in 1..=3 {
        world.api.say(chat);
    }
    client.join_at(chat, 3).await;
    world.api.say(chat);
    client.hears(chat, 4).await;
    client.hears_nothing().await;
}
