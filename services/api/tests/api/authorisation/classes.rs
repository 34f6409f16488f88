//! Known holes of chat systems that are about who may do what: see deploy/SECURITY-TESTS.md.

use axum::http::{Method, Request};
use http_body_util::Full;
use parley_domain::ask::{JoinAnswer, JoinAsk, JoinRefusal};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use serde_json::{Value, json};

use super::expected::GROUP;
use super::keys::Host;
use super::scene::{Kind, Scene};
use super::{Row, ask, rows};
use crate::actor::{Actor, Answer, World, failure};
use crate::events::{ask as ask_bus, bus};

const ABSENT: &str = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";

/// Every operation about a chat, aliases and old routes among them.
fn operations() -> Vec<Row> {
    let rows: Vec<_> = rows(GROUP).into_iter().filter(Row::is_about_a_chat).collect();
    assert!(rows.len() > 20, "{}", rows.len());
    rows
}

/// A refusal by role comes before one by membership.
fn refusal(row: &Row) -> (u16, String) {
    let by_role = row.case == "(system)";
    failure(403, if by_role { "forbidden" } else { "not_participant" })
}

/// What a refusal is, without the request's id; of `HEAD`, its status.
fn told(row: &Row, answer: &Answer) -> (u16, Value) {
    let status = answer.status.as_u16();
    if row.method == Method::HEAD {
        return (status, Value::Null);
    }
    let mut body = answer.json();
    body["requestId"].take();
    (status, body)
}

/// Everything that the chat's creator sees of it.
async fn state(creator: &Actor<'_>, chat: &str) -> [Value; 3] {
    let at = |end: &str| format!("/api/chat/{chat}/{end}");
    let [info, messages, people] = ["info", "messages", "participants"].map(at);
    [creator.get(&info).await, creator.get(&messages).await, creator.get(&people).await]
        .map(|answer| answer.data())
}

async fn are_refused(callers: &[&str]) {
    let host = Host::new();
    let world = host.world().await;
    let scene = Scene::make(&world, &host, Kind::Group, true).await;
    let creator = scene.actor(&world, &host.token(&scene.claims("creator")));
    let before = state(&creator, scene.chat()).await;
    for who in callers {
        let token = host.token(&scene.claims(who));
        for row in operations() {
            let answer = ask(&world, &row, &scene, &scene.id(who), Some(&token)).await;
            let (method, path) = (&row.method, &row.path);
            if row.method == Method::HEAD {
                assert_eq!(answer.status, 403, "{method} {path} as {who}");
                continue;
            }
            assert_eq!(answer.failure(), refusal(&row), "{method} {path} as {who}");
            assert_eq!(answer.json().get("data"), None, "{method} {path} as {who}");
        }
    }
    assert_eq!(state(&creator, scene.chat()).await, before, "nothing has happened to the chat");
}

#[tokio::test]
async fn class_01_no_operation_serves_an_outsider_by_whatever_route() {
    are_refused(&["outsider"]).await;
    let host = Host::new();
    let world = host.world().await;
    let scene = Scene::make(&world, &host, Kind::Group, true).await;
    let outsider = scene.actor(&world, &host.token(&scene.claims("outsider")));
    let creator = scene.actor(&world, &host.token(&scene.claims("creator")));
    let chat = scene.chat();
    // Spellings by which a router and a check could take the same path for different ones.
    for path in [
        format!("/api/chat/{chat}/messages/"),
        format!("/api/chat/{chat}//messages"),
        format!("//api/chat/{chat}/messages"),
        format!("/api/chat/./{chat}/messages"),
        format!("/api/chat/{ABSENT}/../{chat}/messages"),
        format!("/api/chat/{ABSENT}%2f..%2f{chat}/messages"),
        format!("/API/chat/{chat}/messages"),
        format!("/api/chat/{chat}/messages;x=1"),
        format!("/api/chat/chat-{chat}/messages"),
        format!("/api/chat/%7b{chat}%7d/messages"),
        format!("/api/chat/{}/messages", chat.replace('-', "")),
        format!("/api/v1/chat/{chat}/messages"),
        format!("/api/chats/{chat}/messages"),
    ] {
        for caller in [&outsider, &creator] {
            let status = caller.get(&path).await.status.as_u16();
            assert!([400, 404].contains(&status), "{status}: {path}");
        }
    }
    // What is one spelling of the id for one is so for all.
    let upper = format!("/api/chat/{}/messages", chat.to_uppercase());
    assert_eq!(creator.get(&upper).await.status, 200);
    assert_eq!(outsider.get(&upper).await.failure(), failure(403, "not_participant"));
    // Methods and paths in headers count for nothing.
    let disguised = Request::get(world.url("/api/chat/stats"))
        .header("authorization", format!("Bearer {}", outsider.token))
        .header("x-original-url", format!("/api/chat/{chat}/messages"))
        .header("x-rewrite-url", format!("/api/chat/{chat}/messages"))
        .header("x-http-method-override", "DELETE")
        .header("x-user-id", scene.id("creator"));
    let stats = world.raw(disguised.body(Full::default()).unwrap()).await.data();
    assert_eq!(stats["totalChats"], 0, "{stats}");
}

#[tokio::test]
async fn class_02_who_was_removed_or_has_left_is_an_outsider_to_every_operation() {
    are_refused(&["removed", "left"]).await;
}

#[tokio::test]
async fn class_02_who_was_removed_or_has_left_is_let_into_no_room_and_speaks_in_none() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id, carol.id], "type": "group" });
    let made = alice.post("/api/chat", body).await.data();
    let chat = made["chat"]["_id"].as_str().unwrap();
    let people = format!("/api/chat/{chat}/participants");
    alice.delete(&format!("{people}/{}", bob.id)).await.data();
    carol.delete(&format!("{people}/{}", carol.id)).await.data();
    let bus = bus().await;
    for gone in [&bob, &carol] {
        let join = JoinAsk {
            chat_id: ChatId::parse(chat).unwrap(),
            user_id: UserId::parse(&gone.id).unwrap(),
            role: Role::User,
            position: None,
        };
        ask_bus(&bus, &join, |answer| {
            assert!(!matches!(answer, JoinAnswer::Joined(_)), "{answer:?}");
            matches!(answer, JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant })
        })
        .await;
        let says = json!({ "content": "still here" });
        let said = gone.post(&format!("/api/chat/{chat}/messages"), says).await;
        assert_eq!(said.failure(), failure(403, "not_participant"));
        let listed = gone.get("/api/chat").await.data();
        assert_eq!(listed["pagination"]["total"], 0, "{listed}");
        let stats = gone.get("/api/chat/stats").await.data();
        assert_eq!((&stats["totalChats"], &stats["totalUnread"]), (&json!(0), &json!(0)));
    }
}

#[tokio::test]
async fn class_24_what_a_foreign_chat_holds_and_who_is_in_the_directory_cannot_be_asked_out() {
    let host = Host::new();
    let world = host.world().await;
    let scene = Scene::make(&world, &host, Kind::Group, true).await;
    let nothing = scene.about_nothing(ABSENT);
    for who in ["outsider", "removed", "left", "support"] {
        let token = host.token(&scene.claims(who));
        for row in operations() {
            let me = scene.id(who);
            let there = ask(&world, &row, &scene, &me, Some(&token)).await;
            let absent = ask(&world, &row, &nothing, &me, Some(&token)).await;
            assert_eq!(told(&row, &there), told(&row, &absent), "{} {}", row.method, row.path);
        }
    }
    // Ids of chats cannot be guessed; of one that is not there all are told the same.
    let token = host.token(&scene.claims("outsider"));
    let outsider = scene.actor(&world, &token);
    let other = Scene::make(&world, &host, Kind::Group, false).await;
    let (known, unknown) = (scene.id("creator"), other.id("nobody"));
    for (method, end) in
        [(Method::GET, ""), (Method::PUT, ""), (Method::DELETE, ""), (Method::POST, "/revoke")]
    {
        let of = async |id: &str| {
            let path = format!("/api/users/{id}{end}");
            outsider.call(method.clone(), &path, Some(json!({ "name": "x" }))).await.failure()
        };
        assert_eq!(of(&known).await, of(&unknown).await);
    }
    let absent = scene.elsewhere(ABSENT);
    for row in operations().iter().filter(|row| row.method != Method::HEAD) {
        let me = absent.id("outsider");
        let answer = ask(&world, row, &absent, &me, Some(&token)).await;
        let expected = match refusal(row) {
            by_role if by_role.1 == "forbidden" => by_role,
            _ => failure(404, "chat_not_found"),
        };
        assert_eq!(answer.failure(), expected, "{} {}", row.method, row.path);
    }
}

/// Who asks, for whom, and what comes of adding and of removing.
#[tokio::test]
async fn class_38_only_who_may_changes_who_is_in_a_group() {
    let host = Host::new();
    let world = host.world().await;
    let participants = "/api/chat/{id}/participants";
    for (who, add, remove) in [
        ("outsider", failure(403, "not_participant"), failure(403, "not_participant")),
        ("removed", failure(403, "not_participant"), failure(403, "not_participant")),
        ("left", failure(403, "not_participant"), failure(403, "not_participant")),
        ("participant", failure(403, "forbidden"), failure(403, "forbidden")),
        ("support", failure(403, "not_participant"), failure(403, "not_participant")),
        ("creator", (201, String::new()), (200, String::new())),
        ("admin", (201, String::new()), (200, String::new())),
        ("service", (201, String::new()), (200, String::new())),
    ] {
        let scene = Scene::make(&world, &host, Kind::Group, true).await;
        let token = host.token(&scene.claims(who));
        for (row, expected) in operations().iter().filter_map(|row| match row.method {
            Method::POST if row.path == participants => Some((row, &add)),
            Method::DELETE if row.case.is_empty() && row.path.ends_with("{userId}") => {
                Some((row, &remove))
            }
            _ => None,
        }) {
            let answer = ask(&world, row, &scene, &scene.id(who), Some(&token)).await;
            let code = if answer.status.is_success() { String::new() } else { answer.failure().1 };
            assert_eq!(&(answer.status.as_u16(), code), expected, "{} as {who}", row.method);
        }
        // The same token, made for somebody else's application.
        let mut foreign = scene.claims(who);
        foreign["aud"] = json!("another");
        let foreign = scene.actor(&world, &host.token(&foreign));
        let path = format!("/api/chat/{}/participants", scene.chat());
        let refused = foreign.post(&path, json!({ "userId": scene.id("other") })).await;
        assert_eq!(refused.failure(), failure(401, "invalid_token"));
    }
}

#[tokio::test]
async fn class_38_the_last_owner_leaves_a_group_that_has_an_owner() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id], "type": "group" });
    let made = alice.post("/api/chat", body).await.data();
    let people = format!("/api/chat/{}/participants", made["chat"]["_id"].as_str().unwrap());
    let of = |who: &Actor<'_>| format!("{people}/{}", who.id);
    // Nobody makes themselves an owner by what they say about it.
    for claim in [
        json!({ "userId": carol.id, "role": "creator" }),
        json!({ "userId": bob.id, "role": "creator", "addedBy": alice.id }),
    ] {
        assert_eq!(bob.post(&people, claim).await.failure(), failure(403, "forbidden"));
    }
    let added = alice.post(&people, json!({ "userId": carol.id, "role": "creator" })).await.data();
    assert_eq!(added["participant"]["role"], "member", "a role is not given away by a request");
    assert_eq!(carol.delete(&of(&bob)).await.failure(), failure(403, "forbidden"));
    alice.delete(&of(&alice)).await.data();
    assert_eq!(alice.delete(&of(&bob)).await.failure(), failure(403, "not_participant"));
    assert_eq!(carol.delete(&of(&bob)).await.failure(), failure(403, "forbidden"));
    assert_eq!(bob.delete(&of(&carol)).await.status, 200, "the oldest member has inherited");
    bob.delete(&of(&bob)).await.data();
    for gone in [&alice, &bob, &carol] {
        let back = gone.post(&people, json!({ "userId": gone.id })).await;
        assert_eq!(back.failure(), failure(403, "not_participant"), "nobody lets themselves in");
    }
}
