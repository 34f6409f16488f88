//! Several servers behind a balancer without sticky sessions.

use crate::support::{Answer, Polling, TestServer, Ws, quick, request, soon};
use parley_socketio::{
    CloseReason, Config, Cors, Directory, DisconnectReason, Forwarded, Found, Moved, Peers, Refusal,
};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::{CancellationToken, DropGuard};

const SECRET: &str = "known to all of them";

#[derive(Clone, Default)]
struct Known(Arc<Mutex<HashMap<String, SocketAddr>>>);

impl Directory for Known {
    fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        let found = self.0.lock().expect("whole").get(name).copied();
        Box::pin(std::future::ready(found))
    }
}

impl Known {
    fn set(&self, name: &str, address: SocketAddr) {
        self.0.lock().expect("whole").insert(name.to_owned(), address);
    }
}

/// Servers `a` and `b`.
struct Pair {
    a: TestServer,
    b: TestServer,
    known: Known,
    doors: [SocketAddr; 2],
    stop_a: CancellationToken,
    _stop: [DropGuard; 2],
}

fn peers(known: &Known) -> Peers {
    Peers { directory: Arc::new(known.clone()), secret: SECRET.to_owned(), max_forwards: 100 }
}

impl Pair {
    async fn start() -> Self {
        Self::with(Config::default()).await
    }

    async fn with(config: Config) -> Self {
        let known = Known::default();
        let server = async |name: &str| {
            let config = Config { id_prefix: format!("{name}."), ..config.clone() };
            let stop = CancellationToken::new();
            let (server, door) = TestServer::with_peers(config, peers(&known), &stop).await;
            known.set(name, door);
            (server, door, stop)
        };
        let (a, door_a, stop_a) = server("a").await;
        let (b, door_b, stop_b) = server("b").await;
        let doors = [door_a, door_b];
        let guards = [stop_a.clone().drop_guard(), stop_b.drop_guard()];
        Self { a, b, known, doors, stop_a, _stop: guards }
    }

    /// A session of `a`'s, and its client as it reaches `a` and `b`.
    async fn session(&self) -> (Polling, Polling) {
        let session = self.a.poll_session("/socket.io/").await;
        assert!(session.sid.starts_with("a."));
        let elsewhere = Polling { address: self.b.address, ..session.clone() };
        (session, elsewhere)
    }

    /// The same, in its namespace.
    async fn joined(&self) -> (Polling, Polling) {
        let (here, there) = self.session().await;
        assert_eq!(here.post("40").await.status, 200);
        let packets = here.packets(2).await;
        assert_eq!(packets[1], "42[\"auth\",{}]");
        (here, there)
    }

    fn forwarded(&self, outcome: Forwarded) -> u64 {
        let forwarded = self.b.server.stats().forwarded;
        forwarded.into_iter().find(|(it, _)| *it == outcome).expect("counted").1
    }
}

fn moved(server: &TestServer, outcome: Moved) -> u64 {
    server.server.stats().moved.into_iter().find(|(it, _)| *it == outcome).expect("counted").1
}

/// Until it is so.
async fn until(holds: impl Fn() -> bool) {
    soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await;
}

fn is_unknown(answer: &Answer) -> bool {
    (answer.status, answer.code()) == (400, Some(1))
}

/// A WebSocket at `b`, with which the client has probed.
async fn probed(there: &Polling) -> Ws {
    let mut ws = Ws::open(there.address, &there.upgrade_path()).await.expect("a WebSocket");
    ws.send("2probe").await;
    assert_eq!(ws.text().await, "3probe");
    ws
}

#[tokio::test]
async fn each_request_of_a_session_may_go_to_another_server() {
    let pair = Pair::start().await;
    let (here, there) = pair.session().await;
    assert_eq!(there.post("40").await.body, "ok");
    assert!(there.packets(2).await[0].starts_with("40{\"sid\":"));
    for turn in 0..20 {
        let (one, other) = if turn % 2 == 0 { (&here, &there) } else { (&there, &here) };
        assert_eq!(one.post(format!("42[\"message\",{turn}]")).await.status, 200);
        assert_eq!(other.poll().await.body, format!("42[\"message-back\",{turn}]"));
    }
    assert_eq!(pair.forwarded(Forwarded::Answered), 22);
    assert_eq!((pair.a.server.connections(), pair.b.server.connections()), (1, 0));
}

#[tokio::test]
async fn a_poll_waits_at_the_other_server_and_is_answered_at_once() {
    let pair = Pair::start().await;
    let (_, there) = pair.joined().await;
    let poll = there.park().await;
    let socket = pair.a.socket().await;
    socket.emit("news", &1).expect("sent");
    assert_eq!(Answer::read(poll).await.body, "42[\"news\",1]");
}

#[tokio::test]
async fn polls_that_overlap_across_servers_end_the_session_as_on_one() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    let first = there.park().await;
    let second = here.poll().await;
    assert_eq!((second.status, second.code()), (400, Some(3)));
    assert_eq!(Answer::read(first).await.body, "1");
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::RequestOverlap);
}

#[tokio::test]
async fn a_poll_that_its_client_gives_up_ends_the_session_on_the_other_server() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    drop(there.park().await);
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::TransportError);
    here.assert_unknown().await;
    there.assert_unknown().await;
    assert_eq!(pair.forwarded(Forwarded::GivenUp), 1);
}

#[tokio::test]
async fn a_session_of_a_server_that_is_not_there_is_unknown() {
    let pair = Pair::start().await;
    let (_, there) = pair.joined().await;
    let stranger = Polling { url: there.url.replace("sid=a.", "sid=c."), ..there.clone() };
    assert!(is_unknown(&stranger.poll().await));
    assert_eq!(pair.forwarded(Forwarded::UnknownServer), 1);
    // One that is dead, but for a while still on the list.
    let nobody = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    pair.known.set("d", nobody.local_addr().expect("an address"));
    drop(nobody);
    let dead = Polling { url: there.url.replace("sid=a.", "sid=d."), ..there.clone() };
    assert!(is_unknown(&dead.poll().await));
    assert!(is_unknown(&dead.post("42[\"message\"]").await));
    assert_eq!(Ws::open(dead.address, &dead.upgrade_path()).await.err(), Some(400));
    assert_eq!(pair.forwarded(Forwarded::Unreachable), 2);
    // One of this server's own, and one that is no name at all.
    for sid in ["sid=b.", "sid=.", "sid=a%0d%0a.", "sid=", "sid=a%2f."] {
        let odd = Polling { url: there.url.replace("sid=a.", sid), ..there.clone() };
        let answer = odd.poll().await;
        assert!(is_unknown(&answer), "{sid}: {answer:?}");
    }
    assert_eq!(pair.forwarded(Forwarded::UnknownServer), 1);
}

#[tokio::test]
async fn a_server_that_dies_with_a_poll_ends_its_session() {
    let known = Known::default();
    let config = Config { id_prefix: "b.".to_owned(), ..Config::default() };
    let stop = CancellationToken::new();
    let (b, _) = TestServer::with_peers(config, peers(&known), &stop).await;
    let dying = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    known.set("a", dying.local_addr().expect("an address"));
    let url = "/socket.io/?EIO=4&transport=polling&sid=a.x".to_owned();
    let client = Polling { address: b.address, url, sid: "a.x".to_owned() };
    let poll = tokio::spawn(async move { client.poll().await });
    let (asked, _) = soon(dying.accept()).await.expect("a connection");
    asked.readable().await.expect("a request");
    drop(asked);
    // It is not asked again, nor is anybody else: only told that the session is over.
    assert!(is_unknown(&poll.await.expect("answered")));
    let broken = b.server.stats().forwarded.into_iter();
    assert!(broken.into_iter().any(|it| it == (Forwarded::Broken, 1)));
    stop.cancel();
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let known = Known::default();
    let timings = Config { write_timeout: Duration::from_millis(200), ..quick() };
    let config = Config { id_prefix: "b.".to_owned(), ..timings };
    let stop = CancellationToken::new();
    let (b, _) = TestServer::with_peers(config, peers(&known), &stop).await;
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    known.set("a", silent.local_addr().expect("an address"));
    let url = "/socket.io/?EIO=4&transport=polling&sid=a.x".to_owned();
    let client = Polling { address: b.address, url, sid: "a.x".to_owned() };
    let asked = Instant::now();
    assert!(is_unknown(&client.poll().await));
    assert!(asked.elapsed() > Duration::from_millis(500), "longer than a poll can last");
    let late = b.server.stats().forwarded;
    assert!(late.contains(&(Forwarded::TimedOut, 1)), "{late:?}");
    stop.cancel();
}

#[tokio::test]
async fn an_answer_that_was_taken_in_part_ends_the_session_at_the_other_server() {
    // More than the system takes of it at once.
    let config = Config { max_payload: 32 << 20, outbox_bytes: 64 << 20, ..Config::default() };
    let pair = Pair::with(config).await;
    let (here, there) = pair.joined().await;
    let large = format!("42[\"message\",\"{}\"]", "x".repeat(24 << 20));
    assert_eq!(here.post(large).await.status, 200);
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.set_recv_buffer_size(4096).expect("a small buffer");
    let stream = socket.connect(there.address).await.expect("a connection");
    let stream = there.send_poll_on(stream).await;
    stream.readable().await.expect("the beginning of an answer");
    drop(stream);
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::TransportError);
    here.assert_unknown().await;
}

#[tokio::test]
async fn only_servers_pass_requests_on() {
    let pair = Pair::start().await;
    let (here, _) = pair.joined().await;
    for secret in ["", "X-Peer-Secret: guessed", "X-Peer-Secret: known to all of the"] {
        let headers: Vec<&str> = Some(secret).filter(|it| !it.is_empty()).into_iter().collect();
        for method in ["GET", "POST", "DELETE"] {
            let url = format!("{}&notice=lost", here.url);
            let answer = request(pair.doors[0], method, &url, &headers, b"").await;
            assert_eq!((answer.status, answer.code()), (403, Some(4)), "{method} {secret}");
        }
    }
    // Nor does the secret help where clients are served, or for a session that is elsewhere.
    let secret = format!("X-Peer-Secret: {SECRET}");
    let answer = request(pair.a.address, "DELETE", &here.url, &[&secret], b"").await;
    assert_eq!((answer.status, answer.code()), (400, Some(3)));
    let answer = request(pair.doors[1], "GET", &here.url, &[&secret], b"").await;
    assert!(is_unknown(&answer), "it is not passed on a second time: {answer:?}");
    assert_eq!(here.post("42[\"message\"]").await.status, 200);
    assert_eq!(here.poll().await.body, "42[\"message-back\"]", "untouched");
}

#[tokio::test]
async fn an_origin_is_checked_where_the_client_comes() {
    let cors = Cors::List(vec!["https://chat.example".to_owned()]);
    let pair = Pair::with(Config { cors, ..Config::default() }).await;
    let (_, there) = pair.joined().await;
    let origin = |origin: &str| format!("Origin: {origin}");
    let answer = request(
        there.address,
        "POST",
        &there.url,
        &[&origin("https://chat.example")],
        b"42[\"message\"]",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://chat.example");
    for method in ["GET", "POST"] {
        let evil = origin("https://evil.example");
        let answer = request(there.address, method, &there.url, &[&evil], b"").await;
        assert_eq!((answer.status, answer.code()), (403, Some(4)));
    }
    let upgrade = [
        origin("https://evil.example"),
        "Upgrade: websocket".to_owned(),
        "Sec-WebSocket-Version: 13".to_owned(),
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==".to_owned(),
    ];
    let upgrade: Vec<&str> = upgrade.iter().map(String::as_str).collect();
    let answer = request(there.address, "GET", &there.upgrade_path(), &upgrade, b"").await;
    assert_eq!((answer.status, answer.code()), (403, Some(4)));
    assert_eq!(there.poll().await.body, "42[\"message-back\"]");
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_the_session_wherever_it_comes() {
    let pair = Pair::with(Config { max_payload: 1000, ..Config::default() }).await;
    let (_, there) = pair.joined().await;
    let answer = there.post("4".repeat(1001)).await;
    assert_eq!(answer.status, 413);
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::PayloadTooLarge);
    assert_eq!(pair.forwarded(Forwarded::BadBody), 1);
}

#[tokio::test]
async fn no_more_is_passed_on_than_may_be() {
    let known = Known::default();
    let stop = CancellationToken::new();
    let server = async |name: &str| {
        let config = Config { id_prefix: format!("{name}."), ..Config::default() };
        let peers = Peers { max_forwards: 1, ..peers(&known) };
        let (server, door) = TestServer::with_peers(config, peers, &stop).await;
        known.set(name, door);
        server
    };
    let (a, b) = (server("a").await, server("b").await);
    let waiting = a.poll_session("/socket.io/").await;
    let poll = Polling { address: b.address, ..waiting }.park().await;
    let second = a.poll_session("/socket.io/").await;
    assert_eq!(second.post("40").await.status, 200);
    let socket = a.socket().await;
    let answer = Polling { address: b.address, ..second.clone() }.poll().await;
    assert_eq!(answer.status, 503);
    assert_eq!(a.disconnect().await.1, DisconnectReason::TransportError, "{socket:?}");
    second.assert_unknown().await;
    drop(poll);
    stop.cancel();
}

#[tokio::test]
async fn a_server_that_goes_sends_the_polls_of_others_elsewhere() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    let poll = there.park().await;
    pair.b.server.close_all(CloseReason::GoingAway).await;
    assert_eq!(Answer::read(poll).await.body, "6");
    assert_eq!(here.post("42[\"message\"]").await.status, 200);
    assert_eq!(here.poll().await.body, "42[\"message-back\"]");
}

#[tokio::test]
async fn a_session_that_is_closed_answers_the_poll_at_the_other_server() {
    let pair = Pair::start().await;
    let (_, there) = pair.joined().await;
    let poll = there.park().await;
    pair.a.server.close_all(CloseReason::GoingAway).await;
    assert_eq!(Answer::read(poll).await.status, 503);
}

#[tokio::test]
async fn a_session_moves_to_where_its_websocket_comes() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    let before = pair.a.socket().await;
    let mut ws = probed(&there).await;
    assert_eq!(here.poll().await.body, "6", "the poll is released");
    ws.send("5").await;
    ws.send("42[\"message\",1]").await;
    assert_eq!(ws.text().await, "42[\"message-back\",1]");
    let after = pair.b.socket().await;
    assert_eq!(after.id(), before.id(), "the client sees the same socket");
    assert!(before.is_closed() && !after.is_closed());
    after.emit("news", &2).expect("sent");
    assert_eq!(ws.text().await, "42[\"news\",2]");
    until(|| moved(&pair.a, Moved::Departed) == 1).await;
    assert_eq!(moved(&pair.b, Moved::Arrived), 1);
    assert_eq!((pair.a.server.connections(), pair.b.server.connections()), (0, 1));
    assert!(is_unknown(&here.poll().await));
    assert_eq!(there.poll().await.code(), Some(3), "it does not poll any more");
    // The old server has not told its application of an end: the next one that it tells is another's.
    let (other, _) = pair.joined().await;
    assert_eq!(other.post("41").await.status, 200);
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::ClientNamespace);
    drop(ws);
    assert_eq!(pair.b.disconnect().await, ("/".to_owned(), DisconnectReason::TransportClose));
}

#[tokio::test]
async fn what_waits_at_a_move_goes_along_in_order() {
    let pair = Pair::start().await;
    for _ in 0..10 {
        let (here, there) = pair.joined().await;
        let socket = pair.a.socket().await;
        let mut ws = probed(&there).await;
        // Inbound: behind a handler that is busy. Outbound: what nobody has polled.
        assert_eq!(here.post("421[\"wait\"]").await.status, 200);
        let said: Vec<_> = (0..20).map(|i| format!("42[\"message\",{i}]")).collect();
        assert_eq!(here.post(said.join("\x1e")).await.status, 200);
        for number in 0..20 {
            socket.emit("news", &number).expect("sent");
        }
        ws.send("5").await;
        ws.send("42[\"message\",20]").await;
        // It has left polling, and waits for its handler; until then this does nothing.
        while here.post("6").await.status == 200 {}
        pair.a.server.app().gate.add_permits(1);
        for number in 0..20 {
            assert_eq!(ws.text().await, format!("42[\"news\",{number}]"));
        }
        assert_eq!(ws.text().await, "431[]");
        for number in 0..=20 {
            assert_eq!(ws.text().await, format!("42[\"message-back\",{number}]"));
        }
    }
}

#[tokio::test]
async fn attachments_that_have_not_come_follow_over_the_websocket() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    let first =
        "452-[\"message\",{\"_placeholder\":true,\"num\":0},{\"_placeholder\":true,\"num\":1}]";
    assert_eq!(here.post(format!("{first}\x1ebAQID")).await.status, 200);
    let mut ws = probed(&there).await;
    ws.send("5").await;
    ws.send_binary(&[4, 5]).await;
    assert_eq!(ws.text().await, first.replace("message", "message-back"));
    assert_eq!((ws.binary().await, ws.binary().await), (vec![1, 2, 3], vec![4, 5]));
}

#[tokio::test]
async fn a_parked_poll_is_released_before_a_move() {
    let pair = Pair::start().await;
    let (_, there) = pair.joined().await;
    let poll = there.park().await;
    let _ws = probed(&there).await;
    assert_eq!(Answer::read(poll).await.body, "6");
}

#[tokio::test]
async fn a_poll_that_is_given_up_around_a_move_does_no_harm() {
    let pair = Pair::start().await;
    for before in [true, false] {
        for _ in 0..10 {
            let (_, there) = pair.joined().await;
            let mut ws = probed(&there).await;
            let poll = there.send_poll().await;
            tokio::time::sleep(Duration::from_millis(20)).await;
            if before {
                drop(poll);
                tokio::time::sleep(Duration::from_millis(20)).await;
                ws.send("5").await;
            } else {
                ws.send("5").await;
                drop(poll);
            }
            ws.send("42[\"message\"]").await;
            assert_eq!(ws.text().await, "42[\"message-back\"]", "given up before: {before}");
        }
    }
}

#[tokio::test]
async fn a_post_that_is_on_its_way_goes_along() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    let post = here.begin_post("Content-Length: 15").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    ws.send("5").await;
    drop(post);
    assert_eq!(ws.close_code().await, Some(1013), "half of it may have been the end of something");
    let (here, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    let mut post = here.begin_post("Content-Length: 15").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    ws.send("5").await;
    ws.send("42[\"message\",2]").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    tokio::io::AsyncWriteExt::write_all(&mut post, b"42[\"message\",1]").await.expect("written");
    assert_eq!(Answer::read(post).await.body, "ok");
    assert_eq!(ws.text().await, "42[\"message-back\",1]");
    assert_eq!(ws.text().await, "42[\"message-back\",2]");
}

#[tokio::test]
async fn a_probe_at_another_server_that_fails_leaves_polling_alive() {
    let pair = Pair::start().await;
    let (here, there) = pair.joined().await;
    for wrong in ["5", "42[\"message\"]", "3probe"] {
        let mut ws = Ws::open(there.address, &there.upgrade_path()).await.expect("a WebSocket");
        ws.send(wrong).await;
        assert_eq!(ws.close_code().await, Some(1000), "{wrong}");
    }
    drop(probed(&there).await);
    until(|| pair.a.server.stats().upgrades_failed == 4).await;
    assert_eq!(there.post("42[\"message\"]").await.status, 200);
    assert_eq!(here.poll().await.body, "42[\"message-back\"]");
    let mut ws = probed(&there).await;
    let mut second = Ws::open(there.address, &there.upgrade_path()).await.expect("a WebSocket");
    assert_eq!(second.close_code().await, Some(1000), "and only one at a time");
    ws.send("5").await;
    ws.send("42[\"message\",1]").await;
    assert_eq!(ws.text().await, "42[\"message-back\",1]");
}

#[tokio::test]
async fn a_probe_that_takes_too_long_is_given_up_on_both_servers() {
    let config = Config { upgrade_timeout: Duration::from_millis(200), ..Config::default() };
    let pair = Pair::with(config).await;
    let (here, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    while ws.next().await.is_some() {}
    until(|| pair.a.server.stats().upgrades_failed == 1).await;
    assert_eq!(here.post("42[\"message\"]").await.status, 200);
    assert_eq!(here.poll().await.body, "42[\"message-back\"]");
}

#[tokio::test]
async fn a_session_that_cannot_go_along_comes_to_its_end() {
    let pair = Pair::start().await;
    // Its application does not let it go.
    let (here, there) = pair.session().await;
    assert_eq!(here.post("40/custom").await.status, 200);
    here.packets(2).await;
    let mut ws = probed(&there).await;
    ws.send("5").await;
    assert_eq!(ws.close_code().await, Some(1013));
    assert_eq!(pair.a.disconnect().await, ("/custom".to_owned(), DisconnectReason::TransportError));
    assert!(is_unknown(&here.poll().await));
    assert_eq!((moved(&pair.a, Moved::Failed), moved(&pair.b, Moved::Failed)), (1, 1));
    // The new server takes nobody any more.
    let (_, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    pair.b.server.refuse_new();
    ws.send("5").await;
    assert_eq!(ws.close_code().await, Some(1001));
    assert_eq!(Ws::open(there.address, &there.upgrade_path()).await.err(), Some(503));
}

#[tokio::test]
async fn a_session_whose_old_server_ends_meanwhile_is_closed() {
    let config = Config { upgrade_timeout: Duration::from_millis(300), ..Config::default() };
    let pair = Pair::with(config).await;
    // Its handler does not come to an end.
    let (here, there) = pair.joined().await;
    assert_eq!(here.post("42[\"wait\"]").await.status, 200);
    let mut ws = probed(&there).await;
    ws.send("5").await;
    assert_eq!(ws.close_code().await, Some(1013));
    pair.a.server.app().gate.add_permits(1);
    assert_eq!(pair.a.disconnect().await.1, DisconnectReason::TransportError);
    // It is closed while the client probes.
    let (_, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    pair.a.server.close_all(CloseReason::GoingAway).await;
    ws.send("5").await;
    assert_eq!(ws.close_code().await, Some(1013));
    pair.stop_a.cancel();
}

#[tokio::test]
async fn the_heartbeat_goes_on_after_a_move() {
    let pair = Pair::with(quick()).await;
    let (_, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    ws.send("5").await;
    for _ in 0..3 {
        assert_eq!(ws.text().await, "2");
        ws.send("3").await;
    }
    assert_eq!(ws.text().await, "2");
    assert_eq!(pair.b.disconnect().await.1, DisconnectReason::PingTimeout);
}

/// Numbers in, numbers out, while clients upgrade at the other server at any moment.
#[tokio::test]
async fn nothing_is_lost_or_doubled_when_sessions_move_in_mid_stream() {
    const MESSAGES: usize = 300;
    let pair = Pair::start().await;
    for round in 0..10 {
        let (here, there) = pair.joined().await;
        let socket = pair.a.socket().await;
        let streaming = tokio::spawn(async move {
            let mut sent = 0;
            while sent < MESSAGES && socket.emit("news", &sent).is_ok() {
                sent += 1;
                tokio::time::sleep(Duration::from_micros(300)).await;
            }
            sent
        });
        let mut heard = Vec::new();
        let mut client = [&here, &there].into_iter().cycle();
        for _ in 0..round {
            heard.extend(client.next().expect("endless").packets(1).await);
        }
        let mut ws = probed(&there).await;
        // As the JavaScript client does: its last poll comes to its end first.
        let last = client.next().expect("endless").poll().await;
        heard.extend(last.body.split('\x1e').filter(|it| *it != "6").map(str::to_owned));
        // Then there is a moment in which something waits for it.
        tokio::time::sleep(Duration::from_millis(3)).await;
        ws.send("5").await;
        let sent = streaming.await.expect("sent");
        ws.send("42[\"message\",\"end\"]").await;
        loop {
            match ws.text().await {
                end if end == "42[\"message-back\",\"end\"]" => break,
                packet => heard.push(packet),
            }
        }
        let wanted: Vec<_> = (0..sent).map(|number| format!("42[\"news\",{number}]")).collect();
        assert_eq!(heard, wanted, "round {round}");
    }
}

#[tokio::test]
async fn a_websocket_message_of_any_kind_survives_a_move() {
    let pair = Pair::start().await;
    let (_, there) = pair.joined().await;
    let mut ws = probed(&there).await;
    ws.send_raw(Message::Ping(b"hello".to_vec().into())).await;
    ws.send("5").await;
    assert_eq!(ws.next().await, Some(Message::Pong(b"hello".to_vec().into())));
    ws.send("42[\"message\"]").await;
    assert_eq!(ws.text().await, "42[\"message-back\"]");
    assert!(!pair.b.server.stats().refused.contains(&(Refusal::Forbidden, 1)));
}
