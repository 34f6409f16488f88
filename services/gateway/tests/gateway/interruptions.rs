//! The bus goes away and comes back while sockets are open.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::client::Client;
use crate::fixture::{ApiPod, Gateway, SECOND, World};
use crate::server::{NatsServer, eventually};

#[tokio::test]
async fn i4_what_was_said_while_the_bus_was_away_is_heard_once_it_is_back() {
    let mut world = World::start().await;
    let (chat, quiet) = (world.api.chats.create(5), world.api.chats.create(2));
    let mut clients = [world.gateway.client("alice").await, world.gateway.client("bob").await];
    for client in &mut clients {
        client.join_at(chat, 5).await;
        client.join_at(quiet, 2).await;
    }
    let mut last = 5;
    for _ in 0..2 {
        world.nats_goes().await;
        for _ in 0..450 {
            world.api.say(chat); // goes nowhere
        }
        world.nats.start_again().await;
        let returned = Instant::now();
        for client in &mut clients {
            for version in last + 1..=last + 450 {
                client.hears(chat, version).await;
            }
        }
        let took = returned.elapsed();
        assert!(took < SECOND * 2, "it took {took:?}");
        world.api.is_connected(true).await;
        last = world.api.say(chat);
        for client in &mut clients {
            client.hears(chat, last).await;
            client.hears_nothing().await;
        }
    }
    world.api.say(quiet);
    for client in &mut clients {
        client.hears(quiet, 3).await;
    }
    assert_eq!(world.gateway.metric("parley_gateway_connections").await, 2);
    let catch_ups = "parley_gateway_asks_total{kind=\"catch_up\"}";
    assert!(world.gateway.metric(catch_ups).await >= 6, "they came in pages");
}

#[tokio::test]
async fn i4_an_outage_in_which_nothing_was_said_costs_a_comparison() {
    let mut world = World::start().await;
    let chat = world.api.chats.create(5);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 5).await;
    for version in 6..=8 {
        world.nats_goes().await;
        client.hears_nothing().await;
        let compared = world.api.chats.compared();
        world.nats_returns().await;
        world.api.chats.has_compared(compared + 1).await;
        world.api.say(chat);
        client.hears(chat, version).await;
    }
    client.hears_nothing().await;
    assert_eq!(world.gateway.metric("parley_gateway_rooms").await, 1);
    let catch_ups = "parley_gateway_asks_total{kind=\"catch_up\"}";
    assert_eq!(world.gateway.metric(catch_ups).await, 0);
}

#[tokio::test]
async fn i4_an_outage_without_an_api_pod_behind_it_ends_when_one_is_there() {
    let mut world = World::start().await;
    let chat = world.api.chats.create(5);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 5).await;
    world.nats_goes().await;
    world.api.chats.commit(chat);
    let chats = world.api.chats.clone();
    drop(world.api);
    world.nats.start_again().await;
    world.gateway.is_ready().await;
    // The connection, the barrier and the first ask in vain.
    eventually("asks in vain", async || {
        (world.nats.monitor("/varz").await["in_msgs"].as_u64()? >= 3).then_some(())
    })
    .await;
    client.hears_nothing().await;
    let api = ApiPod::with(&world.nats, chats).await;
    client.hears(chat, 6).await;
    api.say(chat);
    client.hears(chat, 7).await;
}

#[tokio::test]
async fn a_join_that_an_outage_surprises_is_finished_after_it() {
    let mut world = World::start().await;
    let (chat, fresh) = (world.api.chats.create(5), world.api.chats.create(1));
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    alice.join_at(chat, 5).await;
    let gate = world.api.chats.gate(chat);
    let asked = world.api.chats.asked();
    let pending = bob.emit("join-chat-room", &serde_json::json!(chat)).await;
    world.api.chats.has_been_asked(asked + 1).await;
    world.nats_goes().await;
    // Its answer goes nowhere, and would be worth nothing.
    gate.add_permits(1_000);
    world.api.chats.commit(chat);
    let mut carol = world.gateway.client("carol").await;
    let during = carol.emit("join-chat-room", &serde_json::json!(fresh)).await;
    world.nats_returns().await;
    assert_eq!(bob.ack(pending).await["version"], 6);
    assert_eq!(carol.ack(during).await["version"], 1);
    alice.hears(chat, 6).await;
    world.api.say(chat);
    alice.hears(chat, 7).await;
    bob.hears(chat, 7).await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn i4_as_long_as_nobody_can_say_nobody_is_closed() {
    let mut world = World::start().await;
    let chat = world.api.chats.create(5);
    let mut client = world.gateway.client("alice").await;
    client.join_at(chat, 5).await;
    // The pods are there, and their database is not; then the bus goes again.
    world.api.chats.set_away(chat, true);
    let compared = world.api.chats.compared();
    world.nats_goes().await;
    world.nats_returns().await;
    world.api.chats.has_compared(compared + 3).await;
    world.api.chats.commit(chat);
    world.api.say(chat);
    world.api.chats.has_caught_up(2).await;
    client.hears_nothing().await;
    world.nats_goes().await;
    world.api.chats.set_away(chat, false);
    world.nats_returns().await;
    for version in 6..=7 {
        client.hears(chat, version).await;
    }
    world.api.say(chat);
    client.hears(chat, 8).await;
}

/// Between a gateway and NATS, to be cut.
struct Wire {
    address: SocketAddr,
    open: Arc<Mutex<CancellationToken>>,
}

impl Wire {
    async fn to(nats: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let open = Arc::new(Mutex::new(CancellationToken::new()));
        tokio::spawn({
            let open = open.clone();
            async move {
                loop {
                    let (mut near, _) = listener.accept().await.unwrap();
                    let cut = open.lock().unwrap().clone();
                    tokio::spawn(cut.run_until_cancelled_owned(async move {
                        let mut far = TcpStream::connect(nats).await.unwrap();
                        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
                    }));
                }
            }
        });
        Self { address, open }
    }

    /// What comes after is a new connection.
    fn cut(&self) {
        std::mem::take(&mut *self.open.lock().unwrap()).cancel();
    }

    fn url(&self) -> String {
        format!("nats://{}", self.address)
    }
}

async fn cut_off_gateway(nats: &NatsServer, api: &ApiPod) -> (Wire, Gateway, Client) {
    let wire = Wire::to(nats.address()).await;
    let gateway = Gateway::start(&wire.url(), &[]).await;
    gateway.is_ready().await;
    let client = gateway.client("alice").await;
    assert!(api.chats.asked() < 2);
    (wire, gateway, client)
}

#[tokio::test]
async fn i4_a_pod_that_alone_was_cut_off_finds_out_too() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let (wire, gateway, mut client) = cut_off_gateway(&nats, &api).await;
    let chat = api.chats.create(0);
    client.join_at(chat, 0).await;
    for round in 1..=5 {
        let compared = api.chats.compared();
        wire.cut();
        gateway.reaches("parley_bus_interruptions_total", round).await;
        api.chats.has_compared(compared + 1).await;
        api.say(chat);
        client.hears(chat, round).await;
    }
    client.hears_nothing().await;
}

#[tokio::test]
async fn i4_a_comparison_that_fails_is_made_again() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let (wire, gateway, mut client) = cut_off_gateway(&nats, &api).await;
    let chat = api.chats.create(0);
    client.join_at(chat, 0).await;
    // As long as somebody listens on the barrier's subject and is silent, every barrier times out: a busy server.
    let stranger = async_nats::connect(nats.url()).await.unwrap();
    let silence = stranger.subscribe("barrier").await.unwrap();
    eventually("somebody listens", async || {
        (!nats.subscriptions("barrier").await.is_empty()).then_some(())
    })
    .await;
    let compared = api.chats.compared();
    let sent = nats.monitor("/varz").await["in_msgs"].as_u64().unwrap();
    wire.cut();
    gateway.reaches("parley_bus_interruptions_total", 1).await;
    gateway.is_ready().await;
    api.chats.commit(chat);
    eventually("a barrier", async || {
        (nats.monitor("/varz").await["in_msgs"].as_u64()? > sent).then_some(())
    })
    .await;
    // It was the first one, and has to fail before the next can pass.
    let begun = Instant::now();
    eventually("it fails", async || (begun.elapsed() > SECOND * 3).then_some(())).await;
    assert_eq!(api.chats.compared(), compared, "no head is asked for without a barrier");
    drop(silence);
    client.hears(chat, 1).await;
    api.say(chat);
    client.hears(chat, 2).await;
}
