//! Who is there, by a Redis of the test's own that forgets, and goes.

use std::time::Duration;

use parley_domain::attendance::Turn;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::Typist;
use parley_relay::{Kept, Movements, Presence, RedisSettings};
use prometheus::Registry;
use uuid::Uuid;

use crate::redis::RedisServer;
use crate::server::eventually;

const POD: &str = "gateway-1";

async fn presence(redis: &RedisServer) -> Presence {
    let settings = RedisSettings::at(&redis.url(), 500);
    Presence::connect(&settings, &Registry::new()).await.unwrap()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn come(ids: &[&str]) -> Movements {
    Movements { come: ids.iter().map(|id| user(id)).collect(), ..Movements::default() }
}

async fn online(presence: &Presence, ids: &[&str]) -> Option<Vec<bool>> {
    let users: Vec<UserId> = ids.iter().map(|id| user(id)).collect();
    Some(presence.of(&users).await?.iter().map(|seen| seen.online).collect())
}

#[tokio::test]
async fn a_user_is_there_as_long_as_any_pod_has_them() {
    let redis = RedisServer::start().await;
    let (asker, one) = (presence(&redis).await, presence(&redis).await);
    one.beat(POD).await;
    one.beat("gateway-2").await;
    one.moved(POD, &come(&["alice", "bob"])).await;
    one.moved("gateway-2", &come(&["alice", "auth0|käte"])).await;
    let all = ["alice", "bob", "carol", "auth0|käte"];
    assert_eq!(online(&asker, &all).await, Some(vec![true, true, false, true]));
    let gone = Movements { gone: vec![user("alice"), user("bob")], ..Movements::default() };
    assert_eq!(one.moved(POD, &gone).await, Kept::Yes);
    assert_eq!(online(&asker, &all).await, Some(vec![true, false, false, true]));
    one.leave("gateway-2").await;
    assert_eq!(online(&asker, &all).await, Some(vec![false; 4]));
    let seen = asker.of(&[user("alice"), user("carol")]).await.unwrap();
    assert!(seen[0].last_seen_at.is_some() && seen[1].last_seen_at.is_none());
}

async fn turns(presence: &Presence, pod: &str, movements: Movements) -> Vec<(String, bool)> {
    presence.moved(pod, &movements).await;
    said(presence.turns(&movements).await)
}

fn said(turns: Vec<Turn>) -> Vec<(String, bool)> {
    turns.into_iter().map(|turn| (turn.user_id.as_str().to_owned(), turn.online)).collect()
}

fn went(ids: &[&str]) -> Movements {
    Movements { gone: ids.iter().map(|id| user(id)).collect(), ..Movements::default() }
}

fn turn(id: &str, online: bool) -> (String, bool) {
    (id.to_owned(), online)
}

#[tokio::test]
async fn who_comes_to_a_second_pod_or_goes_from_one_of_two_is_no_news() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    presence.beat(POD).await;
    presence.beat("gateway-2").await;
    let came = turns(&presence, POD, come(&["alice", "bob"])).await;
    assert_eq!(came, [turn("alice", true), turn("bob", true)]);
    assert_eq!(turns(&presence, "gateway-2", come(&["alice"])).await, []);
    assert_eq!(turns(&presence, POD, went(&["alice", "bob"])).await, [turn("bob", false)]);
    assert_eq!(turns(&presence, "gateway-2", went(&["alice"])).await, [turn("alice", false)]);
    assert_eq!(turns(&presence, "gateway-2", went(&["alice"])).await, [], "once");
}

#[tokio::test]
async fn who_was_at_a_pod_that_died_is_found_and_a_redis_that_forgot_makes_nobody_come_again() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    presence.beat(POD).await;
    presence.beat("gateway-2").await;
    turns(&presence, POD, come(&["alice", "bob"])).await;
    turns(&presence, "gateway-2", come(&["bob"])).await;
    assert_eq!(said(presence.swept().await), []);
    // As it is when nothing was heard of the pod for a while.
    presence.leave(POD).await;
    assert_eq!(said(presence.swept().await), [turn("alice", false)]);
    redis.forget().await;
    presence.beat("gateway-2").await;
    let everybody = Movements { everybody: true, ..come(&["bob"]) };
    assert_eq!(turns(&presence, "gateway-2", everybody).await, []);
    assert_eq!(turns(&presence, "gateway-2", come(&["carol"])).await, [turn("carol", true)]);
}

#[tokio::test]
async fn i9_a_thousand_and_more_are_told_in_pieces() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    presence.beat(POD).await;
    let ids: Vec<String> = (0..2_500).map(|number| format!("user-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    presence.moved(POD, &come(&ids)).await;
    assert_eq!(online(&presence, &ids).await, Some(vec![true; 2_500]));
}

#[tokio::test]
async fn a_redis_that_has_forgotten_says_so() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    assert_eq!(presence.beat(POD).await, Kept::Lost);
    assert_eq!(presence.moved(POD, &come(&["alice"])).await, Kept::Lost);
    assert_eq!(presence.beat(POD).await, Kept::Yes);
    assert_eq!(presence.moved(POD, &come(&["bob"])).await, Kept::Yes);
    redis.forget().await;
    assert_eq!(presence.beat(POD).await, Kept::Lost);
    redis.forget().await;
    assert_eq!(presence.moved(POD, &come(&["carol"])).await, Kept::Lost);
}

#[tokio::test]
async fn whoever_went_unsaid_is_gone_once_everybody_is_told_again() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    presence.beat(POD).await;
    presence.moved(POD, &come(&["alice", "bob"])).await;
    // Redis could not be told that bob has gone, and has kept what it had.
    let everybody = Movements { everybody: true, ..come(&["alice", "carol"]) };
    assert_eq!(presence.moved(POD, &everybody).await, Kept::Yes);
    assert_eq!(online(&presence, &["alice", "bob", "carol"]).await, Some(vec![true, false, true]));
}

#[tokio::test]
async fn while_redis_is_away_nobody_is_known_and_nobody_waits() {
    let mut redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    presence.beat(POD).await;
    presence.moved(POD, &come(&["alice"])).await;
    redis.stop();
    eventually("Redis is missed", async || (presence.beat(POD).await == Kept::Away).then_some(()))
        .await;
    assert_eq!(presence.moved(POD, &come(&["bob"])).await, Kept::Away);
    assert_eq!(online(&presence, &["alice"]).await, None);
    assert_eq!(presence.typists(ChatId::from(Uuid::now_v7())).await, []);
    redis.start_again().await;
    eventually("Redis is back", async || (presence.beat(POD).await == Kept::Lost).then_some(()))
        .await;
    presence.moved(POD, &come(&["alice", "bob"])).await;
    eventually("everybody is known again", async || {
        (online(&presence, &["alice", "bob"]).await? == [true, true]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn who_writes_is_known_for_a_while() {
    let redis = RedisServer::start().await;
    let presence = presence(&redis).await;
    let chat = ChatId::from(Uuid::now_v7());
    let named =
        |id: &str, name: Option<&str>| Typist { user_id: user(id), name: name.map(str::to_owned) };
    presence.writes(chat, &named("alice", Some("Alice Ä 1 2"))).await;
    presence.writes(chat, &named("bob", None)).await;
    let mut known = presence.typists(chat).await;
    known.sort_by(|(one, _), (other, _)| one.user_id.cmp(&other.user_id));
    let (typists, left): (Vec<_>, Vec<_>) = known.into_iter().unzip();
    assert_eq!(typists, [named("alice", Some("Alice Ä 1 2")), named("bob", None)]);
    assert!(left.iter().all(|left| *left > Duration::ZERO && *left <= Duration::from_secs(9)));
    presence.stops(chat, &user("alice")).await;
    assert_eq!(presence.typists(chat).await.len(), 1);
    for number in 0..100 {
        presence.writes(chat, &named(&format!("user-{number}"), None)).await;
    }
    assert_eq!(presence.typists(chat).await.len(), 50, "not without bound");
}
