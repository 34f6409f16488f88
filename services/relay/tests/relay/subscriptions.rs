//! Listening to a chat.

use futures_util::StreamExt;
use parley_local::testing::nats_url;
use parley_relay::RelayError;
use tokio::time::Instant;

use crate::fixture::{Pod, event, heard, new_chat, stranger};
use crate::server::{NatsServer, PATIENCE, eventually, soon};

#[tokio::test(flavor = "multi_thread")]
async fn i4_what_is_published_after_a_subscription_is_heard() {
    let listener = Pod::connected(&nats_url()).await;
    let speaker = stranger(&nats_url()).await;
    for round in 0..500 {
        let chat = new_chat();
        let mut room = listener.bus.subscribe(chat).await.unwrap();
        speaker.publish(format!("chat.{chat}"), event(chat, round + 1).encode()).await.unwrap();
        assert_eq!(heard(&mut room).await, round + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_so_it_is_when_many_rooms_open_together() {
    let listener = Pod::connected(&nats_url()).await;
    let speaker = stranger(&nats_url()).await;
    let rooms = (0..500).map(|_| {
        let (bus, speaker) = (listener.bus.clone(), speaker.clone());
        tokio::spawn(async move {
            let chat = new_chat();
            let mut room = soon(bus.subscribe(chat)).await.unwrap();
            speaker.publish(format!("chat.{chat}"), event(chat, 7).encode()).await.unwrap();
            assert_eq!(heard(&mut room).await, 7);
        })
    });
    for room in rooms.collect::<Vec<_>>() {
        room.await.unwrap();
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_counted_and_left_out() {
    let listener = Pod::connected(&nats_url()).await;
    let speaker = stranger(&nats_url()).await;
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let whole = event(chat, 1).encode();
    let mut other_format = whole.to_vec();
    other_format[0] = 9;
    let garbage = [
        b"".to_vec(),
        b"{}".to_vec(),
        whole[..30].to_vec(),
        other_format,
        event(new_chat(), 1).encode().to_vec(), // another chat's event on this one's subject
    ];
    for bytes in garbage {
        speaker.publish(format!("chat.{chat}"), bytes.into()).await.unwrap();
    }
    speaker.publish(format!("chat.{chat}"), event(chat, 2).encode()).await.unwrap();
    assert_eq!(soon(room.next()).await, Some(event(chat, 2)));
    assert_eq!(listener.metric("parley_bus_unreadable_total"), 5);
    assert_eq!(listener.metric("parley_bus_received_total"), 6);
}

#[tokio::test]
async fn a_room_hears_its_own_chat_only_and_ends_when_it_is_dropped() {
    let nats = NatsServer::start().await;
    let listener = Pod::connected(&nats.url()).await;
    let speaker = stranger(&nats.url()).await;
    let (one, other) = (new_chat(), new_chat());
    let mut room = listener.bus.subscribe(one).await.unwrap();
    let subject = format!("chat.{one}");
    assert_eq!(nats.subscriptions(&subject).await.len(), 1);
    for (chat, version) in [(other, 1), (one, 2), (other, 3), (one, 4)] {
        speaker.publish(format!("chat.{chat}"), event(chat, version).encode()).await.unwrap();
    }
    assert_eq!((heard(&mut room).await, heard(&mut room).await), (2, 4));
    drop(room);
    eventually("the server forgets the subscription", async || {
        nats.subscriptions(&subject).await.is_empty().then_some(())
    })
    .await;
}

#[tokio::test]
async fn i9_a_subscription_without_a_server_fails_in_bounded_time() {
    let mut nats = NatsServer::start().await;
    let listener = Pod::connected(&nats.url()).await;
    nats.stop();
    let begun = Instant::now();
    let subscribed = listener.bus.subscribe(new_chat()).await;
    assert!(matches!(subscribed, Err(RelayError::Unavailable(_))));
    assert!(begun.elapsed() < PATIENCE / 3);
}

#[tokio::test]
async fn a_barrier_that_is_answered_is_no_barrier() {
    let nats = NatsServer::start().await;
    let listener = Pod::connected(&nats.url()).await;
    let stranger = stranger(&nats.url()).await;
    listener.bus.barrier().await.unwrap();
    let mut barriers = stranger.subscribe("barrier").await.unwrap();
    stranger.flush().await.unwrap();
    eventually("the stranger listens", async || {
        (nats.subscriptions("barrier").await.len() == 1).then_some(())
    })
    .await;
    tokio::spawn(async move {
        while let Some(barrier) = barriers.next().await {
            stranger.publish(barrier.reply.unwrap(), "".into()).await.unwrap();
        }
    });
    let subscribed = soon(listener.bus.subscribe(new_chat())).await;
    assert!(matches!(subscribed, Err(RelayError::Unavailable(_))));
}
