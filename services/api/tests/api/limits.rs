use serde_json::json;

use crate::actor::{Actor, Answer, World, failure};

async fn send(actor: &Actor<'_>, chat: &str, text: &str, id: &str) -> Answer {
    let body = json!({ "content": text, "clientMessageId": id });
    actor.post(&format!("/api/chat/{chat}/messages"), body).await
}

#[tokio::test]
async fn a_sender_at_its_limit_is_told_when_to_come_back() {
    let world = World::with(&["--message-limits", "user=3/60,service=none"]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chats = [alice.chat_with(&bob).await, alice.chat_with(&carol).await];
    for n in 0..3 {
        let answer = send(&alice, &chats[n % 2], "hi", &format!("c-{n}")).await;
        assert_eq!(answer.status, 201);
        assert_eq!(answer.header("ratelimit-policy"), "\"messages\";q=3;w=60");
        let left = format!("\"messages\";r={};t=", 2 - n);
        assert!(answer.header("ratelimit").starts_with(&left), "{}", answer.header("ratelimit"));
    }
    let refused = send(&alice, &chats[0], "hi", "c-3").await;
    assert_eq!(refused.failure(), failure(429, "rate_limited"));
    let after: u64 = refused.header("retry-after").parse().unwrap();
    assert!((50..=60).contains(&after), "{after}");
    assert_eq!(refused.header("ratelimit-policy"), "\"messages\";q=3;w=60");
    assert!(refused.header("ratelimit").starts_with("\"messages\";r=0;t="));
    assert_eq!(refused.json()["error"]["details"]["limit"], 3);

    assert_eq!(
        send(&bob, &chats[0], "hi", "c-3").await.status,
        201,
        "the limit is each user's own"
    );
    let system = json!({ "content": "hi", "type": "system" });
    let host = world.actor("host", "service");
    let spoken = host.post(&format!("/api/chat/{}/messages", chats[0]), system).await;
    assert_eq!(spoken.status, 201);
    assert!(!spoken.headers.contains_key("ratelimit"), "the host application has no limit");
}

#[tokio::test]
async fn i2_a_repetition_is_free_even_at_the_limit() {
    let world = World::with(&["--message-limits", "user=2/60"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let first = send(&alice, &chat, "hi", "c-0").await;
    assert_eq!(send(&alice, &chat, "hi", "c-0").await.status, 200);
    assert_eq!(
        send(&alice, &chat, "ho", "c-0").await.failure(),
        failure(422, "idempotency_conflict")
    );
    assert_eq!(send(&alice, &chat, "hi", "c-1").await.status, 201);
    assert_eq!(send(&alice, &chat, "hi", "c-2").await.failure(), failure(429, "rate_limited"));
    let again = send(&alice, &chat, "hi", "c-0").await;
    assert_eq!((again.status.as_u16(), again.data()), (200, first.data()));
    assert_eq!(
        send(&alice, &chat, "ho", "c-0").await.failure(),
        failure(422, "idempotency_conflict")
    );
}

#[tokio::test]
async fn what_was_refused_is_not_charged() {
    let world = World::with(&["--message-limits", "user=2/60"]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let (own, foreign) = (alice.chat_with(&bob).await, bob.chat_with(&carol).await);
    for n in 0..5 {
        let id = format!("c-{n}");
        assert_eq!(
            send(&alice, &foreign, "hi", &id).await.failure(),
            failure(403, "not_participant")
        );
        let nowhere = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
        assert_eq!(
            send(&alice, nowhere, "hi", &id).await.failure(),
            failure(404, "chat_not_found")
        );
        assert_eq!(send(&alice, &own, " ", &id).await.failure(), failure(400, "invalid_request"));
        let reply = json!({ "content": "re", "replyToMessageId": own });
        let reply = alice.post(&format!("/api/chat/{own}/messages"), reply).await;
        assert_eq!(reply.failure(), failure(404, "message_not_found"));
    }
    for n in 0..2 {
        assert_eq!(send(&alice, &own, "hi", &format!("c-{n}")).await.status, 201);
    }
    assert_eq!(send(&alice, &own, "hi", "c-2").await.failure(), failure(429, "rate_limited"));
}

#[tokio::test]
async fn a_flood_of_attempts_is_stopped_whatever_comes_of_them() {
    let world = World::with(&["--message-limits", "user=2/60", "--attempt-limit", "6/60"]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let foreign = bob.chat_with(&carol).await;
    let mut answers = Vec::new();
    for n in 0..10 {
        answers.push(send(&alice, &foreign, "hi", &format!("c-{n}")).await.failure());
    }
    assert!(answers.contains(&failure(403, "not_participant")));
    assert_eq!(answers.last(), Some(&failure(429, "too_many_attempts")));
}

#[tokio::test]
async fn another_request_under_the_same_id_has_a_place_of_its_own() {
    let world = World::with(&["--message-limits", "user=2/60"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages");
    let wrong = |text: &str| {
        let nothing = uuid::Uuid::now_v7();
        json!({ "content": text, "clientMessageId": "c-0", "replyToMessageId": nothing })
    };
    // What is refused is free, whatever it is that refuses it.
    for n in 0..3 {
        let refused = alice.post(&path, wrong(&n.to_string())).await;
        assert_eq!(refused.failure(), failure(404, "message_not_found"));
    }
    assert_eq!(send(&alice, &chat, "hi", "c-0").await.status, 201);
    for text in ["ha", "ho"] {
        let conflict = send(&alice, &chat, text, "c-0").await;
        assert_eq!(conflict.failure(), failure(422, "idempotency_conflict"));
    }
    let second = send(&alice, &chat, "hi", "c-1").await;
    assert_eq!(second.status, 201);
    assert!(second.header("ratelimit").starts_with("\"messages\";r=0;"));
    // At the limit, one that will be refused takes no other's place: both are asked for one.
    assert_eq!(alice.post(&path, wrong("hi")).await.status, 422);
    assert_eq!(send(&alice, &chat, "hi", "c-2").await.failure(), failure(429, "rate_limited"));
}
