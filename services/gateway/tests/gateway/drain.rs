//! How a pod lets go of its connections before it ends.

use std::time::Duration;

use futures_util::future::join_all;
use parley_domain::bus::Kind;
use parley_domain::ids::ChatId;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::client::{Client, Heard};
use crate::fixture::{ApiPod, SECOND, token_for};
use crate::process::Process;
use crate::server::{NatsServer, eventually, get, sample, soon};
use crate::users::chat_created;

const HANDSHAKE: &str = "/socket.io/?EIO=4&transport=polling";

/// So many in one room.
async fn crowd(pod: &Process, chat: ChatId, number: usize) -> Vec<Client> {
    let mut clients = Vec::new();
    for number in 0..number {
        let token = token_for(&format!("user-{number}"), 60);
        let mut client = Client::connect(pod.address, &token).await;
        client.join_at(chat, 0).await;
        clients.push(client);
    }
    clients
}

/// When each hears that it has to go, in order; what it hears before must be this version.
async fn ends(clients: Vec<Client>, chat: ChatId, version: u64) -> Vec<(Instant, usize)> {
    let ends = clients.into_iter().enumerate().map(|(number, mut client)| async move {
        loop {
            match client.next().await {
                Heard::Event(_, payload) => {
                    let heard = (payload["chatId"].as_str(), payload["version"].as_u64());
                    assert_eq!(heard, (Some(chat.to_string().as_str()), Some(version)));
                }
                Heard::Closed(code) => {
                    assert_eq!(code, Some(1001));
                    return (Instant::now(), number);
                }
                other => panic!("{other:?}"),
            }
        }
    });
    let mut ends = join_all(ends).await;
    ends.sort_unstable();
    ends
}

/// The order is random, and the pace is held: as much as a busy machine can show.
fn are_paced(ends: &[(Instant, usize)], per_second: u32) {
    let turns = u32::try_from(ends.len() - 1).unwrap();
    let planned = SECOND / per_second * turns;
    let took = ends[ends.len() - 1].0 - ends[0].0;
    let least = (planned * 9 / 10).saturating_sub(SECOND / 5);
    assert!(took >= least && took < planned * 3, "{took:?} instead of {planned:?}");
    let order: Vec<_> = ends.iter().map(|(_, number)| *number).collect();
    assert!(!order.is_sorted(), "in the order in which they came");
}

async fn metric(pod: &Process, series: &str) -> u64 {
    let (_, metrics) = get(pod.admin, "/metrics").await.expect("metrics");
    sample(&metrics, series)
}

async fn post(pod: &Process, path: &str) -> String {
    let mut stream = TcpStream::connect(pod.admin).await.unwrap();
    let request = format!("POST {path} HTTP/1.0\r\nHost: pod\r\nContent-Length: 0\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    answer
}

#[tokio::test]
async fn a_pod_that_is_told_to_stop_closes_one_by_one_and_serves_the_others() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let chat = api.chats.create(0);
    let mut pod = Process::start(&nats, &["--drain-per-second=15"]).await;
    let clients = crowd(&pod, chat, 45).await;
    assert_eq!(metric(&pod, "parley_gateway_drain_remaining").await, 0);
    assert_eq!(
        get(pod.admin, "/drain").await.unwrap().1,
        "{\"draining\":false,\"remaining\":45}\n"
    );
    let ends = tokio::spawn(ends(clients, chat, 1));
    pod.terminate();
    let ready = (503, "not ready: draining\n".to_owned());
    eventually("it drains", async || (get(pod.admin, "/readyz").await? == ready).then_some(()))
        .await;
    let refused = get(pod.address, HANDSHAKE).await.expect("an answer");
    assert_eq!(refused.0, 503, "{}", refused.1);
    let left = metric(&pod, "parley_gateway_drain_remaining").await;
    assert!((1..=45).contains(&left), "{left}");
    // Whoever waits for its turn is told.
    let delivered = metric(&pod, "parley_gateway_delivered_total").await;
    api.say(chat);
    eventually("somebody hears it", async || {
        (metric(&pod, "parley_gateway_delivered_total").await > delivered).then_some(())
    })
    .await;
    are_paced(&soon(ends).await.unwrap(), 15);
    assert_eq!(pod.status().await, Some(0));
}

#[tokio::test]
async fn a_pod_with_more_connections_than_time_is_faster() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let chat = api.chats.create(0);
    let mut pod = Process::start(&nats, &["--drain-per-second=1", "--drain-seconds=2"]).await;
    let clients = crowd(&pod, chat, 41).await;
    let ends = tokio::spawn(ends(clients, chat, 1));
    pod.terminate();
    are_paced(&soon(ends).await.unwrap(), 20);
    assert_eq!(pod.status().await, Some(0));
}

#[tokio::test]
async fn a_second_signal_ends_a_drain_in_which_people_are_still_told_things() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let chat = api.chats.create(0);
    let mut pod = Process::start(&nats, &["--drain-per-second=1"]).await;
    let mut clients = crowd(&pod, chat, 15).await;
    pod.terminate();
    eventually("the first is closed", async || {
        (metric(&pod, "parley_gateway_closed_total{reason=\"server_going_away\"}").await > 0)
            .then_some(())
    })
    .await;
    let users: Vec<_> = (0..15).map(|number| format!("user-{number}")).collect();
    let users: Vec<_> = users.iter().map(String::as_str).collect();
    api.publisher().publish(&chat_created(&api.chats, Kind::ChatCreated, &users));
    let first = join_all(clients.iter_mut().map(Client::next)).await;
    let told = |heard: &&Heard| matches!(heard, Heard::Event(name, _) if name == "chat-created");
    assert!(first.iter().filter(told).count() >= 5, "{first:?}");
    let begun = Instant::now();
    pod.terminate();
    assert_eq!(pod.status().await, Some(1));
    assert!(begun.elapsed() < SECOND * 5);
}

#[tokio::test]
async fn a_pod_is_drained_by_hand_and_does_not_end() {
    let nats = NatsServer::start().await;
    let api = ApiPod::start(&nats).await;
    let chat = api.chats.create(0);
    let mut pod = Process::start(&nats, &["--drain-per-second=20"]).await;
    let clients = crowd(&pod, chat, 20).await;
    let ends = tokio::spawn(ends(clients, chat, 1));
    let answer = post(&pod, "/drain").await;
    assert!(answer.starts_with("HTTP/1.0 202"), "{answer}");
    assert!(answer.contains("\"draining\":true,\"remaining\":"), "{answer}");
    assert_eq!(get(pod.admin, "/readyz").await.unwrap().0, 503);
    assert_eq!(get(pod.address, HANDSHAKE).await.unwrap().0, 503);
    are_paced(&soon(ends).await.unwrap(), 20);
    let done = "{\"draining\":true,\"remaining\":0}\n";
    eventually("nothing is left", async || {
        (get(pod.admin, "/drain").await?.1 == done).then_some(())
    })
    .await;
    assert!(post(&pod, "/drain").await.starts_with("HTTP/1.0 202"), "once more does no harm");
    assert_eq!(get(pod.address, HANDSHAKE).await.unwrap().0, 503);
    assert!(pod.is_running());
    let begun = Instant::now();
    pod.terminate();
    assert_eq!(pod.status().await, Some(0));
    assert!(begun.elapsed() < Duration::from_secs(5), "there was nothing left to do");
}
