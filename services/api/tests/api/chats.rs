use axum::http::Method;
use serde_json::{Value, json};

use crate::actor::{Actor, World, failure};

#[tokio::test]
async fn a_direct_chat_is_made_once() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let first = alice.post("/api/chat", json!({ "participantIds": [bob.id] })).await;
    assert_eq!(first.status, 201);
    let again = bob
        .post("/api/chat", json!({ "participantIds": [alice.id, bob.id], "type": "direct" }))
        .await;
    assert_eq!(again.status, 200);
    assert_eq!(first.data()["chat"]["_id"], again.data()["chat"]["_id"]);
}

#[tokio::test]
async fn what_cannot_be_a_chat_is_refused() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let invalid = || failure(400, "invalid_request");
    for (body, expected) in [
        (json!({}), invalid()),
        (json!({ "participantIds": [] }), invalid()),
        (json!({ "participantIds": [alice.id] }), invalid()),
        (json!({ "participantIds": [bob.id, carol.id] }), invalid()),
        (json!({ "participantIds": [bob.id], "type": "support" }), invalid()),
        (json!({ "participantIds": [bob.id], "type": "other" }), invalid()),
        (json!({ "participantIds": "bob" }), invalid()),
        (json!({ "participantIds": [7] }), invalid()),
        (json!({ "participantIds": [""] }), invalid()),
        (json!({ "participantIds": [bob.id], "type": "group", "title": "\u{0}" }), invalid()),
        (json!({ "participantIds": [bob.id], "metadata": [] }), invalid()),
        (json!({ "participantIds": ["nobody"] }), failure(404, "participant_not_found")),
    ] {
        assert_eq!(alice.post("/api/chat", body.clone()).await.failure(), expected, "{body}");
    }
}

#[tokio::test]
async fn i6_a_chat_is_read_by_its_participants_and_by_admins() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for path in [format!("/api/chat/{chat}/info"), format!("/api/chat/{chat}/messages")] {
        for reader in [&alice, &bob, &world.actor("root", "admin"), &world.actor("host", "service")]
        {
            assert_eq!(reader.get(&path).await.status, 200, "{} {path}", reader.id);
        }
        for outsider in [&carol, &world.actor("agent", "support")] {
            assert_eq!(outsider.get(&path).await.failure(), failure(403, "not_participant"));
        }
    }
    for path in ["info", "messages"] {
        let absent = format!("/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/{path}");
        assert_eq!(alice.get(&absent).await.failure(), failure(404, "chat_not_found"));
        assert_eq!(
            alice.get(&format!("/api/chat/x/{path}")).await.failure(),
            failure(400, "invalid_id")
        );
    }
    assert!(carol.get("/api/chat").await.data()["chats"].as_array().unwrap().is_empty());
}

#[tokio::test]
async fn a_chat_has_every_field_of_the_contract() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id], "type": "group", "title": "T", "metadata": { "a": [1] } });
    let chat = alice.post("/api/chat", body).await.data()["chat"].clone();
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort_unstable();
        keys.join(" ")
    };
    assert_eq!(
        keys(&chat),
        "_id archived buyerId createdAt createdBy lastMessage messageCount metadata muted mutedUntil participantCount participants \
         purchaseRequestId sellerId subject title type unreadCount unreadCounts updatedAt version"
    );
    assert_eq!(
        keys(&chat["participants"][0]),
        "_id avatar joinedAt lastSeenAt name online readUpTo role userId"
    );
    assert_eq!(
        (&chat["title"], &chat["metadata"], &chat["version"]),
        (&json!("T"), &json!({ "a": [1] }), &json!(0))
    );
    assert_eq!(chat["createdAt"].as_str().unwrap().len(), "2026-01-01T00:00:00.000Z".len());
}

#[tokio::test]
async fn lists_are_paged_and_filtered() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    for title in ["one", "two", "three"] {
        let body = json!({ "participantIds": [bob.id], "type": "group", "title": title });
        alice.post("/api/chat", body).await.data();
    }
    let page = alice.get("/api/chat?limit=2&page=2&type=group&archived=false").await.data();
    assert_eq!(page["chats"][0]["title"], "one");
    assert_eq!(
        page["pagination"],
        json!({ "page": 2, "limit": 2, "total": 3, "totalPages": 2, "hasNext": false })
    );
    assert_eq!(alice.get("/api/chat?type=direct").await.data()["pagination"]["total"], 0);
    for bad in ["limit=0", "page=0", "limit=x", "type=other", "archived=maybe"] {
        let answer = alice.get(&format!("/api/chat?{bad}")).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{bad}");
    }
}

#[tokio::test]
async fn archiving_is_a_toggle_of_each_participant_under_both_methods() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/archive");
    let listed = async |who: &Actor<'_>, archived: bool| {
        let list = who.get(&format!("/api/chat?archived={archived}")).await.data();
        list["pagination"]["total"].as_u64().unwrap()
    };
    let put_away = alice.call(Method::PATCH, &path, None).await.data();
    assert_eq!(
        (&put_away["archived"], &put_away["chat"]["archived"]),
        (&json!(true), &json!(true))
    );
    assert_eq!((&put_away["chat"]["_id"], &put_away["chat"]["version"]), (&json!(chat), &json!(0)));
    assert_eq!((listed(&alice, true).await, listed(&alice, false).await), (1, 0));
    assert_eq!((listed(&bob, true).await, listed(&bob, false).await), (0, 1), "it is alice's own");
    bob.says(&chat, "hi").await;
    assert_eq!(listed(&alice, true).await, 1, "a new message does not bring it back");
    let back = alice.put(&path, json!({})).await.data();
    assert_eq!((&back["archived"], &back["chat"]["archived"]), (&json!(false), &json!(false)));
    assert_eq!(alice.put(&path, json!({})).await.data()["archived"], true);

    for refused in [&carol, &world.actor("root", "admin"), &world.actor("agent", "support")] {
        assert_eq!(
            refused.patch(&path, json!({})).await.failure(),
            failure(403, "not_participant")
        );
    }
    let absent = "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/archive";
    assert_eq!(alice.put(absent, json!({})).await.failure(), failure(404, "chat_not_found"));
    assert_eq!(
        alice.put("/api/chat/x/archive", json!({})).await.failure(),
        failure(400, "invalid_id")
    );
}

#[tokio::test]
async fn where_messages_bring_chats_back_the_next_one_does() {
    let world = World::with(&["--unarchive", "message"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    bob.says(&chat, "hi").await;
    let path = format!("/api/chat/{chat}/archive");
    let away = async |who: &Actor<'_>| {
        let listed = async |archived: bool| {
            let list = who.get(&format!("/api/chat?archived={archived}")).await.data();
            list["chats"].as_array().unwrap().len()
        };
        let info = who.get(&format!("/api/chat/{chat}/info")).await.data()["chat"].clone();
        let archived = info["archived"].as_bool().unwrap();
        assert_eq!((listed(archived).await, listed(!archived).await), (1, 0));
        archived
    };
    assert_eq!(alice.patch(&path, json!({})).await.data()["archived"], true);
    assert!(away(&alice).await);
    bob.says(&chat, "are you there?").await;
    assert!(!away(&alice).await, "it is back");
    // So the next call puts it away again, and one more takes it back.
    for archived in [true, false, true] {
        assert_eq!(alice.patch(&path, json!({})).await.data()["archived"], archived);
        assert_eq!(away(&alice).await, archived);
    }
    alice.says(&chat, "here").await;
    assert!(!away(&alice).await, "one's own message brings it back too");
    assert!(!away(&bob).await);
}

#[tokio::test]
async fn i9_one_call_names_at_most_a_thousand_people() {
    let world = World::with(&["--unknown-users", "create"]).await;
    let alice = world.user().await;
    let people = |count: usize| -> Vec<String> { (0..count).map(|n| format!("p-{n}")).collect() };
    let create = async |ids: Vec<String>| {
        alice.post("/api/chat", json!({ "participantIds": ids, "type": "group" })).await
    };
    assert_eq!(create(people(1001)).await.failure(), failure(400, "invalid_request"));
    let chat = create(people(1000)).await.data()["chat"].clone();
    assert_eq!(chat["participantCount"], 1001, "the caller comes to them");
    let listed = chat["participants"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["userId"]), (100, &json!(alice.id)));
    assert_eq!(listed[0]["role"], "creator");
}

#[tokio::test]
async fn a_direct_chat_is_exactly_two_and_has_no_title() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let three = json!({ "participantIds": [alice.id, bob.id, carol.id] });
    assert_eq!(alice.post("/api/chat", three).await.failure(), failure(400, "invalid_request"));
    let named =
        json!({ "participantIds": [bob.id, bob.id, alice.id], "title": "T", "metadata": null });
    let chat = alice.post("/api/chat", named).await.data()["chat"].clone();
    assert_eq!((&chat["type"], &chat["title"]), (&json!("direct"), &Value::Null));
    assert_eq!((&chat["participantCount"], &chat["metadata"]), (&json!(2), &Value::Null));
    let group = json!({ "participantIds": [bob.id, carol.id], "type": "group", "title": "T" });
    let group = alice.post("/api/chat", group).await.data()["chat"].clone();
    assert_eq!((&group["title"], &group["participantCount"]), (&json!("T"), &json!(3)));
    for title in ["", " ", "a\nb", &"x".repeat(201)] {
        let body = json!({ "participantIds": [bob.id], "type": "group", "title": title });
        assert_eq!(alice.post("/api/chat", body).await.failure(), failure(400, "invalid_request"));
    }
}

#[tokio::test]
async fn i9_a_chats_metadata_has_a_limit() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let create = async |metadata: Value| {
        let body = json!({ "participantIds": [bob.id], "type": "group", "metadata": metadata });
        alice.post("/api/chat", body).await
    };
    let nested = |depth: usize| (1..depth).fold(json!({}), |inner, _| json!({ "a": inner }));
    let sized = |bytes: usize| json!({ "a": "x".repeat(bytes - r#"{"a":""}"#.len()) });
    for kept in [nested(16), sized(16 * 1024), json!({ "a": [1, "é", null, 1.5] })] {
        let answer = create(kept.clone()).await;
        assert_eq!((answer.status.as_u16(), &answer.data()["chat"]["metadata"]), (201, &kept));
    }
    for bad in [nested(17), sized(16 * 1024 + 1), json!([]), json!("x"), json!({ "a": "\u{0}" })] {
        assert_eq!(create(bad).await.failure(), failure(400, "invalid_request"));
    }
}
