//! Messages of Engine.IO, and what is not one.

use crate::support::{TestServer, request};
use parley_socketio::DisconnectReason;

#[tokio::test]
async fn polling_sends_and_receives_payloads() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    for body in [
        "4hello",
        "4test1\x1e4test2\x1e4test3",
        "4hello\x1ebAQIDBA==",
        "4€ ß 漢字 🦀",
        "4",
        "b",
        "bAQ==\x1e4\x1ebAQI=",
    ] {
        let pushed = session.post(body).await;
        assert_eq!((pushed.status, pushed.body.as_str()), (200, "ok"));
        let expected: Vec<_> = body.split('\x1e').collect();
        assert_eq!(session.packets(expected.len()).await, expected);
    }
}

#[tokio::test]
async fn websocket_sends_and_receives_text_and_bytes() {
    let server = TestServer::start().await;
    let mut ws = server.engine_ws().await;
    for text in ["4hello", "4", "4€ ß 漢字 🦀"] {
        ws.send(text).await;
        assert_eq!(ws.text().await, text);
    }
    for data in [&[1, 2, 3, 4][..], &[], &[0x1e; 300]] {
        ws.send_binary(data).await;
        assert_eq!(ws.binary().await, data);
    }
}

#[tokio::test]
async fn long_messages_survive_on_both_transports() {
    let server = TestServer::start().await;
    let text = format!("4{}", "€".repeat(200_000));
    let mut ws = server.engine_ws().await;
    ws.send(&text).await;
    assert_eq!(ws.text().await, text);
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(session.post(&text).await.status, 200);
    assert_eq!(session.poll().await.body, text);
}

#[tokio::test]
async fn a_payload_of_many_packets_comes_back_in_order() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let packets: Vec<_> = (0..500).map(|i| format!("4{i}")).collect();
    assert_eq!(session.post(packets.join("\x1e")).await.status, 200);
    assert_eq!(session.packets(packets.len()).await, packets);
}

#[tokio::test]
async fn packets_without_meaning_here_do_no_harm() {
    let server = TestServer::start().await;
    let mut ws = server.engine_ws().await;
    for packet in ["0", "5", "6", "3", "4x"] {
        ws.send(packet).await;
    }
    assert_eq!(ws.text().await, "4x");
}

#[tokio::test]
async fn malformed_polling_payloads_close_the_session() {
    let server = TestServer::start().await;
    for body in ["abc", "", "7", "\x1e", "4a\x1e", "b!!!", "bAQ", "2", "2probe"] {
        let session = server.poll_session("/engine.io/").await;
        assert_eq!(session.post(body).await.status, 400, "{body:?}");
        session.assert_unknown().await;
        assert_eq!(server.closed().await, DisconnectReason::ProtocolError);
    }
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(session.post(b"4\xff").await.status, 400, "not UTF-8");
    session.assert_unknown().await;
}

#[tokio::test]
async fn malformed_websocket_packets_close_the_session() {
    let server = TestServer::start().await;
    for packet in ["abc", "", "7", "b", "2", "2probe"] {
        let mut ws = server.engine_ws().await;
        ws.send(packet).await;
        assert_eq!(ws.close_code().await, Some(1002), "{packet:?}");
        assert_eq!(server.closed().await, DisconnectReason::ProtocolError);
    }
}

#[tokio::test]
async fn a_second_poll_closes_the_session() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    // Whichever of the two is first is parked, and released by the other.
    let (one, two) = tokio::join!(session.poll(), session.poll());
    let (parked, refused) = if one.status == 200 { (one, two) } else { (two, one) };
    assert_eq!((parked.status, parked.body.as_str()), (200, "1"));
    assert_eq!(refused.status, 400);
    session.assert_unknown().await;
    assert_eq!(server.closed().await, DisconnectReason::RequestOverlap);
}

#[tokio::test]
async fn a_cancelled_poll_closes_the_session() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let parked = session.park().await;
    drop(parked);
    assert_eq!(server.closed().await, DisconnectReason::TransportError);
    session.assert_unknown().await;
}

#[tokio::test]
async fn other_methods_are_refused_on_a_session() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let answer = request(server.address, "PUT", &session.url, &[], b"4x").await;
    assert_eq!((answer.status, answer.code()), (400, Some(3)));
    assert_eq!(session.post("4x").await.status, 200);
    assert_eq!(session.poll().await.body, "4x");
}
