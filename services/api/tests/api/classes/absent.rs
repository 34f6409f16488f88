//! What Parley does not have, and so cannot get wrong.

use std::time::Duration;

use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::actor::{Actor, World, failure, sign};
use crate::openapi::operations;
use crate::uploads::{Form, PNG};

#[tokio::test]
async fn class_07_a_token_is_for_a_person_and_a_guests_opens_nothing_that_is_not_theirs() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let direct = alice.chat_with(&bob).await;
    let opened = alice.post("/api/chat/support", json!({ "initialMessage": "help" })).await.data();
    let support = opened["chat"]["_id"].as_str().unwrap();
    for claims in [
        json!({ "role": "guest" }),
        json!({ "role": "visitor", "chatId": support, "chat": support, "room": support }),
        json!({ "role": ["admin"] }),
        json!({ "role": "Admin" }),
        json!({ "role": "support " }),
        json!({ "roles": ["admin"], "admin": true, "scope": "admin", "isAdmin": true }),
    ] {
        let mut all = json!({ "sub": format!("guest-{}", uuid::Uuid::new_v4()), "exp": u32::MAX });
        all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
        let guest = Actor { world: &world, id: String::new(), token: sign(&all) };
        for chat in [&direct, support] {
            for end in ["info", "messages", "changes?since=0", "participants"] {
                let refused = guest.get(&format!("/api/chat/{chat}/{end}")).await;
                assert_eq!(refused.failure(), failure(403, "not_participant"), "{claims} {end}");
            }
            let messages = format!("/api/chat/{chat}/messages");
            let said = guest.post(&messages, json!({ "content": "x" })).await;
            assert_eq!(said.failure(), failure(403, "not_participant"), "{claims}");
        }
        let own = guest.get("/api/chat?type=support").await.data();
        assert_eq!(own["chats"], json!([]), "{claims}");
    }
    // An agent is let into support chats, and into nothing else.
    let agent = world.actor(&format!("agent-{}", uuid::Uuid::new_v4()), "support");
    assert_eq!(agent.get(&format!("/api/chat/{support}/messages")).await.status, 200);
    let refused = agent.get(&format!("/api/chat/{direct}/messages")).await;
    assert_eq!(refused.failure(), failure(403, "not_participant"));
    // And nobody reads a line of history without a token.
    let nobody = Actor { world: &world, id: String::new(), token: String::new() };
    let history = nobody.get(&format!("/api/chat/{support}/messages")).await;
    assert_eq!(history.status, 401);
}

#[tokio::test]
async fn class_17_no_address_that_somebody_sends_is_ever_called() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/a.png", listener.local_addr().unwrap());
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let host = world.actor("host", "service");
    let chat = alice.chat_with(&bob).await;
    let profile = json!({ "name": url, "avatar": url });
    host.put(&format!("/api/users/{}", bob.id), profile).await.data();
    let picture = sign(&json!({ "sub": alice.id, "picture": url, "exp": u32::MAX }));
    let pictured = Actor { world: &world, id: alice.id.clone(), token: picture };
    pictured.get("/api/chat").await.data();
    let messages = format!("/api/chat/{chat}/messages");
    for body in [
        json!({ "content": format!("look: {url} and <{url}> and [x]({url})") }),
        json!({ "content": "x", "url": url, "fileUrl": url, "imageUrl": url }),
        json!({ "content": "x", "attachments": [{ "url": url, "filename": "a.png" }] }),
        json!({ "content": "x", "metadata": { "url": url, "preview": url, "og:image": url } }),
    ] {
        let sent = alice.post(&messages, body).await.data();
        assert_eq!(sent["message"]["attachments"], json!([]));
    }
    let fields = Form::default().and("url", &url).and("fileUrl", &url).and("content", &url);
    let alone = alice.send_form(&format!("{messages}/file"), fields.clone()).await;
    assert_eq!(alone.failure(), failure(400, "invalid_request"), "a file is bytes, no address");
    let beside = fields.and_file("a.png", PNG);
    assert_eq!(alice.send_form(&format!("{messages}/file"), beside).await.status, 201);
    // An SVG that refers elsewhere is bytes too; it is not even taken.
    let svg = format!("<svg xmlns='http://www.w3.org/2000/svg'><image href='{url}'/></svg>");
    let svg = Form::file("a.svg", svg.as_bytes());
    let refused = alice.send_form(&format!("{messages}/file"), svg).await;
    assert_eq!(refused.failure(), failure(415, "file_type_not_allowed"));
    bob.get(&messages).await.data();
    // Whoever was here first was this test.
    let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, first) = timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
    assert_eq!(first, own.local_addr().unwrap());
}

#[tokio::test]
async fn class_32_nothing_is_exported() {
    for (method, path, _) in operations() {
        for word in ["export", "dump", "backup", "archive.", "download-all", "transcript", "report"]
        {
            assert!(!path.contains(word), "{method} {path} is looked at by this test first");
        }
    }
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for path in [
        "/api/export".to_owned(),
        "/api/chat/export".to_owned(),
        format!("/api/chat/{chat}/export"),
        format!("/api/users/{}/export", alice.id),
        "/api/users".to_owned(),
    ] {
        let status = alice.get(&path).await.status.as_u16();
        assert!([400, 404, 405].contains(&status), "{status}: {path}");
    }
    // What is nearest to an export, all that one may list, holds nothing of anybody else's chats.
    let (carol, dave) = (world.user().await, world.user().await);
    let foreign = carol.chat_with(&dave).await;
    carol.says(&foreign, "not for alice").await;
    for path in ["/api/chat?limit=100", "/api/chat/stats", "/api/chat?type=support"] {
        let list = alice.get(path).await;
        for hidden in [&foreign, &carol.id, &dave.id, "not for alice"] {
            assert!(!list.text.contains(hidden), "{path}: {}", list.text);
        }
    }
}
