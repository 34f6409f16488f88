//! What is said to people reaches their connections, whatever rooms they are in.

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::UserId;
use serde_json::json;

use crate::client::Client;
use crate::fixture::{ApiPod, Chats, EPOCH, Gateway, SECRET, World, sign};
use crate::server::NatsServer;

fn chat_created(chats: &Chats, kind: Kind, users: &[&str]) -> RoomEvent {
    let chat_id = chats.create(0);
    let payload = json!({ "chatId": chat_id, "version": 0 });
    RoomEvent {
        kind,
        chat_id,
        version: None,
        epoch: EPOCH,
        affected: users.iter().map(|user| UserId::parse(user).unwrap()).collect(),
        event: parley_domain::event::encode("chat-created", &payload).into(),
    }
}

async fn hears(client: &mut Client, event: &RoomEvent) {
    let payload = json!({ "chatId": event.chat_id, "version": 0 });
    assert_eq!(client.event().await, ("chat-created".to_owned(), payload));
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
    let api = ApiPod::with(&nats, Chats::default()).await;
    let mut asked = gateway.client("alice").await;
    let event = chat_created(&api.chats, Kind::ChatCreated, &["alice"]);
    api.publisher().publish(&event);
    hears(&mut asked, &event).await;
    unasked.hears_nothing().await;
    // The answer comes with the first join, and with it the right to hear.
    let chat = api.chats.create(0);
    unasked.join_at(chat, 0).await;
    let event = chat_created(&api.chats, Kind::ChatCreated, &["alice"]);
    api.publisher().publish(&event);
    hears(&mut unasked, &event).await;
}
