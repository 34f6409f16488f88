//! How long a delivery took, as the pod's histogram says it.

use chrono::TimeDelta;
use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::time::{Clock, SystemClock};

use crate::fixture::{World, event};

const COUNT: &str = "parley_gateway_delivery_seconds_count";
const WITHIN_MS: &str = "parley_gateway_delivery_seconds_bucket{le=\"0.001\"}";
const WITHIN_HALF: &str = "parley_gateway_delivery_seconds_bucket{le=\"0.5\"}";

fn committed(ago: TimeDelta) -> Origin {
    Origin { committed_at: Some(SystemClock.now() - ago), trace: None }
}

#[tokio::test]
async fn a_delivery_is_timed_from_the_commit_once_for_each_event_and_room() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 0).await;
    bob.join_at(chat, 0).await;
    let origins = [
        committed(TimeDelta::milliseconds(600)),
        committed(TimeDelta::seconds(-5)), // by a clock that is ahead of this one
        Origin::default(),                 // of the release before
    ];
    for origin in origins {
        let version = world.api.chats.commit(chat);
        world.api.publisher().publish(&RoomEvent { origin, ..event(chat, version, 0) });
    }
    for version in 1..=3 {
        alice.hears(chat, version).await;
        bob.hears(chat, version).await;
    }
    world.gateway.reaches("parley_gateway_delivered_total", 6).await;
    world.gateway.reaches(COUNT, 2).await;
    assert_eq!(world.gateway.metric(WITHIN_MS).await, 1, "a delivery takes no negative time");
    assert_eq!(world.gateway.metric(WITHIN_HALF).await, 1, "the other took longer");
}

#[tokio::test]
async fn what_did_not_come_live_or_reached_nobody_is_not_timed() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut alice = world.gateway.client("alice").await;
    alice.join_at(chat, 0).await;
    let origin = committed(TimeDelta::seconds(1));
    let event = |version| RoomEvent { origin, ..event(chat, version, 0) };
    let receipt = RoomEvent { kind: Kind::MessagesRead, version: None, ..event(0) };
    world.api.publisher().publish(&receipt);
    // The first one is lost on the bus, and caught up with; so is the second, which comes too late.
    world.api.chats.commit_as(chat, event);
    world.api.chats.commit_as(chat, event);
    world.api.publisher().publish(&event(2));
    alice.event().await;
    alice.hears(chat, 1).await;
    alice.hears(chat, 2).await;
    world.api.publisher().publish(&event(2));
    world.api.say(chat);
    alice.hears(chat, 3).await;
    assert_eq!(world.gateway.metric(COUNT).await, 0);
}
