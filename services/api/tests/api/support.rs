use futures_util::future::join_all;
use parley_domain::ask::{JoinAnswer, JoinAsk, JoinOutcome, JoinRefusal, JoinsAnswer, JoinsAsk};
use parley_domain::bus::Kind;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::actor::{Actor, World, failure};
use crate::events::{ask, bus};

/// The id of a new support chat.
async fn opened(who: &Actor<'_>, body: Value) -> String {
    let answer = who.post("/api/chat/support", body).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    answer.data()["chat"]["_id"].as_str().unwrap().to_owned()
}

/// One of the pool. Limits outlive a test, so each has an id of its own.
fn agent<'w>(world: &'w World, role: &str) -> Actor<'w> {
    world.actor(&format!("{role}-{}", Uuid::new_v4()), role)
}

async fn people(reader: &Actor<'_>, chat: &str) -> Vec<(String, String)> {
    let list = reader.get(&format!("/api/chat/{chat}/participants")).await.data();
    let people = list["participants"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    people.map(|one| (text(&one["userId"]), text(&one["role"]))).collect()
}

#[tokio::test]
async fn a_support_chat_is_opened_with_its_first_message() {
    let world = World::new().await;
    let alice = world.user().await;
    let body = json!({ "subject": "Delivery", "initialMessage": "Where is it?" });
    let answer = alice.post("/api/chat/support", body).await;
    assert_eq!(answer.status, 201);
    assert!(answer.headers.contains_key("ratelimit"), "it is charged like any other message");
    let chat = answer.data()["chat"].clone();
    assert_eq!((&chat["type"], &chat["subject"]), (&json!("support"), &json!("Delivery")));
    assert_eq!((&chat["participantCount"], &chat["messageCount"]), (&json!(1), &json!(1)));
    assert_eq!(chat["participants"][0]["userId"], alice.id);
    assert_eq!(chat["participants"][0]["role"], "creator");
    let first = &chat["lastMessage"];
    assert_eq!((&first["content"], &first["type"]), (&json!("Where is it?"), &json!("text")));
    assert_eq!((&first["senderId"], &first["seq"]), (&json!(alice.id), &json!(1)));
    assert_eq!(alice.get("/api/chat?type=support").await.data()["pagination"]["total"], 1);

    // Both are optional, and so is the whole body.
    let bare = alice.call(axum::http::Method::POST, "/api/chat/support", None).await;
    assert_eq!((bare.status.as_u16(), &bare.data()["chat"]["subject"]), (201, &Value::Null));
    assert_eq!(bare.data()["chat"]["lastMessage"], Value::Null);
}

#[tokio::test]
async fn i2_a_double_click_over_two_pods_opens_one_chat_with_one_message() {
    let world = World::new().await;
    let other = world.beside().await;
    let alice = world.user().await;
    let there = Actor { world: &other, id: alice.id.clone(), token: alice.token.clone() };
    let body = json!({ "subject": "Help", "initialMessage": "hi" });
    let clicks = (0..6).map(|n| if n % 2 == 0 { &alice } else { &there });
    let answers = join_all(clicks.map(|click| click.post("/api/chat/support", body.clone()))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 5);
    for answer in &answers {
        let chat = answer.data()["chat"].clone();
        assert_eq!(chat["_id"], answers[0].data()["chat"]["_id"]);
        assert_eq!(chat["messageCount"], 1);
    }
    let more = json!({ "subject": "Help", "initialMessage": "and something else" });
    let more = alice.post("/api/chat/support", more).await;
    assert_eq!((more.status.as_u16(), &more.data()["chat"]["messageCount"]), (200, &json!(2)));
    let chat = answers[0].data()["chat"]["_id"].clone();
    assert_ne!(opened(&alice, json!({ "subject": "Another" })).await, chat.as_str().unwrap());
}

#[tokio::test]
async fn what_cannot_be_a_support_chat_is_refused_and_opens_none() {
    let world = World::new().await;
    let alice = world.user().await;
    for (body, field) in [
        (json!({ "subject": "" }), "subject"),
        (json!({ "subject": "x".repeat(201) }), "subject"),
        (json!({ "initialMessage": " " }), "initialMessage"),
        (json!({ "initialMessage": "x".repeat(5001) }), "initialMessage"),
    ] {
        let answer = alice.post("/api/chat/support", body.clone()).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{body}");
        assert_eq!(answer.json()["error"]["details"]["field"], field);
    }
    let answer = alice.post("/api/chat/support", json!({ "subject": 7 })).await;
    assert_eq!(answer.failure(), failure(400, "invalid_request"));
    assert_eq!(alice.get("/api/chat").await.data()["pagination"]["total"], 0);
}

#[tokio::test]
async fn i6_the_pool_reads_every_support_chat_and_enters_it_by_acting() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    for (role, act) in
        [("support", "send"), ("admin", "send"), ("support", "read"), ("support", "archive")]
    {
        let agent = agent(&world, role);
        let chat = opened(&alice, json!({ "subject": format!("{role} {act}") })).await;
        let said = alice.says(&chat, "help").await;
        for path in ["info", "messages", "participants", "changes?since=0"] {
            let path = format!("/api/chat/{chat}/{path}");
            assert_eq!(agent.get(&path).await.status, 200, "{role} {path}");
            assert_eq!(bob.get(&path).await.failure(), failure(403, "not_participant"));
        }
        let before = people(&alice, &chat).await;
        assert_eq!(before, [(alice.id.clone(), "creator".to_owned())], "looking is not acting");
        let mut room = bus().await.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
        let base = format!("/api/chat/{chat}");
        match act {
            "send" => drop(agent.says(&chat, "How can I help?").await),
            "read" => {
                let body = json!({ "messageIds": [said] });
                agent.patch(&format!("{base}/messages/read"), body).await.data();
            }
            _ => {
                let archived = agent.patch(&format!("{base}/archive"), json!({})).await.data();
                assert_eq!(archived["archived"], true);
            }
        }
        let heard = room.next().await.unwrap();
        assert_eq!(heard.kind, Kind::ParticipantsAdded, "{act}");
        assert_eq!(heard.affected, [UserId::parse(&agent.id).unwrap()]);
        let mut expected = [before[0].clone(), (agent.id.clone(), "agent".to_owned())];
        expected.sort_unstable();
        assert_eq!(people(&alice, &chat).await, expected, "{role} {act}");
    }
}

#[tokio::test]
async fn i6_the_pool_is_in_support_chats_only_and_nobody_else_is_in_the_pool() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let direct = alice.chat_with(&bob).await;
    let support = opened(&alice, json!({})).await;
    let hello = json!({ "content": "hi" });
    let send = async |who: &Actor<'_>, chat: &str| {
        who.post(&format!("/api/chat/{chat}/messages"), hello.clone()).await.failure()
    };
    let refused = || failure(403, "not_participant");
    for role in ["support", "admin"] {
        assert_eq!(send(&agent(&world, role), &direct).await, refused(), "{role}");
    }
    let agent_ = agent(&world, "support");
    assert_eq!(agent_.get(&format!("/api/chat/{direct}/info")).await.failure(), refused());
    assert_eq!(send(&bob, &support).await, refused());
    assert_eq!(send(&agent(&world, "service"), &support).await, refused());
    let absent = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
    assert_eq!(send(&agent_, absent).await, failure(404, "chat_not_found"));
    let listed = bob.get("/api/chat?type=support").await.data();
    assert_eq!(listed["pagination"]["total"], 0);
}

#[tokio::test]
async fn the_pool_is_listed_every_support_chat_and_elsewhere_its_own() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let first = opened(&alice, json!({ "initialMessage": "one" })).await;
    let second = opened(&bob, json!({ "initialMessage": "two" })).await;
    for role in ["support", "admin"] {
        let agent = agent(&world, role);
        let all = agent.get("/api/chat?type=support").await.data();
        assert_eq!(
            (&all["chats"][0]["_id"], &all["chats"][1]["_id"]),
            (&json!(second), &json!(first))
        );
        assert_eq!(
            (&all["chats"][0]["unreadCount"], &all["pagination"]["total"]),
            (&json!(0), &json!(2))
        );
        assert_eq!(agent.get("/api/chat").await.data()["pagination"]["total"], 0, "without a row");
        agent.says(&first, "hi").await;
        assert_eq!(agent.get("/api/chat").await.data()["pagination"]["total"], 1);
        alice.says(&first, "thanks").await;
        let all = agent.get("/api/chat?type=support&archived=false").await.data();
        assert_eq!(
            (&all["chats"][0]["_id"], &all["chats"][0]["unreadCount"]),
            (&json!(first), &json!(1))
        );
        bob.says(&second, "and me?").await;
    }
    let own = alice.get("/api/chat?type=support").await.data();
    assert_eq!((&own["pagination"]["total"], &own["chats"][0]["_id"]), (&json!(1), &json!(first)));
}

#[tokio::test]
async fn i6_an_agent_enters_by_joining_the_room() {
    let world = World::new().await;
    let alice = world.user().await;
    let chat = opened(&alice, json!({})).await;
    let agent = agent(&world, "support");
    let join = JoinAsk {
        chat_id: ChatId::parse(&chat).unwrap(),
        user_id: UserId::parse(&agent.id).unwrap(),
        role: Role::Support,
        position: None,
    };
    let bus = bus().await;
    ask(
        &bus,
        &join,
        |answer| matches!(answer, JoinAnswer::Joined(snapshot) if snapshot.version.0 == 1),
    )
    .await;
    assert!(people(&alice, &chat).await.contains(&(agent.id.clone(), "agent".to_owned())));
    // A gateway of the release before says no role, and an agent with a row needs none.
    ask(
        &bus,
        &JoinAsk { role: Role::User, ..join },
        |answer| matches!(answer, JoinAnswer::Joined(snapshot) if snapshot.version.0 == 1),
    )
    .await;
}

#[tokio::test]
async fn i6_an_agent_enters_by_one_of_many_joins_and_nobody_else_does() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = opened(&alice, json!({})).await;
    let agent = agent(&world, "support");
    let join = |user: &str, role| JoinAsk {
        chat_id: ChatId::parse(&chat).unwrap(),
        user_id: UserId::parse(user).unwrap(),
        role,
        position: None,
    };
    let joins = JoinsAsk {
        joins: vec![
            join(&alice.id, Role::User),
            join(&bob.id, Role::User),
            join(&agent.id, Role::Support),
        ],
    };
    let outsider = JoinOutcome::Refused { refusal: JoinRefusal::NotParticipant };
    ask(&bus().await, &joins, |answer| {
        let JoinsAnswer::Joins(joins) = answer else { return false };
        let [alice, bob, agent] = joins.joins[..] else { return false };
        let is_in = |outcome| matches!(outcome, JoinOutcome::Joined { room: 0, .. });
        // All of one moment, in which the agent is in.
        is_in(alice) && bob == outsider && is_in(agent) && joins.rooms[0].version.0 == 1
    })
    .await;
    let people = people(&alice, &chat).await;
    assert!(people.contains(&(agent.id.clone(), "agent".to_owned())) && people.len() == 2);
}

#[tokio::test]
async fn an_initial_message_is_limited_like_any_other() {
    let world = World::with(&["--message-limits", "user=1/60"]).await;
    let alice = world.user().await;
    let chat = opened(&alice, json!({ "initialMessage": "one" })).await;
    // A double click costs nothing, since its message is a replay.
    let again = alice.post("/api/chat/support", json!({ "initialMessage": "one" })).await;
    assert_eq!((again.status.as_u16(), &again.data()["chat"]["_id"]), (200, &json!(chat)));
    let body = json!({ "subject": "more", "initialMessage": "two" });
    let refused = alice.post("/api/chat/support", body).await;
    assert_eq!(refused.failure(), failure(429, "rate_limited"));
    assert!(refused.headers.contains_key("retry-after"));
    let listed = alice.get("/api/chat?type=support").await.data();
    assert_eq!(listed["chats"][0]["subject"], "more", "the chat is there without its message");
    assert_eq!(listed["chats"][0]["messageCount"], 0);
}
