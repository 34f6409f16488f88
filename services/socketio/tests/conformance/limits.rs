//! Everything has a limit, and a name for what happens there.

use crate::support::{Answer, TestServer, quick, soon};
use parley_socketio::{Config, DisconnectReason, Rate, Refusal};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

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

/// One answer with a body on a connection that stays open.
async fn read_answer(stream: &mut TcpStream, end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) {
        answer.push(soon(stream.read_u8()).await.expect("an answer"));
    }
    String::from_utf8(answer).expect("text")
}

#[tokio::test]
async fn a_head_has_to_come_in_time() {
    let config = Config { header_timeout: Duration::from_millis(100), ..quick() };
    let server = TestServer::with(config).await;
    for beginning in ["", "GET /engine.io/ HTTP/1.1\r\nHost: te"] {
        let start = Instant::now();
        let mut slow = TcpStream::connect(server.address).await.expect("a connection");
        slow.write_all(beginning.as_bytes()).await.expect("written");
        assert_eq!(soon(slow.read(&mut [0; 100])).await.ok(), Some(0));
        assert!(start.elapsed() >= Duration::from_millis(90));
        assert!(start.elapsed() < Duration::from_secs(5));
    }
    assert_eq!(server.echo.stats().head_timeouts, 2);
}

#[tokio::test]
async fn a_connection_may_be_idle_between_requests_but_not_within_a_head() {
    let config = Config { header_timeout: Duration::from_millis(100), ..Config::default() };
    let server = TestServer::with(config).await;
    let request = b"GET /nowhere HTTP/1.1\r\nHost: test\r\n\r\n";
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    for _ in 0..3 {
        stream.write_all(request).await.expect("written");
        let answer = read_answer(&mut stream, "}").await;
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let start = Instant::now();
    let cut = async {
        // Each byte comes soon after the one before.
        for byte in request.iter().cycle() {
            if stream.write_all(&[*byte & 0x5f | 0x40]).await.is_err() {
                return;
            }
            let mut answer = [0; 1];
            let read = timeout(Duration::from_millis(20), stream.read(&mut answer)).await;
            if matches!(read, Ok(Ok(0) | Err(_))) {
                return;
            }
        }
    };
    soon(cut).await;
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_query_may_not_be_endless() {
    let server = TestServer::start().await;
    let path = "/engine.io/?EIO=4&transport=polling";
    let bomb = server.get(&format!("{path}{}", "&a".repeat(4096))).await;
    assert_eq!((bomb.status, bomb.code()), (400, Some(3)));
    let token = server.get(&format!("{path}&token={}", "x".repeat(8000))).await;
    assert_eq!(token.status, 200);
    let long = format!("Authorization: Bearer {}", "x".repeat(10_000));
    let refused = crate::support::request(server.address, "GET", path, &[&long], b"").await;
    assert_eq!((refused.status, refused.code()), (400, Some(3)));
    assert_eq!(server.echo.connections(), 1);
}

#[tokio::test]
async fn a_body_may_come_in_chunks_up_to_the_limit() {
    let server = TestServer::with(small()).await;
    for (length, status) in [(100, 200), (101, 413)] {
        let session = server.poll_session("/engine.io/").await;
        let mut post = session.begin_post("Transfer-Encoding: chunked").await;
        let body = format!("{}0\r\n\r\n", "1\r\n4\r\n".repeat(length));
        post.write_all(body.as_bytes()).await.expect("written");
        assert_eq!(Answer::read(post).await.status, status, "{length}");
        if status == 200 {
            assert_eq!(session.poll().await.body, "4".repeat(length));
        } else {
            assert_eq!(server.closed().await, DisconnectReason::PayloadTooLarge);
        }
    }
}

#[tokio::test]
async fn a_body_that_is_announced_too_long_is_not_waited_for() {
    let server = TestServer::with(small()).await;
    let session = server.poll_session("/engine.io/").await;
    let start = Instant::now();
    let post = session.begin_post("Content-Length: 101").await;
    assert_eq!(Answer::read(post).await.status, 413);
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(server.closed().await, DisconnectReason::PayloadTooLarge);
}

#[tokio::test]
async fn a_body_is_not_waited_for_when_its_session_is_gone() {
    let server = TestServer::start().await;
    let session = server.poll_session("/engine.io/").await;
    let start = Instant::now();
    let post = session.begin_post("Content-Length: 9").await;
    let first = session.park().await;
    assert_eq!(session.poll().await.status, 400, "two polls at a time");
    assert_eq!(Answer::read(post).await.status, 400);
    assert_eq!(Answer::read(first).await.body, "1");
    assert!(start.elapsed() < Duration::from_secs(5));
    assert_eq!(server.closed().await, DisconnectReason::RequestOverlap);
}

#[tokio::test]
async fn tcp_connections_are_limited() {
    let server = TestServer::with(Config { max_connections: 1, ..Config::default() }).await;
    let mut idle = Vec::new();
    for _ in 0..64 {
        idle.push(TcpStream::connect(server.address).await.expect("a connection"));
    }
    let mut dropped = TcpStream::connect(server.address).await.expect("a connection");
    assert!(!matches!(soon(dropped.read(&mut [0; 1])).await, Ok(1..)), "closed");
    assert_eq!(server.echo.stats().connections_dropped, 1);
    idle.pop();
    // The server has to see first that it is gone.
    soon(async {
        loop {
            let mut stream = TcpStream::connect(server.address).await.expect("a connection");
            let head = b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n";
            let mut answer = Vec::new();
            if stream.write_all(head).await.is_ok()
                && stream.read_to_end(&mut answer).await.is_ok()
                && answer.starts_with(b"HTTP/1.1 404")
            {
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn websockets_of_sessions_take_no_room_from_other_connections() {
    let server = TestServer::with(Config { max_connections: 30, ..Config::default() }).await;
    let mut sessions = Vec::new();
    for _ in 0..30 {
        sessions.push(server.engine_ws().await);
    }
    let mut idle = Vec::new();
    for _ in 0..60 {
        idle.push(TcpStream::connect(server.address).await.expect("a connection"));
    }
    assert_eq!(server.get("/socket.io/?EIO=4&transport=polling").await.status, 200);
    assert_eq!(server.echo.stats().connections_dropped, 0);
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
async fn a_client_that_says_too_much_is_closed_whatever_it_says() {
    let one = std::num::NonZeroU32::MIN;
    let config = Config { messages: Some(Rate::per_second(one)), ..Config::default() };
    let server = TestServer::with(config).await;
    // Ten at once, of which the CONNECT is one.
    for packet in ["42[\"echo\"]", "430[]", "40/nowhere,"] {
        let mut ws = server.joined_ws().await;
        for _ in 0..10 {
            ws.send(packet).await;
        }
        let code = loop {
            match ws.next().await {
                Some(Message::Close(frame)) => break frame.map(|frame| u16::from(frame.code)),
                Some(_) => {}
                None => break None,
            }
        };
        assert_eq!(code, Some(1008), "{packet}");
        assert_eq!(server.disconnect().await.1, DisconnectReason::TooManyMessages, "{packet}");
    }
    let mut ws = server.joined_ws().await;
    for _ in 0..9 {
        ws.send("430[]").await;
    }
    ws.send("41").await;
    assert_eq!(ws.close_code().await, Some(1008), "the goodbye is the eleventh");
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
    stream.write_all(b"GET /engine.io/ HTTP/1.1\r\nX-Long: ").await.expect("written");
    // Piece by piece: a server that closes before it has read everything resets the connection, and
    // its answer is lost.
    let mut written = 0;
    let mut answer = [0; 12];
    let read = loop {
        stream.write_all(&[b'x'; 1024]).await.expect("written");
        written += 1024;
        match timeout(Duration::from_millis(20), stream.read_exact(&mut answer)).await {
            Ok(read) => break read,
            Err(_) => assert!(written < 64 * 1024, "it goes on and on"),
        }
    };
    assert!(read.is_ok());
    assert_eq!(&answer, b"HTTP/1.1 431");
}
