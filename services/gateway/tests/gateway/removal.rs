//! I6: whoever is removed hears that, and nothing of the room after it.

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::{ChatId, UserId};
use serde_json::json;

use crate::client::Client;
use crate::fixture::{World, event};

/// The removal of a user, as the next version.
fn remove(world: &World, chat: ChatId, user: &str) -> u64 {
    let version = commit_removal(world, chat, user);
    world.api.publisher().publish(&removal(chat, version, user));
    version
}

/// The same, and nobody is told.
fn commit_removal(world: &World, chat: ChatId, user: &str) -> u64 {
    world.api.chats.commit_as(chat, |version| removal(chat, version, user))
}

fn removal(chat: ChatId, version: u64, user: &str) -> RoomEvent {
    let payload = json!({ "chatId": chat, "version": version, "userId": user });
    RoomEvent {
        kind: Kind::ParticipantRemoved,
        affected: vec![UserId::parse(user).unwrap()],
        event: parley_domain::event::encode("participant-removed", &payload).into(),
        ..event(chat, version, 0)
    }
}

async fn hears_removal(client: &mut Client, version: u64, user: &str) {
    let (name, payload) = client.event().await;
    let heard = (name.as_str(), &payload["version"], &payload["userId"]);
    assert_eq!(heard, ("participant-removed", &json!(version), &json!(user)));
}

#[tokio::test]
async fn i6_a_removal_acts_on_every_connection_of_the_user_exactly_at_its_version() {
    let world = World::start().await;
    let (chat, other) = (world.api.chats.create(0), world.api.chats.create(0));
    let mut stays = world.gateway.client("alice").await;
    let mut leaves = [world.gateway.client("bob").await, world.gateway.client("bob").await];
    stays.join_at(chat, 0).await;
    for client in &mut leaves {
        client.join_at(chat, 0).await;
        client.join_at(other, 0).await;
    }
    world.api.say(chat);
    let removed = remove(&world, chat, "bob");
    let after = world.api.say(chat);
    world.api.say(other);
    stays.hears(chat, 1).await;
    hears_removal(&mut stays, removed, "bob").await;
    stays.hears(chat, after).await;
    for client in &mut leaves {
        client.hears(chat, 1).await;
        hears_removal(client, removed, "bob").await;
        client.hears(other, 1).await;
        client.hears_nothing().await;
    }
    assert_eq!(world.gateway.metric("parley_gateway_evicted_total").await, 2);

    // Let in again, one joins anew and hears what comes then.
    leaves[0].join_at(chat, after).await;
    let again = world.api.say(chat);
    leaves[0].hears(chat, again).await;
    leaves[1].hears_nothing().await;
}

#[tokio::test]
async fn i6_a_removal_that_arrives_before_its_time_waits_for_it() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("bob").await;
    client.join_at(chat, 0).await;
    let said = world.api.chats.commit(chat);
    let removed = remove(&world, chat, "bob");
    world.api.publish(chat, said);
    client.hears(chat, said).await;
    hears_removal(&mut client, removed, "bob").await;
    client.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_removal_during_a_join_is_the_last_that_is_heard() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut watcher = world.gateway.client("alice").await;
    watcher.join_at(chat, 0).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let mut joiner = world.gateway.client("bob").await;
    let join = joiner.emit("join-chat-room", &json!({ "chatId": chat })).await;
    // The answer has been read, and is on its way.
    world.api.chats.has_been_asked(asked + 1).await;
    let removed = remove(&world, chat, "bob");
    let after = world.api.say(chat);
    hears_removal(&mut watcher, removed, "bob").await;
    watcher.hears(chat, after).await;
    gate.add_permits(1);
    assert_eq!(joiner.ack(join).await["version"], 0);
    hears_removal(&mut joiner, removed, "bob").await;
    joiner.hears_nothing().await;
    let last = world.api.say(chat);
    watcher.hears(chat, last).await;
    joiner.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_removal_that_the_bus_has_lost_acts_at_its_version() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut stays = world.gateway.client("alice").await;
    let mut leaves = [world.gateway.client("bob").await, world.gateway.client("bob").await];
    stays.join_at(chat, 0).await;
    for client in &mut leaves {
        client.join_at(chat, 0).await;
    }
    world.api.chats.commit(chat);
    let removed = commit_removal(&world, chat, "bob");
    world.api.chats.commit(chat);
    let after = world.api.say(chat);
    for client in &mut leaves {
        client.hears(chat, 1).await;
        hears_removal(client, removed, "bob").await;
    }
    stays.hears(chat, 1).await;
    hears_removal(&mut stays, removed, "bob").await;
    stays.hears(chat, after - 1).await;
    stays.hears(chat, after).await;
    for client in &mut leaves {
        client.hears_nothing().await;
    }
    assert_eq!(world.gateway.metric("parley_gateway_evicted_total").await, 2);
}

#[tokio::test]
async fn i6_a_member_that_is_removed_while_it_joins_again_is_told_after_the_ack_too() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut watcher = world.gateway.client("alice").await;
    watcher.join_at(chat, 0).await;
    let mut client = world.gateway.client("bob").await;
    client.join_at(chat, 0).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let join = client.emit("join-chat-room", &json!({ "chatId": chat })).await;
    // The answer has been read, and is on its way.
    world.api.chats.has_been_asked(asked + 1).await;
    let removed = remove(&world, chat, "bob");
    hears_removal(&mut watcher, removed, "bob").await;
    hears_removal(&mut client, removed, "bob").await;
    gate.add_permits(1);
    assert_eq!(client.ack(join).await["version"], 0);
    // Or else it would take itself for a member.
    hears_removal(&mut client, removed, "bob").await;
    let last = world.api.say(chat);
    watcher.hears(chat, last).await;
    client.hears_nothing().await;
}
