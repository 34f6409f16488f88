//! What api pods announce; on servers of their own, because every pod of a server is heard.

use parley_domain::heads::Announcement;
use parley_domain::version::Version;
use parley_relay::HeadsSubscription;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::fixture::{Pod, event, new_chat};
use crate::server::{NatsServer, soon};

async fn next(heads: &mut HeadsSubscription) -> Announcement {
    soon(heads.next()).await.expect("an open subscription")
}

#[tokio::test]
async fn i4_a_head_is_announced_again_and_again_and_silence_too() {
    let nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let mut heads = listener.bus.hear_heads().await.unwrap();
    listener.bus.barrier().await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    let (stop, stopped) = oneshot::channel::<()>();
    let announcing = tokio::spawn(speaker.bus.announce_heads().run(async { drop(stopped.await) }));
    let chat = new_chat();
    publisher.publish(&event(chat, 6));
    publisher.publish(&event(chat, 7));
    let begun = Instant::now();
    let (mut pod, mut told) = (None, 0);
    for number in 1..=11 {
        let announcement = next(&mut heads).await;
        assert_eq!(announcement.number, number);
        assert_eq!(*pod.get_or_insert(announcement.pod), announcement.pod);
        assert!(!announcement.lost_track);
        if !announcement.heads.is_empty() {
            assert_eq!(announcement.heads, [(chat, Version(7))]);
            assert_eq!(announcement.epoch, Some(event(chat, 7).epoch));
            told += 1;
        }
    }
    assert!(begun.elapsed().as_secs_f32() > 4.5, "twice a second");
    assert_eq!(told, 4);
    stop.send(()).unwrap();
    soon(announcing).await.unwrap();
}

#[tokio::test]
async fn i4_what_was_told_while_the_bus_was_away_is_announced_when_it_is_back() {
    let mut nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let mut heads = listener.bus.hear_heads().await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    tokio::spawn(speaker.bus.announce_heads().run(std::future::pending()));
    next(&mut heads).await;
    nats.stop();
    speaker.reaches(|state| !state.connected).await;
    let chat = new_chat();
    publisher.publish(&event(chat, 3));
    nats.start_again().await;
    while next(&mut heads).await.heads != [(chat, Version(3))] {}
    assert_eq!(speaker.dropped_for("disconnected"), 1);
}

#[tokio::test]
async fn i9_more_heads_than_one_announcement_holds_come_in_several() {
    let nats = NatsServer::start().await;
    let (speaker, listener) =
        (Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await);
    let mut heads = listener.bus.hear_heads().await.unwrap();
    listener.bus.barrier().await.unwrap();
    let (publisher, task) = speaker.bus.publisher();
    tokio::spawn(task.run());
    for _ in 0..4_500 {
        publisher.publish(&event(new_chat(), 1));
    }
    tokio::spawn(speaker.bus.announce_heads().run(std::future::pending()));
    let mut sizes = Vec::new();
    while sizes.iter().sum::<usize>() < 4_500 {
        let announcement = next(&mut heads).await;
        assert!(!announcement.lost_track);
        sizes.push(announcement.heads.len());
    }
    sizes.retain(|size| *size > 0);
    assert_eq!(sizes, [2_000, 2_000, 500]);
}

#[tokio::test]
async fn what_is_no_announcement_is_counted_and_left_out() {
    let nats = NatsServer::start().await;
    let listener = Pod::connected(&nats.url()).await;
    let mut heads = listener.bus.hear_heads().await.unwrap();
    listener.bus.barrier().await.unwrap();
    let stranger = crate::fixture::stranger(&nats.url()).await;
    stranger.publish("heads", "garbage".into()).await.unwrap();
    let later = r#"{"pod":1,"number":2,"heads":[],"of_a_later_release":1}"#;
    stranger.publish("heads", later.into()).await.unwrap();
    assert_eq!(next(&mut heads).await.number, 2);
    assert_eq!(listener.metric("parley_bus_unreadable_total"), 1);
}
