//! Limits while Redis is there.

use std::time::Duration;

use deadpool_redis::redis::{Client, cmd};
use futures_util::future::join_all;
use parley_domain::ids::{ClientMessageId, UserId};
use parley_domain::user::Role;
use parley_local::testing::redis_url;
use parley_relay::{
    Charge, Limit, LimitSettings, Member, Policy, RedisSettings, Refused, RelayError, Usage,
};
use tokio::time::{Instant, sleep};

use crate::fixture::new_chat;
use crate::redis::{LimitPod, RedisServer, a_minute, limits, new_user};
use crate::server::eventually;

/// Tries for a while, and says when it was granted, in µs.
async fn hammer(pod: &LimitPod, user: &UserId, policy: Policy, time: Duration) -> Vec<u64> {
    let begun = Instant::now();
    let mut granted = Vec::new();
    while begun.elapsed() < time {
        if let Charge::Allowed(charged) = pod.charge(user, policy, Member::unique()).await {
            assert!(charged.added);
            granted.push(charged.redis_time().expect("Redis stays"));
        }
    }
    granted
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_more_than_the_limit_in_any_window_nor_less() {
    let policy = Policy { limit: 5, window: Duration::from_secs(1) };
    let pods = [LimitPod::patient(&redis_url()).await, LimitPod::patient(&redis_url()).await];
    let user = new_user();
    let tasks = pods.iter().cycle().take(8);
    let time = Duration::from_millis(3_500);
    let granted = join_all(tasks.map(|pod| hammer(pod, &user, policy, time))).await;
    let mut granted = granted.concat();
    granted.sort_unstable();
    for (sixth, first) in granted.iter().skip(5).zip(&granted) {
        assert!(sixth - first >= 1_000_000, "six in a window: {granted:?}");
        // A busy machine may try late, but not for whole windows.
        assert!(sixth - first < 4_000_000, "a free place was refused: {granted:?}");
    }
    assert!(granted.len() >= 10, "{granted:?}");
    assert_eq!(pods.iter().map(|pod| pod.metric("parley_limiter_merges_total")).sum::<u64>(), 0);
}

#[tokio::test]
async fn attempts_that_are_asked_about_together_are_decided_each_for_itself() {
    let pod = LimitPod::patient(&redis_url()).await;
    let (crowd, others): (UserId, Vec<_>) = (new_user(), (0..100).map(|_| new_user()).collect());
    let message = Member::unique();
    assert!(pod.allowed(&crowd, a_minute(20), message).await.added);
    // On one thread all of them wait when the convoy sets out: more than one call takes.
    let crowds = (0..100).map(|_| pod.charge(&crowd, a_minute(20), Member::unique()));
    let theirs = others.iter().map(|user| pod.charge(user, a_minute(1), message));
    let (crowds, theirs, again) = tokio::join!(
        join_all(crowds),
        join_all(theirs),
        pod.charge(&crowd, a_minute(20), message),
    );
    let added = |charges: Vec<Charge>| {
        let added = |charge: &&Charge| matches!(charge, Charge::Allowed(it) if it.added);
        charges.iter().filter(added).count()
    };
    assert_eq!((added(crowds), added(theirs)), (19, 100));
    assert!(matches!(again, Charge::Allowed(replay) if !replay.added));
    assert_eq!(["allowed", "replay", "limited"].map(|it| pod.decisions("redis", it)), [120, 1, 81]);
}

#[tokio::test]
async fn a_server_that_does_not_know_the_script_is_told_it() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::patient(&redis.url()).await;
    let user = new_user();
    for sent in 1..=3 {
        redis.forget_scripts().await;
        assert_eq!(
            pod.allowed(&user, a_minute(5), Member::unique()).await.usage.remaining,
            5 - sent
        );
    }
    assert_eq!(pod.decisions("redis", "allowed"), 3);
}

#[tokio::test]
async fn a_window_that_cannot_be_read_spoils_no_other() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::one_of(1, &redis.url()).await;
    let (good, bad, behind) = (new_user(), new_user(), new_user());
    redis.spoil(&bad).await;
    let (good, bad, behind) = tokio::join!(
        pod.charge(&good, a_minute(5), Member::unique()),
        pod.charge(&bad, a_minute(5), Member::unique()),
        pod.charge(&behind, a_minute(5), Member::unique()),
    );
    assert!([good, bad, behind].iter().all(|it| matches!(it, Charge::Allowed(_))));
    assert_eq!((pod.decisions("redis", "allowed"), pod.decisions("fallback", "allowed")), (2, 1));
}

#[tokio::test]
async fn who_waits_as_long_as_is_said_may_send() {
    let pod = LimitPod::patient(&redis_url()).await;
    let policy = Policy { limit: 2, window: Duration::from_millis(400) };
    let user = new_user();
    let first = pod.allowed(&user, policy, Member::unique()).await;
    assert_eq!(first.usage, Usage { policy, remaining: 1, reset: policy.window });
    let second = pod.allowed(&user, policy, Member::unique()).await;
    assert_eq!(second.usage.remaining, 0);
    let since_first = second.redis_time().unwrap() - first.redis_time().unwrap();
    assert_eq!(second.usage.reset + Duration::from_micros(since_first), policy.window);
    for _ in 0..5 {
        // On a machine that stood still meanwhile, the place is free already.
        if let Charge::Limited(refused) = pod.charge(&user, policy, Member::unique()).await {
            let Refused { usage, retry_after, why } = refused;
            assert_eq!((why, usage.remaining, usage.policy), (Limit::Messages, 0, policy));
            assert!(retry_after <= policy.window && usage.reset == retry_after);
            sleep(retry_after).await;
            pod.allowed(&user, policy, Member::unique()).await;
        }
    }
}

#[tokio::test]
async fn a_replay_within_the_window_is_free_on_every_pod() {
    let pods = [LimitPod::patient(&redis_url()).await, LimitPod::patient(&redis_url()).await];
    let user = new_user();
    let message = Member::of(new_chat(), &ClientMessageId::parse("1").unwrap(), &[7; 32]);
    assert!(pods[0].allowed(&user, a_minute(2), message).await.added);
    for pod in [&pods[1], &pods[0], &pods[1]] {
        let replay = pod.allowed(&user, a_minute(2), message).await;
        assert!(!replay.added);
        assert_eq!(replay.usage.remaining, 1);
    }
    assert!(pods[1].allowed(&user, a_minute(2), Member::unique()).await.added);
    pods[0].refused(&user, a_minute(2)).await;
    assert!(!pods[0].allowed(&user, a_minute(2), message).await.added, "even when it is full");
    let counted = |outcome| pods.iter().map(|pod| pod.decisions("redis", outcome)).sum::<u64>();
    assert_eq!(["allowed", "replay", "limited", "attempts"].map(counted), [2, 4, 1, 0]);
}

#[tokio::test]
async fn a_refusal_adds_nothing() {
    let pod = LimitPod::patient(&redis_url()).await;
    let user = new_user();
    let only = pod.allowed(&user, a_minute(1), Member::unique()).await;
    for _ in 0..10 {
        pod.refused(&user, a_minute(1)).await;
    }
    pod.limiter.give_back(only).await;
    assert_eq!(pod.exhaust(&user, a_minute(1)).await, 1);
}

#[tokio::test]
async fn only_the_attempt_that_put_it_in_takes_it_out() {
    let pods = [LimitPod::patient(&redis_url()).await, LimitPod::patient(&redis_url()).await];
    let (user, message, policy) = (new_user(), Member::unique(), a_minute(5));
    let added = pods[0].allowed(&user, policy, message).await;
    let replay = pods[1].allowed(&user, policy, message).await;
    pods[1].limiter.give_back(replay).await;
    assert!(!pods[1].allowed(&user, policy, message).await.added, "it is still there");
    pods[0].limiter.give_back(added).await;
    let again = pods[1].allowed(&user, policy, message).await;
    assert!(again.added);
    assert_eq!(again.usage.remaining, 4);
}

#[tokio::test]
async fn an_attempt_that_is_late_does_not_take_out_what_another_put_in() {
    let redis = RedisServer::start().await;
    let (one, other) =
        (LimitPod::patient(&redis.url()).await, LimitPod::patient(&redis.url()).await);
    let (user, message, policy) = (new_user(), Member::unique(), a_minute(5));
    let late = one.allowed(&user, policy, message).await;
    redis.forget().await;
    let anew = other.allowed(&user, policy, message).await;
    assert!(anew.added && anew.redis_time() > late.redis_time());
    one.limiter.give_back(late).await;
    // One that remembers nothing itself.
    let third = LimitPod::patient(&redis.url()).await;
    assert!(!third.allowed(&user, policy, message).await.added);
}

#[tokio::test]
async fn a_commit_puts_back_what_another_attempt_took_out() {
    let pods = [LimitPod::patient(&redis_url()).await, LimitPod::patient(&redis_url()).await];
    let (user, message, policy) = (new_user(), Member::unique(), a_minute(5));
    let refused = pods[0].allowed(&user, policy, message).await;
    let committed = pods[1].allowed(&user, policy, message).await;
    pods[1].limiter.keep(&committed).await;
    pods[0].limiter.give_back(refused).await;
    pods[1].limiter.keep(&committed).await;
    pods[1].limiter.keep(&committed).await;
    let replay = pods[0].allowed(&user, policy, message).await;
    assert!(!replay.added);
    assert_eq!(replay.usage.remaining, 4);
}

#[tokio::test]
async fn a_flood_of_replays_is_stopped_too() {
    let limits = LimitSettings { attempt_limit: "20/60".parse().unwrap(), ..limits() };
    let pod = LimitPod::with(&redis_url(), 10_000, 1, limits.clone()).await;
    let (user, message) = (new_user(), Member::unique());
    // Every three seconds one comes back, so a slow machine may see some more.
    let mut attempts = 0;
    let refused = loop {
        match pod.charge(&user, a_minute(20), message).await {
            Charge::Allowed(_) => attempts += 1,
            Charge::Limited(refused) => break refused,
        }
    };
    assert!((20..25).contains(&attempts), "{attempts}");
    assert_eq!(refused.why, Limit::Attempts);
    assert_eq!(refused.usage.policy, limits.attempt_limit);
    assert!(refused.retry_after <= Duration::from_secs(3));
    assert_eq!(pod.decisions("redis", "attempts"), 1);
    pod.allowed(&new_user(), a_minute(20), message).await;
}

#[tokio::test]
async fn users_do_not_collide_however_they_are_called() {
    let pod = LimitPod::patient(&redis_url()).await;
    let run = new_user();
    let long = "x".repeat(80);
    for odd in ["{", "}", "{}", "}:messages", "a b", "A b", "é", "e\u{301}", "*", "用户", &long]
    {
        let user = UserId::parse(&format!("{run}{odd}")).unwrap();
        assert_eq!(pod.exhaust(&user, a_minute(1)).await, 1, "{odd:?}");
    }
}

#[tokio::test]
async fn a_window_that_is_over_leaves_nothing_in_redis() {
    let redis = RedisServer::start().await;
    let limits = LimitSettings { attempt_limit: "1000/1".parse().unwrap(), ..limits() };
    let pod = LimitPod::with(&redis.url(), 10_000, 1, limits).await;
    let short = Policy { limit: 3, window: Duration::from_millis(50) };
    pod.exhaust(&new_user(), short).await;
    drop(pod);
    let client = Client::open(redis.url()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    eventually("every key expires", async || {
        let keys: usize = cmd("DBSIZE").query_async(&mut connection).await.unwrap();
        (keys == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn with_the_last_clone_the_connection_ends() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::patient(&redis.url()).await;
    let clone = pod.limiter.clone();
    drop(pod);
    eventually("it is still connected", async || (redis.clients().await == 1).then_some(())).await;
    drop(clone);
    eventually("it is gone", async || (redis.clients().await == 0).then_some(())).await;
}

#[test]
fn a_wrong_redis_url_is_said_without_its_password() {
    let check = |url: &str| RedisSettings::at(url, 200).check();
    for good in
        ["redis://127.0.0.1:6379", "redis://user:secret@redis.example/2", "rediss://:secret@redis"]
    {
        assert_eq!(check(good), Ok(()), "{good}");
    }

    for bad in [
        "http://user:secret@127.0.0.1",
        "redis://user:secret@:x",
        "redis://",
        "unix:/x",
        "rediss://redis/#insecure",
        "",
    ] {
        let error = check(bad).unwrap_err();
        assert_eq!(error, RelayError::RedisUrl, "{bad}");
        assert!(!error.to_string().contains("secret"));
    }
}

#[test]
fn an_attempt_limit_below_a_message_limit_is_refused() {
    let few = LimitSettings { attempt_limit: "10/60".parse().unwrap(), ..limits() };
    assert!(few.check().unwrap_err().to_string().contains("PARLEY_ATTEMPT_LIMIT"));
    assert_eq!(limits().of(Role::Admin), Some(a_minute(20)));
}
