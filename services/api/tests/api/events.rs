use std::time::Duration;

use parley_domain::ask::{JoinAnswer, JoinAsk, JoinRefusal};
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use parley_domain::version::Version;
use parley_local::testing;
use parley_relay::{Ask, Bus, NatsSettings};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::actor::World;

pub(crate) async fn bus() -> Bus {
    let settings = NatsSettings::at(&testing::nats_url());
    Bus::connect(&settings, "a gateway", &Registry::new()).await.unwrap()
}

#[tokio::test]
async fn a_committed_message_is_published_as_clients_will_hear_it() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let bus = bus().await;
    let mut room = bus.subscribe(ChatId::parse(&chat).unwrap()).await.unwrap();
    let body = json!({ "content": "hi", "clientMessageId": "c" });
    let sent = alice.post(&format!("/api/chat/{chat}/messages"), body.clone()).await;
    let heard = timeout(Duration::from_secs(10), room.next())
        .await
        .expect("nothing was published")
        .unwrap();
    assert_eq!((heard.kind, heard.version), (Kind::NewMessage, Some(Version(1))));
    assert_eq!(heard.affected, [UserId::parse(&alice.id).unwrap()]);
    let event: Value = serde_json::from_slice(&heard.event).unwrap();
    assert_eq!(event[0], "new-message");
    assert_eq!(event[1]["message"], sent.data()["message"]);
    assert_eq!((&event[1]["chatId"], &event[1]["version"]), (&json!(chat), &json!(1)));
    assert_eq!(event[1]["epoch"], heard.epoch.to_string());

    alice.post(&format!("/api/chat/{chat}/messages"), body).await.data();
    let again = room.next().await.unwrap();
    // Of its commit only that is known then which is stored.
    let again = RoomEvent { origin: heard.origin, ..again };
    assert_eq!(again, heard, "a replay is told again, under the same version");
}

#[tokio::test]
async fn i4_how_far_a_chat_is_is_announced_after_every_change() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let mut heads = bus().await.hear_heads().await.unwrap();
    alice.says(&chat, "one").await;
    let message = alice.says(&chat, "two").await;
    alice.delete(&format!("/api/chat/{chat}/messages/{message}")).await.data();
    let head = (ChatId::parse(&chat).unwrap(), Version(3));
    // Other tests' pods announce too.
    let announced = async { while !heads.next().await.unwrap().heads.contains(&head) {} };
    timeout(Duration::from_secs(10), announced).await.expect("no head was announced");
}

/// The queue group of asks is shared by every pod on the bus, and the tests' pods have different databases, so this asks
/// until the pod that knows the chat happens to answer.
pub(crate) async fn ask<A: Ask>(bus: &Bus, ask: &A, wanted: impl Fn(&A::Answer) -> bool) {
    for _ in 0..2_000 {
        if bus.ask(ask).await.is_ok_and(|answer| wanted(&answer)) {
            return;
        }
    }
    panic!("no pod gave the wanted answer");
}

#[tokio::test]
async fn gateways_are_answered_over_the_bus() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat_id = ChatId::parse(&alice.chat_with(&bob).await).unwrap();
    let join = |user: &str| JoinAsk {
        chat_id,
        user_id: UserId::parse(user).unwrap(),
        role: Role::User,
        position: None,
    };
    let bus = bus().await;
    ask(&bus, &join(&bob.id), |answer| {
        matches!(answer, JoinAnswer::Joined(snapshot) if snapshot.read_pointers.len() == 2)
    })
    .await;
    ask(&bus, &join(&carol.id), |answer| {
        matches!(answer, JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant })
    })
    .await;
}
