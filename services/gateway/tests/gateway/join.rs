//! Joining and leaving: what is answered, and who is let in.

use parley_domain::ask::JoinRefusal;
use parley_domain::ids::ChatId;
use parley_domain::user::Role;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::client::Client;
use crate::fixture::{EPOCH, POD, SECRET, World, sign};

#[tokio::test]
async fn a_joins_ack_says_where_the_chat_stands() {
    let world = World::start().await;
    let chat = world.api.chats.create(42);
    let mut client = world.gateway.client("alice").await;
    let forms = [
        json!(chat),
        json!(format!("chat-{chat}")),
        json!({ "chatId": chat }),
        json!({ "chatId": chat, "since": 42 }),
        json!({ "chatId": chat, "since": 42, "epoch": EPOCH }),
    ];
    for form in &forms {
        let ack = client.ask("join-chat-room", form).await;
        let expected = json!({
            "success": true, "chatId": chat, "version": 42, "epoch": "000000000000feed",
            "resync": false, "readPointers": { "alice": 21 }, "typing": [], "pod": POD,
        });
        assert_eq!(ack, expected, "{form}");
    }
    for form in [
        json!({ "chatId": chat, "since": 41 }),
        json!({ "chatId": chat, "since": 43 }),
        json!({ "chatId": chat, "since": 42, "epoch": "000000000000dead" }),
    ] {
        let ack = client.ask("join-chat-room", &form).await;
        assert_eq!((&ack["success"], &ack["resync"]), (&json!(true), &json!(true)), "{form}");
    }
    world.api.say(chat);
    client.hears(chat, 43).await;
    client.hears_nothing().await;
    let joined = "parley_gateway_joins_total{outcome=\"joined\"}";
    assert_eq!(world.gateway.metric(joined).await, 8);
}

#[tokio::test]
async fn a_join_without_an_ack_is_a_join() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    client.send(&format!("42{}", json!(["join-chat-room", chat]))).await;
    client.hears_nothing().await;
    world.api.say(chat);
    client.hears(chat, 1).await;
}

#[tokio::test]
async fn who_leaves_hears_no_more() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    for client in [&mut alice, &mut bob] {
        client.join_at(chat, 0).await;
    }
    alice.leave(chat).await;
    for version in 1..=2 {
        world.api.say(chat);
        bob.hears(chat, version).await;
    }
    alice.hears_nothing().await;
    // Leaving twice, or a room where one never was, is no error.
    alice.leave(chat).await;
    alice.leave(ChatId::from(Uuid::new_v4())).await;
    alice.join_at(chat, 2).await;
    world.api.say(chat);
    alice.hears(chat, 3).await;
}

#[tokio::test]
async fn a_refusal_is_an_ack_or_an_event() {
    let world = World::start().await;
    let chat = world.api.chats.create(1);
    world.api.chats.refuse(chat, "eve", JoinRefusal::NotParticipant);
    let mut eve = world.gateway.client("eve").await;
    let cases = [
        (json!(Uuid::new_v4()), "chat_not_found"),
        (json!({ "chatId": chat }), "not_participant"),
        (json!("chat-7"), "invalid_chat_id"),
        (Value::Null, "invalid_chat_id"),
        (json!({ "chatId": chat, "since": "x" }), "invalid_request"),
    ];
    for (argument, code) in cases {
        let ack = eve.ask("join-chat-room", &argument).await;
        assert_eq!((&ack["success"], &ack["error"]["code"]), (&json!(false), &json!(code)));
        assert!(ack["error"]["message"].is_string(), "{ack}");
        assert_eq!(ack.as_object().unwrap().len(), 2, "{ack}");

        eve.send(&format!("42{}", json!(["join-chat-room", argument]))).await;
        assert_eq!(eve.event().await, ("error".to_owned(), ack["error"].clone()));

        let series = format!("parley_gateway_joins_total{{outcome=\"{code}\"}}");
        assert!(world.gateway.metric(&series).await >= 2, "{code}");
    }
    let ack = eve.ask("leave-chat-room", &json!("chat-7")).await;
    assert_eq!(ack["error"]["code"], "invalid_chat_id");
    eve.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_refused_join_does_not_make_the_pod_listen() {
    let world = World::start().await;
    let chat = world.api.chats.create(1);
    world.api.chats.refuse(chat, "eve", JoinRefusal::NotParticipant);
    let mut eve = world.gateway.client("eve").await;
    for _ in 0..3 {
        let ack = eve.join(chat).await;
        assert_eq!(ack["error"]["code"], "not_participant");
    }
    assert_eq!(world.gateway.rooms().await, 0);
    let (subject, varz) = (format!("chat.{chat}"), world.nats.monitor("/connz?subs=1").await);
    assert!(!varz.to_string().contains(&subject), "{varz}");
    assert_eq!(world.api.chats.asked(), 3, "each try is one ask");
}

#[tokio::test]
async fn i6_a_refused_join_of_an_open_room_hears_nothing() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    world.api.chats.refuse(chat, "eve", JoinRefusal::NotParticipant);
    let (mut alice, mut eve) =
        (world.gateway.client("alice").await, world.gateway.client("eve").await);
    alice.join_at(chat, 0).await;
    assert_eq!(eve.join(chat).await["error"]["code"], "not_participant");
    for version in 1..=2 {
        world.api.say(chat);
        alice.hears(chat, version).await;
    }
    eve.hears_nothing().await;
}

#[tokio::test]
async fn i6_a_refusal_leaves_the_room_and_not_the_connection() {
    let world = World::start().await;
    let (chat, other) = (world.api.chats.create(0), world.api.chats.create(0));
    let (mut alice, mut bob) =
        (world.gateway.client("alice").await, world.gateway.client("bob").await);
    for client in [&mut alice, &mut bob] {
        client.join_at(chat, 0).await;
        client.join_at(other, 0).await;
    }
    world.api.say(chat);
    bob.hears(chat, 1).await;
    alice.hears(chat, 1).await;
    // Bob was removed; his client joins again, as it does after every reconnect.
    world.api.chats.refuse(chat, "bob", JoinRefusal::NotParticipant);
    assert_eq!(bob.join(chat).await["error"]["code"], "not_participant");
    for version in 2..=3 {
        world.api.say(chat);
        alice.hears(chat, version).await;
    }
    bob.hears_nothing().await;
    world.api.say(other);
    bob.hears(other, 1).await;
}

#[tokio::test]
async fn events_that_nobody_knows_do_no_harm() {
    let world = World::start().await;
    let chat = world.api.chats.create(0);
    let mut client = world.gateway.client("alice").await;
    for event in [r#"["no-such-event",{}]"#, r#"["join-chat-room"]"#, r#"["message",1,[2]]"#] {
        client.send(&format!("42{event}")).await;
    }
    assert_eq!(client.event().await.1["code"], "invalid_chat_id");
    client.join_at(chat, 0).await;
}

#[tokio::test]
async fn api_pods_are_told_the_role_of_the_token() {
    let world = World::start().await;
    let chat = world.api.chats.create(3);
    world.api.chats.keep_for(chat, Role::Support);
    let claims = json!({ "sub": "agent", "role": "support", "exp": u32::MAX });
    let mut agent = Client::connect(world.gateway.address, &sign(&claims, SECRET)).await;
    agent.join_at(chat, 3).await;
    let mut alice = world.gateway.client("alice").await;
    let ack = alice.ask("join-chat-room", &json!(chat)).await;
    assert_eq!(ack["error"]["code"], "not_participant");
}
