//! How a server is emptied: at a steady rate, in no order, and served to the last.

use crate::support::{Answer, TestServer, Ws, soon};
use parley_socketio::{CloseReason, DisconnectReason, Refusal};
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test]
async fn sessions_are_closed_one_by_one_and_in_random_order() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    for _ in 0..40 {
        clients.push(server.engine_ws().await);
    }
    let begun = Instant::now();
    let every = Duration::from_millis(25);
    let echo = server.echo.clone();
    let draining =
        tokio::spawn(async move { echo.close_paced(CloseReason::GoingAway, every).await });
    let closing = clients.into_iter().enumerate().map(|(number, mut client)| async move {
        assert_eq!(client.close_code().await, Some(1001));
        (begun.elapsed(), number)
    });
    let mut ends = soon(futures_util::future::join_all(closing)).await;
    soon(draining).await.expect("no panic");
    ends.sort_unstable();
    let (first, last) = (ends[0].0, ends[39].0);
    // 39 turns lie between the first and the last; a busy machine makes it longer, never shorter.
    assert!(last.saturating_sub(first) >= every * 39 * 9 / 10, "{ends:?}");
    let order: Vec<_> = ends.iter().map(|(_, number)| *number).collect();
    assert_ne!(order, (0..40).collect::<Vec<_>>(), "in the order in which they came");
    for _ in 0..40 {
        let reason = DisconnectReason::ServerClose(CloseReason::GoingAway);
        assert_eq!(server.closed().await, reason);
    }
}

#[tokio::test]
async fn a_poll_that_is_parked_ends_at_its_turn_with_503() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let parked = session.park().await;
    server.echo.close_paced(CloseReason::GoingAway, Duration::from_millis(1)).await;
    assert_eq!(Answer::read(parked).await.status, 503);
    session.assert_unknown().await;
}

#[tokio::test]
async fn until_its_turn_a_session_is_served_as_before() {
    let server = TestServer::start().await;
    let polling = server.poll_session("/engine.io/").await;
    let upgrading = server.poll_session("/engine.io/").await;
    let echo = server.echo.clone();
    // Nobody's turn but the first's comes during this test.
    let every = Duration::from_hours(1);
    let draining =
        tokio::spawn(async move { echo.close_paced(CloseReason::GoingAway, every).await });
    let first = server.closed().await;
    assert_eq!(first, DisconnectReason::ServerClose(CloseReason::GoingAway));
    assert!(server.echo.refuses_new());
    let handshake = "/engine.io/?EIO=4&transport=";
    assert_eq!(server.get(&format!("{handshake}polling")).await.status, 503);
    let websocket = Ws::open(server.address, &format!("{handshake}websocket")).await;
    assert_eq!(websocket.err(), Some(503));
    assert!(server.echo.stats().refused.contains(&(Refusal::Draining, 2)));
    let posted = polling.post("4x").await.status;
    let left = if posted == 200 { polling } else { upgrading };
    assert_eq!(left.post("4y").await.status, 200);
    while !left.poll().await.body.ends_with("4y") {}
    let mut ws = server.ws(&left.upgrade_path()).await;
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    assert_eq!(left.poll().await.body, "6");
    ws.send("5").await;
    ws.send("4z").await;
    assert_eq!(ws.text().await, "4z");
    server.echo.close_all(CloseReason::GoingAway).await;
    assert_eq!(ws.close_code().await, Some(1001));
    draining.abort();
}
