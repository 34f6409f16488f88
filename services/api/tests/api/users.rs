use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::{World, failure};

#[tokio::test]
async fn only_the_host_application_writes_the_directory() {
    let world = World::new().await;
    for role in ["user", "support", "admin", "unheard-of"] {
        let answer = world.actor("x", role).put("/api/users/bob", json!({ "name": "Bob" })).await;
        assert_eq!(answer.failure(), failure(403, "forbidden"), "{role}");
    }
    let host = world.actor("host", "service");
    let user = host.put("/api/users/bob", json!({ "name": "Bob" })).await.data()["user"].clone();
    assert_eq!((&user["name"], &user["avatar"]), (&json!("Bob"), &Value::Null));
    let user = host
        .put("/api/users/bob", json!({ "avatar": "https://x.example/b.png" }))
        .await
        .data()["user"]
        .clone();
    assert_eq!(user["name"], "Bob", "what is left out stays");
    for (bad, field) in
        [(json!({ "name": "" }), "name"), (json!({ "avatar": "javascript:x" }), "avatar")]
    {
        let answer = host.put("/api/users/bob", bad).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"));
        assert_eq!(answer.json()["error"]["details"]["field"], field);
    }
    assert_eq!(host.put("/api/users/a%0Ab", json!({})).await.failure(), failure(400, "invalid_id"));
}

#[tokio::test]
async fn one_reads_oneself_and_the_host_reads_anyone() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/users/{}", alice.id);
    assert_eq!(alice.get(&path).await.data()["user"]["_id"], alice.id);
    assert_eq!(bob.get(&path).await.failure(), failure(403, "forbidden"));
    for role in ["admin", "service"] {
        let reader = world.actor("reader", role);
        assert_eq!(reader.get(&path).await.data()["user"]["_id"], alice.id);
        assert_eq!(reader.get("/api/users/nobody").await.failure(), failure(404, "user_not_found"));
    }
}

#[tokio::test]
async fn a_batch_writes_the_directory_whole_or_not_at_all() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    host.put("/api/users/old", json!({ "name": "Old" })).await.data();
    let users = json!({ "users": [
        { "id": "new", "name": "New", "avatar": "/new.png" },
        { "id": "old", "avatar": "/old.png" },
        { "id": "bare" },
    ] });
    assert_eq!(host.post("/api/users", users).await.data(), json!({ "count": 3 }));
    for (id, name, avatar) in [
        ("new", json!("New"), json!("/new.png")),
        ("old", json!("Old"), json!("/old.png")),
        ("bare", Value::Null, Value::Null),
    ] {
        let user = host.get(&format!("/api/users/{id}")).await.data()["user"].clone();
        assert_eq!((&user["name"], &user["avatar"]), (&name, &avatar), "{id}");
    }
    for bad in [
        json!([]),
        json!([{ "id": "fresh" }, { "id": "" }]),
        json!([{ "id": "fresh" }, { "id": "fresh" }]),
        json!([{ "id": "fresh" }, { "id": "b", "name": "\u{0000}" }]),
        json!([{ "id": "fresh" }, { "id": "b", "avatar": "javascript:x" }]),
        (0..=1_000).map(|number| json!({ "id": format!("fresh-{number}") })).collect(),
    ] {
        let answer = host.post("/api/users", json!({ "users": bad })).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{bad}");
        assert_eq!(answer.json()["error"]["details"]["field"], "users", "{bad}");
    }
    assert_eq!(host.post("/api/users", json!({})).await.failure(), failure(400, "invalid_request"));
    for absent in ["fresh", "fresh-0"] {
        let answer = host.get(&format!("/api/users/{absent}")).await;
        assert_eq!(answer.failure(), failure(404, "user_not_found"));
    }
    let many: Value = (0..1_000).map(|number| json!({ "id": format!("many-{number}") })).collect();
    let answer = host.post("/api/users", json!({ "users": many })).await;
    assert_eq!(answer.data(), json!({ "count": 1_000 }));
}

#[tokio::test]
async fn only_the_host_writes_many_and_only_it_and_admins_end_users() {
    let world = World::new().await;
    for role in ["user", "support", "admin"] {
        let answer = world.actor("x", role).post("/api/users", json!({ "users": [] })).await;
        assert_eq!(answer.failure(), failure(403, "forbidden"), "{role}");
    }
    let alice = world.user().await;
    let path = format!("/api/users/{}", alice.id);
    for role in ["user", "support"] {
        let nosy = world.actor("x", role);
        assert_eq!(nosy.delete(&path).await.failure(), failure(403, "forbidden"), "{role}");
        let answer = nosy.post(&format!("{path}/revoke"), json!({})).await;
        assert_eq!(answer.failure(), failure(403, "forbidden"), "{role}");
    }
    assert_eq!(alice.delete(&path).await.failure(), failure(403, "forbidden"), "not even oneself");
    for role in ["admin", "service"] {
        let ender = world.actor("ender", role);
        assert_eq!(
            ender.delete("/api/users/nobody").await.failure(),
            failure(404, "user_not_found")
        );
        assert_eq!(ender.delete("/api/users/a%0Ab").await.failure(), failure(400, "invalid_id"));
        let answer = ender.post("/api/users/a%0Ab/revoke", json!({})).await;
        assert_eq!(answer.failure(), failure(400, "invalid_id"));
    }
}

#[tokio::test]
async fn a_deleted_user_loses_its_name_and_tokens_and_its_messages_stay() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/users/{}", alice.id);
    host.put(&path, json!({ "name": "Alice", "avatar": "/a.png" })).await.data();
    let chat = alice.chat_with(&bob).await;
    alice.says(&chat, "I was here").await;

    let user = host.delete(&path).await.data()["user"].clone();
    assert_eq!(user["_id"], alice.id);
    assert_eq!((&user["name"], &user["avatar"]), (&Value::Null, &Value::Null));
    assert!(user["deletedAt"].is_string());
    assert_eq!(alice.get("/api/chat").await.failure(), failure(401, "token_revoked"));
    let message =
        bob.get(&format!("/api/chat/{chat}/messages")).await.data()["messages"][0].clone();
    assert_eq!(
        (&message["content"], &message["senderId"]),
        (&json!("I was here"), &json!(alice.id))
    );
    assert_eq!(message["sender"]["name"], Value::Null);

    let again = world.actor("admin", "admin").delete(&path).await.data()["user"].clone();
    assert_eq!(again, user, "the same again changes nothing");
    let user = host.put(&path, json!({ "name": "Alice II" })).await.data()["user"].clone();
    assert_eq!((&user["name"], &user["deletedAt"]), (&json!("Alice II"), &Value::Null));
    assert_eq!(alice.get("/api/chat").await.failure(), failure(401, "token_revoked"));
}

#[tokio::test]
async fn somebody_who_was_deleted_comes_back_only_with_a_newer_token() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let id = format!("user-{}", Uuid::new_v4());
    let old = world.issued(&id, 1_700_000_000);
    let path = format!("/api/users/{id}");
    assert_eq!(old.get(&path).await.data()["user"]["name"], "Somebody");
    host.delete(&path).await.data();
    assert_eq!(old.get(&path).await.failure(), failure(401, "token_revoked"));
    assert_eq!(host.get(&path).await.data()["user"]["name"], Value::Null);
    let user = world.issued(&id, 4_000_000_000).get(&path).await.data()["user"].clone();
    assert_eq!((&user["name"], &user["deletedAt"]), (&json!("Somebody"), &Value::Null));
}
