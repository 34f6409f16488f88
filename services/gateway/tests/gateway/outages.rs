//! Nobody answers: joins wait, and come out well or end.

use futures_util::StreamExt;
use serde_json::json;
use tokio::time::Instant;

use crate::client::Heard;
use crate::fixture::{ApiPod, Chats, Gateway, SECOND, World};
use crate::server::{NatsServer, eventually};

/// Everything that was sent to the server so far.
async fn messages(nats: &NatsServer) -> u64 {
    nats.monitor("/varz").await["in_msgs"].as_u64().unwrap()
}

async fn more_messages(nats: &NatsServer, number: u64) {
    let before = messages(nats).await;
    eventually("messages", async || (messages(nats).await >= before + number).then_some(())).await;
}

#[tokio::test]
async fn a_join_waits_for_an_api_pod() {
    let nats = NatsServer::start().await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    let chats = Chats::default();
    let (chat, unknown) = (chats.create(9), json!("0192f0a4-7c3b-7d2e-8a1b-0123456789ab"));
    let mut client = gateway.client("alice").await;
    let join = client.emit("join-chat-room", &json!(chat)).await;
    let refused = client.emit("join-chat-room", &unknown).await;
    // A second ask: the first one was in vain.
    more_messages(&nats, 2).await;
    assert_eq!(gateway.rooms().await, 0);
    let api = ApiPod::with(&nats, chats).await;
    assert_eq!(client.ack(join).await["version"], 9);
    assert_eq!(client.ack(refused).await["error"]["code"], "chat_not_found");
    api.say(chat);
    client.hears(chat, 10).await;
}

#[tokio::test]
async fn a_join_waits_for_an_api_pod_that_cannot_find_out() {
    let world = World::start().await;
    let chat = world.api.chats.create(3);
    world.api.chats.set_away(chat, true);
    let mut client = world.gateway.client("alice").await;
    let join = client.emit("join-chat-room", &json!(chat)).await;
    world.api.chats.has_been_asked(3).await;
    // Others of the same pod do not wait for it.
    let other = world.api.chats.create(0);
    world.gateway.client("bob").await.join_at(other, 0).await;
    world.api.chats.set_away(chat, false);
    assert_eq!(client.ack(join).await["version"], 3);
}

#[tokio::test]
async fn i9_a_join_that_nobody_answers_ends_with_the_connection() {
    let nats = NatsServer::start().await;
    let gateway = Gateway::start(&nats.url(), &["--join-timeout-ms=2000"]).await;
    gateway.is_ready().await;
    let mut client = gateway.client("alice").await;
    let begun = Instant::now();
    client.emit("join-chat-room", &json!(Chats::default().create(0))).await;
    // A stock client comes back by itself after that.
    assert_eq!(client.next().await, Heard::Closed(Some(1001)));
    assert!(begun.elapsed() >= SECOND * 2);
    assert_eq!(gateway.metric("parley_gateway_joins_total{outcome=\"unavailable\"}").await, 1);
    let series = "parley_gateway_sent_away_total{reason=\"join_timeout\"}";
    assert_eq!(gateway.metric(series).await, 1);
    gateway.reaches("parley_gateway_connections", 0).await;
    assert_eq!(gateway.rooms().await, 0);
}

#[tokio::test]
async fn a_room_that_could_not_subscribe_recovers() {
    let world = World::start().await;
    let chat = world.api.chats.create(4);
    // An answered barrier proves nothing; as long as that is so, no room opens.
    let stranger = async_nats::connect(world.nats.url()).await.unwrap();
    let mut barriers = stranger.subscribe("barrier").await.unwrap();
    eventually("somebody answers barriers", async || {
        (!world.nats.subscriptions("barrier").await.is_empty()).then_some(())
    })
    .await;
    let mut clients = [world.gateway.client("alice").await, world.gateway.client("bob").await];
    let mut joins = Vec::new();
    for client in &mut clients {
        joins.push(client.emit("join-chat-room", &json!(chat)).await);
    }
    for _ in 0..3 {
        let barrier = barriers.next().await.unwrap();
        stranger.publish(barrier.reply.unwrap(), "".into()).await.unwrap();
    }
    drop(barriers);
    for (client, join) in clients.iter_mut().zip(joins) {
        assert_eq!(client.ack(join).await["version"], 4);
    }
    world.api.say(chat);
    for client in &mut clients {
        client.hears(chat, 5).await;
    }
    world.has_subscriptions(chat, 1).await;
    assert_eq!(world.gateway.rooms().await, 1);
}

#[tokio::test]
async fn a_gateway_may_start_before_nats() {
    let mut nats = NatsServer::start().await;
    nats.stop();
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_not_ready("nats").await;
    let chats = Chats::default();
    let chat = chats.create(1);
    let mut client = gateway.client("alice").await;
    let join = client.emit("join-chat-room", &json!(chat)).await;
    nats.start_again().await;
    gateway.is_ready().await;
    let api = ApiPod::with(&nats, chats).await;
    assert_eq!(client.ack(join).await["version"], 1);
    api.say(chat);
    client.hears(chat, 2).await;
}
