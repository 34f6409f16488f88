//! Joining while others speak: nothing between the answer and the first event is lost, and nothing comes twice.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, watch};
use tokio::time::sleep;

use crate::client::Client;
use crate::fixture::{Gateway, SECOND, World, token_for};
use crate::server::{eventually, soon};

/// Reads to the end; every version once, in order, and nothing else.
async fn hears_all(mut client: Client, chat: parley_domain::ids::ChatId, after: u64, last: u64) {
    for version in after + 1..=last {
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_whoever_joins_while_others_speak_hears_everything_after_the_answer() {
    const LAST: u64 = 3_000;
    const SPEAKERS: u32 = 3;
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (committed, progress) = watch::channel(0);

    let joiners = (0..50).map(|number| {
        let (mut progress, gateway) = (progress.clone(), world.gateway.address);
        tokio::spawn(async move {
            let mut client =
                Client::connect(gateway, &token_for(&format!("user-{number}"), 60)).await;
            let moment = rand::random_range(0..LAST * 9 / 10);
            soon(progress.wait_for(|committed| *committed >= moment)).await.unwrap();
            let ack = client.join(chat).await;
            let after = ack["version"].as_u64().unwrap();
            assert!(after >= moment, "{after} was answered after {moment} was committed");
            hears_all(client, chat, after, LAST).await;
            after
        })
    });
    let joiners: Vec<_> = joiners.collect();

    // Several pods commit in turn, and publish a little later and a little out of order; never by as much as a room
    // waits for a version.
    let committed = Arc::new(Mutex::new(committed));
    for _ in 0..SPEAKERS {
        let (chats, publisher, committed) =
            (world.api.chats.clone(), world.api.publisher(), committed.clone());
        tokio::spawn(async move {
            loop {
                let mut batch = Vec::new();
                {
                    let committed = committed.lock().await;
                    for _ in 0..rand::random_range(1..6) {
                        if chats.version(chat) < LAST {
                            batch.push(chats.commit(chat));
                        }
                    }
                    let _ = committed.send(chats.version(chat));
                }
                if batch.is_empty() {
                    return;
                }
                sleep(Duration::from_micros(rand::random_range(0..5_000))).await;
                for turn in (1..batch.len()).rev() {
                    batch.swap(turn, rand::random_range(0..=turn));
                }
                for version in batch {
                    publisher.publish(&crate::fixture::event(chat, version, 0));
                }
            }
        });
    }
    let mut joined_at = Vec::new();
    for joiner in joiners {
        joined_at.push(joiner.await.unwrap());
    }
    joined_at.sort_unstable();
    joined_at.dedup();
    assert!(joined_at.len() > 20, "the joins are spread: {joined_at:?}");
    assert_eq!(world.gateway.metric("parley_gateway_catch_ups_total{cause=\"gap\"}").await, 0);
}

#[tokio::test]
async fn i4_what_passes_while_the_answer_is_on_its_way_is_heard_after_the_ack() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let join = bob.emit("join-chat-room", &serde_json::json!(chat)).await;
    world.api.chats.has_been_asked(asked + 1).await;
    for _ in 1..=100 {
        world.api.say(chat);
    }
    for version in 1..=100 {
        alice.hears(chat, version).await;
    }
    gate.add_permits(100);
    let after = bob.ack(join).await["version"].as_u64().unwrap();
    hears_all(bob, chat, after, 100).await;
}

#[tokio::test]
async fn i4_an_answer_that_is_ahead_of_the_bus_is_where_the_joiner_begins() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    for _ in 1..=3 {
        world.api.chats.commit(chat);
    }
    bob.join_at(chat, 3).await;
    for version in 1..=3 {
        world.api.publish(chat, version);
        alice.hears(chat, version).await;
    }
    world.api.say(chat);
    alice.hears(chat, 4).await;
    bob.hears(chat, 4).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn i4_the_first_joiner_of_a_room_misses_nothing_either() {
    let world = World::start().await;
    let chat = world.api.chats.create(5);
    let mut client = world.gateway.client("alice").await;
    let gate = world.api.chats.gate(chat);
    let join = client.emit("join-chat-room", &serde_json::json!(chat)).await;
    // The first ask is before the subscription, the second one after.
    gate.add_permits(1);
    world.api.chats.has_been_asked(2).await;
    world.has_subscriptions(chat, 1).await;
    for _ in 6..=9 {
        world.api.say(chat);
    }
    world.gateway.reaches("parley_bus_received_total", 4).await;
    gate.add_permits(100);
    let after = client.ack(join).await["version"].as_u64().unwrap();
    hears_all(client, chat, after, 9).await;
}

#[tokio::test]
async fn i4_a_first_joiner_whom_a_later_one_overtakes_misses_nothing() {
    let world = World::start().await;
    let chat = world.api.chats.create(5);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    let bobs_gate = world.api.chats.gate(chat);
    let join = bob.emit("join-chat-room", &serde_json::json!(chat)).await;
    bobs_gate.add_permits(1);
    world.api.chats.has_been_asked(2).await;
    for _ in 6..=9 {
        world.api.say(chat);
    }
    world.gateway.reaches("parley_bus_received_total", 4).await;
    // Alice's answer is younger than Bob's, and there before it.
    world.api.chats.gate(chat).add_permits(100);
    alice.join_at(chat, 9).await;
    bobs_gate.add_permits(1);
    let after = bob.ack(join).await["version"].as_u64().unwrap();
    world.api.say(chat);
    hears_all(bob, chat, after, 10).await;
    hears_all(alice, chat, 9, 10).await;
}

#[tokio::test]
async fn i4_a_gap_that_was_repaired_while_the_answer_was_on_its_way_is_none_for_the_joiner() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let join = bob.emit("join-chat-room", &serde_json::json!(chat)).await;
    world.api.chats.has_been_asked(asked + 1).await;
    world.api.say(chat);
    world.api.chats.commit(chat); // 2 is lost
    world.api.say(chat);
    alice.hears(chat, 1).await;
    alice.hears(chat, 2).await;
    alice.hears(chat, 3).await;
    gate.add_permits(100);
    let after = bob.ack(join).await["version"].as_u64().unwrap();
    world.api.say(chat);
    hears_all(bob, chat, after, 4).await;
}

#[tokio::test]
async fn i9_a_join_that_more_overtakes_than_a_room_keeps_asks_for_the_rest() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let join = bob.emit("join-chat-room", &serde_json::json!(chat)).await;
    world.api.chats.has_been_asked(asked + 1).await;
    for _ in 1..=1_200 {
        world.api.say(chat);
    }
    for version in 1..=1_200 {
        alice.hears(chat, version).await;
    }
    gate.add_permits(100);
    assert_eq!(bob.ack(join).await["version"], 0);
    world.api.say(chat);
    hears_all(bob, chat, 0, 1_201).await;
    assert!(world.api.chats.asked() >= asked + 6, "it came in pages");
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_coming_and_going_while_others_speak_loses_nothing() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (stop, stopped) = watch::channel(false);
    let walkers = (0..8).map(|number| {
        let (stopped, gateway) = (stopped.clone(), world.gateway.address);
        tokio::spawn(async move {
            let mut rounds = 0;
            let mut client =
                Client::connect(gateway, &token_for(&format!("user-{number}"), 60)).await;
            while !*stopped.borrow() {
                let after = client.join(chat).await["version"].as_u64().unwrap();
                for version in after + 1..=after + rand::random_range(0..5) {
                    client.hears(chat, version).await;
                }
                client.leave(chat).await;
                client.forget();
                rounds += 1;
            }
            rounds
        })
    });
    let walkers: Vec<_> = walkers.collect();
    let begun = std::time::Instant::now();
    eventually("some seconds of talk", async || {
        world.api.say(chat);
        (begun.elapsed() > SECOND * 3).then_some(())
    })
    .await;
    stop.send(true).unwrap();
    // Those who wait for an event shall have it.
    let talking = tokio::spawn({
        let (chats, publisher) = (world.api.chats.clone(), world.api.publisher());
        async move {
            loop {
                publisher.publish(&crate::fixture::event(chat, chats.commit(chat), 0));
                sleep(Duration::from_millis(10)).await;
            }
        }
    });
    for walker in walkers {
        assert!(soon(walker).await.unwrap() > 5);
    }
    talking.abort();
    end_of_rooms(&world.gateway).await;
}

async fn end_of_rooms(gateway: &Gateway) {
    gateway.reaches("parley_gateway_rooms", 0).await;
    gateway.reaches("parley_gateway_connections", 0).await;
}
