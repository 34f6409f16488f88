use serde_json::{Value, json};

use crate::actor::{World, failure};

#[tokio::test]
async fn what_was_missed_is_told_as_it_was_heard() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id], "type": "group" });
    let chat = alice.post("/api/chat", body).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    let first = alice.says(chat, "one").await;
    alice.says(chat, "two").await;
    let people = format!("/api/chat/{chat}/participants");
    alice.post(&people, json!({ "userId": carol.id })).await.data();
    alice.delete(&format!("{people}/{}", carol.id)).await.data();
    alice.delete(&format!("/api/chat/{chat}/messages/{first}")).await.data();

    let path = |query: &str| format!("/api/chat/{chat}/changes?{query}");
    let all = bob.get(&path("since=0")).await.data();
    let events = all["events"].as_array().unwrap();
    let names: Vec<_> = events.iter().map(|event| event[0].as_str().unwrap()).collect();
    assert_eq!(names, ["new-message", "new-message", "participant-removed", "message-deleted"]);
    let versions: Vec<_> =
        events.iter().map(|event| event[1]["version"].as_u64().unwrap()).collect();
    assert_eq!(versions, [1, 2, 4, 5], "a later change stands for the earlier ones");
    assert!(events.iter().all(|event| event[1]["chatId"] == chat));
    assert_eq!(events[0][1]["message"]["content"], "", "nothing deleted is told");
    assert_eq!(
        (&all["version"], &all["hasMore"], &all["resync"]),
        (&json!(5), &json!(false), &json!(false))
    );
    assert_eq!(events[0][1]["epoch"], all["epoch"]);

    let epoch = all["epoch"].as_str().unwrap();
    let rest = bob.get(&path(&format!("since=4&epoch={epoch}"))).await.data();
    assert_eq!(rest["events"], json!([events[3]]));
    let nothing = bob.get(&path("since=5")).await.data();
    assert_eq!((&nothing["events"], &nothing["version"]), (&json!([]), &json!(5)));
}

#[tokio::test]
async fn i9_what_was_missed_comes_in_pages() {
    let world = World::with(&["--message-limits", "user=none"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for n in 0..205 {
        alice.says(&chat, &format!("{n}")).await;
    }
    let mut since = 0;
    let mut pages = Vec::new();
    loop {
        let page = bob.get(&format!("/api/chat/{chat}/changes?since={since}")).await.data();
        pages.push(page["events"].as_array().unwrap().len());
        since = page["version"].as_u64().unwrap();
        if page["hasMore"] == false {
            break;
        }
    }
    assert_eq!((pages, since), (vec![200, 5], 205));
}

#[tokio::test]
async fn a_position_that_leads_nowhere_is_told_to_reload() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.says(&chat, "hi").await;
    for query in ["since=2", "since=1&epoch=0000000000000000"] {
        let answer = bob.get(&format!("/api/chat/{chat}/changes?{query}")).await.data();
        assert_eq!(answer["resync"], true, "{query}");
        assert_eq!((&answer["events"], &answer["version"]), (&json!([]), &json!(1)));
        assert_eq!(answer["epoch"].as_str().unwrap().len(), 16);
    }
}

#[tokio::test]
async fn i6_changes_are_for_readers_and_need_a_position() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/changes");
    for query in ["", "?since=", "?since=x", "?since=-1", "?since=0&epoch=x"] {
        let answer = alice.get(&format!("{path}{query}")).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{query}");
    }
    assert_eq!(
        carol.get(&format!("{path}?since=0")).await.failure(),
        failure(403, "not_participant")
    );
    let root = world.actor("root", "admin").get(&format!("{path}?since=0")).await.data();
    assert_eq!(root["events"], Value::Array(Vec::new()));
    let absent = "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/changes?since=0";
    assert_eq!(alice.get(absent).await.failure(), failure(404, "chat_not_found"));
    assert_eq!(
        alice.get("/api/chat/x/changes?since=0").await.failure(),
        failure(400, "invalid_id")
    );
}
