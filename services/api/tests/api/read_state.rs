use std::time::Duration;

use parley_domain::bus::Kind;
use parley_domain::ids::ChatId;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::actor::{Actor, World, failure};
use crate::events::bus;

async fn unread(actor: &Actor<'_>, chat: &str) -> [Value; 3] {
    let info = actor.get(&format!("/api/chat/{chat}/info")).await.data();
    let list = actor.get("/api/chat").await.data();
    let stats = actor.get("/api/chat/stats").await.data();
    assert_eq!(info["chat"]["unreadCounts"][&actor.id], info["chat"]["unreadCount"]);
    [
        info["chat"]["unreadCount"].clone(),
        list["chats"][0]["unreadCount"].clone(),
        stats["totalUnread"].clone(),
    ]
}

fn all(count: u64) -> [Value; 3] {
    [json!(count), json!(count), json!(count)]
}

#[tokio::test]
async fn i7_what_was_read_is_not_unread_and_the_room_hears_of_it() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let bus = bus().await;
    let mut ids = Vec::new();
    for n in 0..5 {
        ids.push(alice.says(&chat, &n.to_string()).await);
    }
    assert_eq!(unread(&bob, &chat).await, all(5));
    assert_eq!(unread(&alice, &chat).await, all(0));
    let mut room = bus.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let path = format!("/api/chat/{chat}/messages/read");

    let some = bob.patch(&path, json!({ "messageIds": [ids[3], ids[0], ids[0]] })).await.data();
    assert_eq!(some, json!({ "modifiedCount": 2, "unreadCount": 3, "readUpTo": 1 }));
    let heard = timeout(Duration::from_secs(10), room.next()).await.unwrap().unwrap();
    assert_eq!((heard.kind, heard.version), (Kind::MessagesRead, None));
    let event: Value = serde_json::from_slice(&heard.event).unwrap();
    assert_eq!((&event[0], &event[1]["userId"]), (&json!("messages-read"), &json!(bob.id)));
    assert_eq!(event[1]["messageIds"].as_array().unwrap().len(), 2);
    assert_eq!(unread(&bob, &chat).await, all(3));

    let rest = bob.call(axum::http::Method::PATCH, &path, None).await.data();
    assert_eq!(rest, json!({ "modifiedCount": 3, "unreadCount": 0, "readUpTo": 5 }));
    let heard = timeout(Duration::from_secs(10), room.next()).await.unwrap().unwrap();
    let event: Value = serde_json::from_slice(&heard.event).unwrap();
    assert_eq!((&event[1]["messageIds"], &event[1]["readUpTo"]), (&json!(null), &json!(5)));
    let nothing = bob.patch(&path, json!({ "messageIds": [] })).await.data();
    assert_eq!(nothing["modifiedCount"], 0);
    assert_eq!(unread(&bob, &chat).await, all(0));

    let back = bob
        .patch(&format!("/api/chat/{chat}/messages/unread"), json!({ "messageId": ids[2] }))
        .await
        .data();
    assert_eq!(back, json!({ "unreadCount": 3, "readUpTo": 2 }));
    assert_eq!(unread(&bob, &chat).await, all(3));
    alice.delete(&format!("/api/chat/{chat}/messages/{}", ids[4])).await.data();
    assert_eq!(unread(&bob, &chat).await, all(2));
    let stats = bob.get("/api/chat/stats").await.data();
    assert_eq!(stats, json!({ "totalChats": 1, "totalMessages": 5, "totalUnread": 2 }));
}

#[tokio::test]
async fn i6_only_participants_read_and_only_what_makes_sense() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let message = alice.says(&chat, "hi").await;
    let read = format!("/api/chat/{chat}/messages/read");
    let unread = format!("/api/chat/{chat}/messages/unread");
    for outsider in [&carol, &world.actor("root", "admin")] {
        assert_eq!(
            outsider.patch(&read, json!({})).await.failure(),
            failure(403, "not_participant")
        );
        let one = json!({ "messageId": message });
        assert_eq!(outsider.patch(&unread, one).await.failure(), failure(403, "not_participant"));
    }
    let nowhere = format!("/api/chat/{message}/messages/read");
    assert_eq!(bob.patch(&nowhere, json!({})).await.failure(), failure(404, "chat_not_found"));
    let invalid = || failure(400, "invalid_request");
    for body in [
        json!({ "messageIds": "x" }),
        json!({ "messageIds": ["x"] }),
        json!({ "messageIds": [7] }),
        json!({ "messageIds": vec![message.clone(); 1001] }),
    ] {
        assert_eq!(bob.patch(&read, body).await.failure(), invalid());
    }
    let unknown = bob.patch(&read, json!({ "messageIds": [chat] })).await.data();
    assert_eq!(unknown["modifiedCount"], 0, "what the chat does not know is passed over");
    assert_eq!(bob.patch(&unread, json!({})).await.failure(), invalid());
    assert_eq!(bob.patch(&unread, json!({ "messageId": "x" })).await.failure(), invalid());
    let absent = bob.patch(&unread, json!({ "messageId": chat })).await.failure();
    assert_eq!(absent, failure(404, "message_not_found"));
}
