//! The list of gateways; on servers of their own, because every gateway of a server is on it.

use std::net::SocketAddr;

use futures_util::StreamExt;
use parley_relay::{GatewayPlace, Gateways, RelayError};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::fixture::{Pod, stranger};
use crate::server::{NatsServer, eventually, soon};

struct Living {
    pod: Pod,
    gateways: Gateways,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), RelayError>>,
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Living {
    async fn start(nats: &NatsServer, name: &str, port: u16) -> Self {
        let pod = Pod::start(&nats.url()).await;
        let place = GatewayPlace { incarnation: name.to_owned(), address: address(port) };
        let (gateways, task) = pod.bus.gateways(place);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(task.run(async { drop(stopped.await) }));
        Self { pod, gateways, stop, task }
    }

    async fn finds(&self, name: &str, port: u16) {
        eventually("the gateway is found", async || {
            (self.gateways.find(name).await == Some(address(port))).then_some(())
        })
        .await;
    }

    async fn end(self) {
        self.stop.send(()).unwrap();
        soon(self.task).await.unwrap().unwrap();
    }
}

/// Asks until the gateway is found.
async fn found(gateways: Gateways, name: &'static str) -> SocketAddr {
    loop {
        if let Some(address) = gateways.find(name).await {
            return address;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn gateways_find_each_other_and_forget_who_goes() {
    let nats = NatsServer::start().await;
    let one = Living::start(&nats, "a", 1).await;
    one.pod.reaches(|state| state.connected).await;
    let two = Living::start(&nats, "b", 2).await;
    one.finds("b", 2).await;
    two.finds("a", 1).await;
    assert_eq!(one.gateways.find("c").await, None);
    two.end().await;
    let gone = Instant::now();
    eventually("the gateway is forgotten", async || {
        one.gateways.find("b").await.is_none().then_some(())
    })
    .await;
    assert!(gone.elapsed().as_secs() >= 5, "not at the first missing sign");
    one.end().await;
}

#[tokio::test]
async fn a_gateway_that_came_just_now_is_asked_for_once() {
    let nats = NatsServer::start().await;
    let one = Living::start(&nats, "a", 1).await;
    one.pod.reaches(|state| state.connected).await;
    eventually("it listens", async || {
        (!nats.subscriptions("ask.gateways").await.is_empty()).then_some(())
    })
    .await;
    // It answers who asks, and says nothing by itself.
    let quiet = stranger(&nats.url()).await;
    let mut asks = quiet.subscribe("ask.gateways").await.unwrap();
    quiet.flush().await.unwrap();
    let found: Vec<_> =
        (0..100).map(|_| tokio::spawn(found(one.gateways.clone(), "quiet"))).collect();
    let begun = Instant::now();
    let mut asked = 0;
    let mut answered = std::pin::pin!(async {
        for found in found {
            assert_eq!(soon(found).await.unwrap(), address(7));
        }
    });
    loop {
        let ask = tokio::select! {
            ask = asks.next() => ask.unwrap(),
            () = &mut answered => break,
        };
        if let Some(reply) = ask.reply {
            asked += 1;
            let place = r#"{"incarnation":"quiet","address":"127.0.0.1:7","more":1}"#;
            quiet.publish(reply, place.into()).await.unwrap();
        }
    }
    // One when it connected, perhaps, and at most one each second.
    assert!((1..=2 + begun.elapsed().as_secs()).contains(&asked), "{asked}");
    // Nothing that cannot be read does any harm.
    quiet.publish("ask.gateways", "{}".into()).await.unwrap();
    eventually("it is counted", async || {
        (one.pod.metric("parley_bus_unreadable_total") == 1).then_some(())
    })
    .await;
    one.end().await;
}

#[tokio::test]
async fn while_the_bus_is_away_the_list_stays() {
    let mut nats = NatsServer::start().await;
    let one = Living::start(&nats, "a", 1).await;
    let two = Living::start(&nats, "b", 2).await;
    one.finds("b", 2).await;
    nats.stop();
    one.pod.reaches(|state| !state.connected).await;
    let away = Instant::now();
    eventually("a long outage", async || {
        assert_eq!(one.gateways.find("b").await, Some(address(2)));
        (away.elapsed().as_secs() >= 11).then_some(())
    })
    .await;
    assert_eq!(one.gateways.find("c").await, None);
    nats.start_again().await;
    let three = Living::start(&nats, "c", 3).await;
    one.finds("c", 3).await;
    for gateway in [one, two, three] {
        gateway.end().await;
    }
}
