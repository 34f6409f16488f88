//! What people are called, and chats and files: as it was written, and never as something else.

use serde_json::json;

use crate::actor::{Actor, World, failure, sign};
use crate::uploads::{Form, PNG};

const SCRIPT: &str = "<img src=x onerror=alert(1)>'\"&</script>";

async fn name_of(who: &Actor<'_>) -> serde_json::Value {
    who.get(&format!("/api/users/{}", who.id)).await.data()["user"]["name"].clone()
}

#[tokio::test]
async fn class_36_a_name_is_kept_as_it_was_written_and_what_misleads_the_eye_is_taken_out() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let (alice, bob) = (world.user().await, world.user().await);
    let put = async |name: &str| {
        host.put(&format!("/api/users/{}", bob.id), json!({ "name": name })).await
    };
    put(SCRIPT).await.data();
    let chat = alice.chat_with(&bob).await;
    let info = alice.get(&format!("/api/chat/{chat}/info")).await;
    let people = info.data()["chat"]["participants"].clone();
    assert!(people.as_array().unwrap().iter().any(|one| one["name"] == SCRIPT), "raw: {people}");
    assert_eq!(info.header("content-type"), "application/json");
    assert_eq!(info.header("x-content-type-options"), "nosniff", "it is no page");

    for (written, kept) in [
        ("\u{202e}nimdA", "nimdA"),
        ("Bob\u{2066}\u{2067}\u{2068}\u{2069}", "Bob"),
        ("\u{202a}\u{202b}\u{202c}\u{202d}Bob", "Bob"),
        ("Ad\u{200b}min\u{feff}\u{2060}", "Admin"),
        ("Ad\u{ad}min", "Admin"),
        // Joiners and marks are part of how names are written.
        (
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
            "\u{645}\u{6cc}\u{200c}\u{62e}\u{648}\u{627}\u{647}\u{645}",
        ),
        ("\u{1F468}\u{200d}\u{1F4BB}", "\u{1F468}\u{200d}\u{1F4BB}"),
        ("\u{5d0}\u{200f} (1)", "\u{5d0}\u{200f} (1)"),
    ] {
        put(written).await.data();
        assert_eq!(name_of(&bob).await, kept, "{written:?}");
        let id = format!("user-{}", uuid::Uuid::new_v4());
        let token = sign(&json!({ "sub": id, "name": written, "exp": u32::MAX }));
        let by_token = Actor { world: &world, id, token };
        assert_eq!(name_of(&by_token).await, kept, "{written:?}");
    }
    for unseen in
        ["\u{200b}", "\u{202e}\u{200d}", "\u{200f} \u{2066}", "\u{feff}", "\u{3164}", "\u{2800}"]
    {
        assert_eq!(put(unseen).await.failure(), failure(400, "invalid_request"), "{unseen:?}");
    }
    for control in ["a\0", "a\nb", "a\u{1b}[31m", "a\u{7f}", "a\u{85}"] {
        assert_eq!(put(control).await.failure(), failure(400, "invalid_request"), "{control:?}");
    }
}

#[tokio::test]
async fn class_36_what_a_group_or_a_file_is_called_misleads_nobody_either() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let group = async |title: &str| {
        let body = json!({ "participantIds": [bob.id], "type": "group", "title": title });
        alice.post("/api/chat", body).await
    };
    let titled = group(&format!("\u{202e}{SCRIPT}")).await;
    assert_eq!(titled.data()["chat"]["title"], SCRIPT);
    assert_eq!(group("\u{200b}\u{202e}").await.failure(), failure(400, "invalid_request"));
    let subject = json!({ "subject": "R\u{200b}efund\u{202e}" });
    let opened = alice.post("/api/chat/support", subject).await.data();
    assert_eq!(opened["chat"]["subject"], "Refund");
    let path =
        format!("/api/chat/{}/messages/file", titled.data()["chat"]["_id"].as_str().unwrap());
    for misleading in ["a\u{202e}gpj.exe", "a\u{2066}b.png", "a\u{200b}.png", "\u{feff}a.png"] {
        let refused = alice.send_form(&path, Form::file(misleading, PNG)).await;
        assert_eq!(refused.failure(), failure(400, "invalid_request"), "{misleading:?}");
    }
    let sent = alice
        .sends_file(&path.replace("/messages/file", "").replace("/api/chat/", ""), "<b>.png", PNG)
        .await;
    assert_eq!(sent["attachments"][0]["filename"], "<b>.png");
}
