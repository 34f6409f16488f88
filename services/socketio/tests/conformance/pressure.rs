//! Clients that are slow, stuck or many, and handlers that take their time.

use crate::support::{TestServer, quick, soon};
use futures_util::FutureExt as _;
use parley_socketio::{CloseReason, Config, DisconnectReason, Frame};
use std::time::Duration;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpSocket, TcpStream};

/// A client that joins, and never reads anything after the handshake.
async fn stalled(server: &TestServer) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let mut stream = socket.connect(server.address).await.expect("a connection");
    let head = "GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n\
        Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    // "40", masked with zeros.
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'4', b'0']).await.expect("written");
    stream
}

fn big(namespace: &str) -> Frame {
    Frame::event(namespace, format!(r#"["big","{}"]"#, "x".repeat(60_000)).as_bytes())
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_its_handler_runs() {
    let config = Config {
        write_timeout: Duration::from_millis(300),
        outbox_frames: 100_000,
        outbox_bytes: usize::MAX / 2,
        ..Config::default()
    };
    let server = TestServer::with(config).await;
    let mut clients = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..10 {
        clients.push(stalled(&server).await);
        sockets.push(server.socket().await);
    }
    let frame = big("/");
    for _ in 0..250 {
        for socket in &sockets {
            // Those that are closed meanwhile take nothing.
            let _ = socket.send(&frame);
        }
    }
    for _ in 0..10 {
        // Whoever notices first: the server, or the system, which has the same deadline.
        assert_eq!(server.disconnect().await.1, DisconnectReason::WriteTimeout);
    }
    assert_eq!(server.server.connections(), 0);
    assert!(sockets.iter().all(|socket| socket.send(&frame).is_err()));
    drop(clients);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_system_takes_little_of_what_a_client_does_not_read() {
    let config = Config {
        write_timeout: Duration::from_millis(300),
        outbox_frames: 100_000,
        outbox_bytes: usize::MAX / 2,
        ..Config::default()
    };
    let server = TestServer::with(config).await;
    let _client = stalled(&server).await;
    let socket = server.socket().await;
    for _ in 0..100 {
        let _ = socket.send(&big("/"));
    }
    assert_eq!(server.disconnect().await.1, DisconnectReason::WriteTimeout);
    let taken = server.server.stats().bytes_out;
    assert!(taken < 500_000, "{taken} of 6 000 000 bytes");
}

#[tokio::test]
async fn what_waits_for_clients_is_told() {
    let config =
        Config { outbox_frames: 100_000, outbox_bytes: usize::MAX / 2, ..Config::default() };
    let server = TestServer::with(config).await;
    let client = stalled(&server).await;
    let socket = server.socket().await;
    let frame = big("/");
    for _ in 0..100 {
        socket.send(&frame).expect("open");
    }
    let stats = server.server.stats();
    let (frames, bytes) = (stats.outbox_frames, stats.outbox_bytes);
    // The system takes a few.
    assert!((80..=102).contains(&frames) && bytes > 80 * 60_000, "{frames} frames, {bytes} bytes");
    drop(client);
    server.disconnect().await;
    assert_eq!(server.server.stats().outbox_bytes, 0);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_by_its_heartbeat_too() {
    let config = Config { outbox_bytes: usize::MAX / 2, ..quick() };
    let server = TestServer::with(config).await;
    let _client = stalled(&server).await;
    let socket = server.socket().await;
    for _ in 0..250 {
        if socket.send(&big("/")).is_err() {
            break;
        }
    }
    assert_eq!(server.disconnect().await.1, DisconnectReason::PingTimeout);
    assert_eq!(server.server.connections(), 0);
}

#[tokio::test]
async fn what_waits_for_a_client_is_bounded_in_frames() {
    let server = TestServer::with(Config { outbox_frames: 100, ..Config::default() }).await;
    let _client = stalled(&server).await;
    let socket = server.socket().await;
    let frame = big("/");
    while socket.send(&frame).is_ok() {}
    assert_eq!(server.disconnect().await.1, DisconnectReason::SlowConsumer);
    assert_eq!(server.server.stats().outbox_overflows, 1);
}

#[tokio::test]
async fn what_waits_for_a_client_is_bounded_in_bytes() {
    let config = Config { outbox_bytes: 500_000, outbox_frames: 1 << 20, ..Config::default() };
    let server = TestServer::with(config).await;
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40").await.status, 200);
    let socket = server.socket().await;
    let frame = big("/");
    let mut sent = 0;
    while socket.send(&frame).is_ok() {
        sent += frame.len();
    }
    assert!(sent <= 500_000);
    assert_eq!(server.disconnect().await.1, DisconnectReason::SlowConsumer);
    session.assert_unknown().await;
}

#[tokio::test]
async fn whoever_has_much_to_say_waits_for_half_an_outbox() {
    let server = TestServer::with(Config { outbox_frames: 10, ..Config::default() }).await;
    let session = server.poll_session("/socket.io/").await;
    assert_eq!(session.post("40").await.status, 200);
    let socket = server.socket().await;
    // The answer to CONNECT, and the event of the application.
    assert_eq!(session.poll().await.status, 200);
    let frame = Frame::event("/", br#"["said"]"#);
    for _ in 0..5 {
        assert_eq!(socket.has_room().now_or_never(), Some(()));
        socket.send(&frame).expect("an open connection");
    }
    socket.send(&frame).expect("an open connection");
    assert_eq!(socket.has_room().now_or_never(), None);
    let waiting = [socket.clone(), socket.clone()].map(|socket| {
        tokio::spawn(async move {
            socket.has_room().await;
        })
    });
    tokio::task::yield_now().await;
    assert_eq!(session.poll().await.status, 200);
    for waiting in waiting {
        soon(waiting).await.expect("no panic");
    }
    // Whoever waits in vain is told by the end.
    for _ in 0..6 {
        socket.send(&frame).expect("an open connection");
    }
    let waiting = tokio::spawn({
        let socket = socket.clone();
        async move { socket.has_room().await }
    });
    tokio::task::yield_now().await;
    socket.close(CloseReason::GoingAway);
    soon(waiting).await.expect("no panic");
}

#[tokio::test]
async fn an_answer_that_was_taken_in_part_ends_the_session() {
    // More than the system takes of it at once.
    let config = Config { max_payload: 32 << 20, outbox_bytes: 64 << 20, ..Config::default() };
    let server = TestServer::with(config).await;
    let session = server.poll_session("/engine.io/").await;
    assert_eq!(session.post("4".repeat(24 << 20)).await.status, 200);
    assert_eq!(session.post("4next").await.status, 200);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(server.address).await.expect("a connection");
    let stream = session.send_poll_on(stream).await;
    stream.readable().await.expect("the beginning of an answer");
    drop(stream);
    assert_eq!(server.closed().await, DisconnectReason::TransportError);
    session.assert_unknown().await;
}

#[tokio::test]
async fn a_handler_may_take_longer_than_a_ping() {
    let server = TestServer::with(quick()).await;
    let mut ws = server.joined_ws().await;
    ws.send("421[\"wait\",1]").await;
    for _ in 0..4 {
        assert_eq!(ws.text().await, "2", "the heartbeat goes on");
        ws.send("3").await;
    }
    server.server.app().gate.add_permits(1);
    let mut answer = ws.text().await;
    while answer == "2" {
        ws.send("3").await;
        answer = ws.text().await;
    }
    assert_eq!(answer, "431[1]");
}

#[tokio::test]
async fn a_pause_of_the_server_is_not_the_clients_silence() {
    let server = TestServer::with(Config { inbox_events: 2, ..quick() }).await;
    let mut ws = server.joined_ws().await;
    for i in 0..10 {
        ws.send(&format!("42{i}[\"wait\",{i}]")).await;
    }
    assert_eq!(ws.text().await, "2");
    // The pong waits behind events that the server does not read: it is late, and that is fine.
    ws.send("3").await;
    tokio::time::sleep(quick().ping_timeout * 3).await;
    assert!(server.server.stats().inbox_pauses > 0);
    server.server.app().gate.add_permits(10);
    let mut answers = Vec::new();
    while answers.len() < 10 {
        match ws.text().await {
            ping if ping == "2" => ws.send("3").await,
            answer => answers.push(answer),
        }
    }
    let expected: Vec<_> = (0..10).map(|i| format!("43{i}[{i}]")).collect();
    assert_eq!(answers, expected, "in order");
}

#[tokio::test]
async fn order_is_kept_under_back_pressure() {
    let server = TestServer::with(Config { inbox_events: 2, ..Config::default() }).await;
    let mut ws = server.joined_ws().await;
    server.server.app().gate.add_permits(2000);
    let client = async {
        for i in 0..2000 {
            ws.send(&format!("42{i}[\"wait\",{i}]")).await;
        }
        for i in 0..2000 {
            assert_eq!(ws.text().await, format!("43{i}[{i}]"));
        }
    };
    client.await;
}

#[tokio::test]
async fn a_post_waits_for_the_handler() {
    let server = TestServer::with(Config { inbox_events: 2, ..Config::default() }).await;
    let session = server.poll_session("/socket.io/").await;
    let events: Vec<_> = (0..10).map(|i| format!("42{i}[\"wait\",{i}]")).collect();
    let body = format!("40\x1e{}", events.join("\x1e"));
    let post = tokio::spawn({
        let session = session.clone();
        async move { session.post(body).await }
    });
    while server.server.stats().inbox_pauses == 0 {
        tokio::task::yield_now().await;
    }
    assert!(!post.is_finished());
    server.server.app().gate.add_permits(10);
    assert_eq!(post.await.expect("answered").status, 200);
    let packets = session.packets(12).await;
    let expected: Vec<_> = (0..10).map(|i| format!("43{i}[{i}]")).collect();
    assert_eq!(packets[2..], expected);
}

#[tokio::test]
async fn an_end_during_a_handler_waits_for_it_and_is_told_once() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    ws.send("42[\"wait\"]").await;
    ws.send("42[\"message\"]").await;
    drop(ws);
    while !socket.is_closed() {
        tokio::task::yield_now().await;
    }
    server.server.app().gate.add_permits(1);
    assert_eq!(server.disconnect().await.0, "/");
    assert_eq!(server.server.app().gate.available_permits(), 0, "the handler ran to its end");
}

#[tokio::test]
async fn many_frames_leave_in_order() {
    let server = TestServer::with(Config { outbox_frames: 10_000, ..Config::default() }).await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    for i in 0..5000 {
        socket.emit("n", &i).expect("room for it");
    }
    for i in 0..5000 {
        assert_eq!(ws.text().await, format!("42[\"n\",{i}]"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_sockets_share_a_frame() {
    let server = TestServer::start().await;
    let mut clients = Vec::new();
    let mut sockets = Vec::new();
    for _ in 0..1000 {
        clients.push(server.joined_ws().await);
        sockets.push(server.socket().await);
    }
    let first = Frame::event("/", br#"["shared",1]"#);
    let second = Frame::event_binary(
        "/",
        br#"["shared",{"_placeholder":true,"num":0}]"#,
        vec![vec![7; 1000].into()],
    );
    for frame in [&first, &second] {
        for socket in &sockets {
            socket.send(frame).expect("open");
        }
    }
    for client in &mut clients {
        assert_eq!(client.text().await, r#"42["shared",1]"#);
        assert!(client.text().await.starts_with("451-"));
        assert_eq!(client.binary().await, [7; 1000]);
    }
    drop(clients);
    for _ in 0..1000 {
        server.disconnect().await;
    }
    assert_eq!(soon(async { server.server.connections() }).await, 0);
}

/// Frames of 20 000 bytes that are numbered.
fn numbered(number: usize) -> Frame {
    Frame::event("/", format!(r#"["{number}","{}"]"#, "x".repeat(20_000)).as_bytes())
}

#[tokio::test]
async fn what_is_written_at_once_is_whole_and_in_order_with_what_waits() {
    let config =
        Config { outbox_frames: 100_000, outbox_bytes: usize::MAX / 2, ..Config::default() };
    let server = TestServer::with(config).await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    // More than the system takes, before anything is read: some of it is cut, and some waits.
    for number in (0..600).step_by(4) {
        socket.send_now(&numbered(number)).expect("open");
        socket.send(&numbered(number + 1)).expect("open");
        let two = [numbered(number + 2), numbered(number + 3)];
        socket.send_now(&Frame::together(&two)).expect("open");
    }
    assert!(server.server.stats().outbox_frames > 100, "nothing has waited");
    for number in 0..600 {
        let text = ws.text().await;
        assert!(text.starts_with(&format!(r#"42["{number}","x"#)), "{}", &text[..20]);
        assert_eq!(text.len(), 42 + 20_000 - 33 + number.to_string().len());
    }
    // Now nothing waits, and so nobody has to be woken.
    socket.send_now(&numbered(600)).expect("open");
    assert_eq!(server.server.stats().outbox_frames, 0);
    assert!(ws.text().await.starts_with(r#"42["600""#));
}

#[tokio::test]
async fn a_close_does_not_cut_a_frame_that_was_begun_at_once() {
    let config =
        Config { outbox_frames: 100_000, outbox_bytes: usize::MAX / 2, ..Config::default() };
    let server = TestServer::with(config).await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    // Longer than what the system takes: it is begun, and the connection's own task has had no turn yet.
    let long = Frame::event("/", format!(r#"["{}"]"#, "x".repeat(8_000_000)).as_bytes());
    socket.send_now(&long).expect("open");
    socket.send_now(&numbered(1)).expect("open");
    assert_eq!(server.server.stats().outbox_frames, 2);
    socket.close(CloseReason::Slow);
    assert_eq!(ws.text().await.len(), 8_000_006);
    // What was not begun is not written any more.
    assert_eq!(ws.close_code().await, Some(1013));
}
