//! Input that was made to break something: it is refused, nothing fails, and nothing of it stays.

use std::iter;
use std::time::Duration;

use axum::http::{Method, Request};
use futures_util::future::join_all;
use http_body_util::Full;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::actor::{Actor, World, failure, sign};
use crate::classes::process::{MIB, ask, pod};
use crate::uploads::{Form, PNG, until_metrics_say};

const PATIENCE: Duration = Duration::from_secs(20);
const JSON: &str = "Content-Type: application/json";

/// Bodies that are no JSON, or one that no parser should have to read.
fn bodies() -> Vec<Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    let mut bodies = vec![
        text(""),
        text("\0"),
        text("{"),
        text("{}{}"),
        text("{}garbage"),
        text("\u{feff}{}"),
        text("nul"),
        text("NaN"),
        text("{\"content\":1e999999999}"),
        text("{\"content\":-0.0e-999999999}"),
        text(&format!("{{\"content\":{}}}", "9".repeat(100_000))),
        text("{\"content\":\"\\ud800\"}"),
        text("{\"content\":\"\\udc00\\ud800\"}"),
        text("{\"content\":\"\\u0000\"}"),
        text("{\"content\":\"a\0\"}"),
        text("{\"content\":\"\\x41\"}"),
        text("{\"content\":'a'}"),
        text("{\"content\":\"a\",\"content\":\"b\"}"),
        text("{\"\":\"\",\"__proto__\":{\"role\":\"admin\"}}"),
        text("/* */{}"),
        b"{\"content\":\"\xff\xfe\"}".to_vec(),
        b"{\"content\":\"\xed\xa0\x80\"}".to_vec(),
        b"{\"content\":\"\xc0\x80\"}".to_vec(),
        b"{\"content\":\"\xf4\x90\x80\x80\"}".to_vec(),
        b"\xff\xfe{\0}\0".to_vec(),
    ];
    for opens in ["[", "{\"a\":", "[[", "[{\"a\":", "{\"metadata\":"] {
        let deep = opens.repeat(200_000 / opens.len());
        bodies.push(text(&deep));
        bodies.push(text(&format!("{{\"content\":\"x\",\"metadata\":{deep}")));
    }
    let keys = (0..20_000).map(|n| format!("\"k{n}\":{n}")).collect::<Vec<_>>().join(",");
    bodies.push(text(&format!("{{{keys}}}")));
    bodies.push(text(&format!("{{\"content\":\"x\",\"metadata\":{{{keys}}}}}")));
    bodies.push(text(&format!("{{\"participantIds\":[{}\"a\"]}}", "\"a\",".repeat(50_000))));
    bodies
}

#[test]
fn i9_no_body_breaks_the_process_or_stays_in_its_memory() {
    let folder = TempDir::new().unwrap();
    let mut pod = pod(&folder, &[]);
    let chat = pod.chat();
    // Of a role that may call everything.
    pod.token = sign(&json!({ "sub": "host", "role": "service", "exp": u32::MAX }));
    let operations = [
        ("POST", "/api/chat".to_owned()),
        ("POST", "/api/chat/purchase-request".to_owned()),
        ("POST", "/api/chat/support".to_owned()),
        ("POST", format!("/api/chat/{chat}/messages")),
        ("POST", format!("/api/chat/{chat}/participants")),
        ("PATCH", format!("/api/chat/{chat}/messages/read")),
        ("PATCH", format!("/api/chat/{chat}/mute")),
        ("POST", "/api/users".to_owned()),
        ("PUT", "/api/users/somebody".to_owned()),
        ("PUT", "/api/users/me/preferences".to_owned()),
        ("POST", "/api/webhooks".to_owned()),
    ];
    let shoot = |pod: &crate::pod::Pod| {
        for body in bodies() {
            for (method, path) in &operations {
                let head =
                    format!("{method} {path} HTTP/1.1\r\n{JSON}\r\nContent-Length: {}", body.len());
                let status = ask(pod, &head, iter::once(body.clone()));
                let shown = String::from_utf8_lossy(&body[..body.len().min(60)]);
                let fine = status.is_some_and(|status| status < 500);
                assert!(fine, "{status:?}: {method} {path} {shown}");
            }
        }
    };
    // What is done for the first time takes memory that no hostile request is to blame for.
    shoot(&pod);
    let before = pod.status("VmRSS");
    let (grown, ()) = pod.growth(before, || shoot(&pod));
    assert!(grown < 8 * MIB, "{grown} bytes");
    assert!(pod.is_running() && !pod.log().contains("panic"), "{}", pod.log());
}

/// Heads that servers behind each other have read differently, and others that are too much.
#[test]
fn i9_no_head_breaks_the_process_or_smuggles_a_request() {
    let folder = TempDir::new().unwrap();
    let mut pod = pod(&folder, &[]);
    let before = pod.status("VmRSS");
    let get = "GET /api/chat HTTP/1.1";
    let post = format!("POST /api/chat HTTP/1.1\r\n{JSON}");
    let many = "\r\nX: x".repeat(120);
    let (grown, ()) = pod.growth(before, || {
        for (head, expected) in [
            (format!("{get}{many}"), &[431][..]),
            (format!("{get}\r\nX: {}", "x".repeat(1 << 20)), &[431]),
            (format!("{get}\r\n{}: x", "x".repeat(1 << 20)), &[400, 431]),
            (format!("{get}\r\nCookie: {}", "a=b; ".repeat(100_000)), &[431]),
            (format!("{get}\r\nAccept-Encoding: {}", "gzip,".repeat(5_000)), &[200]),
            (format!("{get}\r\nRange: bytes={}", "0-0,".repeat(5_000)), &[200]),
            (format!("{get}\r\nX-Request-Id: {}", "x".repeat(20_000)), &[200]),
            (format!("{get}\r\nTraceparent: {}", "0".repeat(20_000)), &[200]),
            (format!("{get}\r\n: x"), &[400]),
            (format!("{get}\r\nX y: z"), &[400]),
            (format!("{get}\r\nX: a\0b"), &[400]),
            (format!("{get}\r\n folded: x"), &[400]),
            ("GET /api/chat HTTP/9.9".to_owned(), &[400, 505]),
            ("GET  HTTP/1.1".to_owned(), &[400]),
            ("G\u{e9}T /api/chat HTTP/1.1".to_owned(), &[400]),
            ("CONNECT evil.example:443 HTTP/1.1".to_owned(), &[400, 404, 405]),
            ("TRACE /api/chat HTTP/1.1".to_owned(), &[405]),
            ("PRI * HTTP/2.0".to_owned(), &[400, 505]),
            (format!("{post}\r\nContent-Length: 2\r\nContent-Length: 3"), &[400]),
            (format!("{post}\r\nContent-Length: 2, 3"), &[400]),
            (format!("{post}\r\nContent-Length: +2"), &[400]),
            (format!("{post}\r\nContent-Length: -2"), &[400]),
            (format!("{post}\r\nContent-Length: 0x2"), &[400]),
            (
                format!("{post}\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
                &[400],
            ),
            (format!("{post}\r\nTransfer-Encoding: xchunked"), &[400]),
        ] {
            let status = ask(&pod, &head, iter::empty());
            // Who still writes when the pod hangs up may see that before the answer.
            let fits = status.map_or(head.len() > 100_000, |it| expected.contains(&it));
            assert!(fits, "{status:?}: {head:.100}");
        }
    });
    assert!(grown < 8 * MIB, "{grown} bytes");
    assert!(pod.is_running() && !pod.log().contains("panic"), "{}", pod.log());
}

/// Of two lengths, one counts, and nothing behind the body is a second request.
#[tokio::test]
async fn a_body_with_two_lengths_is_one_request() {
    let world = World::new().await;
    let alice = world.user().await;
    let smuggled = "GET /api/chat/stats HTTP/1.1\r\nX: ";
    let bodies = format!("0\r\n\r\n{smuggled}");
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n{JSON}\r\n\
         Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n{bodies}",
        alice.token,
        bodies.len()
    );
    let mut stream = TcpStream::connect(world.app.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut heard = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut heard)).await.expect("no end").unwrap();
    let heard = String::from_utf8(heard).unwrap();
    assert!(heard.starts_with("HTTP/1.1 400"), "{heard}");
    assert!(!heard.contains("totalChats"), "{heard}");
}

/// What no list and no place takes, in queries and paths: an answer that the document tells of, and never a failure.
#[tokio::test]
async fn no_number_and_no_id_of_a_query_or_a_path_makes_a_failure() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let message = alice.says(&chat, "hi").await;
    let hook = host.post("/api/webhooks", json!({ "url": "https://app.example/" })).await.data();
    let hook = hook["webhook"]["_id"].as_str().unwrap();
    let odd = [
        "0",
        "-1",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551615",
        "18446744073709551616",
        "1e308",
        "%00",
        "%FF",
        "%C0%80",
        "%E2%80%AE",
        "%F0%9F%98%80",
        "%",
        "%zz",
        "0000-00-00T00:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:60Z",
        "+262142-12-31T23:59:59Z",
        "00000000-0000-0000-0000-000000000000",
        "ffffffff-ffff-ffff-ffff-ffffffffffff",
        "*",
        "%3E",
        "a.b",
        "%0d%0aX:%20y",
    ];
    let queries = [
        format!("/api/chat/{chat}/messages?before="),
        format!("/api/chat/{chat}/messages?after="),
        format!("/api/chat/{chat}/messages?around="),
        format!("/api/chat/{chat}/messages?page="),
        format!("/api/chat/{chat}/messages?order=asc&limit="),
        format!("/api/chat/{chat}/changes?since="),
        format!("/api/chat/{chat}/changes?since=0&epoch="),
        format!("/api/chat/{chat}/participants?page="),
        "/api/chat?archived=".to_owned(),
        "/api/chat?page=".to_owned(),
        format!("/api/webhooks/{hook}/deliveries?before="),
        format!("/api/webhooks/{hook}/deliveries?state="),
        format!("/api/webhooks/{hook}/deliveries/"),
        format!("/api/chat/{chat}/messages/{message}?x="),
        "/api/users/".to_owned(),
        "/api/webhooks/".to_owned(),
        "/api/chat/".to_owned(),
    ];
    for path in &queries {
        for value in odd {
            let answer = host.get(&format!("{path}{value}")).await;
            assert!(answer.status.as_u16() < 500, "{path}{value}: {}", answer.text);
        }
    }
    for id in odd {
        for (method, path, body) in [
            (Method::PUT, format!("/api/chat/{chat}/messages/{id}"), json!({ "content": "x" })),
            (Method::DELETE, format!("/api/chat/{chat}/participants/{id}"), Value::Null),
            (Method::PUT, format!("/api/users/{id}"), json!({ "name": "x" })),
            (Method::POST, format!("/api/webhooks/{hook}/deliveries/{id}/replay"), json!({})),
            (Method::PATCH, format!("/api/webhooks/{id}"), json!({ "enabled": true })),
        ] {
            let answer = host.call(method, &path, Some(body)).await;
            assert!(answer.status.as_u16() < 500, "{path}: {}", answer.text);
        }
    }
    until_metrics_say(&world, "parley_http_panics_total 0\n").await;
}

/// A gzip of its own making: one block, as it is.
fn gzip(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let length = u16::try_from(bytes.len()).unwrap();
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    });
    let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    let [length_bytes, inverted] = [length, !length].map(u16::to_le_bytes);
    let tail = [(!crc).to_le_bytes(), u32::from(length).to_le_bytes()].concat();
    [&head[..], &length_bytes, &inverted, bytes, &tail].concat()
}

/// What is not inflated is no bomb.
#[tokio::test]
async fn nothing_that_comes_is_ever_inflated() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages");
    let body = json!({ "content": "inflated" }).to_string();
    let send = async |encoding: &str, body: Vec<u8>, content_type: &str| {
        let request = Request::post(world.url(&path))
            .header("authorization", format!("Bearer {}", alice.token))
            .header("content-type", content_type)
            .header("content-encoding", encoding)
            .body(Full::from(body))
            .unwrap();
        world.raw(request).await
    };
    for encoding in ["gzip", "x-gzip", "deflate", "br", "zstd", "gzip, gzip", "compress"] {
        let answer = send(encoding, gzip(&body), "application/json").await;
        assert_eq!(answer.failure(), failure(400, "invalid_json"), "{encoding}");
        let (kind, form) = Form::file("a.png", PNG).end();
        let packed = gzip(&String::from_utf8_lossy(&form));
        let answer = send(encoding, packed, &kind).await;
        assert!([400, 415].contains(&answer.status.as_u16()), "{encoding}: {}", answer.text);
    }
    // Nor is a part of a form decoded, or an archive opened: files are what came.
    let content = gzip(&body);
    let sent = alice.sends_file(&chat, "a.txt", &b"aGVsbG8=".repeat(10)).await;
    assert_eq!(sent["attachments"][0]["size"], 80);
    let refused = alice.send_form(&format!("{path}/file"), Form::file("a.txt", &content)).await;
    assert!([201, 415].contains(&refused.status.as_u16()), "{}", refused.text);
    let list = bob.get(&path).await;
    assert!(!list.text.contains("inflated"), "{}", list.text);
}

async fn connections(world: &World) -> u32 {
    let (_, metrics) = world.admin_port("/metrics").await;
    let line = metrics.lines().find_map(|it| it.strip_prefix("parley_http_connections "));
    line.unwrap().parse().unwrap()
}

/// How a client goes about being slow.
#[derive(Clone, Copy, Debug)]
enum Slow {
    Silent,
    /// A byte of its head now and then.
    Head,
    /// A byte of its body now and then.
    Body,
    /// Says that it has no more to say, in the middle of a head or of a body.
    HalfHead,
    HalfBody,
}

/// How long the pod has put up with it.
async fn endures(world: &World, alice: &Actor<'_>, slow: Slow) -> Duration {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(world.app.address).await.unwrap();
    let head = format!(
        "POST /api/chat HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n{JSON}\r\nContent-Length: 9999\r\n\r\n",
        alice.token
    );
    let said = match slow {
        Slow::Silent | Slow::Head => "",
        Slow::HalfHead => &head[..40],
        Slow::Body | Slow::HalfBody => &head,
    };
    stream.write_all(said.as_bytes()).await.unwrap();
    if matches!(slow, Slow::HalfHead | Slow::HalfBody) {
        stream.shutdown().await.unwrap();
    }
    let (mut reading, mut writing) = stream.into_split();
    let trickle = async {
        let mut rest = if matches!(slow, Slow::Head) { head.as_bytes().iter() } else { [].iter() };
        loop {
            sleep(Duration::from_millis(50)).await;
            let byte = rest.next().copied().unwrap_or(b' ');
            let trickles = matches!(slow, Slow::Head | Slow::Body);
            if trickles && writing.write_all(&[byte]).await.is_err() {
                break;
            }
        }
    };
    let mut heard = Vec::new();
    let read = async {
        let _ = reading.read_to_end(&mut heard).await;
    };
    let ended = timeout(PATIENCE, async {
        tokio::select! { () = read => {}, () = trickle => {} }
    });
    ended.await.unwrap_or_else(|_| panic!("{slow:?} is waited for"));
    begun.elapsed()
}

#[tokio::test]
async fn i10_whoever_is_slow_in_whatever_way_is_not_waited_for_and_holds_up_nobody() {
    let world = World::with(&["--idle-seconds", "1", "--request-ms", "5000"]).await;
    let alice = world.user().await;
    let before = connections(&world).await;
    let all = [Slow::Silent, Slow::Head, Slow::Body, Slow::HalfHead, Slow::HalfBody];
    let slow = join_all(all.iter().cycle().take(200).map(|slow| endures(&world, &alice, *slow)));
    let others = async {
        for _ in 0..20 {
            let soon = timeout(Duration::from_secs(3), alice.get("/api/chat/stats"));
            soon.await.expect("others wait for the slow").data();
            sleep(Duration::from_millis(25)).await;
        }
    };
    let (lasted, ()) = tokio::join!(slow, others);
    let longest = lasted.iter().max().unwrap();
    assert!(*longest < Duration::from_secs(15), "{longest:?}");
    let begun = Instant::now();
    while connections(&world).await > before {
        assert!(begun.elapsed() < PATIENCE, "connections stay");
        sleep(Duration::from_millis(20)).await;
    }
    until_metrics_say(&world, "parley_http_panics_total 0\n").await;
}
