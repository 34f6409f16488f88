//! How the server treats connections and browsers, whatever is asked.

use std::time::Duration;

use axum::http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::actor::{Actor, World, failure};

const PATIENCE: Duration = Duration::from_secs(10);

/// A connection whose bytes are written by hand.
struct Raw(TcpStream);

impl Raw {
    async fn to(world: &World) -> Self {
        Self(TcpStream::connect(world.app.address).await.unwrap())
    }

    async fn says(&mut self, bytes: &str) {
        self.0.write_all(bytes.as_bytes()).await.unwrap();
    }

    /// Everything until the server closes.
    async fn hears_all(&mut self) -> String {
        let mut text = Vec::new();
        // A server that closes while something is unread resets the connection.
        let _ = timeout(PATIENCE, self.0.read_to_end(&mut text)).await.expect("it stays open");
        String::from_utf8(text).unwrap()
    }

    /// The beginning of an answer.
    async fn hears(&mut self) -> String {
        let mut some = [0; 4096];
        let length = timeout(PATIENCE, self.0.read(&mut some)).await.expect("no answer").unwrap();
        String::from_utf8(some[..length].to_vec()).unwrap()
    }
}

/// The head of a request whose body is still to come.
fn begun(actor: &Actor<'_>) -> String {
    format!(
        "POST /api/chat HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
        actor.token
    )
}

#[tokio::test]
async fn i9_a_request_beyond_the_limit_is_refused_at_once_and_told_when_to_come_again() {
    let world = World::with(&["--max-requests", "1"]).await;
    let alice = world.user().await;
    let mut slow = Raw::to(&world).await;
    slow.says(&begun(&alice)).await;
    let refused = loop {
        let answer = alice.get("/api/chat").await;
        if answer.status != 200 {
            break answer;
        }
        // The slow one has not arrived yet.
        tokio::task::yield_now().await;
    };
    assert_eq!(refused.failure(), failure(503, "unavailable"));
    assert_eq!(refused.header("retry-after"), "1");
    let (_, metrics) = world.admin_port("/metrics").await;
    assert!(metrics.contains("parley_http_shed_total 1"), "{metrics}");
    slow.says("{}").await;
    assert!(slow.hears().await.starts_with("HTTP/1.1 400"), "whoever is in is served");
    assert_eq!(alice.get("/api/chat").await.status, 200);
}

#[tokio::test]
async fn i10_a_request_that_takes_too_long_is_answered_all_the_same() {
    let world = World::with(&["--request-ms", "200"]).await;
    let mut slow = Raw::to(&world).await;
    slow.says(&begun(&world.actor("alice", "user"))).await;
    let answer = slow.hears().await;
    assert!(answer.starts_with("HTTP/1.1 503"), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains(r#""code":"unavailable""#) && answer.contains("requestId"), "{answer}");
}

#[tokio::test]
async fn i9_a_connection_beyond_the_limit_waits_until_another_ends() {
    let world = World::with(&["--max-connections", "1"]).await;
    let mut first = Raw::to(&world).await;
    first.says("GET /api/nothing HTTP/1.1\r\nHost: parley\r\n\r\n").await;
    assert!(first.hears().await.starts_with("HTTP/1.1 404"));
    let mut second = Raw::to(&world).await;
    second.says("GET /api/nothing HTTP/1.1\r\nHost: parley\r\n\r\n").await;
    let waiting = timeout(Duration::from_millis(200), second.hears()).await;
    assert!(waiting.is_err(), "nobody has left yet");
    drop(first);
    assert!(second.hears().await.starts_with("HTTP/1.1 404"));
}

#[tokio::test]
async fn i10_a_head_that_never_ends_is_not_waited_for() {
    let world = World::with(&["--idle-seconds", "1"]).await;
    let mut slow = Raw::to(&world).await;
    slow.says("GET /api/chat HTTP/1.1\r\nHost: par").await;
    slow.hears_all().await;
}

#[tokio::test]
async fn i9_a_head_of_any_size_is_refused() {
    let world = World::new().await;
    let mut long = Raw::to(&world).await;
    let fields = format!("X-Filler: {}\r\n", "x".repeat(1000)).repeat(40);
    // The server may have closed before all of it was written.
    let head = format!("GET /api/chat HTTP/1.1\r\nHost: parley\r\n{fields}");
    let _ = long.0.write_all(head.as_bytes()).await;
    let answer = long.hears_all().await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn pages_of_named_origins_may_call_and_no_others() {
    let world = World::with(&["--cors-origins", "https://app.example,http://localhost:5173"]).await;
    let ask = |origin: &'static str| {
        let request = Request::builder()
            .method(Method::OPTIONS)
            .uri(world.url("/api/chat"))
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "authorization,content-type");
        world.raw(request.body(Full::default()).unwrap())
    };
    let allowed = ask("http://localhost:5173").await;
    assert_eq!(allowed.status, 200);
    assert_eq!(allowed.header("access-control-allow-origin"), "http://localhost:5173");
    let methods = allowed.header("access-control-allow-methods");
    assert!(["PUT", "PATCH", "DELETE"].iter().all(|method| methods.contains(method)), "{methods}");
    let fields = allowed.header("access-control-allow-headers");
    assert!(fields.contains("authorization") && fields.contains("idempotency-key"), "{fields}");
    assert!(!ask("https://evil.example").await.headers.contains_key("access-control-allow-origin"));

    let request = Request::get(world.url("/api/chat")).header("origin", "https://app.example");
    let refused = world.raw(request.body(Full::default()).unwrap()).await;
    assert_eq!(refused.failure(), failure(401, "missing_token"), "a page may read refusals too");
    assert_eq!(refused.header("access-control-allow-origin"), "https://app.example");
    assert!(refused.header("access-control-expose-headers").contains("retry-after"));
}

#[tokio::test]
async fn without_a_setting_no_page_of_another_origin_may_call() {
    let world = World::new().await;
    let request = Request::get(world.url("/api/chat")).header("origin", "https://app.example");
    let answer = world.raw(request.body(Full::default()).unwrap()).await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
}

#[tokio::test]
async fn a_long_answer_is_compressed_for_who_wants_it() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.says(&chat, &"words ".repeat(800)).await;
    let get = async |accept: Option<&str>| {
        let path = format!("/api/chat/{chat}/messages");
        let mut request = Request::get(world.url(&path))
            .header("authorization", format!("Bearer {}", alice.token));
        if let Some(accept) = accept {
            request = request.header("accept-encoding", accept);
        }
        world.bytes(request.body(Full::default()).unwrap()).await
    };
    let (head, plain) = get(None).await;
    assert!(!head.contains_key("content-encoding"));
    let (head, packed) = get(Some("gzip")).await;
    assert_eq!(head["content-encoding"], "gzip");
    assert!(head["vary"].to_str().unwrap().contains("accept-encoding"));
    assert!(packed.len() < plain.len() / 10, "{} of {}", packed.len(), plain.len());
    assert_eq!(packed[..2], [0x1f, 0x8b]);
    let short = alice.post(&format!("/api/chat/{chat}/messages"), json!({ "content": "hi" })).await;
    assert!(!short.headers.contains_key("content-encoding"));
}

#[tokio::test]
async fn a_pod_that_leaves_serves_on_and_each_answer_is_the_last_of_its_connection() {
    let world = World::new().await;
    let alice = world.user().await;
    let get = format!(
        "GET /api/chat HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n\r\n",
        alice.token
    );
    let mut kept = Raw::to(&world).await;
    kept.says(&get).await;
    assert!(!kept.hears().await.to_lowercase().contains("connection: close"));
    world.leaves();
    assert_eq!(world.admin_port("/readyz").await.0, 503);
    for mut connection in [kept, Raw::to(&world).await] {
        connection.says(&get).await;
        let answer = connection.hears_all().await.to_lowercase();
        assert!(answer.starts_with("http/1.1 200 "), "{answer}");
        assert!(answer.contains("connection: close"), "{answer}");
    }
}
