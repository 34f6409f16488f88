use std::time::Duration;

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::ChatId;
use parley_domain::version::Version;
use parley_relay::RoomSubscription;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::actor::{World, failure};
use crate::events::bus;

async fn next(room: &mut RoomSubscription) -> (RoomEvent, Value) {
    let heard = timeout(Duration::from_secs(10), room.next()).await.expect("nothing was published");
    let heard = heard.unwrap();
    let event = serde_json::from_slice(&heard.event).unwrap();
    (heard, event)
}

#[tokio::test]
async fn an_author_edits_and_the_room_hears_it() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let bus = bus().await;
    let mut room = bus.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let message = alice.says(&chat, "helo").await;
    next(&mut room).await;
    let path = format!("/api/chat/{chat}/messages/{message}");

    let edited = alice.put(&path, json!({ "content": "hello" })).await.data()["message"].clone();
    assert_eq!((&edited["content"], &edited["changedVersion"]), (&json!("hello"), &json!(2)));
    assert!(edited["editedAt"].is_string());
    let (heard, event) = next(&mut room).await;
    assert_eq!((heard.kind, heard.version), (Kind::MessageEdited, Some(Version(2))));
    assert_eq!((&event[0], &event[1]["message"]), (&json!("message-edited"), &edited));
    assert_eq!((&event[1]["messageId"], &event[1]["content"]), (&json!(message), &json!("hello")));
    let read = bob.get(&format!("/api/chat/{chat}/messages")).await.data();
    assert_eq!((&read["messages"][0], &read["version"]), (&edited, &json!(2)));

    let edit = json!({ "content": "no" });
    assert_eq!(bob.put(&path, edit.clone()).await.failure(), failure(403, "not_author"));
    assert_eq!(carol.put(&path, edit.clone()).await.failure(), failure(403, "not_participant"));
    let blank = json!({ "content": " " });
    assert_eq!(alice.put(&path, blank).await.failure(), failure(400, "invalid_request"));
    let other = format!("/api/chat/{chat}/messages/{chat}");
    assert_eq!(alice.put(&other, edit.clone()).await.failure(), failure(404, "message_not_found"));
    let nowhere = format!("/api/chat/{message}/messages/{message}");
    assert_eq!(alice.put(&nowhere, edit.clone()).await.failure(), failure(404, "chat_not_found"));
    let no_id = format!("/api/chat/{chat}/messages/x");
    assert_eq!(alice.put(&no_id, edit).await.failure(), failure(400, "invalid_id"));
}

#[tokio::test]
async fn a_deleted_message_leaves_a_tombstone_that_says_nothing() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let bus = bus().await;
    let mut room = bus.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let message = alice.says(&chat, "a secret").await;
    next(&mut room).await;
    let path = format!("/api/chat/{chat}/messages/{message}");
    assert_eq!(bob.delete(&path).await.failure(), failure(403, "not_author"));
    assert_eq!(carol.delete(&path).await.failure(), failure(403, "not_participant"));

    let tombstone = alice.delete(&path).await.data()["message"].clone();
    assert_eq!((&tombstone["content"], &tombstone["metadata"]), (&json!(""), &json!(null)));
    assert!(tombstone["deletedAt"].is_string());
    let (heard, event) = next(&mut room).await;
    assert_eq!((heard.kind, heard.version), (Kind::MessageDeleted, Some(Version(2))));
    assert_eq!((&event[0], &event[1]["deletedBy"]), (&json!("message-deleted"), &json!(alice.id)));
    assert!(!event.to_string().contains("secret"));
    let again = alice.delete(&path).await;
    assert_eq!((again.status.as_u16(), &again.data()["message"]), (200, &tombstone));
    let edit = json!({ "content": "back" });
    assert_eq!(alice.put(&path, edit).await.failure(), failure(400, "message_deleted"));

    let another = bob.says(&chat, "rude").await;
    let admin = world.actor("root", "admin");
    let path = format!("/api/chat/{chat}/messages/{another}");
    assert_eq!(admin.delete(&path).await.status, 200, "an admin moderates");
    let info = alice.get(&format!("/api/chat/{chat}/info")).await.data();
    assert_eq!((&info["chat"]["unreadCount"], &info["chat"]["version"]), (&json!(0), &json!(4)));
}
