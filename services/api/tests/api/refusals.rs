use axum::http::{Method, Request};
use http_body_util::Full;
use serde_json::json;

use crate::actor::{World, failure};

#[tokio::test]
async fn what_the_framework_refuses_has_the_envelope_too() {
    let world = World::new().await;
    let alice = world.user().await;
    assert_eq!(alice.get("/api/nothing").await.failure(), failure(404, "not_found"));
    assert_eq!(alice.get("/").await.failure(), failure(404, "not_found"));
    let wrong_method = alice.call(Method::DELETE, "/api/chat", None).await;
    assert_eq!(wrong_method.failure(), failure(405, "method_not_allowed"));
    assert_eq!(wrong_method.header("allow"), "GET,HEAD,POST");
    assert_eq!(alice.get("/api/chat?limit=%FF").await.failure(), failure(400, "invalid_request"));
    assert_eq!(alice.get("/api/chat/%FF/info").await.failure(), failure(400, "invalid_request"));

    let post = |content_type: &str, body: &'static str| {
        let request = Request::post(world.url("/api/chat"))
            .header("authorization", format!("Bearer {}", alice.token))
            .header("content-type", content_type);
        world.raw(request.body(Full::from(body)).unwrap())
    };
    assert_eq!(post("text/plain", "{}").await.failure(), failure(415, "unsupported_media_type"));
    assert_eq!(post("application/json", "{").await.failure(), failure(400, "invalid_json"));
    assert_eq!(post("application/json", "").await.failure(), failure(400, "invalid_json"));
    assert_eq!(post("application/json", "[]").await.failure(), failure(400, "invalid_request"));
}

#[tokio::test]
async fn every_answer_names_its_request_and_its_pod_and_is_not_cached() {
    let world = World::new().await;
    let alice = world.user().await;
    for path in ["/api/chat", "/api/nothing"] {
        let answer = alice.get(path).await;
        assert_eq!(answer.header("x-parley-pod"), "api-test");
        assert_eq!(answer.header("cache-control"), "private, no-store");
        assert_eq!(answer.header("x-request-id").len(), 36);
    }
    let with_id = |id: &str| {
        let request = Request::get(world.url("/api/chat")).header("x-request-id", id);
        world.raw(request.body(Full::default()).unwrap())
    };
    assert_eq!(with_id("trace-7").await.header("x-request-id"), "trace-7");
    assert_eq!(
        with_id("no spaces").await.header("x-request-id").len(),
        36,
        "a strange id is replaced"
    );
    assert_eq!(with_id(&"x".repeat(129)).await.header("x-request-id").len(), 36);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_chat_or_user() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.post(&format!("/api/chat/{chat}/messages"), json!({ "content": "hi" })).await.data();
    alice.get("/api/nothing").await.failure();
    let (_, metrics) = world.admin_port("/metrics").await;
    let wanted = r#"parley_http_requests_total{method="POST",route="/api/chat/{id}/messages",status="201"} 1"#;
    assert!(metrics.contains(wanted), "{metrics}");
    let refused = r#"method="POST",route="/api/chat/{id}/messages",status="503"} 0"#;
    assert!(metrics.contains(refused), "of what begins with the first one, no rate shows that one");
    assert!(metrics.contains(r#"route="unmatched",status="404""#));
    assert!(!metrics.contains(&chat) && !metrics.contains(&alice.id));
}

#[tokio::test]
async fn i9_a_body_beyond_the_limit_is_answered_while_the_client_still_writes() {
    let world = World::with(&["--max-body-bytes", "1024"]).await;
    let alice = world.user().await;
    for size in [1025, 4_000, 16_000] {
        let answer = alice.post("/api/chat", json!({ "title": "x".repeat(size) })).await;
        assert_eq!(answer.failure(), failure(413, "payload_too_large"), "{size} bytes");
    }
}
