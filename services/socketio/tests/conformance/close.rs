//! How sessions end.

use crate::support::{Answer, TestServer, soon};
use parley_socketio::{CloseReason, DisconnectReason, Refusal};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn a_polling_client_closes_and_its_poll_is_released() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    // Whether the poll or the goodbye is first: the poll is answered with a noop.
    let (poll, post) = tokio::join!(session.poll(), session.post("1"));
    assert_eq!((poll.status, poll.body.as_str()), (200, "6"));
    assert_eq!(post.status, 200);
    session.assert_unknown().await;
    assert_eq!(server.closed().await, DisconnectReason::TransportClose);
}

#[tokio::test]
async fn a_poll_that_comes_long_after_the_goodbye_is_refused() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(session.post("1").await.status, 200);
    assert_eq!(server.closed().await, DisconnectReason::TransportClose);
    while server.echo.connections() > 0 {
        tokio::task::yield_now().await;
    }
    session.assert_unknown().await;
}

#[tokio::test]
async fn a_websocket_client_closes_with_a_packet() {
    let server = TestServer::start().await;
    let mut ws = server.engine_ws().await;
    ws.send("1").await;
    assert_eq!(ws.close_code().await, Some(1000));
    assert_eq!(server.closed().await, DisconnectReason::TransportClose);
}

#[tokio::test]
async fn a_websocket_client_closes_with_a_frame_or_by_leaving() {
    let server = TestServer::start().await;
    let mut ws = server.engine_ws().await;
    ws.send_raw(Message::Close(None)).await;
    assert_eq!(server.closed().await, DisconnectReason::TransportClose);
    drop(server.engine_ws().await);
    assert_eq!(server.closed().await, DisconnectReason::TransportClose);
}

#[tokio::test]
async fn what_was_sent_before_a_goodbye_is_handled() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    server.server.app().gate.add_permits(3);
    for _ in 0..3 {
        ws.send("42[\"wait\"]").await;
    }
    ws.send("1").await;
    assert_eq!(server.disconnect().await.1, DisconnectReason::TransportClose);
    assert_eq!(server.server.app().gate.available_permits(), 0);
    assert!(socket.is_closed());
}

#[tokio::test]
async fn the_server_closes_a_websocket_without_any_protocol_goodbye() {
    let server = TestServer::start().await;
    for (reason, code) in
        [(CloseReason::GoingAway, 1001), (CloseReason::Slow, 1013), (CloseReason::Policy, 1008)]
    {
        let mut ws = server.joined_ws().await;
        let socket = server.socket().await;
        socket.close(reason);
        match ws.next().await {
            Some(Message::Close(Some(frame))) => assert_eq!(u16::from(frame.code), code),
            other => panic!("a close frame expected, not {other:?}"),
        }
        assert_eq!(server.disconnect().await.1, DisconnectReason::ServerClose(reason));
        assert!(socket.is_closed());
        assert!(socket.emit("late", &()).is_err());
    }
}

#[tokio::test]
async fn what_was_queued_before_the_server_closes_is_written() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    for i in 0..100 {
        socket.emit("last", &(i,)).expect("open");
    }
    socket.close(CloseReason::GoingAway);
    for i in 0..100 {
        assert_eq!(ws.text().await, format!("42[\"last\",{i}]"));
    }
    assert_eq!(ws.close_code().await, Some(1001));
}

#[tokio::test]
async fn the_server_closes_a_parked_poll_with_503() {
    let server = TestServer::start().await;
    for reason in [CloseReason::GoingAway, CloseReason::Slow, CloseReason::Policy] {
        let session = server.poll_session("/socket.io/").await;
        assert_eq!(session.post("40").await.status, 200);
        assert_eq!(session.packets(2).await[1], "42[\"auth\",{}]");
        let parked = session.park().await;
        server.socket().await.close(reason);
        assert_eq!(Answer::read(parked).await.status, 503);
        session.assert_unknown().await;
    }
    let refused = server.server.stats().refused;
    assert!(refused.contains(&(Refusal::Draining, 0)), "no request was refused: {refused:?}");
}

#[tokio::test]
async fn what_a_post_was_told_is_received_is_handled_whatever_comes_next() {
    let server = TestServer::start().await;
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40").await.status, 200);
    assert_eq!(session.packets(2).await.len(), 2);
    let events = ["42[\"wait\"]"; 3].join("\x1e");
    assert_eq!(session.post(events).await.status, 200);
    drop(session.park().await);
    let socket = server.socket().await;
    while !socket.is_closed() {
        tokio::task::yield_now().await;
    }
    server.server.app().gate.add_permits(3);
    assert_eq!(server.disconnect().await.1, DisconnectReason::TransportError);
    assert_eq!(server.server.app().gate.available_permits(), 0, "all three were handled");
}

#[tokio::test]
async fn a_client_that_may_no_longer_be_here_is_no_longer_heard() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("42[\"wait\"]").await;
    ws.send("42[\"wait\"]").await;
    ws.send("4299[\"message-with-ack\"]").await;
    let socket = server.socket().await;
    while server.server.stats().frames_in < 4 {
        tokio::task::yield_now().await;
    }
    socket.close(CloseReason::Policy);
    assert_eq!(ws.close_code().await, Some(1008));
    server.server.app().gate.add_permits(3);
    server.disconnect().await;
    assert_eq!(server.server.app().gate.available_permits(), 2, "only the one that had begun");
}

#[tokio::test]
async fn a_session_that_said_goodbye_is_gone_even_while_its_handler_works() {
    let server = TestServer::start().await;
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40\x1e42[\"wait\"]\x1e1").await.status, 200);
    assert_eq!(session.poll().await.body, "6");
    soon(async {
        while server.server.connections() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    server.server.app().gate.add_permits(1);
    assert_eq!(server.disconnect().await.1, DisconnectReason::TransportClose);
}

#[tokio::test]
async fn closing_all_waits_for_every_handler_and_lets_nobody_in() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        clients.push(server.joined_ws().await);
    }
    let _polling = server.poll_session("/socket.io/").await;
    server.server.close_all(CloseReason::GoingAway).await;
    for _ in 0..20 {
        let (_, reason) = server.disconnect().await;
        assert_eq!(reason, DisconnectReason::ServerClose(CloseReason::GoingAway));
    }
    assert_eq!(server.server.connections(), 0);
    let answer = server.get("/socket.io/?EIO=4&transport=polling").await;
    assert_eq!(answer.status, 503);
    for mut client in clients {
        assert_eq!(client.close_code().await, Some(1001));
    }
}

#[tokio::test]
async fn a_server_that_stops_accepting_keeps_its_connections() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    server.stop.cancel();
    ws.send("42[\"message\",1]").await;
    assert_eq!(ws.text().await, "42[\"message-back\",1]");
}
