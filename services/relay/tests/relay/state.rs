//! How the connection stands.

use std::time::Duration;

use parley_relay::{BusState, NatsSettings, RelayError};
use tokio::time::Instant;

use crate::fixture::{Pod, event, heard, new_chat};
use crate::server::{NatsServer, eventually, soon};

#[tokio::test]
async fn a_bus_that_is_away_at_the_start_is_like_one_that_goes_away_later() {
    let mut nats = NatsServer::start().await;
    nats.stop();
    let pod = soon(Pod::start(&nats.url())).await;
    assert!(!pod.state().connected);
    assert_eq!(pod.metric("parley_bus_connected"), 0);
    nats.start_again().await;
    pod.reaches(|state| state.connected).await;
    assert_eq!(pod.metric("parley_bus_connected"), 1);
    pod.bus.barrier().await.unwrap();
}

#[tokio::test]
async fn every_disconnect_is_an_interruption_and_rooms_live_on() {
    let mut nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    assert_eq!(listener.state(), BusState { connected: true, interruptions: 0, breaks: 0 });
    for round in 1..=3 {
        nats.stop();
        let away = listener.reaches(|state| !state.connected).await;
        assert_eq!((away.interruptions, away.breaks), (round, round));
        assert_eq!(listener.metric("parley_bus_connected"), 0);
        speaker.reaches(|state| !state.connected).await;
        nats.start_again().await;
        let back = listener.reaches(|state| state.connected).await;
        assert_eq!(back.interruptions, round, "coming back is none");
        speaker.reaches(|state| state.connected).await;
        assert_eq!(listener.metric("parley_bus_connected"), 1);
        assert_eq!(listener.metric("parley_bus_interruptions_total"), round);

        listener.bus.barrier().await.unwrap();
        assert_eq!(nats.subscriptions(&format!("chat.{chat}")).await.len(), 1);
        publisher.publish(&event(chat, round));
        assert_eq!(heard(&mut room).await, round);
    }
}

/// Nothing tells a client that the other end of its connection is gone but that it does not answer.
#[tokio::test]
async fn i9_a_connection_that_is_half_open_is_given_up_soon() {
    let nats = NatsServer::start().await;
    let pod = Pod::connected(&nats.url()).await;
    nats.pause();
    let given_up = pod.reaches(|state| !state.connected).await;
    assert_eq!((given_up.interruptions, given_up.breaks), (1, 1));
    nats.go_on();
    pod.reaches(|state| state.connected).await;
    pod.bus.barrier().await.unwrap();
}

#[tokio::test]
async fn i9_a_subscription_that_overruns_is_an_interruption_and_no_break() {
    let nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let chat = new_chat();
    let _unread = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    for version in 1..=6_000 {
        publisher.publish(&event(chat, version));
    }
    let overrun = listener.reaches(|state| state.interruptions > 0).await;
    assert_eq!((overrun.connected, overrun.breaks), (true, 0));
}

#[tokio::test]
async fn i9_the_pause_before_reconnecting_does_not_grow() {
    let mut nats = NatsServer::start().await;
    let pod = Pod::connected(&nats.url()).await;
    nats.stop();
    pod.reaches(|state| !state.connected).await;
    // An outage in which pauses that double would have grown to seconds.
    let away = Instant::now();
    eventually("a long outage", async || (away.elapsed() > Duration::from_secs(4)).then_some(()))
        .await;
    nats.start_again().await;
    let begun = Instant::now();
    pod.reaches(|state| state.connected).await;
    let took = begun.elapsed();
    assert!(took < Duration::from_millis(1_500), "pauses are at most 250 ms, this took {took:?}");
}

#[tokio::test]
async fn i9_a_subscription_that_is_not_read_overruns_and_says_so() {
    let nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let chat = new_chat();
    let mut room = listener.bus.subscribe(chat).await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    let running = tokio::spawn(task.run());
    for version in 1..=6_000 {
        publisher.publish(&event(chat, version));
    }
    drop(publisher);
    soon(running).await.unwrap();
    let state = listener.reaches(|state| state.interruptions > 0).await;
    assert!(state.connected, "an overrun is no disconnect");
    for version in 1..=4_096 {
        assert_eq!(heard(&mut room).await, version, "what fits is kept, in order");
    }
    assert!(soon(listener.bus.barrier()).await.is_ok());
}

#[test]
fn a_wrong_url_is_said_without_its_password() {
    let check = |url: &str| NatsSettings::at(url).check();
    for good in ["nats://127.0.0.1:4222", "nats://user:secret@nats.example", "tls://nats:4222"] {
        assert_eq!(check(good), Ok(()), "{good}");
    }
    for bad in ["http://user:secret@127.0.0.1", "nats://user:secret@:x", "nats://", ""] {
        let error = check(bad).unwrap_err();
        assert_eq!(error, RelayError::Url, "{bad}");
        assert!(!error.to_string().contains("secret"));
    }
}
