//! Everything has a limit, and a name for what happens there.

use crate::support::{TestServer, quick};
use parley_socketio::{Config, DisconnectReason, Refusal};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

fn small() -> Config {
    Config { max_payload: 100, ..Config::default() }
}

#[tokio::test]
async fn a_post_may_be_as_long_as_the_limit_and_no_longer() {
    let server = TestServer::with(small()).await;
    let session = server.poll_session("/engine.io/").await;
    let longest = "4".repeat(100);
    assert_eq!(session.post(&longest).await.status, 200);
    assert_eq!(session.poll().await.body, longest);
    assert_eq!(session.post("4".repeat(101)).await.status, 413);
    assert_eq!(server.closed().await, DisconnectReason::PayloadTooLarge);
    session.assert_unknown().await;
}

#[tokio::test]
async fn a_websocket_message_may_be_as_long_as_the_limit_and_no_longer() {
    let server = TestServer::with(small()).await;
    let mut ws = server.engine_ws().await;
    let longest = "4".repeat(100);
    ws.send(&longest).await;
    assert_eq!(ws.text().await, longest);
    ws.send(&"4".repeat(101)).await;
    assert_eq!(ws.close_code().await, Some(1009));
    assert_eq!(server.closed().await, DisconnectReason::PayloadTooLarge);
}

#[tokio::test]
async fn a_poll_is_answered_with_at_most_the_limit() {
    let server = TestServer::with(small()).await;
    let session = server.poll_session("/engine.io/").await;
    let message = format!("4{}", "x".repeat(40));
    for _ in 0..5 {
        assert_eq!(session.post(&message).await.status, 200);
    }
    let mut received = 0;
    while received < 5 {
        let answer = session.poll().await;
        assert!(answer.body.len() <= 100);
        received += answer.body.split('\x1e').count();
    }
    assert_eq!(received, 5);
}

#[tokio::test]
async fn attachments_are_limited_in_number_and_together() {
    let config = Config { max_attachments: 2, ..small() };
    let server = TestServer::with(config).await;
    let mut ws = server.joined_ws().await;
    ws.send("453-[\"a\"]").await;
    assert_eq!(ws.close_code().await, Some(1009));
    let mut ws = server.joined_ws().await;
    ws.send("452-[\"a\"]").await;
    ws.send_binary(&[0; 60]).await;
    ws.send_binary(&[0; 60]).await;
    assert_eq!(ws.close_code().await, Some(1009));
    assert_eq!(server.disconnect().await.1, DisconnectReason::PayloadTooLarge);
}

#[tokio::test]
async fn sessions_are_limited() {
    let server = TestServer::with(Config { max_connections: 2, ..Config::default() }).await;
    let first = server.poll_session("/engine.io/").await;
    let _second = server.engine_ws().await;
    let path = "/engine.io/?EIO=4&transport=";
    assert_eq!(server.get(&format!("{path}polling")).await.status, 503);
    let websocket = crate::support::Ws::open(server.address, &format!("{path}websocket")).await;
    assert_eq!(websocket.err(), Some(503));
    assert!(server.echo.stats().refused.contains(&(Refusal::Full, 2)));
    assert_eq!(first.post("1").await.status, 200);
    while server.echo.connections() > 1 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.get(&format!("{path}polling")).await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_draining_server_refuses_new_sessions_and_serves_the_old() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    server.echo.refuse_new();
    assert_eq!(server.get("/engine.io/?EIO=4&transport=polling").await.status, 503);
    assert!(server.echo.stats().refused.contains(&(Refusal::Draining, 1)));
    assert_eq!(session.post("4x").await.status, 200);
    assert_eq!(session.poll().await.body, "4x");
}

#[tokio::test]
async fn a_head_has_to_come_in_time() {
    let config = Config { header_timeout: Duration::from_millis(50), ..quick() };
    let server = TestServer::with(config).await;
    let mut slow = TcpStream::connect(server.address).await.expect("a connection");
    slow.write_all(b"GET /engine.io/ HTTP/1.1\r\nHost: te").await.expect("written");
    let mut rest = Vec::new();
    let end = crate::support::soon(slow.read_to_end(&mut rest)).await;
    assert!(end.is_err() || !rest.starts_with(b"HTTP/1.1 200"));
}

#[tokio::test]
async fn a_body_has_to_come_in_time() {
    let config = Config { body_timeout: Duration::from_millis(50), ..Config::default() };
    let server = TestServer::with(config).await;
    let session = server.poll_session("/engine.io/").await;
    let mut slow = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!("POST {} HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n4hi", session.url);
    slow.write_all(head.as_bytes()).await.expect("written");
    assert_eq!(server.closed().await, DisconnectReason::TransportError);
}

#[tokio::test]
async fn two_posts_at_a_time_close_the_session() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut slow = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!("POST {} HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\n4hi", session.url);
    slow.write_all(head.as_bytes()).await.expect("written");
    // Until the slow one has begun, others are fine.
    while session.post("3").await.status == 200 {}
    assert_eq!(server.closed().await, DisconnectReason::RequestOverlap);
    session.assert_unknown().await;
}

#[tokio::test]
async fn a_head_may_not_be_endless() {
    let server = TestServer::start().await;
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = format!("GET /engine.io/ HTTP/1.1\r\nX-Long: {}", "x".repeat(64 * 1024));
    // The server may refuse it, and reset the connection, before all of it is there.
    let written = stream.write_all(head.as_bytes()).await;
    let mut answer = Vec::new();
    let read = crate::support::soon(stream.read_to_end(&mut answer)).await;
    assert!(
        written.is_err() || read.is_err() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}
