//! How many api pods live; on servers of their own, because every api pod of a server is counted.

use parley_relay::{Peers, RelayError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fixture::Pod;
use crate::server::{NatsServer, eventually, soon};

struct Living {
    pod: Pod,
    peers: Peers,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RelayError>>,
}

impl Living {
    async fn start(nats: &NatsServer, name: &str) -> Self {
        let pod = Pod::start(&nats.url()).await;
        let (peers, task) = pod.bus.peers(name);
        assert_eq!(peers.count(), 1);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(task.run(async { drop(stopped.await) }));
        Self { pod, peers, stop, task }
    }

    async fn counts(&self, count: usize) {
        eventually("the count", async || (self.peers.count() == count).then_some(())).await;
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn pods_count_each_other_and_miss_who_goes() {
    let nats = NatsServer::start().await;
    let one = Living::start(&nats, "api-1").await;
    let two = Living::start(&nats, "api-2").await;
    one.counts(2).await;
    two.counts(2).await;
    let three = Living::start(&nats, "api-3").await;
    for pod in [&one, &two, &three] {
        pod.counts(3).await;
    }
    two.end().await;
    one.counts(2).await;
    three.counts(2).await;
}

#[tokio::test]
async fn while_the_bus_is_away_the_count_stays() {
    let mut nats = NatsServer::start().await;
    let one = Living::start(&nats, "api-1").await;
    let two = Living::start(&nats, "api-2").await;
    one.counts(2).await;
    two.counts(2).await;
    nats.stop();
    one.pod.reaches(|state| !state.connected).await;
    // Longer than a silence that counts.
    let away = tokio::time::Instant::now();
    eventually("a long outage", async || {
        assert_eq!((one.peers.count(), two.peers.count()), (2, 2));
        (away.elapsed().as_secs() >= 4).then_some(())
    })
    .await;
    nats.start_again().await;
    one.pod.reaches(|state| state.connected).await;
    assert_eq!(one.peers.count(), 2);
    two.end().await;
    one.counts(1).await;
}

#[tokio::test]
async fn a_count_that_waits_for_a_bus_can_be_stopped() {
    let mut nats = NatsServer::start().await;
    nats.stop();
    let one = Living::start(&nats, "api-1").await;
    assert_eq!(one.peers.count(), 1);
    one.end().await;
}
