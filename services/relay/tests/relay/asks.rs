//! Gateways ask, api pods answer; on servers of their own, because every api pod of a server is asked alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use parley_domain::ask::{JoinAnswer, JoinAsk, JoinRefusal, JoinSnapshot};
use parley_domain::here::HereAsk;
use parley_domain::ids::UserId;
use parley_domain::user::Role;
use parley_domain::version::{Epoch, Seq, Version};
use parley_relay::{AskError, Bus, RelayError};
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::fixture::{Pod, new_chat, stranger};
use crate::server::{NatsServer, PATIENCE, eventually, soon};

const ASKS: &str = "ask.join";

fn ask() -> JoinAsk {
    JoinAsk {
        chat_id: new_chat(),
        user_id: UserId::parse("alice").unwrap(),
        role: Role::User,
        position: None,
    }
}

fn joined(version: u64) -> JoinAnswer {
    let read_pointers = BTreeMap::from([(UserId::parse("bob").unwrap(), Seq(3))]);
    let (version, epoch) = (Version(version), Epoch(u64::MAX));
    JoinAnswer::Joined(JoinSnapshot { version, epoch, read_pointers, missed: None })
}

/// An api pod that answers until its stop is pulled.
struct ApiPod {
    _pod: Pod,
    stop: oneshot::Sender<()>,
    answering: JoinHandle<Result<(), RelayError>>,
}

impl ApiPod {
    async fn answer<Fut>(
        nats: &NatsServer,
        answer: impl Fn(JoinAsk) -> Fut + Send + Sync + 'static,
    ) -> Self
    where
        Fut: Future<Output = JoinAnswer> + Send + 'static,
    {
        let before = nats.subscriptions(ASKS).await.len();
        let pod = Pod::connected(&nats.url()).await;
        let (stop, stopped) = oneshot::channel();
        let bus: Bus = pod.bus.clone();
        let answering =
            tokio::spawn(async move { bus.answer(answer, async { drop(stopped.await) }).await });
        eventually("an api pod listens", async || {
            (nats.subscriptions(ASKS).await.len() > before).then_some(())
        })
        .await;
        Self { _pod: pod, stop, answering }
    }
}

#[tokio::test]
async fn an_answer_arrives_whole() {
    let nats = NatsServer::start().await;
    let answers = [
        joined(7),
        JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant },
        JoinAnswer::Refused { refusal: JoinRefusal::ChatNotFound },
        JoinAnswer::Unavailable,
    ];
    let asked = ask();
    let (given, expected) = (answers.clone(), asked.clone());
    let number = AtomicU64::new(0);
    let _pod = ApiPod::answer(&nats, move |ask| {
        assert_eq!(ask, expected);
        let number = usize::try_from(number.fetch_add(1, Ordering::Relaxed)).unwrap();
        std::future::ready(given[number].clone())
    })
    .await;
    let asker = Pod::connected(&nats.url()).await;
    for answer in answers {
        assert_eq!(asker.bus.ask(&asked).await, Ok(answer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_is_answered_by_exactly_one_of_two_pods() {
    let nats = NatsServer::start().await;
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let mut pods = Vec::new();
    for (number, count) in (1..).zip(&counts) {
        let count = count.clone();
        let answer = move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::future::ready(joined(number))
        };
        pods.push(ApiPod::answer(&nats, answer).await);
    }
    let asker = Pod::connected(&nats.url()).await;
    let asks = (0..400).map(|_| {
        let bus = asker.bus.clone();
        tokio::spawn(async move { bus.ask(&ask()).await })
    });
    let mut answered = [0, 0];
    for answer in asks.collect::<Vec<_>>() {
        match answer.await.unwrap() {
            Ok(JoinAnswer::Joined(snapshot)) => {
                answered[usize::try_from(snapshot.version.0).unwrap() - 1] += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(counts.map(|count| count.load(Ordering::Relaxed)), answered);
    assert_eq!(answered[0] + answered[1], 400);
    assert!(answered[0] > 0 && answered[1] > 0, "both work: {answered:?}");
}

#[tokio::test]
async fn without_an_api_pod_the_asker_knows_at_once() {
    let nats = NatsServer::start().await;
    let asker = Pod::connected(&nats.url()).await;
    let begun = Instant::now();
    for _ in 0..20 {
        assert_eq!(asker.bus.ask(&ask()).await, Err(AskError::NoApiPod));
    }
    assert!(begun.elapsed() < Duration::from_secs(2), "all of them before one would time out");
    let failed = "parley_bus_asks_failed_total{ask=\"join\",reason=\"no_api_pod\"}";
    assert_eq!(asker.metric(failed), 20);
    assert_eq!(asker.metric("parley_bus_ask_seconds_count{ask=\"join\"}"), 20);
}

#[tokio::test]
async fn i9_an_answer_that_takes_too_long_is_none() {
    let nats = NatsServer::start().await;
    let _pod = ApiPod::answer(&nats, |_| std::future::pending()).await;
    let asker = Pod::connected(&nats.url()).await;
    let begun = Instant::now();
    assert_eq!(asker.bus.ask(&ask()).await, Err(AskError::NoAnswer));
    assert!(begun.elapsed() >= Duration::from_millis(1_990));
    assert!(begun.elapsed() < PATIENCE / 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn i9_asks_without_a_server_fail_in_bounded_time_however_many_there_are() {
    let mut nats = NatsServer::start().await;
    let asker = Pod::connected(&nats.url()).await;
    nats.stop();
    asker.reaches(|state| !state.connected).await;
    let begun = Instant::now();
    // More than the connection's own queue holds.
    let asks = (0..3_000).map(|_| {
        let bus = asker.bus.clone();
        tokio::spawn(async move { bus.ask(&ask()).await })
    });
    for answer in asks.collect::<Vec<_>>() {
        assert_eq!(soon(answer).await.unwrap(), Err(AskError::NoAnswer));
    }
    assert!(soon(asker.bus.barrier()).await.is_err());
    assert!(begun.elapsed() < PATIENCE / 2);
}

#[tokio::test]
async fn i9_a_pod_that_is_asked_too_much_answers_256_at_a_time_and_all_in_the_end() {
    let nats = NatsServer::start().await;
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicU64::new(0)));
    let answer = {
        let (gate, begun) = (gate.clone(), begun.clone());
        move |_| {
            begun.fetch_add(1, Ordering::SeqCst);
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                joined(1)
            }
        }
    };
    let _pod = ApiPod::answer(&nats, answer).await;
    let asker = stranger(&nats.url()).await;
    let inbox = asker.new_inbox();
    let mut answers = asker.subscribe(inbox.clone()).await.unwrap();
    let question = serde_json::to_vec(&ask()).unwrap();
    for _ in 0..300 {
        let question = question.clone().into();
        asker.publish_with_reply(ASKS, inbox.clone(), question).await.unwrap();
    }
    eventually("as many as there are places", async || {
        (begun.load(Ordering::SeqCst) == 256).then_some(())
    })
    .await;
    gate.add_permits(1);
    assert!(soon(answers.next()).await.is_some());
    eventually("one ended, one more began", async || {
        (begun.load(Ordering::SeqCst) == 257).then_some(())
    })
    .await;
    gate.add_permits(299);
    for _ in 1..300 {
        assert!(soon(answers.next()).await.is_some());
    }
}

#[tokio::test]
async fn a_pod_that_stops_finishes_what_it_began_and_is_asked_no_more() {
    let nats = NatsServer::start().await;
    let (gate, begun) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let answer = {
        let (gate, begun) = (gate.clone(), begun.clone());
        move |_| {
            begun.add_permits(1);
            let gate = gate.clone();
            async move {
                gate.acquire().await.unwrap().forget();
                joined(1)
            }
        }
    };
    let pod = ApiPod::answer(&nats, answer).await;
    let asker = Pod::connected(&nats.url()).await;
    let bus = asker.bus.clone();
    let asked = tokio::spawn(async move { bus.ask(&ask()).await });
    soon(begun.acquire()).await.unwrap().forget();
    pod.stop.send(()).unwrap();
    eventually("it leaves the queue group", async || {
        nats.subscriptions(ASKS).await.is_empty().then_some(())
    })
    .await;
    assert!(!pod.answering.is_finished());
    assert_eq!(asker.bus.ask(&ask()).await, Err(AskError::NoApiPod));
    gate.add_permits(1);
    assert_eq!(asked.await.unwrap(), Ok(joined(1)));
    assert_eq!(soon(pod.answering).await.unwrap(), Ok(()));
}

#[tokio::test]
async fn what_cannot_be_read_is_an_answer_too() {
    let nats = NatsServer::start().await;
    let stranger = stranger(&nats.url()).await;
    let pod = ApiPod::answer(&nats, |_| std::future::ready(joined(1))).await;
    let answer = stranger.request(ASKS, "no JSON".into()).await.unwrap();
    let answer: JoinAnswer = serde_json::from_slice(&answer.payload).unwrap();
    assert_eq!(answer, JoinAnswer::Unavailable);
    stranger.publish(ASKS, "without a reply subject".into()).await.unwrap();

    pod.stop.send(()).unwrap();
    soon(pod.answering).await.unwrap().unwrap();
    let mut asks = stranger.queue_subscribe(ASKS, "api".to_owned()).await.unwrap();
    eventually("the stranger listens", async || {
        (nats.subscriptions(ASKS).await.len() == 1).then_some(())
    })
    .await;
    let asker = Pod::connected(&nats.url()).await;
    let question = ask();
    let (answer, ()) = tokio::join!(asker.bus.ask(&question), async {
        let asked = soon(asks.next()).await.unwrap();
        stranger.publish(asked.reply.unwrap(), "no JSON".into()).await.unwrap();
    });
    assert_eq!(answer, Err(AskError::Unreadable));
}

#[tokio::test]
async fn pods_and_askers_meet_again_after_an_outage() {
    let mut nats = NatsServer::start().await;
    let _pod = ApiPod::answer(&nats, |_| std::future::ready(joined(4))).await;
    let asker = Pod::connected(&nats.url()).await;
    nats.stop();
    asker.reaches(|state| !state.connected).await;
    assert_eq!(asker.bus.ask(&ask()).await, Err(AskError::NoAnswer));
    nats.start_again().await;
    let answer = eventually("an answer", async || asker.bus.ask(&ask()).await.ok()).await;
    assert_eq!(answer, joined(4));
}

/// A client keeps what it is told without a connection, and takes no more at some point: whoever then asks would wait for ever.
#[tokio::test]
async fn i9_while_the_bus_is_away_nobody_is_asked_who_is_here_and_nothing_is_left_for_later() {
    let mut nats = NatsServer::start().await;
    let pod = Pod::start(&nats.url()).await;
    pod.reaches(|state| state.connected).await;
    nats.stop();
    pod.reaches(|state| !state.connected).await;
    let ask = HereAsk { asked: Vec::new() };
    // More than the client's queue of commands holds.
    for _ in 0..3_000 {
        let answer = pod.bus.ask_here(&ask, Duration::from_millis(1)).await;
        assert!(matches!(answer, Err(RelayError::Unavailable(_))), "{answer:?}");
    }
    nats.start_again().await;
    pod.reaches(|state| state.connected).await;
    let answer = soon(pod.bus.ask_here(&ask, Duration::from_millis(100))).await;
    assert_eq!(answer.unwrap(), []);
}
