use axum::http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::actor::{World, failure};

#[tokio::test]
async fn i1_a_201_is_in_the_history() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages", alice.chat_with(&bob).await);
    let sent = alice.post(&path, json!({ "content": "hi", "metadata": { "k": 1 } })).await;
    assert_eq!(sent.status, 201);
    let read = bob.get(&path).await.data();
    assert_eq!(read["messages"], json!([sent.data()["message"]]));
    assert_eq!((&read["version"], &read["pagination"]["nextBefore"]), (&json!(1), &json!(null)));
}

#[tokio::test]
async fn i2_a_retry_gets_the_same_message_and_another_request_a_conflict() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages", alice.chat_with(&bob).await);
    let send = async |text: &str| {
        alice.post(&path, json!({ "content": text, "clientMessageId": "c-1" })).await
    };
    let first = send("hi").await;
    let again = send("hi").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.data(), again.data());
    assert_eq!(send("ho").await.failure(), failure(422, "idempotency_conflict"));

    let by_header = Request::post(world.url(&path))
        .header("authorization", format!("Bearer {}", alice.token))
        .header("content-type", "application/json")
        .header("idempotency-key", "c-1")
        .body(Full::from(json!({ "content": "hi" }).to_string()))
        .unwrap();
    let by_header = world.raw(by_header).await;
    assert_eq!(by_header.status, 200);
    assert_eq!(by_header.data(), first.data());
}

#[tokio::test]
async fn what_cannot_be_a_message_is_refused() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages");
    let invalid = || failure(400, "invalid_request");
    for (body, expected) in [
        (json!({}), invalid()),
        (json!({ "content": null }), invalid()),
        (json!({ "content": " \n" }), invalid()),
        (json!({ "content": 7 }), invalid()),
        (json!({ "content": "a\u{0}" }), invalid()),
        (json!({ "content": "x".repeat(5001) }), invalid()),
        (json!({ "content": "x", "type": "image" }), invalid()),
        (json!({ "content": "x", "clientMessageId": "" }), invalid()),
        (json!({ "content": "x", "metadata": "x" }), invalid()),
        (json!({ "content": "x", "replyToMessageId": "x" }), invalid()),
        (json!({ "content": "x", "replyToMessageId": chat }), failure(404, "message_not_found")),
        (json!({ "content": "x", "type": "system" }), failure(403, "forbidden")),
        (json!({ "content": "x".repeat(300_000) }), failure(413, "payload_too_large")),
    ] {
        let answer = alice.post(&path, body).await;
        assert_eq!(answer.failure(), expected, "{}", answer.text);
    }
    let hi = || json!({ "content": "hi" });
    assert_eq!(carol.post(&path, hi()).await.failure(), failure(403, "not_participant"));
    let admin = world.actor("root", "admin");
    assert_eq!(admin.post(&path, hi()).await.failure(), failure(403, "not_participant"));
    let system = json!({ "content": "maintenance at noon", "type": "system" });
    assert_eq!(world.actor("host", "service").post(&path, system).await.status, 201);
    let emoji = json!({ "content": "\u{1F600}".repeat(5000) });
    assert_eq!(alice.post(&path, emoji).await.status, 201, "characters count, not bytes");
}

#[tokio::test]
async fn history_is_paged_by_number_and_by_cursor() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages", alice.chat_with(&bob).await);
    for n in 1..=5 {
        alice.post(&path, json!({ "content": n.to_string() })).await.data();
    }
    let read = async |query: &str| {
        let data = bob.get(&format!("{path}?{query}")).await.data();
        let texts: Vec<String> = data["messages"]
            .as_array()
            .unwrap()
            .iter()
            .map(|m| m["content"].as_str().unwrap().to_owned())
            .collect();
        (texts.join(" "), data)
    };
    let (texts, data) = read("limit=2").await;
    assert_eq!(texts, "5 4");
    let next = data["pagination"]["nextBefore"].as_str().unwrap().to_owned();
    assert_eq!(read(&format!("limit=2&before={next}")).await.0, "3 2");
    let time = data["messages"][1]["createdAt"].as_str().unwrap().to_owned();
    assert_eq!(read(&format!("limit=2&before={time}")).await.0, "3 2");
    assert_eq!(read("order=asc&after=3").await.0, "4 5");
    assert_eq!(read("around=3&limit=3").await.0, "4 3 2");
    assert_eq!(read("limit=2&page=3").await.0, "1");
    for bad in
        ["before=x", "order=up", "limit=-1", "around=3&before=2", "around=2026-01-01T00:00:00Z"]
    {
        let answer = bob.get(&format!("{path}?{bad}")).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{bad}");
    }
}
