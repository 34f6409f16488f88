//! Who writes, and who is told of it.

use std::time::{Duration, Instant, SystemTime};

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::{TypingSignal, Typist};
use parley_domain::version::Version;
use parley_relay::{Presence, RedisSettings, Seen};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::client::{Client, Heard};
use crate::fixture::{EPOCH, Gateway, SECRET, World, event, redis_url, sign, token_for};
use crate::server::eventually;

/// With a name in the token.
async fn named(gateway: &Gateway, user: &str) -> Client {
    let claims = json!({ "sub": user, "name": user.to_uppercase(), "exp": u32::MAX });
    Client::connect(gateway.address, &sign(&claims, SECRET)).await
}

async fn writes(client: &mut Client, chat: ChatId, is_typing: bool) {
    let name = if is_typing { "typing-start" } else { "typing-stop" };
    let ack = client.ask(name, &json!({ "chatId": chat })).await;
    assert_eq!(ack, json!({ "success": true, "chatId": chat }));
}

fn typing(chat: ChatId, user: &str, is_typing: bool) -> (String, Value) {
    let name = user.to_uppercase();
    let payload = json!({ "chatId": chat, "userId": user, "name": name, "isTyping": is_typing });
    ("user-typing".to_owned(), payload)
}

/// A message of somebody's; what the room knows of its author stands in the header.
fn message(chat: ChatId, version: u64, author: &str) -> RoomEvent {
    RoomEvent { affected: vec![UserId::parse(author).unwrap()], ..event(chat, version, 0) }
}

#[tokio::test]
async fn everybody_in_the_room_is_told_who_writes_and_who_has_stopped() {
    let world = World::start().await;
    let other = Gateway::start(&world.nats.url(), &[]).await;
    other.is_ready().await;
    let chat = world.api.chats.create(3);
    let (mut alice, mut bob) = (named(&world.gateway, "alice").await, named(&other, "bob").await);
    let mut outside = named(&other, "carol").await;
    alice.join_at(chat, 3).await;
    bob.join_at(chat, 3).await;
    let begun = Instant::now();
    for is_typing in [true, false] {
        writes(&mut alice, chat, is_typing).await;
        for client in [&mut alice, &mut bob] {
            assert_eq!(client.event().await, typing(chat, "alice", is_typing));
        }
    }
    // Of somebody who begins and stops without end, it is told once a second.
    for is_typing in [true, false].repeat(50) {
        writes(&mut alice, chat, is_typing).await;
    }
    let mut told = 0;
    while bob.heard_already().await.is_some() {
        told += 1;
    }
    assert!(told <= 2 * (1 + begun.elapsed().as_secs()), "{told} times");
    outside.hears_nothing().await;
}

#[tokio::test]
async fn a_message_a_leave_and_a_lost_connection_end_it() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut bob = named(&world.gateway, "bob").await;
    bob.join_at(chat, 0).await;
    for (user, way) in [("alice", "message"), ("carol", "leave"), ("dave", "loss")] {
        let version = world.api.chats.version(chat);
        let mut client = named(&world.gateway, user).await;
        client.join_at(chat, version).await;
        writes(&mut client, chat, true).await;
        assert_eq!(bob.event().await, typing(chat, user, true));
        match way {
            "message" => {
                let version = world.api.chats.commit_as(chat, |it| message(chat, it, user));
                world.api.publish(chat, version);
                bob.hears(chat, version).await;
            }
            "leave" => client.leave(chat).await,
            _ => client.close().await,
        }
        assert_eq!(bob.event().await, typing(chat, user, false), "{way}");
    }
    bob.hears_nothing().await;
}

#[tokio::test]
async fn who_comes_later_is_told_who_writes_on_whatever_pod() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut alice = named(&world.gateway, "alice").await;
    alice.join_at(chat, 0).await;
    writes(&mut alice, chat, true).await;
    assert_eq!(alice.event().await, typing(chat, "alice", true));
    let mut bob = named(&world.gateway, "bob").await;
    let ack = bob.join(chat).await;
    assert_eq!(ack["typing"], json!([{ "userId": "alice", "name": "ALICE" }]));
    bob.hears_nothing().await;
    // Another pod has heard nothing of it, and reads it in Redis; that holds no join up.
    let other = Gateway::start(&world.nats.url(), &[]).await;
    other.is_ready().await;
    // She goes on, however long that took.
    writes(&mut alice, chat, true).await;
    let mut carol = named(&other, "carol").await;
    let ack = carol.join(chat).await;
    if ack["typing"] == json!([]) {
        assert_eq!(carol.event().await, typing(chat, "alice", true));
    }
    writes(&mut alice, chat, false).await;
    assert_eq!(carol.event().await, typing(chat, "alice", false));
    // And whoever comes after that is told of nobody.
    let third = Gateway::start(&world.nats.url(), &[]).await;
    third.is_ready().await;
    let mut dave = named(&third, "dave").await;
    assert_eq!(dave.join(chat).await["typing"], json!([]));
    dave.hears_nothing().await;
}

#[tokio::test]
async fn i6_only_members_are_told_of_and_hear() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut alice = named(&world.gateway, "alice").await;
    let mut eve = named(&world.gateway, "eve").await;
    alice.join_at(chat, 0).await;
    let refused = eve.ask("typing-start", &json!(format!("chat-{chat}"))).await;
    assert_eq!(refused["error"]["code"], "not_joined");
    let refused = eve.ask("typing-stop", &json!(7)).await;
    assert_eq!(refused["error"]["code"], "invalid_chat_id");
    alice.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_signal_that_knows_of_a_removal_waits_until_the_room_does() {
    let world = World::start().await;
    let chat = world.api.chats.create(5);
    let (mut alice, mut eve) =
        (named(&world.gateway, "alice").await, named(&world.gateway, "eve").await);
    alice.join_at(chat, 5).await;
    eve.join_at(chat, 5).await;
    // The bus loses the removal; a pod that has heard it tells of somebody who writes after it.
    let removal = world.api.chats.commit_as(chat, |version| RoomEvent {
        kind: Kind::ParticipantRemoved,
        ..message(chat, version, "eve")
    });
    let typist = Typist { user_id: UserId::parse("bob").unwrap(), name: Some("BOB".to_owned()) };
    let (version, epoch) = (Version(removal), EPOCH);
    let signal = TypingSignal { chat_id: chat, typist, is_typing: true, version, epoch };
    let nats = async_nats::connect(world.nats.url()).await.unwrap();
    let bytes = serde_json::to_vec(&signal).unwrap();
    nats.publish(format!("typing.{chat}"), bytes.into()).await.unwrap();
    nats.flush().await.unwrap();
    alice.hears(chat, removal).await;
    assert_eq!(alice.event().await, typing(chat, "bob", true));
    eve.hears(chat, removal).await;
    eve.hears_nothing().await;
}

#[tokio::test]
async fn without_redis_only_late_comers_do_not_know() {
    let world = World::start().await;
    let lone = Gateway::start(&world.nats.url(), &["--redis-url=redis://127.0.0.1:1"]).await;
    lone.is_ready().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) = (named(&lone, "alice").await, named(&world.gateway, "bob").await);
    alice.join_at(chat, 0).await;
    bob.join_at(chat, 0).await;
    writes(&mut alice, chat, true).await;
    assert_eq!(bob.event().await, typing(chat, "alice", true));
    let version = world.api.chats.commit(chat);
    world.api.publish(chat, version);
    bob.hears(chat, version).await;
    assert_eq!(alice.event().await, typing(chat, "alice", true));
    alice.hears(chat, version).await;
    assert_eq!(lone.metric("parley_presence_up").await, 0);
}

/// Typing without end on one pod, of more people than it is told of.
#[tokio::test]
async fn i9_a_storm_of_typing_holds_no_message_up() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut bob = named(&world.gateway, "bob").await;
    bob.join_at(chat, 0).await;
    let mut crowd = Vec::new();
    for number in 0..30 {
        let mut client = named(&world.gateway, &format!("user-{number}")).await;
        client.join_at(chat, 0).await;
        for _ in 0..20 {
            client.emit("typing-start", &json!({ "chatId": chat })).await;
            client.emit("typing-stop", &json!({ "chatId": chat })).await;
        }
        crowd.push(client);
    }
    for _ in 0..5 {
        let version = world.api.chats.commit(chat);
        world.api.publish(chat, version);
    }
    let mut versions = Vec::new();
    while versions.len() < 5 {
        let (name, payload) = bob.event().await;
        if name == "new-message" {
            versions.push(payload["version"].as_u64().unwrap());
        }
    }
    assert_eq!(versions, [1, 2, 3, 4, 5]);
}

async fn presence() -> Presence {
    let settings = RedisSettings::at(&redis_url(), 2_000);
    Presence::connect(&settings, &Registry::new()).await.unwrap()
}

async fn is_online(presence: &Presence, user: &UserId, online: bool) -> Seen {
    eventually("the user's presence", async || {
        let seen = presence.of(std::slice::from_ref(user)).await?.pop()?;
        (seen.online == online).then_some(seen)
    })
    .await
}

#[tokio::test]
async fn who_has_a_connection_is_online_and_who_has_none_was_seen_last() {
    let world = World::start().await;
    let presence = presence().await;
    let name = format!("user-{}", uuid::Uuid::new_v4());
    let user = UserId::parse(&name).unwrap();
    assert_eq!(is_online(&presence, &user, false).await.last_seen_at, None);
    let (first, second) = (world.gateway.client(&name).await, world.gateway.client(&name).await);
    assert!(is_online(&presence, &user, true).await.last_seen_at.is_some());
    first.close().await;
    // The other one is told of after the end of the first.
    let other = format!("user-{}", uuid::Uuid::new_v4());
    let _other = world.gateway.client(&other).await;
    is_online(&presence, &UserId::parse(&other).unwrap(), true).await;
    assert!(is_online(&presence, &user, true).await.online);
    second.close().await;
    let seen = is_online(&presence, &user, false).await.last_seen_at.unwrap();
    let ago = SystemTime::now().duration_since(SystemTime::from(seen)).unwrap_or_default();
    assert!(ago < Duration::from_mins(1), "{ago:?}");
}

#[tokio::test]
async fn i6_nobody_is_online_with_a_token_that_does_not_count() {
    let world = World::start().await;
    let presence = presence().await;
    let name = format!("user-{}", uuid::Uuid::new_v4());
    let user = UserId::parse(&name).unwrap();
    world.api.chats.revoke(&name, 1_000);
    let mut refused = Client::open(world.gateway.address, "", None).await;
    refused.send(&format!("40{}", json!({ "token": token_for(&name, 60) }))).await;
    assert!(matches!(refused.next().await, Heard::ConnectError(_)));
    // Who comes after that is told of after it.
    let other = format!("user-{}", uuid::Uuid::new_v4());
    let _other = world.gateway.client(&other).await;
    is_online(&presence, &UserId::parse(&other).unwrap(), true).await;
    assert_eq!(presence.of(&[user]).await, Some(vec![Seen::default()]));
}

#[tokio::test]
async fn a_newer_token_brings_its_name() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut alice = named(&world.gateway, "alice").await;
    alice.join_at(chat, 0).await;
    let claims = json!({ "sub": "alice", "name": "Alice Liddell", "exp": u32::MAX });
    let ack = alice.ask("refresh-token", &json!({ "token": sign(&claims, SECRET) })).await;
    assert_eq!(ack["success"], true, "{ack}");
    writes(&mut alice, chat, true).await;
    assert_eq!(alice.event().await.1["name"], "Alice Liddell");
}

#[tokio::test]
async fn a_pod_that_goes_takes_its_users_along() {
    let world = World::start().await;
    let presence = presence().await;
    let name = format!("user-{}", uuid::Uuid::new_v4());
    let user = UserId::parse(&name).unwrap();
    let gateway = Gateway::start(&world.nats.url(), &[]).await;
    gateway.is_ready().await;
    let _client = gateway.client(&name).await;
    is_online(&presence, &user, true).await;
    let lifecycle = gateway.lifecycle.clone();
    drop(gateway);
    lifecycle.finished().await;
    is_online(&presence, &user, false).await;
}
