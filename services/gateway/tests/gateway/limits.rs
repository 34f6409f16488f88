//! Each limit of a pod: what happens there, and that it is written down.

use std::collections::BTreeMap;
use std::path::Path;

use parley_domain::ids::ChatId;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use crate::client::{Client, Heard};
use crate::fixture::{World, token_for};
use crate::process::{NOWHERE, command};
use crate::server::{eventually, get, soon};

fn code(ack: &Value) -> &str {
    ack["error"]["code"].as_str().unwrap_or("none")
}

#[tokio::test]
async fn i9_the_connections_of_a_user_are_limited_at_connect() {
    let world = World::with(&["--max-user-connections=2"]).await;
    let first = world.gateway.client("alice").await;
    let _second = world.gateway.client("alice").await;
    let _bob = world.gateway.client("bob").await;
    let mut third = Client::open(world.gateway.address, "", None).await;
    let connect = format!("40{}", json!({ "token": token_for("alice", 60) }));
    third.send(&connect).await;
    let Heard::ConnectError(error) = third.next().await else { panic!("not refused") };
    assert_eq!(error["message"], "too many connections");
    assert_eq!(error["data"]["code"], "too_many_connections");
    let series = "parley_gateway_connects_total{outcome=\"too_many_connections\"}";
    assert_eq!(world.gateway.metric(series).await, 1);
    first.close().await;
    world.gateway.reaches("parley_gateway_connections", 3).await;
    third.send(&connect).await;
    assert_eq!(third.next().await, Heard::Connected, "there is room again");
}

#[tokio::test]
async fn i9_the_rooms_of_a_connection_are_limited() {
    let world = World::with(&["--max-rooms=2"]).await;
    let chats: Vec<ChatId> = (0..3).map(|_| world.api.chats.create(0)).collect();
    let mut client = world.gateway.client("alice").await;
    client.join_at(chats[0], 0).await;
    client.join_at(chats[1], 0).await;
    assert_eq!(code(&client.join(chats[2]).await), "too_many_rooms");
    assert_eq!(world.gateway.rooms().await, 2);
    client.join_at(chats[1], 0).await;
    client.leave(chats[0]).await;
    client.join_at(chats[2], 0).await;
    world.api.say(chats[2]);
    client.hears(chats[2], 1).await;
    let series = "parley_gateway_joins_total{outcome=\"too_many_rooms\"}";
    assert_eq!(world.gateway.metric(series).await, 1);
}

#[tokio::test]
async fn i9_the_joins_of_a_connection_are_limited_in_a_while() {
    let world = World::with(&["--joins-per-second=1"]).await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    for _ in 0..10 {
        client.join_at(chat, 0).await;
    }
    let asked = world.api.chats.asked();
    assert_eq!(code(&client.join(chat).await), "rate_limited");
    let refresh = client.ask("refresh-token", &json!(token_for("alice", 60))).await;
    assert_eq!(code(&refresh), "rate_limited");
    assert_eq!(world.api.chats.asked(), asked, "a refusal costs an api pod nothing");
    // It stays where it was, and is let in again later.
    world.api.say(chat);
    client.hears(chat, 1).await;
    eventually("another join", async || (client.join(chat).await["success"] == true).then_some(()))
        .await;
}

#[tokio::test]
async fn i9_a_connection_that_says_too_much_is_closed() {
    let world = World::with(&["--events-per-second=1"]).await;
    let mut client = world.gateway.client("alice").await;
    // Ten at once, of which the CONNECT is one.
    for _ in 0..10 {
        client.send("42[\"nothing\"]").await;
    }
    client.is_closed_with(1008).await;
    assert_eq!(world.gateway.closed("too_many_messages").await, 1);
}

#[tokio::test]
async fn i9_what_waits_for_the_one_before_is_limited_and_nothing_of_it_is_lost() {
    let world = World::with(&["--inbox-events=2"]).await;
    let chat = world.api.chats.create(0);
    let gate = world.api.chats.gate(chat);
    let mut client = world.gateway.client("alice").await;
    let mut acks = Vec::new();
    for _ in 0..8 {
        acks.push(client.emit("join-chat-room", &json!(chat)).await);
    }
    world.gateway.reaches("parley_gateway_inbox_pauses_total", 1).await;
    gate.add_permits(1_000);
    for ack in acks {
        assert_eq!(client.ack(ack).await["success"], true);
    }
}

#[tokio::test]
async fn i9_a_pod_takes_so_many_connections() {
    let world = World::with(&["--max-connections=2"]).await;
    let _clients = [world.gateway.client("alice").await, world.gateway.client("bob").await];
    let path = "/socket.io/?EIO=4&transport=polling";
    assert_eq!(get(world.gateway.address, path).await.unwrap().0, 503);
    let series = "parley_gateway_refused_total{reason=\"full\"}";
    assert_eq!(world.gateway.metric(series).await, 1);
}

#[tokio::test]
async fn i9_a_message_may_not_be_longer_than_allowed() {
    let world = World::with(&["--max-payload-bytes=2000"]).await;
    let mut client = world.gateway.client("alice").await;
    let ack = client.ask("join-chat-room", &json!("x".repeat(1_900))).await;
    assert_eq!(code(&ack), "invalid_chat_id");
    client.emit("join-chat-room", &json!("x".repeat(2_000))).await;
    client.is_closed_with(1009).await;
    assert_eq!(world.gateway.closed("payload_too_large").await, 1);
}

#[tokio::test]
async fn i9_who_never_connects_is_closed() {
    let world = World::with(&["--connect-timeout-ms=300", "--header-timeout-ms=300"]).await;
    let mut silent = Client::open(world.gateway.address, "", None).await;
    let mut refused = Client::open(world.gateway.address, "", None).await;
    refused.send(&format!("40{}", json!({ "token": "garbage" }))).await;
    assert!(matches!(refused.next().await, Heard::ConnectError(_)));
    for client in [&mut silent, &mut refused] {
        client.is_closed_with(1008).await;
    }
    assert_eq!(world.gateway.closed("connect_timeout").await, 2);
    let mut mute = TcpStream::connect(world.gateway.address).await.unwrap();
    assert_eq!(soon(mute.read(&mut [0; 1])).await.unwrap(), 0, "closed without a word");
    world.gateway.reaches("parley_gateway_refused_total{reason=\"head_timeout\"}", 1).await;
}

#[tokio::test]
async fn i9_who_does_not_answer_a_heartbeat_is_closed() {
    let world = World::with(&["--ping-interval-ms=200", "--ping-timeout-ms=200"]).await;
    let client = world.gateway.client("alice").await;
    // It does not read, and so it does not answer.
    world.gateway.reaches("parley_gateway_closed_total{reason=\"ping_timeout\"}", 1).await;
    drop(client);
}

/// The limits as `--help` tells them, with their defaults.
fn helped() -> BTreeMap<String, String> {
    let help = command(NOWHERE, &["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let section = help.split("\nLimits:\n").nth(1).expect("a section of limits");
    let ends = section.lines().position(|line| !line.is_empty() && !line.starts_with(' '));
    let lines = section.lines().take(ends.unwrap_or(usize::MAX)).map(str::trim);
    let text = lines.collect::<Vec<_>>().join(" ");
    let mut limits = BTreeMap::new();
    for part in text.split("[env: ").skip(1) {
        let name = part.split('=').next().unwrap().to_owned();
        let default = part.split("[default: ").nth(1).expect("a default");
        limits.insert(name, default.split(']').next().unwrap().to_owned());
    }
    limits
}

/// The rows of the README's table of limits, cells without their blanks.
fn documented() -> Vec<Vec<String>> {
    let readme = include_str!("../../README.md");
    let rows = readme.lines().filter(|line| line.starts_with("| `PARLEY_"));
    let cells = |row: &str| row.trim_matches('|').split('|').map(|c| c.trim().to_owned()).collect();
    let rows: Vec<Vec<String>> = rows.map(cells).collect();
    assert!(rows.iter().all(|row| row.len() == 5), "setting, default, outcome, metric, tests");
    rows
}

/// What stands between backticks.
fn quoted(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

#[test]
fn every_limit_is_documented_and_nothing_else_is() {
    let documented: BTreeMap<String, String> =
        documented().into_iter().map(|row| (row[0].replace('`', ""), row[1].clone())).collect();
    assert_eq!(documented, helped());
}

#[test]
fn every_limit_has_a_test() {
    let tests = |folder: &str| -> String {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let files = folder.read_dir().unwrap().map(|file| file.unwrap().path());
        files.map(|file| std::fs::read_to_string(file).unwrap()).collect()
    };
    let source = tests("tests/gateway") + &tests("../socketio/tests/conformance");
    for row in documented() {
        let names: Vec<&str> = quoted(&row[4]).collect();
        assert!(!names.is_empty(), "{}", row[0]);
        for name in names {
            assert!(source.contains(&format!("async fn {name}()")), "{}: {name}", row[0]);
        }
    }
}

#[tokio::test]
async fn every_limit_is_measured() {
    let world = World::start().await;
    let (_, metrics) = get(world.gateway.admin_address(), "/metrics").await.unwrap();
    for row in documented() {
        let series: Vec<&str> = quoted(&row[3]).collect();
        assert!(!series.is_empty(), "{}", row[0]);
        for series in series {
            let there = metrics.lines().any(|line| line.starts_with(&format!("{series} ")));
            assert!(there, "{}: {series}", row[0]);
        }
    }
}
