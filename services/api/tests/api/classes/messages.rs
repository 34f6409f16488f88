//! What is told of messages, to whom, and who changes them.

use std::time::Duration;

use axum::http::{HeaderMap, Method, Request};
use futures_util::future::join_all;
use http_body_util::Full;
use parley_domain::bus::Kind;
use parley_domain::ids::ChatId;
use parley_local::testing;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::actor::{Actor, World, failure};
use crate::events::bus;
use crate::uploads::{Form, PNG};

async fn group(creator: &Actor<'_>, others: &[&Actor<'_>]) -> String {
    let ids: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let body = json!({ "participantIds": ids, "type": "group" });
    creator.post("/api/chat", body).await.data()["chat"]["_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn class_12_of_what_was_deleted_no_event_and_no_list_says_anything() {
    const SECRET: &str = "a-word-that-was-deleted";
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let mut room = bus().await.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let form = Form::file(&format!("{SECRET}.png"), PNG)
        .and("content", SECRET)
        .and("metadata", &json!({ "note": SECRET }).to_string())
        .and("clientMessageId", "c-1");
    let sent = alice.send_form(&format!("/api/chat/{chat}/messages/file"), form).await.data();
    let message = sent["message"]["_id"].as_str().unwrap();
    let path = format!("/api/chat/{chat}/messages/{message}");
    alice.put(&path, json!({ "content": format!("{SECRET}, edited") })).await.data();
    let deleted = alice.delete(&path).await;
    let mut told = loop {
        let heard = timeout(Duration::from_secs(10), room.next()).await.unwrap().unwrap();
        if heard.kind == Kind::MessageDeleted {
            break serde_json::from_slice::<Value>(&heard.event).unwrap();
        }
    };
    for shown in [
        deleted,
        bob.get(&format!("/api/chat/{chat}/messages")).await,
        bob.get(&format!("/api/chat/{chat}/messages?around={message}")).await,
        bob.get(&format!("/api/chat/{chat}/changes?since=0")).await,
        bob.get(&format!("/api/chat/{chat}/info")).await,
        bob.get("/api/chat").await,
        world.actor("root", "admin").get(&format!("/api/chat/{chat}/messages")).await,
    ] {
        assert_eq!(shown.status, 200);
        assert!(shown.text.contains(message) && !shown.text.contains(SECRET), "{}", shown.text);
    }
    // Nothing beside ids, place and time: a field that comes later is looked at here first.
    let told = told[1].as_object_mut().unwrap();
    let mut fields: Vec<_> = told.keys().map(String::as_str).collect();
    fields.sort_unstable();
    assert_eq!(fields, ["chatId", "deletedAt", "deletedBy", "epoch", "messageId", "version"]);
}

#[tokio::test]
async fn class_13_an_edit_is_shown_to_the_chats_own_people_as_they_are_then() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = group(&alice, &[&bob, &carol]).await;
    let id = ChatId::parse(&chat).unwrap();
    let mut room = bus().await.subscribe(id).await.unwrap();
    let message = alice.says(&chat, "as it was before").await;
    alice.delete(&format!("/api/chat/{chat}/participants/{}", carol.id)).await.data();
    let path = format!("/api/chat/{chat}/messages/{message}");
    let edited = alice.put(&path, json!({ "content": "as it is now" })).await.data();
    let event = loop {
        let heard = timeout(Duration::from_secs(10), room.next()).await.unwrap().unwrap();
        if heard.kind == Kind::MessageEdited {
            break heard;
        }
    };
    // To the room only, whose gateways have put carol out at the version before, and without what was there.
    assert_eq!(event.version.map(|version| json!(version)), Some(json!(3)));
    let event = String::from_utf8(event.event.to_vec()).unwrap();
    assert!(event.contains("as it is now") && !event.contains("before"), "{event}");
    for end in ["messages", "changes?since=0", "info"] {
        let refused = carol.get(&format!("/api/chat/{chat}/{end}")).await;
        assert_eq!(refused.failure(), failure(403, "not_participant"), "{end}");
    }
    // Who comes later sees the whole history, which is the contract; and of an edited message its last text.
    let dave = world.user().await;
    alice
        .post(&format!("/api/chat/{chat}/participants"), json!({ "userId": dave.id }))
        .await
        .data();
    for end in ["messages", "changes?since=0"] {
        let shown = dave.get(&format!("/api/chat/{chat}/{end}")).await;
        assert!(shown.text.contains("as it is now") && !shown.text.contains("before"), "{end}");
    }
    assert_eq!(edited["message"]["changedVersion"], 3);
}

#[tokio::test]
async fn class_22_nobody_reads_for_others_or_ahead_of_what_was_said() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let (chat, other) = (alice.chat_with(&bob).await, bob.chat_with(&carol).await);
    let mut said = Vec::new();
    for n in 0..3 {
        said.push(alice.says(&chat, &n.to_string()).await);
    }
    let foreign = carol.says(&other, "of another chat").await;
    let read = format!("/api/chat/{chat}/messages/read");
    let state = async |who: &Actor<'_>| {
        let list = bob.get(&format!("/api/chat/{chat}/participants")).await.data();
        let mut people = list["participants"].as_array().unwrap().clone().into_iter();
        people.find(|one| one["userId"] == who.id).unwrap()["readUpTo"].clone()
    };
    let nowhere = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
    for body in [
        json!({ "messageIds": [foreign] }),
        json!({ "messageIds": [nowhere] }),
        json!({ "messageIds": [foreign, nowhere, chat] }),
    ] {
        let nothing = bob.patch(&read, body.clone()).await.data();
        let expected = json!({ "modifiedCount": 0, "unreadCount": 3, "readUpTo": 0 });
        assert_eq!(nothing, expected, "{body}");
    }
    // Neither a place nor a person can be named.
    let forged = json!({
        "messageIds": [said[0]], "readUpTo": 99, "seq": 99, "upTo": 99, "userId": alice.id,
    });
    assert_eq!(bob.patch(&read, forged).await.data()["readUpTo"], 1);
    assert_eq!(state(&alice).await, 0, "not for somebody else");
    let all = bob.patch(&read, json!({})).await.data();
    assert_eq!((&all["readUpTo"], &state(&bob).await), (&json!(3), &json!(3)), "what there is");
    alice.says(&chat, "later").await;
    let info = bob.get(&format!("/api/chat/{chat}/info")).await.data();
    assert_eq!(info["chat"]["unreadCount"], 1, "what comes later is unread");
    let in_other = bob.get(&format!("/api/chat/{other}/info")).await.data();
    assert_eq!(in_other["chat"]["unreadCount"], 1, "and so is the other chat's");
    let refused = carol.patch(&read, json!({ "messageIds": [said[0]] })).await;
    assert_eq!(refused.failure(), failure(403, "not_participant"));
    let back = json!({ "messageId": foreign });
    let refused = bob.patch(&format!("/api/chat/{chat}/messages/unread"), back).await;
    assert_eq!(refused.failure(), failure(404, "message_not_found"));
}

#[tokio::test]
async fn class_23_a_message_is_edited_by_its_author_in_time_and_never_after_its_end() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let (root, host) = (world.actor("root", "admin"), world.actor("host", "service"));
    let chat = group(&bob, &[&alice]).await;
    let message = alice.says(&chat, "mine").await;
    let path = format!("/api/chat/{chat}/messages/{message}");
    let forged = || json!({ "content": "theirs", "senderId": alice.id, "userId": alice.id });
    for other in [&bob, &root, &host] {
        let refused = other.put(&path, forged()).await.failure();
        assert!([failure(403, "not_author"), failure(403, "not_participant")].contains(&refused));
    }
    assert_eq!(
        bob.delete(&path).await.failure(),
        failure(403, "not_author"),
        "nor its chat's owner"
    );
    // Sixteen minutes pass.
    let aged = "created_at = created_at - interval '16 minutes'";
    testing::execute(&world.database_url, &format!("update messages set {aged}"));
    let now = "2999-01-01T00:00:00.000Z";
    let clock = json!({ "content": "late", "createdAt": now, "editedAt": now, "now": now });
    let late = Request::builder()
        .method(Method::PUT)
        .uri(world.url(&path))
        .header("authorization", format!("Bearer {}", alice.token))
        .header("content-type", "application/json")
        .header("date", "Thu, 01 Jan 1970 00:00:00 GMT")
        .header("x-request-start", "0")
        .body(Full::from(clock.to_string()))
        .unwrap();
    assert_eq!(world.raw(late).await.failure(), failure(400, "edit_window_over"));
    alice.delete(&path).await.data();
    for who in [&alice, &bob] {
        let refused = who.put(&path, json!({ "content": "back" })).await.failure();
        assert!([failure(400, "message_deleted"), failure(403, "not_author")].contains(&refused));
    }
    let history = bob.get(&format!("/api/chat/{chat}/messages")).await.data();
    assert_eq!(history["messages"][0]["content"], "");
}

fn is_private(headers: &HeaderMap) -> bool {
    headers["cache-control"] == "private, no-store" && !headers.contains_key("age")
}

#[tokio::test]
async fn class_31_what_one_may_see_is_never_anothers_answer() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.says(&chat, "for bob").await;
    let file = alice.sends_file(&chat, "a.png", PNG).await;
    let file = file["attachments"][0]["url"].as_str().unwrap().to_owned();
    let paths = [
        "/api/chat".to_owned(),
        "/api/chat/stats".to_owned(),
        format!("/api/chat/{chat}/info"),
        format!("/api/chat/{chat}/messages"),
        format!("/api/chat/{chat}/changes?since=0"),
        format!("/api/chat/{chat}/participants"),
        format!("{file}/link"),
    ];
    for path in &paths {
        let expected = [bob.get(path).await, carol.get(path).await];
        // At once and in turn, as whatever coalesces equal requests would see them.
        let asked = (0..20).map(async |n| {
            let who = if n % 2 == 0 { &bob } else { &carol };
            (n % 2, who.get(path).await)
        });
        for (who, answer) in join_all(asked).await {
            assert_eq!(answer.status, expected[who].status, "{path}");
            assert!(is_private(&answer.headers), "{path}: {:?}", answer.headers);
            assert!(!answer.headers.contains_key("etag"), "{path}");
            if who == 1 {
                assert!(!answer.text.contains("for bob") && !answer.text.contains(&alice.id));
            }
        }
    }
    // What an intermediary has of bob's answer does not make one of carol's.
    let (head, _) = world.exchange(authorised(&world, &bob, &file, None)).await;
    assert!(head.status == 200 && is_private(&head.headers));
    let etag = head.headers["etag"].to_str().unwrap();
    let (head, body) = world.exchange(authorised(&world, &carol, &file, Some(etag))).await;
    assert_eq!(head.status, 403, "{body:?}");
}

fn authorised(
    world: &World,
    who: &Actor<'_>,
    path: &str,
    etag: Option<&str>,
) -> Request<Full<axum::body::Bytes>> {
    let mut request =
        Request::get(world.url(path)).header("authorization", format!("Bearer {}", who.token));
    if let Some(etag) = etag {
        request = request.header("if-none-match", etag);
    }
    request.body(Full::default()).unwrap()
}
