//! Known holes of chat systems, each closed by a test that is named after its number: see deploy/SECURITY-TESTS.md.

use std::net::SocketAddr;

use futures_util::future::join_all;
use futures_util::stream::{self, StreamExt};
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::UserId;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::client::{Client, Heard};
use crate::fixture::{ApiPod, SECOND, SECRET, World, event, sign, token_for};
use crate::process::Process;
use crate::server::{NatsServer, soon};

pub(crate) const MIB: u64 = 1024 * 1024;
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";
const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// The answer to a head that was written by hand, and the connection.
pub(crate) async fn asks(gateway: SocketAddr, head: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(gateway).await.unwrap();
    // It may have said no before it was told everything.
    let _ = stream.write_all(head.as_bytes()).await;
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(b"\r\n\r\n") && soon(stream.read(&mut byte)).await.unwrap_or(0) == 1 {
        answer.push(byte[0]);
    }
    (stream, String::from_utf8(answer).unwrap())
}

/// A request for a WebSocket, with these fields.
pub(crate) fn upgrade(fields: &str) -> String {
    format!(
        "GET {WEBSOCKET} HTTP/1.1\r\nHost: parley\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{fields}\r\n"
    )
}

/// The code with which the gateway closes a WebSocket that was written to by hand; 0 for none.
pub(crate) async fn closes(mut stream: TcpStream) -> u16 {
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    // A close frame of a server: its length, and a code in two bytes.
    let frame = rest.windows(4).rev().find(|it| it[0] == 0x88 && it[1] >= 2);
    frame.map_or(0, |it| u16::from_be_bytes([it[2], it[3]]))
}

#[tokio::test]
async fn class_03_in_a_stream_of_500_a_second_a_removal_is_the_last_that_is_heard() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut stays = world.gateway.client("alice").await;
    let mut leaves = [world.gateway.client("bob").await, world.gateway.client("bob").await];
    stays.join_at(chat, 0).await;
    for client in &mut leaves {
        client.join_at(chat, 0).await;
    }
    let (half, all) = (500, 1_000);
    let begun = Instant::now();
    for n in 1..=all {
        sleep_until(begun + SECOND / 500 * n).await;
        if n == half {
            let removal = |version| {
                let payload = json!({ "chatId": chat, "version": version, "userId": "bob" });
                RoomEvent {
                    kind: Kind::ParticipantRemoved,
                    affected: vec![UserId::parse("bob").unwrap()],
                    event: parley_domain::event::encode("participant-removed", &payload).into(),
                    ..event(chat, version, 0)
                }
            };
            let version = world.api.chats.commit_as(chat, removal);
            world.api.publisher().publish(&removal(version));
        } else {
            world.api.say(chat);
        }
    }
    for client in &mut leaves {
        for version in 1..half {
            client.hears(chat, version.into()).await;
        }
        let (name, payload) = client.event().await;
        assert_eq!((name.as_str(), &payload["version"]), ("participant-removed", &json!(half)));
    }
    for version in (1..half).map(u64::from) {
        stays.hears(chat, version).await;
    }
    assert_eq!(stays.event().await.0, "participant-removed");
    for version in (half + 1..=all).map(u64::from) {
        stays.hears(chat, version).await;
    }
    for client in &mut leaves {
        client.hears_nothing().await;
    }
}

/// Revokes somebody's tokens while they connect; how long the connection lived after everybody was told.
async fn race(world: &World, number: u32) -> std::time::Duration {
    let user = format!("user-{number}");
    let token = sign(&json!({ "sub": user, "iat": 1_000, "exp": 4_000_000_000_u64 }), SECRET);
    let mut client = Client::open(world.gateway.address, "", None).await;
    let connect = format!("40{}", json!({ "token": token }));
    let revoke = async || world.api.announce(&world.api.chats.revoke(&user, 1_000)).await;
    match number % 4 {
        // Before it, beside it, after its answer, or committed before and told after.
        0 => {
            revoke().await;
            client.send(&connect).await;
        }
        1 => drop(tokio::join!(client.send(&connect), revoke())),
        2 => {
            client.send(&connect).await;
            assert_eq!(client.next().await, Heard::Connected);
            revoke().await;
        }
        _ => {
            let revocation = world.api.chats.revoke(&user, 1_000);
            client.send(&connect).await;
            world.api.announce(&revocation).await;
        }
    }
    let told = Instant::now();
    loop {
        match client.next().await {
            Heard::Connected => {}
            Heard::ConnectError(error) if error["data"]["code"] == "token_revoked" => break,
            Heard::Closed(Some(1001)) => break,
            other => panic!("{number}: {other:?}"),
        }
    }
    told.elapsed()
}

#[tokio::test]
async fn class_04_a_token_that_is_revoked_around_its_connect_opens_nothing_a_thousand_times() {
    let world = World::start().await;
    let races = stream::iter(0..1_000).map(|number| race(&world, number)).buffer_unordered(16);
    let mut lived: Vec<_> = races.collect().await;
    lived.sort_unstable();
    assert_eq!(lived.len(), 1_000);
    // All have ended; on a busy machine some have to wait for their turn.
    assert!(lived[500] < SECOND, "{:?}", &lived[500..]);
    world.gateway.reaches("parley_gateway_connections", 0).await;
}

#[tokio::test]
async fn class_10_no_frame_and_no_request_takes_the_memory_that_it_announces() {
    let nats = NatsServer::start().await;
    let _api = ApiPod::start(&nats).await;
    let mut pod = Process::start(&nats, &[]).await;
    // What the process does for the first time takes memory of its own.
    for user in ["alice", "bob"] {
        Client::connect(pod.address, &token_for(user, 60)).await.close().await;
    }
    let before = pod.rest();
    let lengths: [u64; 6] = [1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40, 1 << 62, u64::MAX];
    for length in lengths {
        let lies = (0..50).map(async |_| {
            let (mut stream, answer) = asks(pod.address, &upgrade("")).await;
            assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
            let mut frame = vec![0x81, 0xff];
            frame.extend_from_slice(&length.to_be_bytes());
            frame.extend_from_slice(&[0; 4]);
            stream.write_all(&frame).await.unwrap();
            closes(stream).await
        });
        for code in join_all(lies).await {
            // What no frame may have as its length is an error of the protocol.
            assert!([1002, 1009].contains(&code), "{code} for {length}");
        }
        let said = format!(
            "POST {POLLING}&sid=x HTTP/1.1\r\nHost: parley\r\nContent-Length: {length}\r\n\r\n"
        );
        let (_, answer) = asks(pod.address, &said).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
        let chunk = format!(
            "POST {POLLING}&sid=x HTTP/1.1\r\nHost: parley\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n"
        );
        let (_, answer) = asks(pod.address, &chunk).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    // Attachments that are announced and never come, as many as a number can say.
    for attachments in ["99999999999999999999-", "4294967295-", "1000000-"] {
        let mut client = Client::connect(pod.address, &token_for("carol", 60)).await;
        client.send(&format!("45{attachments}[\"x\",{{\"_placeholder\":true,\"num\":0}}]")).await;
        assert!(matches!(client.next().await, Heard::Closed(_)), "{attachments}");
    }
    let grown = pod.height().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes");
    assert!(pod.is_running());
}

/// Whatever a client that connects shows besides its token counts for nothing.
#[tokio::test]
async fn class_30_a_page_of_another_origin_gets_in_by_neither_transport_nor_by_a_cookie() {
    let world = World::with(&["--origins=https://app.example"]).await;
    let get =
        |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: parley\r\n{fields}\r\n");
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil.example",
        "https://app.example:8443",
        "https://evil.example/https://app.example",
        "https://xapp.example",
        "null",
        "",
    ] {
        let field = format!("Origin: {origin}\r\n");
        for head in [get(POLLING, &field), upgrade(&field)] {
            let (_, answer) = asks(world.gateway.address, &head).await;
            assert!(answer.starts_with("HTTP/1.1 403"), "{origin}: {answer}");
        }
    }
    let field = "Origin: https://app.example\r\n";
    let (_, answer) = asks(world.gateway.address, &get(POLLING, field)).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let (_, answer) = asks(world.gateway.address, &upgrade(field)).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");

    // A browser sends cookies by itself; a token has to be said by the page.
    let token = token_for("alice", 60);
    let open = World::start().await;
    let cookies = format!(
        "Origin: https://evil.example\r\nCookie: token={token}; Authorization=Bearer {token}; io={token}\r\n"
    );
    let (stream, answer) = asks(open.gateway.address, &upgrade(&cookies)).await;
    assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
    assert!(!answer.to_lowercase().contains("set-cookie"), "{answer}");
    let mut client = Client::on(stream).await;
    client.send("40").await;
    let heard = client.next().await;
    let Heard::ConnectError(error) = heard else { panic!("{heard:?}") };
    assert_eq!(error["data"]["code"], "missing_token");
}
