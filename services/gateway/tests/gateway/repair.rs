//! What a room does not hear it asks for, whatever shows that it is missing.

use std::collections::HashSet;

use futures_util::StreamExt;
use parley_domain::heads::Announcement;
use parley_domain::ids::ChatId;
use parley_domain::version::{Epoch, Version};
use tokio::time::Instant;

use crate::client::Client;
use crate::fixture::{ApiPod, EPOCH, Gateway, SECOND, World, event};
use crate::server::{NatsServer, soon};

/// A pod of the test's own hand.
struct Announcer {
    client: async_nats::Client,
    number: u64,
}

impl Announcer {
    async fn start(world: &World) -> Self {
        Self { client: async_nats::connect(world.nats.url()).await.unwrap(), number: 0 }
    }

    async fn say(&mut self, heads: Vec<(ChatId, Version)>, lost_track: bool) {
        self.number += 1;
        let epoch = (!heads.is_empty()).then_some(EPOCH);
        let announcement = Announcement { pod: 1, number: self.number, heads, epoch, lost_track };
        let bytes = serde_json::to_vec(&announcement).unwrap();
        self.client.publish("heads", bytes.into()).await.unwrap();
        self.client.flush().await.unwrap();
    }
}

async fn joined(world: &World) -> (ChatId, Client) {
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    (chat, client)
}

async fn comparisons(world: &World, reason: &str) -> u64 {
    let series = format!("parley_gateway_comparisons_total{{reason=\"{reason}\"}}");
    world.gateway.metric(&series).await
}

#[tokio::test]
async fn i4_a_lost_event_that_nothing_follows_is_found_by_its_head() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    let mut pod = Announcer::start(&world).await;
    world.api.chats.commit(chat);
    pod.say(vec![(chat, Version(1))], false).await;
    client.hears(chat, 1).await;
    // Said again, and of other chats, it costs nothing.
    pod.say(vec![(chat, Version(1)), (world.api.chats.create(9), Version(9))], false).await;
    world.api.say(chat);
    client.hears(chat, 2).await;
    client.hears_nothing().await;
    let catch_ups = "parley_gateway_catch_ups_total{cause=\"head\"}";
    assert_eq!(world.gateway.metric(catch_ups).await, 1);
}

#[tokio::test]
async fn i4_an_announcement_that_is_missing_makes_a_gateway_compare() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    let mut pod = Announcer::start(&world).await;
    pod.say(vec![], false).await;
    world.api.chats.commit(chat);
    pod.number += 1;
    pod.say(vec![], false).await;
    client.hears(chat, 1).await;
    assert_eq!(comparisons(&world, "skipped").await, 1);
}

#[tokio::test]
async fn i9_a_pod_that_lost_track_makes_a_gateway_compare() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    world.api.chats.commit(chat);
    Announcer::start(&world).await.say(vec![], true).await;
    client.hears(chat, 1).await;
    assert_eq!(comparisons(&world, "lost_track").await, 1);
}

#[tokio::test]
async fn i4_what_a_pod_has_committed_and_not_told_when_it_died_is_heard_within_5_s() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    let stranger = async_nats::connect(world.nats.url()).await.unwrap();
    let mut heads = stranger.subscribe("heads").await.unwrap();
    let dying = ApiPod::with(&world.nats, world.api.chats.clone()).await;
    dying.say(chat);
    client.hears(chat, 1).await;
    // Once it has announced something, it is missed.
    let mut announced = HashSet::new();
    while announced.len() < 2 {
        let announcement = soon(heads.next()).await.unwrap();
        let announcement: Announcement = serde_json::from_slice(&announcement.payload).unwrap();
        announced.insert(announcement.pod);
    }
    dying.chats.commit(chat);
    drop(dying);
    let died = Instant::now();
    client.hears(chat, 2).await;
    let took = died.elapsed();
    assert!(took < SECOND * 5, "it took {took:?}");
    assert_eq!(comparisons(&world, "silence").await, 1);
}

#[tokio::test]
async fn i9_what_a_room_cannot_hold_comes_with_its_catch_up() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    let gate = world.api.chats.gate_catch_ups(chat);
    world.api.chats.commit(chat);
    for _ in 2..=2_000 {
        world.api.say(chat);
    }
    world.gateway.reaches("parley_bus_received_total", 1_999).await;
    world.api.chats.has_caught_up(1).await;
    world.gateway.reaches("parley_gateway_held_total", 1_999).await;
    assert_eq!(world.gateway.metric("parley_gateway_rooms_behind").await, 1);
    gate.add_permits(1_000);
    for version in 1..=2_000 {
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
    assert_eq!(world.gateway.metric("parley_gateway_overflowed_total").await, 1_999 - 256);
    world.gateway.reaches("parley_gateway_rooms_behind", 0).await;
    assert_eq!(world.gateway.metric("parley_gateway_gaps_total").await, 1);
    assert_eq!(world.gateway.metric("parley_gateway_gap_seconds_count").await, 1);
}

#[tokio::test]
async fn i4_a_catch_up_that_nobody_answers_is_asked_for_again() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    world.api.chats.set_away(chat, true);
    world.api.chats.commit(chat);
    world.api.say(chat);
    world.api.chats.has_caught_up(3).await;
    client.hears_nothing().await;
    world.api.chats.set_away(chat, false);
    client.hears(chat, 1).await;
    client.hears(chat, 2).await;
    let catch_ups = "parley_gateway_catch_ups_total{cause=\"gap\"}";
    assert_eq!(world.gateway.metric(catch_ups).await, 1, "tries are no new causes");
}

#[tokio::test]
async fn i6_a_room_that_is_told_of_another_history_closes_its_connections() {
    let world = World::start().await;
    let chat = world.api.chats.create(5);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 5).await;
    let other = Epoch(7);
    world.api.chats.put_back(chat, 3, other);
    let version = world.api.chats.commit(chat);
    let event = parley_domain::bus::RoomEvent { epoch: other, ..event(chat, version, 0) };
    world.api.publisher().publish(&event);
    client.is_closed_with(1001).await;
    let mut client = world.gateway.client("alice").await;
    let ack = client.join_since(chat, 5).await;
    assert_eq!((&ack["resync"], &ack["version"]), (&true.into(), &4.into()));
    assert_eq!(world.gateway.metric("parley_gateway_lost_total{reason=\"history\"}").await, 1);
}

#[tokio::test]
async fn i4_a_room_whose_chat_has_fallen_closes_its_connections() {
    for gone in [false, true] {
        let mut world = World::start().await;
        let chat = world.api.chats.create(5);
        let mut client = world.gateway.client("alice").await;
        client.join_at(chat, 5).await;
        world.nats_goes().await;
        if gone {
            world.api.chats.remove(chat);
        } else {
            world.api.chats.put_back(chat, 3, EPOCH);
        }
        world.nats_returns().await;
        client.is_closed_with(1001).await;
        let reason = if gone { "gone" } else { "fell" };
        let series = format!("parley_gateway_lost_total{{reason=\"{reason}\"}}");
        assert_eq!(world.gateway.metric(&series).await, 1);
    }
}

#[tokio::test]
async fn i4_more_than_is_told_one_by_one_closes_a_rooms_connections() {
    let world = World::start().await;
    let (chat, mut client) = joined(&world).await;
    world.api.chats.put_back(chat, 5_001, EPOCH);
    Announcer::start(&world).await.say(vec![(chat, Version(5_001))], false).await;
    client.is_closed_with(1001).await;
    assert_eq!(world.gateway.metric("parley_gateway_lost_total{reason=\"too_far\"}").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn i3_two_pods_that_overtake_each_other_cause_no_catch_up() {
    const LAST: u64 = 10_000;
    /// Versions that are under way at a time; queues are bounded.
    const AHEAD: u64 = 500;
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let other = ApiPod::with(&world.nats, world.api.chats.clone()).await;
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 0).await;
    let mut heard = 0;
    for _ in 0..LAST / 20 {
        // Neighbours go to different pods, in any order: two connections, two queues.
        let mut batch: Vec<u64> = (0..20).map(|_| world.api.chats.commit(chat)).collect();
        for turn in (1..batch.len()).rev() {
            batch.swap(turn, rand::random_range(0..=turn));
        }
        for version in batch {
            let pod = if version % 2 == 0 { &world.api } else { &other };
            pod.publish(chat, version);
        }
        while heard + AHEAD < world.api.chats.version(chat) {
            heard += 1;
            client.hears(chat, heard).await;
        }
    }
    for version in heard + 1..=LAST {
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
    assert_eq!(world.gateway.metric("parley_gateway_asks_total{kind=\"catch_up\"}").await, 0);
    assert_eq!(world.gateway.metric("parley_gateway_asks_total{kind=\"heads\"}").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_a_catch_up_does_not_wait_for_a_client_that_does_not_read() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let gateway = Gateway::start(&nats.url(), &["--outbox-bytes=1200000"]).await;
    gateway.is_ready().await;
    let chat = api.chats.create(0);
    let (mut reader, mut sleeper) = (gateway.client("alice").await, gateway.client("bob").await);
    reader.join_at(chat, 0).await;
    sleeper.join_at(chat, 0).await;
    // Some twenty pages, and more than the kernel keeps.
    for _ in 0..500 {
        api.chats.commit_as(chat, |version| event(chat, version, 20_000));
    }
    let begun = Instant::now();
    api.say(chat);
    for version in 1..=501 {
        reader.hears(chat, version).await;
    }
    let took = begun.elapsed();
    assert!(took < SECOND * 5, "it took {took:?}");
    let slow = "parley_gateway_closed_total{reason=\"slow_consumer\"}";
    gateway.reaches(slow, 1).await;
    drop(sleeper);
}
