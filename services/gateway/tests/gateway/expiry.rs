//! A connection ends with its token, unless there is a newer one.

use std::time::SystemTime;

use parley_domain::ask::JoinRefusal;
use parley_domain::ids::UserId;
use parley_domain::token::Revocation;
use parley_domain::user::Role;
use serde_json::{Value, json};

use crate::client::{Client, Heard};
use crate::fixture::{SECOND, SECRET, World, sign, token_for};
use crate::server::soon;

const LATER: u64 = 4_000_000_000;
const EXPIRED: &str = "parley_gateway_sent_away_total{reason=\"token_expired\"}";

fn now() -> f64 {
    SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64()
}

/// A token that ends then, in whole seconds.
fn ending(user: &str, at: f64) -> String {
    sign(&json!({ "sub": user, "exp": at }), SECRET)
}

fn issued(user: &str, at: i64) -> String {
    sign(&json!({ "sub": user, "iat": at, "exp": LATER }), SECRET)
}

async fn refresh(client: &mut Client, token: &str) -> Value {
    client.ask("refresh-token", &json!({ "token": token })).await
}

#[tokio::test]
async fn i6_a_connection_ends_with_its_token_and_its_rooms_with_it() {
    let world = World::with(&["--jwt-leeway-seconds=0"]).await;
    let chat = world.api.chats.create(0);
    let end = now().floor() + 5.0;
    let mut alice = Client::connect(world.gateway.address, &ending("alice", end)).await;
    let mut bob = world.gateway.client("bob").await;
    for client in [&mut alice, &mut bob] {
        client.join_at(chat, 0).await;
    }
    world.api.say(chat);
    alice.hears(chat, 1).await;
    // Without a goodbye of Socket.IO: a stock client comes back.
    alice.is_closed_with(1008).await;
    let late = now() - end;
    assert!((0.0..2.0).contains(&late), "{late} s after its end");
    assert_eq!(world.gateway.metric(EXPIRED).await, 1);
    world.gateway.reaches("parley_gateway_closed_total{reason=\"server_policy\"}", 1).await;
    world.api.say(chat);
    bob.hears(chat, 1).await;
    bob.hears(chat, 2).await;
    world.gateway.reaches("parley_gateway_delivered_total", 3).await;
}

#[tokio::test]
async fn a_token_counts_for_as_long_as_the_clocks_may_differ() {
    let world = World::with(&["--jwt-leeway-seconds=5"]).await;
    let end = now().floor();
    let mut client = Client::connect(world.gateway.address, &ending("alice", end)).await;
    client.is_closed_with(1008).await;
    assert!(now() >= end + 5.0);
}

#[tokio::test]
async fn with_a_newer_token_a_connection_lives_on() {
    let world = World::with(&["--jwt-leeway-seconds=0"]).await;
    let chat = world.api.chats.create(0);
    let end = now().floor() + 6.0;
    let mut alice = Client::connect(world.gateway.address, &ending("alice", end)).await;
    let mut bob = Client::connect(world.gateway.address, &ending("bob", end + 1.0)).await;
    alice.join_at(chat, 0).await;
    let later = ending("alice", f64::from(u32::MAX));
    let ack = refresh(&mut alice, &later).await;
    assert_eq!(ack, json!({ "success": true, "expiresAt": "2106-02-07T06:28:15.000Z" }));
    // Whose token ends later than alice's did.
    bob.is_closed_with(1008).await;
    world.api.say(chat);
    alice.hears(chat, 1).await;
    let again = alice.ask("refresh-token", &json!(format!("Bearer {later}"))).await;
    assert_eq!(again["success"], true);
    // A newer one may end sooner.
    let ack = refresh(&mut alice, &ending("alice", now().floor() + 3.0)).await;
    assert_eq!(ack["success"], true, "{ack}");
    alice.is_closed_with(1008).await;
    assert_eq!(world.gateway.metric(EXPIRED).await, 2);
    let series = "parley_gateway_refreshes_total{outcome=\"accepted\"}";
    assert_eq!(world.gateway.metric(series).await, 3);
}

#[tokio::test]
async fn i6_a_token_that_is_refused_changes_nothing() {
    let world = World::with(&["--jwt-leeway-seconds=0"]).await;
    let chat = world.api.chats.create(0);
    let end = now().floor() + 7.0;
    let mut alice = Client::connect(world.gateway.address, &ending("alice", end)).await;
    alice.join_at(chat, 0).await;
    world.api.chats.revoke("alice", 1_000);
    for (token, code) in [
        (json!(token_for("bob", 60)), "other_user"),
        (json!(token_for("alice", -60)), "token_expired"),
        (json!(issued("alice", 999)), "token_revoked"),
        (json!("garbage"), "invalid_token"),
        (json!({ "token": 7 }), "missing_token"),
        (json!(null), "missing_token"),
    ] {
        let ack = alice.ask("refresh-token", &token).await;
        assert_eq!((&ack["success"], &ack["error"]["code"]), (&json!(false), &json!(code)));
        assert!(ack["error"]["message"].is_string());
        let series = format!("parley_gateway_refreshes_total{{outcome=\"{code}\"}}");
        assert!(world.gateway.metric(&series).await > 0, "{code}");
    }
    // Without an ack callback.
    alice.send(&format!("42{}", json!(["refresh-token", token_for("bob", 60)]))).await;
    let (name, refusal) = alice.event().await;
    assert_eq!((name.as_str(), &refusal["code"]), ("error", &json!("other_user")));
    world.api.say(chat);
    alice.hears(chat, 1).await;
    alice.is_closed_with(1008).await;
    assert!(now() >= end);
}

#[tokio::test]
async fn another_role_in_a_newer_token_takes_effect() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    world.api.chats.keep_for(chat, Role::Support);
    let mut client = world.gateway.client("alice").await;
    let ack = client.join(chat).await;
    assert_eq!(ack["error"]["code"], JoinRefusal::NotParticipant.refusal().code);
    let claims = |role: &str| json!({ "sub": "alice", "role": role, "exp": LATER });
    let ack = refresh(&mut client, &sign(&claims("support"), SECRET)).await;
    assert_eq!(ack["success"], true);
    // The pool has other chats.
    let resync = json!({ "chatId": null, "reason": "chats" });
    assert_eq!(client.next().await, Heard::Event("resync".to_owned(), resync.clone()));
    client.join_at(chat, 0).await;
    refresh(&mut client, &sign(&claims("support"), SECRET)).await;
    client.hears_nothing().await;
    refresh(&mut client, &sign(&claims("user"), SECRET)).await;
    assert_eq!(client.next().await, Heard::Event("resync".to_owned(), resync));
    let ack = client.join(chat).await;
    assert_eq!(ack["error"]["code"], JoinRefusal::NotParticipant.refusal().code);
}

#[tokio::test]
async fn i6_a_revocation_goes_by_the_newest_token() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = Client::connect(world.gateway.address, &issued("alice", 1_000)).await;
    client.join_at(chat, 0).await;
    assert_eq!(refresh(&mut client, &issued("alice", 2_000)).await["success"], true);
    world.api.announce(&world.api.chats.revoke("alice", 1_500)).await;
    world.api.say(chat);
    client.hears(chat, 1).await;
    let announced = tokio::time::Instant::now();
    world.api.announce(&world.api.chats.revoke("alice", 2_500)).await;
    client.is_closed_with(1001).await;
    assert!(announced.elapsed() < SECOND);
    let series = "parley_gateway_sent_away_total{reason=\"token_revoked\"}";
    assert_eq!(world.gateway.metric(series).await, 1);
}

/// The answer of an api pod may be older than what was announced since.
#[tokio::test]
async fn i6_what_was_announced_meanwhile_counts_for_a_newer_token_too() {
    let world = World::start().await;
    let [mut old, mut new] = [
        Client::connect(world.gateway.address, &issued("alice", 1_000)).await,
        Client::connect(world.gateway.address, &issued("alice", 3_000)).await,
    ];
    let valid_after = chrono::DateTime::from_timestamp(2_500, 0).unwrap();
    let user_id = UserId::parse("alice").unwrap();
    // Announced, and not known to the api pod that answers.
    world.api.announce(&Revocation { user_id, valid_after }).await;
    old.is_closed_with(1001).await;
    let ack = refresh(&mut new, &issued("alice", 2_000)).await;
    assert_eq!(ack["error"]["code"], "token_revoked");
    assert_eq!(refresh(&mut new, &issued("alice", 2_600)).await["success"], true);
    new.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_token_that_nobody_could_be_asked_about_is_asked_about_later() {
    let mut world = World::start().await;
    let mut revoked = Client::connect(world.gateway.address, &issued("alice", 3_000)).await;
    let mut good = Client::connect(world.gateway.address, &issued("bob", 3_000)).await;
    world.nats_goes().await;
    for (client, user) in [(&mut revoked, "alice"), (&mut good, "bob")] {
        assert_eq!(refresh(client, &issued(user, 2_000)).await["success"], true);
    }
    world.api.chats.revoke("alice", 2_500);
    world.nats_returns().await;
    soon(revoked.is_closed_with(1001)).await;
    let chat = world.api.chats.create(0);
    good.join_at(chat, 0).await;
}
