//! Who is online, in what REST shows. The test is the gateway.

use parley_domain::ids::UserId;
use parley_local::testing;
use parley_relay::{Kept, Movements, Presence, RedisSettings};
use prometheus::Registry;
use serde_json::{Value, json};

use crate::actor::{Actor, World};

/// Says as a gateway pod does who has come, and who has gone.
struct Pod(Presence, String);

impl Pod {
    async fn new() -> Self {
        let settings = RedisSettings::at(&testing::redis_url(), 2_000);
        let presence = Presence::connect(&settings, &Registry::new()).await.unwrap();
        let pod = Self(presence, format!("pod-{}", uuid::Uuid::new_v4()));
        assert_eq!(pod.0.beat(&pod.1).await, Kept::Lost, "it is new");
        pod
    }

    async fn moved(&self, come: &[&Actor<'_>], gone: &[&Actor<'_>]) {
        let ids = |actors: &[&Actor<'_>]| -> Vec<UserId> {
            actors.iter().map(|actor| UserId::parse(&actor.id).unwrap()).collect()
        };
        let movements = Movements { come: ids(come), gone: ids(gone), everybody: false };
        self.0.moved(&self.1, &movements).await;
    }
}

fn shown<'a>(participants: &'a Value, who: &Actor<'_>) -> (&'a Value, &'a Value) {
    let mut all = participants.as_array().unwrap().iter();
    let one = all.find(|one| one["userId"] == who.id.as_str()).unwrap();
    (&one["online"], &one["lastSeenAt"])
}

#[tokio::test]
async fn participants_and_users_are_shown_with_their_presence() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let pod = Pod::new().await;
    pod.moved(&[&bob], &[]).await;
    // Which gateways there are may be as old as a second.
    tokio::time::timeout(std::time::Duration::from_secs(5), async {
        while shown(
            &alice.get(&format!("/api/chat/{chat}/info")).await.data()["chat"]["participants"],
            &bob,
        )
        .0 != &json!(true)
        {}
    })
    .await
    .expect("bob is online");
    let info = alice.get(&format!("/api/chat/{chat}/info")).await.data()["chat"].clone();
    let list = alice.get("/api/chat").await.data()["chats"][0].clone();
    let people = alice.get(&format!("/api/chat/{chat}/participants")).await.data();
    let archived = alice.patch(&format!("/api/chat/{chat}/archive"), json!({})).await.data();
    for participants in [&info, &list, &people, &archived["chat"]].map(|it| &it["participants"]) {
        let (online, last_seen_at) = shown(participants, &bob);
        assert_eq!(online, true);
        assert!(last_seen_at.is_string(), "{last_seen_at}");
        assert_eq!(shown(participants, &alice), (&json!(false), &Value::Null));
    }
    let user = bob.get(&format!("/api/users/{}", bob.id)).await.data()["user"].clone();
    assert_eq!((&user["online"], user["lastSeenAt"].is_string()), (&json!(true), true));
    pod.moved(&[], &[&bob]).await;
    let user = bob.get(&format!("/api/users/{}", bob.id)).await.data()["user"].clone();
    assert_eq!((&user["online"], user["lastSeenAt"].is_string()), (&json!(false), true));
}

#[tokio::test]
async fn without_redis_it_is_not_known_and_nothing_waits() {
    let world = World::with(&["--redis-url", "redis://127.0.0.1:1"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let info = alice.get(&format!("/api/chat/{chat}/info")).await.data()["chat"].clone();
    assert_eq!(shown(&info["participants"], &bob), (&Value::Null, &Value::Null));
}

#[tokio::test]
async fn when_a_deleted_user_was_here_is_forgotten() {
    let world = World::new().await;
    let (bob, host) = (world.user().await, world.actor("host", "service"));
    let pod = Pod::new().await;
    pod.moved(&[&bob], &[]).await;
    let path = format!("/api/users/{}", bob.id);
    assert!(host.get(&path).await.data()["user"]["lastSeenAt"].is_string());
    assert_eq!(host.delete(&path).await.data()["user"]["lastSeenAt"], Value::Null);
    // Their connections end, and say so.
    pod.moved(&[], &[&bob]).await;
    assert_eq!(host.get(&path).await.data()["user"]["lastSeenAt"], Value::Null);
}
