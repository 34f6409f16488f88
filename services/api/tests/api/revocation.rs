//! Tokens that do not count any more.

use std::time::{Duration, SystemTime};

use chrono::DateTime;
use parley_domain::ask::{RevokedAnswer, RevokedAsk, UsersAnswer, UsersAsk};
use parley_domain::ids::UserId;
use parley_domain::token::Revocation;
use serde_json::json;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::actor::{Actor, World, failure};
use crate::events::bus;

/// Asks until the token is refused.
async fn is_refused(actor: &Actor<'_>, within: Duration) {
    let begun = Instant::now();
    loop {
        let answer = actor.get("/api/chat").await;
        if answer.status == 401 {
            assert_eq!(answer.failure(), failure(401, "token_revoked"));
            return;
        }
        assert!(begun.elapsed() < within, "the token still counts");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn a_revoked_token_is_refused_by_every_pod_within_a_second() {
    let one = World::new().await;
    let other = one.beside().await;
    for role in ["admin", "service"] {
        let id = format!("user-{}", Uuid::new_v4());
        let (here, there) = (one.issued(&id, 1_700_000_000), other.issued(&id, 1_700_000_000));
        for known in [&here, &there] {
            known.get("/api/chat").await.data();
        }
        let ender = one.actor("ender", role);
        let data = ender.post(&format!("/api/users/{id}/revoke"), json!({})).await.data();
        assert_eq!(data["userId"], id);
        assert!(data["tokensValidAfter"].is_string());
        assert_eq!(here.get("/api/chat").await.failure(), failure(401, "token_revoked"));
        is_refused(&there, Duration::from_secs(1)).await;
        for pod in [&one, &other] {
            let undated = pod.actor(&id, "user").get("/api/chat").await;
            assert_eq!(undated.failure(), failure(401, "token_revoked"));
            pod.issued(&id, 4_000_000_000).get("/api/chat").await.data();
        }
    }
}

/// What is announced may be newer than what the database was asked for.
#[tokio::test]
async fn what_was_announced_counts_for_a_token_that_is_seen_for_the_first_time() {
    let world = World::new().await;
    let (witness, bus) = (world.user().await, bus().await);
    assert!(bus.connected(Duration::from_secs(10)).await);
    let id = format!("user-{}", Uuid::new_v4());
    for user in [&id, &witness.id] {
        let revocation = Revocation {
            user_id: UserId::parse(user).unwrap(),
            valid_after: SystemTime::now().into(),
        };
        assert!(bus.announce_revocation(&revocation).await);
    }
    // Whoever has heard the second has heard the first.
    is_refused(&witness, Duration::from_secs(20)).await;
    let refused = world.issued(&id, 1_700_000_000).get("/api/chat").await;
    assert_eq!(refused.failure(), failure(401, "token_revoked"));
    world.issued(&id, 4_000_000_000).get("/api/chat").await.data();
}

/// Another pod has committed it, and nobody has said so yet.
#[tokio::test]
async fn a_token_that_is_seen_for_the_first_time_is_asked_about() {
    let world = World::new().await;
    let id = format!("user-{}", Uuid::new_v4());
    world.store().await.revoke_tokens(&UserId::parse(&id).unwrap()).await.unwrap();
    let refused = world.issued(&id, 1_700_000_000).get("/api/chat").await;
    assert_eq!(refused.failure(), failure(401, "token_revoked"));
}

#[tokio::test]
async fn a_revocation_that_nobody_announced_bites_all_the_same() {
    let world = World::new().await;
    let alice = world.user().await;
    let store = world.store().await;
    store.revoke_tokens(&UserId::parse(&alice.id).unwrap()).await.unwrap();
    is_refused(&alice, Duration::from_secs(15)).await;
}

#[tokio::test]
async fn whoever_was_never_here_can_be_revoked() {
    let world = World::new().await;
    let id = format!("user-{}", Uuid::new_v4());
    let host = world.actor("host", "service");
    host.post(&format!("/api/users/{id}/revoke"), json!({})).await.data();
    let alice = world.issued(&id, 1_700_000_000);
    assert_eq!(alice.get("/api/chat").await.failure(), failure(401, "token_revoked"));
    let user = host.get(&format!("/api/users/{id}")).await.data()["user"].clone();
    assert_eq!(user["name"], serde_json::Value::Null, "a revoked token says nothing of its bearer");
}

/// The queue group of asks is shared by every pod on the bus, and the tests' pods have different databases, so this asks
/// until the pod that knows the user happens to answer.
#[tokio::test]
async fn gateways_are_told_which_tokens_are_revoked() {
    let world = World::new().await;
    let alice = world.user().await;
    alice.chat_with(&world.user().await).await;
    let host = world.actor("host", "service");
    host.post(&format!("/api/users/{}/revoke", alice.id), json!({})).await.data();
    let bus = bus().await;
    let user_id = UserId::parse(&alice.id).unwrap();
    let ask = async |issued_at: Option<i64>, wanted: RevokedAnswer| {
        let issued_at = issued_at.and_then(|at| DateTime::from_timestamp(at, 0));
        let ask = RevokedAsk { user_id: user_id.clone(), issued_at };
        for _ in 0..2_000 {
            if bus.ask(&ask).await == Ok(wanted) {
                return;
            }
        }
        panic!("no pod gave the wanted answer");
    };
    ask(None, RevokedAnswer::Revoked).await;
    ask(Some(1_700_000_000), RevokedAnswer::Revoked).await;
    let counts = RevokedAnswer::Counts { membership_version: Some(1) };
    ask(Some(4_000_000_000), counts).await;
    let ask = UsersAsk { user_ids: vec![user_id.clone(), UserId::parse("nobody").unwrap()] };
    for _ in 0..2_000 {
        if let Ok(UsersAnswer::Users { users }) = bus.ask(&ask).await
            && let [alice] = users.as_slice()
        {
            assert_eq!((&alice.user_id, alice.membership_version), (&user_id, 1));
            assert!(alice.tokens_valid_after.is_some());
            return;
        }
    }
    panic!("no pod knew the user");
}
