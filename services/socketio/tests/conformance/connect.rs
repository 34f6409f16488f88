//! Joining and leaving namespaces.

use crate::support::{TestServer, quick};
use parley_socketio::{Config, DisconnectReason};
use std::time::Duration;

const SOCKET_IO: &str = "/socket.io/?EIO=4&transport=websocket";

/// Sends a CONNECT, and checks the answer and the event after it.
async fn assert_joins(packet: &str, prefix: &str, auth: &str) {
    let server = TestServer::start().await;
    let check = |connected: &str, event: &str| {
        let json = connected.strip_prefix(prefix).expect("a CONNECT");
        let answer: serde_json::Value = serde_json::from_str(json).expect("JSON");
        let answer = answer.as_object().expect("an object");
        assert_eq!(answer.len(), 1, "only a sid");
        assert!(answer["sid"].as_str().expect("a sid").len() >= 20);
        assert_eq!(event, auth);
    };
    let mut ws = server.ws(SOCKET_IO).await;
    ws.text().await;
    ws.send(packet).await;
    check(&ws.text().await, &ws.text().await);
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post(packet).await.status, 200);
    let packets = session.packets(2).await;
    check(&packets[0], &packets[1]);
}

#[tokio::test]
async fn a_client_joins_the_main_namespace() {
    assert_joins("40", "40", "42[\"auth\",{}]").await;
    assert_joins("40{\"token\":\"123\"}", "40", "42[\"auth\",{\"token\":\"123\"}]").await;
}

#[tokio::test]
async fn a_client_joins_a_custom_namespace() {
    assert_joins("40/custom,", "40/custom,", "42/custom,[\"auth\",{}]").await;
    assert_joins("40/custom", "40/custom,", "42/custom,[\"auth\",{}]").await;
    let packet = "40/custom,{\"token\":\"abc\"}";
    assert_joins(packet, "40/custom,", "42/custom,[\"auth\",{\"token\":\"abc\"}]").await;
}

#[tokio::test]
async fn an_unknown_namespace_is_an_error_and_not_the_end() {
    let server = TestServer::start().await;
    let mut ws = server.ws(SOCKET_IO).await;
    ws.text().await;
    ws.send("40/random").await;
    assert_eq!(ws.text().await, "44/random,{\"message\":\"Invalid namespace\"}");
    ws.send("40").await;
    assert!(ws.text().await.starts_with("40{"));
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40/random,").await.status, 200);
    assert_eq!(session.packets(1).await, ["44/random,{\"message\":\"Invalid namespace\"}"]);
}

#[tokio::test]
async fn a_refusal_has_a_message_and_data_and_a_client_may_try_again() {
    let server = TestServer::start().await;
    let mut ws = server.ws(SOCKET_IO).await;
    ws.text().await;
    ws.send("40/secret,{}").await;
    let refused = "44/secret,{\"message\":\"Not allowed\",\"data\":{\"code\":\"unauthorized\"}}";
    assert_eq!(ws.text().await, refused);
    ws.send("40/secret,{\"key\":1}").await;
    assert!(ws.text().await.starts_with("40/secret,{"));
}

#[tokio::test]
async fn a_client_that_joins_nothing_is_closed() {
    let config = Config { connect_timeout: Duration::from_millis(100), ..Config::default() };
    let server = TestServer::with(config).await;
    let mut silent = server.ws(SOCKET_IO).await;
    let polling = server.poll_session("/socket.io/").await;
    silent.text().await;
    assert_eq!(silent.close_code().await, Some(1008));
    let mut refused = server.ws(SOCKET_IO).await;
    refused.text().await;
    refused.send("40/random,").await;
    assert!(refused.text().await.starts_with("44/random,"));
    assert_eq!(refused.close_code().await, Some(1008), "trying does not count");
    while server.server.connections() > 0 {
        tokio::task::yield_now().await;
    }
    polling.assert_unknown().await;
    let closed = server.server.stats().closed;
    assert!(closed.contains(&(DisconnectReason::ConnectTimeout, 3)));
}

#[tokio::test]
async fn joining_is_enough_to_stay() {
    let server = TestServer::with(quick()).await;
    let mut ws = server.joined_ws().await;
    // Pings come for longer than a client may take to join.
    for _ in 0..4 {
        assert_eq!(ws.text().await, "2");
        ws.send("3").await;
    }
}

#[tokio::test]
async fn joining_twice_closes_the_connection() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("40").await;
    assert_eq!(ws.close_code().await, Some(1002));
    assert_eq!(server.disconnect().await, ("/".to_owned(), DisconnectReason::ProtocolError));
}

#[tokio::test]
async fn one_connection_joins_several_namespaces_and_leaves_one() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("40/custom,").await;
    assert!(ws.text().await.starts_with("40/custom,{\"sid\":"));
    assert_eq!(ws.text().await, "42/custom,[\"auth\",{}]");
    let (main, custom) = (server.socket().await, server.socket().await);
    assert_ne!(main.id(), custom.id());
    assert_ne!(main.key(), custom.key());
    ws.send("41/custom,").await;
    ws.send("42[\"message\",\"message to main namespace\"]").await;
    assert_eq!(ws.text().await, "42[\"message-back\",\"message to main namespace\"]");
    let left = ("/custom".to_owned(), DisconnectReason::ClientNamespace);
    assert_eq!(server.disconnect().await, left);
    assert!(custom.is_closed() && !main.is_closed());
    assert!(custom.emit("late", &()).is_err());
    ws.send("40/custom,").await;
    assert!(ws.text().await.starts_with("40/custom,"), "and may come again");
}

#[tokio::test]
async fn leaving_the_last_namespace_keeps_the_connection_for_a_while() {
    let server = TestServer::with(quick()).await;
    let mut ws = server.joined_ws().await;
    ws.send("41").await;
    assert_eq!(server.disconnect().await.1, DisconnectReason::ClientNamespace);
    assert_eq!(ws.text().await, "2");
    ws.send("3").await;
    let mut last = ws.text().await;
    while last == "2" {
        ws.send("3").await;
        last = match ws.next().await {
            Some(tokio_tungstenite::tungstenite::Message::Text(text)) => text.to_string(),
            _ => "closed".to_owned(),
        };
    }
    assert_eq!(last, "closed");
}

#[tokio::test]
async fn the_server_says_goodbye_to_one_namespace() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("42[\"leave\"]").await;
    ws.send("42[\"message\",\"crossed the goodbye\"]").await;
    assert_eq!(ws.text().await, "41");
    assert_eq!(server.disconnect().await, ("/".to_owned(), DisconnectReason::ServerNamespace));
    ws.send("40").await;
    assert!(ws.text().await.starts_with("40{"), "the connection is still there");
}

#[tokio::test]
async fn a_goodbye_while_joining_follows_the_welcome() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("40/leaving,").await;
    assert!(ws.text().await.starts_with("40/leaving,{"));
    assert_eq!(ws.text().await, "41/leaving,");
    let left = ("/leaving".to_owned(), DisconnectReason::ServerNamespace);
    assert_eq!(server.disconnect().await, left);
}

#[tokio::test]
async fn packets_to_a_namespace_that_was_not_joined_close_the_connection() {
    let server = TestServer::start().await;
    for packet in ["42[\"message\",1]", "41", "431[]", "42/custom,[\"a\"]", "44{\"message\":\"x\"}"]
    {
        let mut ws = server.ws(SOCKET_IO).await;
        ws.text().await;
        ws.send(packet).await;
        assert_eq!(ws.close_code().await, Some(1002), "{packet}");
    }
    let mut ws = server.joined_ws().await;
    ws.send("42/custom,[\"message\",1]").await;
    assert_eq!(ws.close_code().await, Some(1002));
    assert_eq!(server.disconnect().await.1, DisconnectReason::ProtocolError);
}

#[tokio::test]
async fn a_connection_joins_only_so_many_namespaces() {
    let server = TestServer::with(Config { max_namespaces: 1, ..Config::default() }).await;
    let mut ws = server.joined_ws().await;
    ws.send("40/custom,").await;
    assert_eq!(ws.text().await, "44/custom,{\"message\":\"Too many namespaces\"}");
}
