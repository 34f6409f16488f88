//! What is said to people reaches their connections, whatever rooms they are in.

use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::ids::UserId;
use parley_relay::{Bus, NatsSettings, Publisher};
use prometheus::Registry;
use serde_json::json;
use tokio::sync::oneshot;

use crate::client::Client;
use crate::fixture::{ApiPod, Chats, EPOCH, Gateway, SECOND, SECRET, World, sign};
use crate::server::NatsServer;

/// The event by which these users have one more chat; of the pool, nobody is counted.
pub(crate) fn chat_created(chats: &Chats, kind: Kind, users: &[&str]) -> RoomEvent {
    let membership_versions = users.iter().map(|user| chats.has_other_chats(user)).collect();
    let chat_id = chats.create(0);
    let payload = json!({ "chatId": chat_id, "version": 0 });
    RoomEvent {
        kind,
        chat_id,
        version: None,
        epoch: EPOCH,
        affected: users.iter().map(|user| UserId::parse(user).unwrap()).collect(),
        membership_versions,
        origin: Origin::default(),
        event: parley_domain::event::encode("chat-created", &payload).into(),
    }
}

async fn hears(client: &mut Client, event: &RoomEvent) {
    let payload = json!({ "chatId": event.chat_id, "version": 0 });
    assert_eq!(client.event().await, ("chat-created".to_owned(), payload));
}

async fn hears_reload(client: &mut Client) {
    let resync = json!({ "chatId": null, "reason": "chats" });
    assert_eq!(client.event().await, ("resync".to_owned(), resync));
}

/// A connection of one who has a role.
async fn with_role(gateway: &Gateway, user: &str, role: &str) -> Client {
    let claims = json!({ "sub": user, "role": role, "exp": 4_000_000_000_u64 });
    Client::connect(gateway.address, &sign(&claims, SECRET)).await
}

#[tokio::test]
async fn a_users_connections_hear_what_is_said_to_the_user() {
    let world = World::start().await;
    let (mut one, mut two) =
        (world.gateway.client("alice").await, world.gateway.client("alice").await);
    let (mut bob, mut carol) =
        (world.gateway.client("bob").await, world.gateway.client("carol").await);
    let event = chat_created(&world.api.chats, Kind::ChatCreated, &["alice", "bob"]);
    world.api.publisher().publish(&event);
    for client in [&mut one, &mut two, &mut bob] {
        hears(client, &event).await;
        client.hears_nothing().await;
    }
    carol.hears_nothing().await;
}

#[tokio::test]
async fn the_pool_hears_of_a_support_chat_and_nobody_else() {
    let world = World::start().await;
    let mut alice = world.gateway.client("alice").await;
    let mut host = with_role(&world.gateway, "host", "service").await;
    let mut support = with_role(&world.gateway, "sue", "support").await;
    let mut admin = with_role(&world.gateway, "adam", "admin").await;
    let event = chat_created(&world.api.chats, Kind::SupportOpened, &[]);
    world.api.publisher().publish(&event);
    hears(&mut support, &event).await;
    hears(&mut admin, &event).await;
    alice.hears_nothing().await;
    host.hears_nothing().await;
}

#[tokio::test]
async fn i6_who_could_not_be_asked_about_is_told_nothing() {
    let nats = NatsServer::start().await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    // Nobody answers: the token may be revoked.
    let mut unasked = gateway.client("alice").await;
    let publisher = publisher(&nats).await;
    let chats = Chats::default();
    let (done, told) = oneshot::channel();
    let event = chat_created(&chats, Kind::ChatCreated, &["alice"]);
    publisher.publish_all(&[event], || done.send(()).unwrap());
    told.await.unwrap();
    unasked.hears_nothing().await;
    // Once somebody can say, it hears what is said, in a room or not; what was not told is to be read.
    let api = ApiPod::with(&nats, chats).await;
    hears_reload(&mut unasked).await;
    let event = chat_created(&api.chats, Kind::ChatCreated, &["alice"]);
    api.publisher().publish(&event);
    hears(&mut unasked, &event).await;
}

/// One that publishes, and answers nobody.
async fn publisher(nats: &NatsServer) -> Publisher {
    let settings = NatsSettings::at(&nats.url());
    let bus = Bus::connect(&settings, "silent", &Registry::new()).await.unwrap();
    assert!(bus.connected(SECOND * 10).await);
    let (publisher, task) = bus.publisher();
    tokio::spawn(task.run());
    publisher
}

#[tokio::test]
async fn whoever_has_other_chats_since_the_bus_was_away_is_told_to_reload_and_nobody_else() {
    let mut world = World::start().await;
    let mut alice = world.gateway.client("alice").await;
    let mut bob = world.gateway.client("bob").await;
    let mut support = with_role(&world.gateway, "sue", "support").await;
    // Heard in time: it is not told again.
    let heard = chat_created(&world.api.chats, Kind::ChatCreated, &["bob"]);
    world.api.publisher().publish(&heard);
    hears(&mut bob, &heard).await;
    world.nats_goes().await;
    world.api.chats.has_other_chats("alice");
    world.nats_returns().await;
    hears_reload(&mut alice).await;
    // What is opened for the pool is not counted.
    hears_reload(&mut support).await;
    bob.hears_nothing().await;
    alice.hears_nothing().await;

    // From there on it counts again.
    world.nats_goes().await;
    world.nats_returns().await;
    hears_reload(&mut support).await;
    let event = chat_created(&world.api.chats, Kind::ChatCreated, &["alice", "bob"]);
    world.gateway.is_ready().await;
    // Told once, and again by one that thought that nobody had.
    for _ in 0..2 {
        world.api.publisher().publish(&event);
    }
    for client in [&mut alice, &mut bob] {
        hears(client, &event).await;
    }
    let lost = chat_created(&world.api.chats, Kind::ChatCreated, &["alice"]);
    let next = chat_created(&world.api.chats, Kind::ChatCreated, &["alice"]);
    world.api.publisher().publish(&next);
    hears_reload(&mut alice).await;
    world.api.publisher().publish(&lost);
    alice.hears_nothing().await;
    bob.hears_nothing().await;
}

#[tokio::test]
async fn what_was_revoked_while_the_bus_was_away_is_closed_when_it_is_back() {
    let mut world = World::start().await;
    let claims = |user: &str| json!({ "sub": user, "iat": 1_000, "exp": 4_000_000_000_u64 });
    let mut alice = Client::connect(world.gateway.address, &sign(&claims("alice"), SECRET)).await;
    let mut bob = Client::connect(world.gateway.address, &sign(&claims("bob"), SECRET)).await;
    world.nats_goes().await;
    world.api.chats.revoke("alice", 1_000);
    world.nats_returns().await;
    alice.is_closed_with(1001).await;
    bob.hears_nothing().await;
}
