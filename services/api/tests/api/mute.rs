//! Muting chats, and what users want of notifications.

use serde_json::{Value, json};

use crate::actor::{Actor, World, failure};

/// Whether a chat is muted, and until when, as the list and the chat itself say.
async fn muted(who: &Actor<'_>, chat: &str) -> (bool, Value) {
    let info = who.get(&format!("/api/chat/{chat}/info")).await.data()["chat"].clone();
    let list = who.get("/api/chat").await.data()["chats"].clone();
    let listed = list.as_array().unwrap().iter().find(|one| one["_id"] == chat).unwrap().clone();
    let of = |chat: &Value| (chat["muted"].as_bool().unwrap(), chat["mutedUntil"].clone());
    assert_eq!(of(&info), of(&listed));
    of(&info)
}

#[tokio::test]
async fn muting_is_each_participants_own_and_the_same_again_changes_nothing() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/mute");
    assert_eq!(muted(&alice, &chat).await, (false, Value::Null));
    for _ in 0..2 {
        let answer = alice.patch(&path, json!({ "muted": true })).await.data();
        assert_eq!((&answer["muted"], &answer["mutedUntil"]), (&json!(true), &Value::Null));
        assert_eq!(
            (&answer["chat"]["muted"], &answer["chat"]["version"]),
            (&json!(true), &json!(0))
        );
    }
    assert_eq!(muted(&alice, &chat).await, (true, Value::Null));
    assert_eq!(muted(&bob, &chat).await, (false, Value::Null), "it is alice's own");
    bob.says(&chat, "hi").await;
    let info = alice.get(&format!("/api/chat/{chat}/info")).await.data()["chat"].clone();
    assert_eq!((&info["unreadCount"], &info["muted"]), (&json!(1), &json!(true)));

    let until = "2030-01-02T03:04:05.678Z";
    let answer = alice.patch(&path, json!({ "muted": true, "until": until })).await.data();
    assert_eq!((&answer["muted"], &answer["mutedUntil"]), (&json!(true), &json!(until)));
    assert_eq!(muted(&alice, &chat).await, (true, json!(until)));
    for _ in 0..2 {
        let answer = alice.patch(&path, json!({ "muted": false, "until": null })).await.data();
        assert_eq!((&answer["muted"], &answer["mutedUntil"]), (&json!(false), &Value::Null));
    }
    assert_eq!(muted(&alice, &chat).await, (false, Value::Null));
}

#[tokio::test]
async fn a_mute_that_is_over_is_none() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/mute");
    let soon = chrono::TimeDelta::milliseconds(300);
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the pod's clock, which is this one"
    )]
    let until = (chrono::Utc::now() + soon).to_rfc3339();
    alice.patch(&path, json!({ "muted": true, "until": until })).await.data();
    let info = format!("/api/chat/{chat}/info");
    let over = async { while alice.get(&info).await.data()["chat"]["muted"] != false {} };
    tokio::time::timeout(std::time::Duration::from_secs(20), over).await.unwrap();
    assert_eq!(muted(&alice, &chat).await, (false, Value::Null));
}

#[tokio::test]
async fn a_mute_is_refused_to_outsiders_and_needs_a_sense() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/mute");
    for who in [&carol, &world.actor("root", "admin"), &world.actor("agent", "support")] {
        let refused = who.patch(&path, json!({ "muted": true })).await;
        assert_eq!(refused.failure(), failure(403, "not_participant"));
    }
    let absent = "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/mute";
    let refused = alice.patch(absent, json!({ "muted": true })).await;
    assert_eq!(refused.failure(), failure(404, "chat_not_found"));
    for bad in [
        json!({}),
        json!({ "muted": "yes" }),
        json!({ "muted": true, "until": "2020-01-01T00:00:00Z" }),
        json!({ "muted": true, "until": "2130-01-01T00:00:00Z" }),
        json!({ "muted": true, "until": "tomorrow" }),
        json!({ "muted": false, "until": "2030-01-01T00:00:00Z" }),
    ] {
        assert_eq!(alice.patch(&path, bad).await.failure(), failure(400, "invalid_request"));
    }
    assert_eq!(muted(&alice, &chat).await, (false, Value::Null));
}

#[tokio::test]
async fn who_comes_back_into_a_group_hears_of_it_again() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id, carol.id], "type": "group" });
    let chat = alice.post("/api/chat", body).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    bob.patch(&format!("/api/chat/{chat}/mute"), json!({ "muted": true })).await.data();
    bob.delete(&format!("/api/chat/{chat}/participants/{}", bob.id)).await.data();
    let again = json!({ "userId": bob.id });
    alice.post(&format!("/api/chat/{chat}/participants"), again).await.data();
    assert_eq!(muted(&bob, chat).await, (false, Value::Null));
}

const PREFERENCES: &str = "/api/users/me/preferences";

#[tokio::test]
async fn preferences_are_the_callers_own_and_written_whole() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let defaults = json!({ "quietHours": null, "notificationPreviews": true });
    let of = async |who: &Actor<'_>| who.get(PREFERENCES).await.data()["preferences"].clone();
    assert_eq!(of(&alice).await, defaults);
    let hours = json!({ "from": "22:00", "to": "07:30", "timeZone": "Europe/Berlin" });
    let wanted = json!({ "quietHours": hours, "notificationPreviews": false });
    for _ in 0..2 {
        assert_eq!(alice.put(PREFERENCES, wanted.clone()).await.data()["preferences"], wanted);
    }
    assert_eq!((of(&alice).await, of(&bob).await), (wanted, defaults.clone()));
    let hours = json!({ "from": "00:00", "to": "23:59", "timeZone": "Asia/Kathmandu" });
    alice.put(PREFERENCES, json!({ "quietHours": hours })).await.data();
    let now = json!({ "quietHours": hours, "notificationPreviews": true });
    assert_eq!(of(&alice).await, now);
    assert_eq!(alice.put(PREFERENCES, json!({})).await.data()["preferences"], defaults);
    assert_eq!(of(&alice).await, defaults);
}

#[tokio::test]
async fn preferences_that_cannot_be_are_refused_and_change_nothing() {
    let world = World::new().await;
    let alice = world.user().await;
    let hours = |from: &str, to: &str, zone: &str| json!({ "quietHours": { "from": from, "to": to, "timeZone": zone } });
    for (bad, status, code) in [
        (hours("22:00", "07:00", "Mars/Base"), 422, "unknown_time_zone"),
        (hours("22:00", "07:00", ""), 422, "unknown_time_zone"),
        (hours("22:00", "22:00", "UTC"), 422, "quiet_hours_empty"),
        (hours("24:00", "07:00", "UTC"), 400, "invalid_request"),
        (hours("22:00", "7", "UTC"), 400, "invalid_request"),
        (json!({ "quietHours": { "from": "22:00" } }), 400, "invalid_request"),
        (json!({ "notificationPreviews": "yes" }), 400, "invalid_request"),
    ] {
        let refused = alice.put(PREFERENCES, bad).await;
        assert_eq!(refused.failure(), failure(status, code));
    }
    let refused = alice.put(PREFERENCES, hours("22:00", "7", "UTC")).await;
    assert_eq!(refused.json()["error"]["details"]["field"], "quietHours.to");
    let kept = alice.get(PREFERENCES).await.data()["preferences"].clone();
    assert_eq!(kept, json!({ "quietHours": null, "notificationPreviews": true }));
}

#[tokio::test]
async fn the_preferences_of_who_was_ended_are_gone() {
    let world = World::new().await;
    let alice = world.user().await;
    let hours = json!({ "from": "22:00", "to": "07:30", "timeZone": "Europe/Berlin" });
    alice.put(PREFERENCES, json!({ "quietHours": hours })).await.data();
    let host = world.actor("host", "service");
    host.delete(&format!("/api/users/{}", alice.id)).await.data();
    let id = parley_domain::ids::UserId::parse(&alice.id).unwrap();
    let kept = world.store().await.preferences(&id).await.unwrap();
    assert_eq!(kept, parley_domain::preferences::Preferences::default());
}
