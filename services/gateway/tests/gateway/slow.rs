//! Connections that do not read: closed, whatever their heartbeat says; nobody waits for them, and they lose nothing.

use serde_json::json;
use tokio::time::Instant;

use crate::client::{Client, Heard};
use crate::fixture::{SECOND, World, event, token_for};

/// The content of one event.
const PADDING: usize = 60_000;
/// More than the outbox below, and what two systems keep of a connection that does not read.
const ENOUGH: u64 = 400;

/// The next version, with much in it.
fn say(world: &World, chat: parley_domain::ids::ChatId) -> u64 {
    let version = world.api.chats.commit_as(chat, |version| event(chat, version, PADDING));
    world.api.publisher().publish(&event(chat, version, PADDING));
    version
}

/// Reads to the end of what was sent, and comes back with `since`: everything is heard once, in order.
async fn hears_everything(world: &World, mut slow: Client, chat: parley_domain::ids::ChatId) {
    let mut last = 0;
    loop {
        match slow.next().await {
            Heard::Event(_, payload) => {
                last += 1;
                assert_eq!(payload["version"], json!(last));
            }
            Heard::Closed(_) => break,
            other => panic!("{other:?}"),
        }
    }
    let end = world.api.chats.version(chat);
    assert!(last < end, "it was cut off");
    let mut back = world.gateway.client("slow").await;
    let ack = back.join_since(chat, last).await;
    assert_eq!((&ack["version"], &ack["resync"]), (&json!(end), &json!(false)));
    for version in last + 1..=end {
        back.hears(chat, version).await;
    }
    let next = world.api.say(chat);
    back.hears(chat, next).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_over_its_outbox_a_connection_is_closed_and_nobody_waits_for_it() {
    let world = World::with(&["--outbox-bytes=1000000", "--outbox-frames=100000"]).await;
    let chat = world.api.chats.create(0);
    let token = token_for("slow", 60);
    let mut slow = Client::connect_narrow(world.gateway.address, &token).await;
    let mut others = [world.gateway.client("bob").await, world.gateway.client("carol").await];
    slow.join_at(chat, 0).await;
    for other in &mut others {
        other.join_at(chat, 0).await;
    }
    let begun = Instant::now();
    let mut closed_after = None;
    for _ in 0..ENOUGH {
        let said = Instant::now();
        let version = say(&world, chat);
        for other in &mut others {
            other.hears(chat, version).await;
        }
        assert!(said.elapsed() < SECOND * 5, "{version}: {:?}", said.elapsed());
        if closed_after.is_none() && world.gateway.closed("slow_consumer").await == 1 {
            closed_after = Some(version);
        }
    }
    // The next heartbeat would come after 25 s, and fail after 45.
    assert!(begun.elapsed() < SECOND * 25);
    let closed_after = closed_after.expect("closed while others spoke");
    assert!(closed_after * (PADDING as u64) < 20_000_000, "bounded: {closed_after}");
    world.gateway.reaches("parley_gateway_connections", 2).await;
    // It is in no room any more.
    let before = world.gateway.metric("parley_gateway_delivered_total").await;
    let version = say(&world, chat);
    for other in &mut others {
        other.hears(chat, version).await;
    }
    world.gateway.reaches("parley_gateway_delivered_total", before + 2).await;
    hears_everything(&world, slow, chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_over_its_frames_a_connection_is_closed() {
    let world = World::with(&["--outbox-bytes=1000000000", "--outbox-frames=16"]).await;
    let chat = world.api.chats.create(0);
    let mut slow = Client::connect_narrow(world.gateway.address, &token_for("slow", 60)).await;
    slow.join_at(chat, 0).await;
    while world.gateway.closed("slow_consumer").await == 0 {
        assert!(say(&world, chat) < ENOUGH, "it is not closed");
    }
    hears_everything(&world, slow, chat).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_one_that_takes_nothing_for_too_long_is_closed_whatever_its_heartbeat_says() {
    let world = World::with(&[
        "--write-timeout-ms=1000",
        "--outbox-bytes=1000000000",
        "--outbox-frames=100000",
    ])
    .await;
    let chat = world.api.chats.create(0);
    let mut slow = Client::connect_narrow(world.gateway.address, &token_for("slow", 60)).await;
    let mut other = world.gateway.client("bob").await;
    for client in [&mut slow, &mut other] {
        client.join_at(chat, 0).await;
    }
    let begun = Instant::now();
    for _ in 0..ENOUGH {
        let version = say(&world, chat);
        other.hears(chat, version).await;
        // What it says is read, and says nothing about what it takes.
        let gone = slow.try_send("3").await.is_err();
        if gone || world.gateway.metric("parley_gateway_connections").await == 1 {
            break;
        }
    }
    world.gateway.reaches("parley_gateway_connections", 1).await;
    assert!(begun.elapsed() < SECOND * 10, "neither by its heartbeat nor by the default");
    // The system's own deadline is the same, and may come first.
    let closed = ["write_timeout", "transport_error"];
    let closed = [world.gateway.closed(closed[0]).await, world.gateway.closed(closed[1]).await];
    assert_eq!(closed.iter().sum::<u64>(), 1);
    assert_eq!(world.gateway.closed("ping_timeout").await, 0);
    hears_everything(&world, slow, chat).await;
}
