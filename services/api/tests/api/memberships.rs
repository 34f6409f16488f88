//! Who has a chat from now on is told so, wherever they are connected.

use std::time::Duration;

use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::chat::{ChatType, NewChat};
use parley_domain::ids::{ChatId, UserId};
use parley_store::{ChangeAs, ComesBack, CreateChat, ParticipantSettings, UnknownUsers};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::timeout;
use uuid::Uuid;

use crate::actor::World;
use crate::contract::assert_event;
use crate::events::bus;

/// What gateways hear for users; the bus is every test's.
struct Ear(mpsc::UnboundedReceiver<RoomEvent>);

impl Ear {
    async fn open() -> Self {
        let bus = bus().await;
        let (told, heard) = mpsc::unbounded_channel();
        let listening = bus.clone();
        tokio::spawn(async move {
            let hear = |event| drop(told.send(event));
            listening.hear_users(hear, std::future::pending()).await
        });
        let mut ear = Self(heard);
        // A marker that comes back proves that the subscription is there.
        let (publisher, task) = bus.publisher();
        tokio::spawn(task.run());
        let marker = ChatId::from(Uuid::new_v4());
        let event = RoomEvent {
            kind: Kind::ChatCreated,
            chat_id: marker,
            version: None,
            epoch: parley_domain::version::Epoch(0),
            affected: Vec::new(),
            membership_versions: Vec::new(),
            origin: Origin::default(),
            event: "[]".into(),
        };
        assert!(bus.connected(Duration::from_secs(10)).await);
        loop {
            publisher.publish(&event);
            if timeout(Duration::from_millis(100), ear.of(marker)).await.is_ok() {
                return ear;
            }
        }
    }

    async fn of(&mut self, chat: ChatId) -> RoomEvent {
        loop {
            let event = self.0.recv().await.unwrap();
            if event.chat_id == chat {
                return event;
            }
        }
    }

    /// The next event of a chat for these users: of each, how often the set of their chats had changed.
    async fn versions(&mut self, chat: &str) -> Vec<u64> {
        let of = self.of(ChatId::parse(chat).unwrap());
        timeout(Duration::from_secs(20), of).await.expect("nothing was told").membership_versions
    }

    /// The next event of a chat: its kind, its name, its payload, and whom it is for.
    async fn next(&mut self, chat: &str) -> (Kind, String, Value, Vec<String>) {
        let of = self.of(ChatId::parse(chat).unwrap());
        let event = timeout(Duration::from_secs(20), of).await.expect("nothing was told");
        assert_event(&serde_json::from_slice(&event.event).unwrap());
        let (name, payload): (String, Value) = serde_json::from_slice(&event.event).unwrap();
        assert_eq!(payload["chatId"], chat);
        assert_eq!(payload["epoch"], event.epoch.to_string());
        let users = event.affected.iter().map(ToString::to_string).collect();
        (event.kind, name, payload, users)
    }
}

fn sorted(mut users: Vec<String>) -> Vec<String> {
    users.sort();
    users
}

#[tokio::test]
async fn both_people_of_a_new_direct_chat_are_told_once() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let mut ear = Ear::open().await;
    let chat = alice.chat_with(&bob).await;
    assert_eq!(alice.chat_with(&bob).await, chat, "it is there already");
    let (kind, name, payload, users) = ear.next(&chat).await;
    assert_eq!((kind, name.as_str()), (Kind::ChatCreated, "chat-created"));
    assert_eq!(sorted(users), sorted(vec![alice.id.clone(), bob.id.clone()]));
    assert_eq!(payload["version"], 0);
    let shown = &payload["chat"];
    assert_eq!((&shown["_id"], &shown["unreadCount"]), (&json!(chat), &json!(0)));
    assert_eq!(shown["participants"].as_array().unwrap().len(), 2);
    assert_eq!(shown.get("unreadCounts"), None);
    let group = json!({ "type": "group", "participantIds": [bob.id] });
    let group = alice.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let next = timeout(Duration::from_secs(20), ear.0.recv());
    // Of this database, nothing was told between the two.
    let mut next = next.await.unwrap().unwrap();
    while next.epoch.to_string() != payload["epoch"] {
        next = ear.0.recv().await.unwrap();
    }
    assert_eq!(json!(next.chat_id), group);
}

#[tokio::test]
async fn i6_who_is_added_is_told_and_who_is_removed_is_told_nothing_that_was_said() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let mut ear = Ear::open().await;
    let group = json!({ "type": "group", "participantIds": [bob.id], "title": "T" });
    let chat = alice.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    ear.next(chat).await;
    let path = format!("/api/chat/{chat}/participants");
    let carol = world.user().await;
    alice.post(&path, json!({ "userId": carol.id })).await.data();
    let (kind, _, payload, users) = ear.next(chat).await;
    assert_eq!((kind, users), (Kind::ChatCreated, vec![carol.id.clone()]));
    assert_eq!((&payload["version"], &payload["chat"]["participantCount"]), (&json!(1), &json!(3)));

    alice.post(&format!("/api/chat/{chat}/messages"), json!({ "content": "secret" })).await.data();
    alice.delete(&format!("{path}/{}", carol.id)).await.data();
    let (kind, name, payload, users) = ear.next(chat).await;
    assert_eq!((kind, name.as_str()), (Kind::ChatRemoved, "chat-removed"));
    assert_eq!(users, [carol.id.as_str()]);
    let shown = &payload["chat"];
    assert_eq!((&shown["_id"], &shown["title"]), (&json!(chat), &json!("T")));
    assert_eq!((&shown["lastMessage"], &shown["participants"]), (&Value::Null, &json!([])));

    // The last creator leaves. The heir has the chat already, and drops what is told once more.
    alice.delete(&format!("{path}/{}", alice.id)).await.data();
    let (kind, _, _, users) = ear.next(chat).await;
    assert_eq!((kind, users), (Kind::ChatRemoved, vec![alice.id.clone()]));
    let (kind, _, _, users) = ear.next(chat).await;
    assert_eq!((kind, users), (Kind::ChatCreated, vec![bob.id.clone()]));
    bob.delete(&format!("{path}/{}", bob.id)).await.data();
    assert_eq!(ear.next(chat).await.3, [bob.id.as_str()]);
}

#[tokio::test]
async fn i6_a_membership_that_has_changed_again_is_told_by_its_last_change_only() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let mut ear = Ear::open().await;
    let group = json!({ "type": "group", "participantIds": [bob.id] });
    let chat = alice.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    assert_eq!(ear.versions(chat).await, [1, 1]);
    // As two pods that commit and die: what they have not told is told of the end alone.
    let store = world.store().await;
    let user = |id: &str| UserId::parse(id).unwrap();
    let (id, creator, carol) = (ChatId::parse(chat).unwrap(), user(&alice.id), user(&carol.id));
    let settings = ParticipantSettings {
        group_participants: 10,
        unknown_users: UnknownUsers::Refuse,
        unarchive: ComesBack::Never,
    };
    let as_creator = ChangeAs::Participant;
    store.add_participant(id, &carol, &creator, as_creator, &settings).await.unwrap();
    store.remove_participant(id, &carol, &creator, as_creator).await.unwrap();
    let (kind, _, _, users) = ear.next(chat).await;
    assert_eq!((kind, users), (Kind::ChatRemoved, vec![carol.to_string()]));
    alice.post(&format!("/api/chat/{chat}/participants"), json!({ "userId": carol })).await.data();
    assert_eq!(ear.versions(chat).await, [3]);
}

#[tokio::test]
async fn i6_who_is_removed_is_not_shown_what_has_happened_since() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let mut ear = Ear::open().await;
    let group = json!({ "type": "group", "participantIds": [bob.id] });
    let chat = alice.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    ear.versions(chat).await;
    let messages = format!("/api/chat/{chat}/messages");
    alice.post(&messages, json!({ "content": "before" })).await.data();
    // As a pod that commits and dies: it is told when more has happened.
    let store = world.store().await;
    let user = |id: &str| UserId::parse(id).unwrap();
    let (id, creator) = (ChatId::parse(chat).unwrap(), user(&alice.id));
    store.remove_participant(id, &user(&bob.id), &creator, ChangeAs::Participant).await.unwrap();
    let after = alice.post(&messages, json!({ "content": "after" })).await.data();
    let (kind, _, payload, users) = ear.next(chat).await;
    assert_eq!((kind, users), (Kind::ChatRemoved, vec![bob.id.clone()]));
    let shown = &payload["chat"];
    assert_eq!((&payload["version"], &shown["version"]), (&json!(2), &json!(2)));
    assert_eq!((&shown["messageCount"], &shown["participantCount"]), (&json!(1), &json!(0)));
    assert!(shown["updatedAt"].as_str() < after["message"]["createdAt"].as_str(), "{shown}");
}

#[tokio::test]
async fn the_pool_is_told_of_a_new_support_chat() {
    let world = World::new().await;
    let alice = world.user().await;
    let mut ear = Ear::open().await;
    let opened = alice.post("/api/chat/support", json!({ "subject": "Help" })).await.data();
    let chat = opened["chat"]["_id"].as_str().unwrap();
    let (kind, name, _, users) = ear.next(chat).await;
    assert_eq!(
        (kind, name.as_str(), users),
        (Kind::ChatCreated, "chat-created", vec![alice.id.clone()])
    );
    let (kind, name, payload, users) = ear.next(chat).await;
    assert_eq!((kind, name.as_str(), users), (Kind::SupportOpened, "chat-created", vec![]));
    assert_eq!(payload["chat"]["subject"], "Help");
}

#[tokio::test]
async fn everybody_of_a_big_group_is_told_once_and_sees_themselves_in_it() {
    let world = World::with(&["--unknown-users=create"]).await;
    let alice = world.user().await;
    let mut ear = Ear::open().await;
    let others: Vec<String> = (0..150).map(|n| format!("one-{n:03}-{}", Uuid::new_v4())).collect();
    let group = json!({ "type": "group", "participantIds": others });
    let chat = alice.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let mut told = Vec::new();
    while told.len() < 151 {
        let (kind, _, payload, users) = ear.next(chat.as_str().unwrap()).await;
        assert_eq!((kind, &payload["chat"]["participantCount"]), (Kind::ChatCreated, &json!(151)));
        let listed = payload["chat"]["participants"].as_array().unwrap();
        assert!(listed.len() <= 100);
        for user in users {
            assert!(listed.iter().any(|one| one["userId"] == user), "{user} is not listed");
            told.push(user);
        }
    }
    assert_eq!(sorted(told), sorted([others, vec![alice.id.clone()]].concat()));
}

#[tokio::test]
async fn a_chat_whose_pod_died_before_it_told_anybody_is_found() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let mut ear = Ear::open().await;
    let store = world.store().await;
    let user = |id: &str| UserId::parse(id).unwrap();
    let new =
        NewChat::parse(user(&alice.id), vec![user(&bob.id)], ChatType::Direct, None, None).unwrap();
    let CreateChat::Created(made) = store.create_chat(&new, UnknownUsers::Refuse).await.unwrap()
    else {
        panic!("not made")
    };
    let (kind, _, payload, users) = ear.next(&made.id.to_string()).await;
    assert_eq!(kind, Kind::ChatCreated);
    assert_eq!(sorted(users), sorted(vec![alice.id.clone(), bob.id.clone()]));
    assert_eq!(payload["chat"]["participants"].as_array().unwrap().len(), 2);
}
