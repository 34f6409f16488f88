//! Limits while Redis comes and goes.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parley_domain::ids::UserId;
use parley_relay::{Charge, Limit, LimitSettings, Member, Policy};
use tokio::time::{Instant, sleep};

use crate::redis::{LimitPod, RedisServer, a_minute, limits, new_user};

async fn two_pods(redis: &RedisServer) -> [LimitPod; 2] {
    [LimitPod::one_of(2, &redis.url()).await, LimitPod::one_of(2, &redis.url()).await]
}

async fn two_hasty_pods(redis: &RedisServer) -> [LimitPod; 2] {
    [LimitPod::hasty(2, &redis.url()).await, LimitPod::hasty(2, &redis.url()).await]
}

async fn all_reach(pods: &[LimitPod], up: bool) {
    for pod in pods {
        pod.reaches(up).await;
    }
}

#[tokio::test]
async fn a_redis_that_is_away_at_the_start_is_like_one_that_goes_away_later() {
    let mut redis = RedisServer::away();
    let pod = LimitPod::one_of(2, &redis.url()).await;
    let user = new_user();
    assert!(!pod.up());
    assert_eq!(pod.exhaust(&user, a_minute(20)).await, 10);
    redis.start_again().await;
    let back = Instant::now();
    pod.reaches(true).await;
    assert!(back.elapsed() < Duration::from_secs(1), "it took {:?}", back.elapsed());
    let next = pod.allowed(&user, a_minute(20), Member::unique()).await;
    assert!(next.redis_time().is_some());
    assert_eq!(next.usage.remaining, 9, "what was granted meanwhile counts");
}

#[tokio::test]
async fn i9_without_redis_each_pod_grants_its_share() {
    let mut redis = RedisServer::start().await;
    let pods = two_pods(&redis).await;
    redis.stop();
    let user = new_user();
    for pod in &pods {
        assert_eq!(pod.exhaust(&user, a_minute(20)).await, 10);
        let refused = pod.refused(&user, a_minute(20)).await;
        assert_eq!((refused.why, refused.usage.policy), (Limit::Messages, a_minute(20)));
        assert!(refused.retry_after <= Duration::from_mins(1));
        assert!(!pod.up());
        let counted = |outcome| pod.decisions("fallback", outcome);
        assert_eq!(["allowed", "replay", "limited", "attempts"].map(counted), [10, 0, 2, 0]);
    }
}

#[tokio::test]
async fn i9_without_redis_a_share_is_what_the_pod_has_not_granted_before() {
    let mut redis = RedisServer::start().await;
    let pods = two_pods(&redis).await;
    let user = new_user();
    for _ in 0..4 {
        pods[0].allowed(&user, a_minute(20), Member::unique()).await;
    }
    redis.stop();
    all_reach(&pods, false).await;
    assert_eq!(pods[0].exhaust(&user, a_minute(20)).await, 6);
    assert_eq!(pods[1].exhaust(&user, a_minute(20)).await, 10);
    assert_eq!(pods[0].exhaust(&new_user(), a_minute(1)).await, 1, "nobody is locked out");
}

#[tokio::test]
async fn i9_without_redis_replays_are_free_and_places_come_back() {
    let mut redis = RedisServer::start().await;
    let pod = LimitPod::one_of(1, &redis.url()).await;
    let (user, message) = (new_user(), Member::unique());
    let before = pod.allowed(&user, a_minute(2), message).await;
    redis.stop();
    pod.reaches(false).await;
    assert!(!pod.allowed(&user, a_minute(2), message).await.added);
    let second = pod.allowed(&user, a_minute(2), Member::unique()).await;
    pod.refused(&user, a_minute(2)).await;
    pod.limiter.give_back(second).await;
    pod.limiter.give_back(before).await;
    let again = pod.allowed(&user, a_minute(2), message).await;
    assert!(again.added);
    let replay = pod.allowed(&user, a_minute(2), message).await;
    pod.limiter.give_back(again).await;
    pod.limiter.keep(&replay).await;
    assert!(!pod.allowed(&user, a_minute(2), message).await.added, "the commit put it back");
    assert_eq!(pod.exhaust(&user, a_minute(2)).await, 1);
}

#[tokio::test]
async fn i9_without_redis_a_flood_is_stopped_too() {
    let limits = LimitSettings { attempt_limit: "40/60".parse().unwrap(), ..limits() };
    let redis = RedisServer::away();
    let pod = LimitPod::with(&redis.url(), 200, 2, limits).await;
    let (user, message) = (new_user(), Member::unique());
    let mut attempts = 0;
    let refused = loop {
        match pod.charge(&user, a_minute(20), message).await {
            Charge::Allowed(_) => attempts += 1,
            Charge::Limited(refused) => break refused,
        }
    };
    assert!((20..25).contains(&attempts), "{attempts}");
    assert_eq!(refused.why, Limit::Attempts);
    assert_eq!(pod.decisions("fallback", "attempts"), 1);
}

#[tokio::test]
async fn i9_a_paused_redis_holds_nobody_up_twice() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::hasty(2, &redis.url()).await;
    let user = new_user();
    pod.allowed(&user, a_minute(20), Member::unique()).await;
    redis.pause();
    let begun = Instant::now();
    pod.allowed(&user, a_minute(20), Member::unique()).await;
    let first = begun.elapsed();
    assert!(first < Duration::from_secs(1), "it took {first:?}");
    assert!(!pod.up());
    let begun = Instant::now();
    for _ in 0..100 {
        pod.charge(&user, a_minute(20), Member::unique()).await;
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "these took {:?}", begun.elapsed());
    redis.go_on();
    let back = Instant::now();
    pod.reaches(true).await;
    assert!(back.elapsed() < Duration::from_secs(1), "it took {:?}", back.elapsed());
    let next = pod.allowed(&user, a_minute(20), Member::unique()).await;
    assert_eq!(next.usage.remaining, 9, "one before, nine meanwhile, this one");
}

#[tokio::test]
async fn a_pause_that_nobody_meets_is_noticed() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::hasty(2, &redis.url()).await;
    redis.pause();
    pod.reaches(false).await;
    redis.go_on();
    pod.reaches(true).await;
}

#[tokio::test]
async fn what_redis_forgets_without_a_word_it_is_told_again() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::patient(&redis.url()).await;
    let user = new_user();
    let old = pod.allowed(&user, a_minute(20), Member::unique()).await;
    let message = Member::unique();
    pod.allowed(&user, a_minute(20), message).await;
    redis.forget().await;
    let next = pod.allowed(&user, a_minute(20), Member::unique()).await;
    assert_eq!(next.usage.remaining, 17);
    assert_eq!(pod.metric("parley_limiter_merges_total"), 1);
    assert!(!pod.allowed(&user, a_minute(20), message).await.added);
    pod.limiter.give_back(old).await;
    let next = pod.allowed(&user, a_minute(20), Member::unique()).await;
    assert_eq!(next.usage.remaining, 17, "what was told again can be taken out");
    redis.forget().await;
    pod.limiter.give_back(next).await;
    assert_eq!(pod.exhaust(&user, a_minute(20)).await, 18, "what is given back is not told");
}

#[tokio::test]
async fn a_replay_on_another_pod_does_not_hide_that_redis_forgot() {
    let redis = RedisServer::start().await;
    let pods = [LimitPod::patient(&redis.url()).await, LimitPod::patient(&redis.url()).await];
    let (user, message) = (new_user(), Member::unique());
    pods[0].allowed(&user, a_minute(20), Member::unique()).await;
    pods[0].allowed(&user, a_minute(20), message).await;
    redis.forget().await;
    assert!(pods[1].allowed(&user, a_minute(20), message).await.added);
    let next = pods[0].allowed(&user, a_minute(20), Member::unique()).await;
    assert_eq!(next.usage.remaining, 17);
}

#[tokio::test]
async fn a_replica_that_lagged_behind_is_told_what_it_misses() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::patient(&redis.url()).await;
    let user = new_user();
    for _ in 0..3 {
        pod.allowed(&user, a_minute(20), Member::unique()).await;
    }
    redis.lag_behind().await;
    let next = pod.allowed(&user, a_minute(20), Member::unique()).await;
    assert_eq!(next.usage.remaining, 16);
}

#[tokio::test]
async fn of_a_huge_window_the_newest_thousand_are_told_again() {
    let redis = RedisServer::start().await;
    let pod = LimitPod::patient(&redis.url()).await;
    let user = new_user();
    for _ in 0..1_100 {
        pod.allowed(&user, a_minute(100_000), Member::unique()).await;
    }
    redis.forget().await;
    let next = pod.allowed(&user, a_minute(100_000), Member::unique()).await;
    assert_eq!(next.usage.remaining, 100_000 - 1_001);
}

/// Tries all the time until it is stopped.
async fn hammer(pod: &LimitPod, user: &UserId, policy: Policy, stop: &AtomicBool, sum: &AtomicU32) {
    while !stop.load(Ordering::SeqCst) {
        if let Charge::Allowed(_) = pod.charge(user, policy, Member::unique()).await {
            sum.fetch_add(1, Ordering::SeqCst);
        }
        tokio::task::yield_now().await;
    }
}

/// How much a user gets who tries all the time on these pods while something happens.
async fn gets(tries: &[&LimitPod], user: &UserId, happening: impl Future<Output = ()>) -> u32 {
    let (stop, sum) = (AtomicBool::new(false), AtomicU32::new(0));
    let tasks = tries.iter().map(|pod| hammer(pod, user, a_minute(20), &stop, &sum));
    tokio::join!(join_all(tasks), async {
        happening.await;
        stop.store(true, Ordering::SeqCst);
    });
    sum.into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_never_gives_more_than_twice_the_limit() {
    for round in 0..3 {
        let mut redis = RedisServer::start().await;
        let pods = two_pods(&redis).await;
        let user = new_user();
        // Everything on one pod before, or on both.
        for _ in 0..[0, 7, 20][round] {
            pods[0].allowed(&user, a_minute(20), Member::unique()).await;
        }
        let tries = [&pods[1], &pods[0], &pods[1], &pods[0], &pods[1], &pods[0]];
        let more = gets(&tries, &user, async {
            redis.stop();
            all_reach(&pods, false).await;
            redis.start_again().await;
            all_reach(&pods, true).await;
            sleep(Duration::from_millis(100)).await;
        })
        .await;
        let all = [0, 7, 20][round] + more;
        assert!((20..=40).contains(&all), "{all} in round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_restarts_give_no_more_either_though_pods_take_turns() {
    let mut redis = RedisServer::start().await;
    let pods = two_pods(&redis).await;
    let user = new_user();
    let mut all = 0;
    for round in 0..6 {
        let pod = &pods[round % 2];
        all += gets(&[pod, pod, pod, pod], &user, async {
            sleep(Duration::from_millis(50)).await;
            redis.stop();
            redis.start_again().await;
            all_reach(&pods, true).await;
        })
        .await;
    }
    assert!((20..=40).contains(&all), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn forgetting_without_a_word_gives_no_more_either() {
    let redis = RedisServer::start().await;
    let pods = [LimitPod::patient(&redis.url()).await, LimitPod::patient(&redis.url()).await];
    let user = new_user();
    let mut all = 0;
    for round in 0..6 {
        let pod = &pods[round % 2];
        all += gets(&[pod, pod, pod, pod], &user, async {
            sleep(Duration::from_millis(50)).await;
            redis.forget().await;
            sleep(Duration::from_millis(50)).await;
        })
        .await;
    }
    assert!((20..=40).contains(&all), "{all}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pause_never_gives_more_than_twice_the_limit() {
    let redis = RedisServer::start().await;
    let pods = two_hasty_pods(&redis).await;
    let user = new_user();
    let tries = [&pods[1], &pods[0], &pods[1], &pods[0], &pods[1], &pods[0]];
    let all = gets(&tries, &user, async {
        for _ in 0..3 {
            redis.pause();
            all_reach(&pods, false).await;
            redis.go_on();
            all_reach(&pods, true).await;
        }
    })
    .await;
    assert!((20..=40).contains(&all), "{all}");
}
