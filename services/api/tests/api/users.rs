use serde_json::{Value, json};

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
    assert_eq!(
        (&user["name"], &user["avatar"], &user["lastSeenAt"]),
        (&json!("Bob"), &Value::Null, &Value::Null)
    );
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
