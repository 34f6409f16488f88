//! Publishing: in order, and never in anybody's way.

use std::time::Duration;

use parley_local::testing::nats_url;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fixture::{Pod, event, heard, new_chat};
use crate::server::{NatsServer, PATIENCE, eventually, soon};

/// Events that may wait for the bus.
const QUEUE: u64 = 8_192;

#[tokio::test(flavor = "multi_thread")]
async fn i3_events_keep_their_order() {
    let (speaker, listener) =
        (Pod::connected(&nats_url()).await, Pod::connected(&nats_url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    for version in 1..=4_000 {
        publisher.publish(&event(chat, version));
    }
    for version in 1..=4_000 {
        assert_eq!(heard(&mut room).await, version);
    }
    assert_eq!((speaker.metric("parley_bus_published_total"), speaker.dropped()), (4_000, 0));
}

#[tokio::test]
async fn what_waits_goes_out_before_the_task_ends() {
    let (speaker, listener) =
        (Pod::connected(&nats_url()).await, Pod::connected(&nats_url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    for version in 1..=1_000 {
        publisher.clone().publish(&event(chat, version));
    }
    drop(publisher);
    soon(task.run()).await;
    drop(speaker);
    for version in 1..=1_000 {
        assert_eq!(heard(&mut room).await, version);
    }
}

#[tokio::test]
async fn i9_a_full_queue_drops_what_is_new_and_counts_it() {
    let (speaker, listener) =
        (Pod::connected(&nats_url()).await, Pod::connected(&nats_url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    // The capacity of a subscription is smaller than the queue: only the end of it is for this room.
    let other = new_chat();
    for version in 1..=QUEUE {
        publisher.publish(&event(if version > QUEUE - 100 { chat } else { other }, version));
    }
    for version in 1..=808 {
        publisher.publish(&event(chat, QUEUE + version));
    }
    assert_eq!((speaker.dropped_for("queue_full"), speaker.dropped()), (808, 808));
    tokio::spawn(task.run());
    for version in QUEUE - 99..=QUEUE {
        assert_eq!(heard(&mut room).await, version);
    }
    publisher.publish(&event(chat, 10_000));
    assert_eq!(heard(&mut room).await, 10_000, "the dropped ones are gone, the next one is not");
}

#[tokio::test(flavor = "multi_thread")]
async fn i10_without_a_server_publishing_drops_and_nobody_waits() {
    let mut nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    nats.stop();
    speaker.reaches(|state| !state.connected).await;
    let begun = Instant::now();
    for version in 1..=20_000 {
        publisher.publish(&event(chat, version));
    }
    assert!(begun.elapsed() < PATIENCE / 6, "a publish returns at once");
    eventually("everything is dropped and counted", async || {
        (speaker.dropped() == 20_000).then_some(())
    })
    .await;
    assert!(speaker.dropped_for("disconnected") > 0);
    assert_eq!(speaker.metric("parley_bus_published_total"), 0);

    nats.start_again().await;
    for pod in [&speaker, &listener] {
        pod.reaches(|state| state.connected).await;
    }
    listener.bus.barrier().await.unwrap();
    publisher.publish(&event(chat, 20_001));
    assert_eq!(heard(&mut room).await, 20_001, "what was dropped does not come late");
}

#[tokio::test]
async fn i9_without_a_server_the_task_ends_all_the_same() {
    let mut nats = NatsServer::start().await;
    let speaker = Pod::connected(&nats.url()).await;
    let (publisher, task) = speaker.bus.publisher();
    nats.stop();
    speaker.reaches(|state| !state.connected).await;
    for version in 1..=QUEUE {
        publisher.publish(&event(new_chat(), version));
    }
    drop(publisher);
    let begun = Instant::now();
    soon(task.run()).await;
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn what_is_done_after_telling_is_done_once_everything_has_left() {
    let (speaker, listener) =
        (Pod::connected(&nats_url()).await, Pod::connected(&nats_url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    let (done, mut all_left) = oneshot::channel();
    let events: Vec<_> = (1..=3).map(|version| event(chat, version)).collect();
    publisher.publish_all(&events, move || done.send(()).unwrap());
    assert!(all_left.try_recv().is_err(), "nothing has left yet");
    tokio::spawn(task.run());
    soon(all_left).await.unwrap();
    for version in 1..=3 {
        assert_eq!(heard(&mut room).await, version);
    }
}

#[tokio::test]
async fn what_is_done_after_telling_is_not_done_when_something_was_lost() {
    let mut nats = NatsServer::start().await;
    let speaker = Pod::connected(&nats.url()).await;
    let (publisher, task) = speaker.bus.publisher();
    let (done, all_left) = oneshot::channel();
    nats.stop();
    speaker.reaches(|state| !state.connected).await;
    publisher.publish_all(&[event(new_chat(), 1)], move || done.send(()).unwrap());
    drop(publisher);
    soon(task.run()).await;
    assert!(all_left.await.is_err(), "it is dropped undone");
    assert_eq!(speaker.dropped(), 1);
}
