use std::time::Duration;

use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::actor::{World, failure};

async fn until_ready_is(world: &World, ready: bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.admin_port("/readyz").await.0.is_success() != ready {
        assert!(Instant::now() < deadline, "/readyz does not become {ready}");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn without_postgres_everything_is_503_and_comes_back_by_itself() {
    let world = World::with(&["--database-wait-ms", "1000"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages", alice.chat_with(&bob).await);
    let body = || json!({ "content": "hi", "clientMessageId": "c" });
    until_ready_is(&world, true).await;

    world.database.cut();
    for answer in
        [alice.post(&path, body()).await, alice.get(&path).await, alice.get("/api/chat").await]
    {
        assert_eq!(answer.failure(), failure(503, "unavailable"));
        assert_eq!(answer.header("retry-after"), "1");
    }
    until_ready_is(&world, false).await;
    assert_eq!(world.admin_port("/readyz").await.1, "not ready: postgres\n");
    assert_eq!(world.admin_port("/livez").await.0, 200, "a pod is not restarted for its database");

    world.database.mend();
    until_ready_is(&world, true).await;
    assert_eq!(alice.post(&path, body()).await.status, 201, "the refused send was not kept");
}
