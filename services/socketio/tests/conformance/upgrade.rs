//! From polling to WebSocket.

use crate::support::{TestServer, quick};
use parley_socketio::{Config, DisconnectReason};
use std::time::Duration;

#[tokio::test]
async fn a_session_moves_to_a_websocket() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    let answer = session.poll().await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "6"), "the poll is released");
    ws.send("5").await;
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
    assert_eq!(server.echo.stats().upgraded, 1);
}

#[tokio::test]
async fn a_poll_that_is_parked_already_is_released_too() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let poll = tokio::spawn({
        let session = session.clone();
        async move { session.poll().await }
    });
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    assert_eq!(poll.await.expect("answered").body, "6");
}

#[tokio::test]
async fn a_poll_that_is_given_up_around_the_upgrade_does_no_harm() {
    let server = TestServer::start().await;
    for before in [true, false] {
        for _ in 0..20 {
            let session = server.poll_session("/engine.io/").await;
            let mut ws = server.ws(&session.upgrade_path()).await;
            ws.send("2probe").await;
            assert_eq!(ws.text().await, "3probe");
            let poll = session.send_poll().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
            if before {
                drop(poll);
                tokio::time::sleep(Duration::from_millis(10)).await;
                ws.send("5").await;
            } else {
                ws.send("5").await;
                drop(poll);
            }
            ws.send("4hello").await;
            assert_eq!(ws.text().await, "4hello", "given up before the upgrade: {before}");
        }
    }
}

#[tokio::test]
async fn a_client_that_gives_up_both_transports_is_gone() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    drop(session.send_poll().await);
    drop(ws);
    assert_eq!(server.closed().await, DisconnectReason::TransportError);
}

#[tokio::test]
async fn messages_go_on_over_polling_during_the_probe() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    assert_eq!(session.post("4one").await.status, 200);
    assert_eq!(session.poll().await.body, "4one");
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    assert_eq!(session.post("4two").await.status, 200);
    assert_eq!(session.poll().await.body, "4two");
    ws.send("5").await;
    ws.send("4three").await;
    assert_eq!(ws.text().await, "4three");
}

#[tokio::test]
async fn what_still_waits_is_written_to_the_websocket_in_order() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    let packets: Vec<_> = (0..100).map(|i| format!("4{i}")).collect();
    assert_eq!(session.post(packets.join("\x1e")).await.status, 200);
    let mut received = session.packets(1).await;
    ws.send("2probe").await;
    ws.send("5").await;
    ws.send("4end").await;
    assert_eq!(ws.text().await, "3probe");
    loop {
        match ws.text().await {
            end if end == "4end" => break,
            packet => received.push(packet),
        }
    }
    assert_eq!(received, packets, "nothing lost, nothing doubled");
}

#[tokio::test]
async fn polling_is_over_after_the_upgrade() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    ws.send("5").await;
    let answer = session.poll().await;
    assert_eq!((answer.status, answer.code()), (400, Some(3)));
    assert_eq!(session.post("4x").await.status, 400);
    assert_eq!(ws.text().await, "3probe");
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}

#[tokio::test]
async fn a_second_websocket_is_closed_and_the_first_lives_on() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    let mut during = server.ws(&session.upgrade_path()).await;
    assert_eq!(during.close_code().await, Some(1000));
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    ws.send("5").await;
    let mut after = server.ws(&session.upgrade_path()).await;
    assert_eq!(after.close_code().await, Some(1000));
    ws.send("4hello").await;
    assert_eq!(ws.text().await, "4hello");
}

#[tokio::test]
async fn a_failed_probe_leaves_polling_alive() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    for wrong in ["4hello", "5", "2", "3probe", "1", "abc"] {
        let mut ws = server.ws(&session.upgrade_path()).await;
        ws.send(wrong).await;
        assert_eq!(ws.close_code().await, Some(1000), "{wrong}");
    }
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    ws.send("4not yet").await;
    assert_eq!(ws.close_code().await, Some(1000));
    drop(server.ws(&session.upgrade_path()).await);
    assert_eq!(session.post("4alive").await.status, 200);
    assert_eq!(session.poll().await.body, "4alive");
    while server.echo.stats().upgrades_failed < 8 {
        tokio::task::yield_now().await;
    }
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe", "and may be followed by another");
}

#[tokio::test]
async fn an_upgrade_that_takes_too_long_is_given_up() {
    let config = Config { upgrade_timeout: Duration::from_millis(100), ..Config::default() };
    let server = TestServer::with(config).await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    while ws.next().await.is_some() {}
    assert_eq!(session.post("4alive").await.status, 200);
    assert_eq!(session.poll().await.body, "4alive");
}

#[tokio::test]
async fn the_heartbeat_goes_on_after_the_upgrade() {
    let server = TestServer::with(quick()).await;
    let session = server.poll_session("/engine.io/").await;
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    ws.send("5").await;
    assert_eq!(ws.text().await, "3probe");
    assert_eq!(ws.text().await, "2");
    ws.send("3").await;
    assert_eq!(ws.text().await, "2");
    assert_eq!(server.closed().await, DisconnectReason::PingTimeout);
}

#[tokio::test]
async fn a_namespace_survives_the_upgrade() {
    let server = TestServer::start().await;
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40").await.status, 200);
    assert_eq!(session.packets(2).await[1], "42[\"auth\",{}]");
    let mut ws = server.ws(&session.upgrade_path()).await;
    ws.send("2probe").await;
    ws.send("5").await;
    assert_eq!(ws.text().await, "3probe");
    ws.send("42[\"message\",1]").await;
    assert_eq!(ws.text().await, "42[\"message-back\",1]");
    let socket = server.socket().await;
    assert_eq!(socket.transport(), parley_socketio::Transport::WebSocket);
}
