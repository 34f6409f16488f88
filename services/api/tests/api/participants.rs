use std::time::Duration;

use parley_domain::bus::Kind;
use parley_domain::ids::ChatId;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::actor::{Actor, Answer, World, failure};
use crate::events::bus;

async fn group(creator: &Actor<'_>, others: &[&Actor<'_>]) -> String {
    let ids: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
    let body = json!({ "participantIds": ids, "type": "group" });
    creator.post("/api/chat", body).await.data()["chat"]["_id"].as_str().unwrap().to_owned()
}

async fn add(by: &Actor<'_>, chat: &str, user: &str) -> Answer {
    by.post(&format!("/api/chat/{chat}/participants"), json!({ "userId": user })).await
}

async fn remove(by: &Actor<'_>, chat: &str, user: &str) -> Answer {
    by.delete(&format!("/api/chat/{chat}/participants/{user}")).await
}

async fn people(reader: &Actor<'_>, chat: &str) -> Vec<String> {
    let list = reader.get(&format!("/api/chat/{chat}/participants")).await.data();
    let people = list["participants"].as_array().unwrap().iter();
    people.map(|one| one["userId"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn participants_come_and_go_and_the_room_hears_it() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = group(&alice, &[&bob]).await;
    let mut room = bus().await.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let mut heard = async || {
        let event = timeout(Duration::from_secs(10), room.next()).await.expect("silence").unwrap();
        let payload: Value = serde_json::from_slice(&event.event).unwrap();
        (event.kind, payload)
    };

    let added = add(&alice, &chat, &carol.id).await;
    assert_eq!(added.status, 201);
    let added = added.data();
    assert_eq!(added["participant"]["userId"], carol.id);
    assert_eq!(
        (&added["participant"]["role"], &added["chat"]["version"]),
        (&json!("member"), &json!(1))
    );
    assert_eq!(added["chat"]["participantCount"], 3);
    let (kind, event) = heard().await;
    assert_eq!((kind, &event[0]), (Kind::ParticipantsAdded, &json!("participants-added")));
    assert_eq!((&event[1]["chatId"], &event[1]["version"]), (&json!(chat), &json!(1)));
    // Who is online is a matter of the moment, and no event's.
    let mut told = added["participant"].clone();
    told["online"] = Value::Null;
    assert_eq!(event[1]["participants"], json!([told]));
    assert_eq!(event[1]["addedBy"], alice.id);

    let again = add(&alice, &chat, &carol.id).await;
    assert_eq!((again.status.as_u16(), &again.data()["chat"]["version"]), (200, &json!(1)));

    let removed = remove(&alice, &chat, &carol.id).await;
    assert_eq!(removed.status, 200);
    assert_eq!(removed.data()["chat"]["participantCount"], 2);
    let (kind, event) = heard().await;
    assert_eq!((kind, &event[0]), (Kind::ParticipantRemoved, &json!("participant-removed")));
    assert_eq!((&event[1]["userId"], &event[1]["removedBy"]), (&json!(carol.id), &json!(alice.id)));
    let path = format!("/api/chat/{chat}/messages");
    assert_eq!(carol.get(&path).await.failure(), failure(403, "not_participant"));
}

#[tokio::test]
async fn i6_only_the_creator_admins_and_the_host_change_a_group_and_anybody_leaves() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let (root, host) = (world.actor("root", "admin"), world.actor("host", "service"));
    let agent = world.actor("agent", "support");
    let chat = group(&alice, &[&bob]).await;
    let outsider = || failure(403, "not_participant");
    assert_eq!(add(&bob, &chat, &carol.id).await.failure(), failure(403, "forbidden"));
    assert_eq!(add(&carol, &chat, &carol.id).await.failure(), outsider());
    assert_eq!(add(&agent, &chat, &carol.id).await.failure(), outsider());
    assert_eq!(remove(&bob, &chat, &alice.id).await.failure(), failure(403, "forbidden"));
    assert_eq!(remove(&carol, &chat, &bob.id).await.failure(), outsider());
    assert_eq!(remove(&carol, &chat, &carol.id).await.failure(), outsider());
    for moderator in [&root, &host] {
        assert_eq!(add(moderator, &chat, &carol.id).await.status, 201);
        assert_eq!(remove(moderator, &chat, &carol.id).await.status, 200);
    }
    assert_eq!(
        remove(&alice, &chat, &carol.id).await.failure(),
        failure(404, "participant_not_found")
    );

    let left = remove(&alice, &chat, &alice.id).await.data();
    assert_eq!(left["chat"]["participants"][0]["userId"], bob.id);
    assert_eq!(left["chat"]["participants"][0]["role"], "creator", "the oldest member inherits");
    assert_eq!(add(&bob, &chat, &alice.id).await.status, 201);
    assert_eq!(remove(&alice, &chat, &bob.id).await.failure(), failure(403, "forbidden"));
}

#[tokio::test]
async fn what_cannot_be_added_or_removed_is_refused() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let root = world.actor("root", "admin");
    let (chat, direct) = (group(&alice, &[&bob]).await, alice.chat_with(&bob).await);
    for by in [&alice, &root] {
        assert_eq!(add(by, &direct, &carol.id).await.failure(), failure(400, "not_group"));
        assert_eq!(remove(by, &direct, &bob.id).await.failure(), failure(400, "not_group"));
    }
    assert_eq!(remove(&alice, &direct, &alice.id).await.failure(), failure(400, "not_group"));
    let outsider = failure(403, "not_participant");
    assert_eq!(add(&carol, &direct, &carol.id).await.failure(), outsider);
    assert_eq!(remove(&carol, &direct, &bob.id).await.failure(), outsider);
    let nobody = add(&alice, &chat, "nobody").await;
    assert_eq!(nobody.failure(), failure(404, "participant_not_found"));
    assert_eq!(nobody.json()["error"]["details"]["userId"], "nobody");
    let path = format!("/api/chat/{chat}/participants");
    for bad in
        [json!({}), json!({ "userId": 7 }), json!({ "userId": "" }), json!({ "userId": null })]
    {
        let answer = alice.post(&path, bad.clone()).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{bad}");
    }
    assert_eq!(remove(&alice, &chat, "%20").await.failure(), failure(400, "invalid_id"));
    let absent = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
    for (id, expected) in
        [(absent, failure(404, "chat_not_found")), ("x", failure(400, "invalid_id"))]
    {
        assert_eq!(add(&alice, id, &bob.id).await.failure(), expected);
        assert_eq!(remove(&alice, id, &bob.id).await.failure(), expected);
        let path = format!("/api/chat/{id}/participants");
        assert_eq!(alice.get(&path).await.failure(), expected);
    }
}

#[tokio::test]
async fn participants_are_listed_page_by_page() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let dave = world.user().await;
    let chat = group(&alice, &[&bob, &carol]).await;
    let path = format!("/api/chat/{chat}/participants");
    let mut all = vec![alice.id.clone(), bob.id.clone(), carol.id.clone()];
    all.sort_unstable();
    assert_eq!(people(&bob, &chat).await, all);
    assert_eq!(people(&world.actor("root", "admin"), &chat).await, all);
    let second = alice.get(&format!("{path}?page=2&limit=2")).await.data();
    assert_eq!(second["participants"][0]["userId"], all[2]);
    assert_eq!(
        second["pagination"],
        json!({ "page": 2, "limit": 2, "total": 3, "totalPages": 2, "hasNext": false })
    );
    assert_eq!(alice.get(&format!("{path}?limit=1000")).await.data()["pagination"]["limit"], 100);
    for bad in ["limit=0", "limit=x", "page=0"] {
        let answer = alice.get(&format!("{path}?{bad}")).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{bad}");
    }
    assert_eq!(dave.get(&path).await.failure(), failure(403, "not_participant"));
}

#[tokio::test]
async fn a_hosts_own_ids_pass_through_the_path() {
    let world = World::with(&["--unknown-users", "create"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = group(&alice, &[&bob]).await;
    let odd = "auth0|x/y?z@example.org é";
    assert_eq!(add(&alice, &chat, odd).await.status, 201);
    let path = "auth0%7Cx%2Fy%3Fz%40example.org%20%C3%A9";
    assert_eq!(remove(&alice, &chat, path).await.status, 200);
    let mut both = vec![alice.id.clone(), bob.id.clone()];
    both.sort_unstable();
    assert_eq!(people(&alice, &chat).await, both);
}

#[tokio::test]
async fn unknown_participants_are_made_where_the_setting_says_so() {
    let world = World::with(&["--unknown-users", "create"]).await;
    let alice = world.user().await;
    let body = json!({ "participantIds": ["new-1", "new-2"], "type": "group" });
    let chat = alice.post("/api/chat", body).await.data()["chat"]["_id"].clone();
    assert_eq!(add(&alice, chat.as_str().unwrap(), "new-3").await.status, 201);
    let made = world.actor("host", "service").get("/api/users/new-3").await.data();
    assert_eq!(made["user"]["name"], Value::Null);
}

#[tokio::test]
async fn i9_a_group_has_at_most_as_many_participants_as_the_setting_says() {
    let world = World::with(&["--group-participants", "3"]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let dave = world.user().await;
    let ids = [&bob.id, &carol.id, &dave.id];
    let body = json!({ "participantIds": ids, "type": "group" });
    assert_eq!(alice.post("/api/chat", body).await.failure(), failure(400, "group_full"));
    let chat = group(&alice, &[&bob, &carol]).await;
    assert_eq!(add(&alice, &chat, &dave.id).await.failure(), failure(400, "group_full"));
    let by_admin = add(&world.actor("root", "admin"), &chat, &dave.id).await;
    assert_eq!(by_admin.failure(), failure(400, "group_full"));
    assert_eq!(add(&alice, &chat, &bob.id).await.status, 200, "who is in already needs no room");
    remove(&alice, &chat, &carol.id).await.data();
    assert_eq!(add(&alice, &chat, &dave.id).await.status, 201);
}
