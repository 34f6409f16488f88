//! Pings, pongs, and what happens without them.

use crate::support::{TestServer, quick};
use parley_socketio::DisconnectReason;
use std::time::{Duration, Instant};

#[tokio::test]
async fn polling_is_pinged_and_answers() {
    let server = TestServer::with(quick()).await;
    let session = server.poll_session("/engine.io/").await;
    for _ in 0..3 {
        let answer = session.poll().await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "2"));
        assert_eq!(session.post("3").await.status, 200);
    }
}

#[tokio::test]
async fn polling_without_a_pong_is_closed() {
    let server = TestServer::with(quick()).await;
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(server.closed().await, DisconnectReason::PingTimeout);
    session.assert_unknown().await;
}

#[tokio::test]
async fn a_poll_that_is_parked_when_the_session_dies_is_refused() {
    let server = TestServer::with(quick()).await;
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(session.poll().await.body, "2");
    let answer = session.poll().await;
    assert_eq!((answer.status, answer.code()), (400, Some(1)));
}

#[tokio::test]
async fn websocket_is_pinged_and_answers() {
    let server = TestServer::with(quick()).await;
    let mut ws = server.engine_ws().await;
    let start = Instant::now();
    for _ in 0..3 {
        assert_eq!(ws.text().await, "2");
        ws.send("3").await;
    }
    assert!(start.elapsed() >= Duration::from_millis(850), "a ping every interval");
}

#[tokio::test]
async fn websocket_without_a_pong_is_closed() {
    let server = TestServer::with(quick()).await;
    let mut ws = server.engine_ws().await;
    assert_eq!(ws.close_code().await, Some(1001));
    assert_eq!(server.closed().await, DisconnectReason::PingTimeout);
}

#[tokio::test]
async fn a_namespace_learns_that_its_client_is_dead() {
    let server = TestServer::with(quick()).await;
    let _silent = server.joined_ws().await;
    assert_eq!(server.disconnect().await, ("/".to_owned(), DisconnectReason::PingTimeout));
    assert_eq!(server.server.connections(), 0);
}
