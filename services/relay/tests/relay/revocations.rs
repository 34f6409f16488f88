//! Revocations, told to every pod.

use chrono::DateTime;
use parley_domain::ids::UserId;
use parley_domain::token::Revocation;
use tokio::sync::{mpsc, oneshot};

use crate::fixture::{Pod, stranger};
use crate::server::{NatsServer, eventually, soon};

fn revocation(user: &str) -> Revocation {
    let valid_after = DateTime::from_timestamp(1_800_000_000, 123_456_000).unwrap();
    Revocation { user_id: UserId::parse(user).unwrap(), valid_after }
}

#[tokio::test]
async fn every_pod_hears_a_revocation_and_none_stumbles_over_nonsense() {
    let nats = NatsServer::start().await;
    let pods = [Pod::connected(&nats.url()).await, Pod::connected(&nats.url()).await];
    let mut listening = Vec::new();
    for pod in &pods {
        let (hear, heard) = mpsc::unbounded_channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let bus = pod.bus.clone();
        let task = tokio::spawn(async move {
            bus.hear_revocations(move |one| hear.send(one).unwrap(), async { drop(stopped.await) })
                .await
        });
        listening.push((heard, stop, task));
    }
    eventually("two subscriptions", async || {
        (nats.subscriptions("users.revoked").await.len() == 2).then_some(())
    })
    .await;
    let stranger = stranger(&nats.url()).await;
    stranger.publish("users.revoked", "nonsense".into()).await.unwrap();
    stranger.flush().await.unwrap();
    // A user's id is the host's, and never part of a subject.
    let told = revocation("a.b > * | c");
    assert!(pods[0].bus.announce_revocation(&told).await);
    for (mut heard, stop, task) in listening {
        assert_eq!(soon(heard.recv()).await, Some(told.clone()));
        stop.send(()).unwrap();
        soon(task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn without_the_bus_an_announcement_fails_at_once() {
    let mut nats = NatsServer::start().await;
    let pod = Pod::connected(&nats.url()).await;
    nats.stop();
    pod.reaches(|state| !state.connected).await;
    assert!(!soon(pod.bus.announce_revocation(&revocation("alice"))).await);
}
