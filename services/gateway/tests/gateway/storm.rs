//! Many connections ask at once: what they ask leaves together, and each has its own answer.

use parley_domain::ask::JoinRefusal;
use serde_json::json;
use uuid::Uuid;

use crate::client::{Client, Heard};
use crate::fixture::{ApiPod, Gateway, World, token_for};
use crate::server::NatsServer;

#[tokio::test]
async fn i6_joins_that_leave_together_have_their_own_answers() {
    let world = World::start().await;
    let chats = &world.api.chats;
    let (open, kept, gated) = (chats.create(5), chats.create(7), chats.create(0));
    chats.refuse(kept, "user-1", JoinRefusal::NotParticipant);
    let gate = chats.gate(gated);
    let mut first = world.gateway.client("first").await;
    let mut clients = Vec::new();
    for number in 0..30 {
        clients.push(world.gateway.client(&format!("user-{}", number % 3)).await);
    }
    // While this one is under way, the others wait.
    first.emit("join-chat-room", &json!(gated)).await;
    chats.has_been_asked(1).await;
    let nowhere = Uuid::new_v4();
    for (number, client) in clients.iter_mut().enumerate() {
        let room = [json!(open), json!(kept), json!(nowhere)][number / 10].clone();
        client.emit("join-chat-room", &room).await;
    }
    gate.add_permits(100);
    for (number, client) in clients.iter_mut().enumerate() {
        let Heard::Ack(_, ack) = client.next().await else { panic!("no ack") };
        let told = (&ack["version"], &ack["error"]["code"]);
        let wanted = match number {
            0..10 => (json!(5), json!(null)),
            10..20 if number % 3 == 1 => (json!(null), json!("not_participant")),
            10..20 => (json!(7), json!(null)),
            _ => (json!(null), json!("chat_not_found")),
        };
        assert_eq!(told, (&wanted.0, &wanted.1), "{number}");
    }
    assert!(chats.asked_together() >= 10, "at most {} together", chats.asked_together());
    let metric = async |name: &str| {
        world.gateway.metric(&format!("parley_gateway_{name}{{kind=\"join\"}}")).await
    };
    assert_eq!(metric("asked_together_total").await, chats.asked());
    assert!(metric("asks_total").await < chats.asked());
}

#[tokio::test]
async fn i9_joins_of_a_pod_that_answers_one_are_not_held_up_by_one_that_it_does_not_answer() {
    let world = World::start().await;
    let (gated, open) = (world.api.chats.create(0), world.api.chats.create(3));
    let _gate = world.api.chats.gate(gated);
    let mut alice = world.gateway.client("alice").await;
    alice.emit("join-chat-room", &json!(gated)).await;
    world.api.chats.has_been_asked(1).await;
    let mut bob = world.gateway.client("bob").await;
    let begun = tokio::time::Instant::now();
    bob.join_at(open, 3).await;
    assert!(begun.elapsed().as_millis() < 1_500, "before the one that hangs was given up");
}

#[tokio::test]
async fn api_pods_of_the_release_before_are_asked_one_join_at_a_time() {
    let nats = NatsServer::start().await;
    let api = ApiPod::of_an_older_release(&nats).await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    let (chat, kept) = (api.chats.create(2), api.chats.create(0));
    api.chats.refuse(kept, "alice", JoinRefusal::NotParticipant);
    let mut alice = Client::connect(gateway.address, &token_for("alice", 60)).await;
    let ack = alice.ask("join-chat-room", &json!(kept)).await;
    assert_eq!(ack["error"]["code"], "not_participant");
    for _ in 0..3 {
        api.chats.commit(chat);
    }
    let ack = alice.join_since(chat, 3).await;
    assert_eq!((&ack["version"], &ack["resync"]), (&json!(5), &json!(false)));
    for version in 4..=5 {
        alice.hears(chat, version).await;
    }
    api.say(chat);
    alice.hears(chat, 6).await;
}

#[tokio::test]
async fn a_token_is_asked_about_with_others_and_alone_at_once() {
    let world = World::start().await;
    for number in 0..5 {
        world.gateway.client(&format!("user-{number}")).await;
    }
    let metric = async |name: &str| {
        world.gateway.metric(&format!("parley_gateway_{name}{{kind=\"token\"}}")).await
    };
    assert_eq!((metric("asks_total").await, metric("asked_together_total").await), (5, 5));
}
