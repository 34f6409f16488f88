//! What a gateway tells whoever asks why somebody did not get a message.

use std::time::Duration;

use parley_domain::delivery::{DeliveryAccount, DeliveryAsk, KnownBy, Leaving, Way};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::version::Version;

use crate::fixture::{POD, World};
use crate::server::eventually;

impl World {
    async fn account(&self, chat_id: ChatId, user: &str, version: u64) -> DeliveryAccount {
        let user_id = UserId::parse(user).unwrap();
        let ask = DeliveryAsk { chat_id, user_id, version: Version(version) };
        // Nobody is expected by name, so as many come as answer in that time.
        let patience = Duration::from_millis(250);
        eventually("the gateway's account", async || {
            self.api.bus().ask_gateways(&ask, &[], patience).await.unwrap().pop()
        })
        .await
    }
}

#[tokio::test]
async fn a_gateway_knows_from_where_to_where_a_connection_was_told_and_how_it_ended() {
    let world = World::start().await;
    let chat = world.api.chats.create(3);
    let mut alice = world.gateway.client("alice").await;
    alice.join_at(chat, 3).await;
    let version = world.api.say(chat);
    alice.hears(chat, version).await;
    // The bus loses one, and the room catches up.
    let lost = world.api.chats.commit(chat);
    let next = world.api.say(chat);
    alice.hears(chat, lost).await;
    alice.hears(chat, next).await;

    let account = world.account(chat, "alice", version).await;
    assert_eq!((account.pod.as_str(), account.room), (POD, Some(Version(next))));
    assert_eq!(account.told.map(|told| told.way), Some(Way::Live));
    let [membership] = account.memberships.as_slice() else { panic!("{account:?}") };
    assert_eq!((membership.known, membership.known_by), (Version(3), KnownBy::Join));
    assert_eq!((membership.up_to, membership.ended), (Version(next), None));
    let [connection] = account.connections.as_slice() else { panic!("{account:?}") };
    assert_eq!((&connection.socket, &connection.ended), (&membership.socket, &None));
    let caught_up = world.account(chat, "alice", lost).await;
    assert_eq!(caught_up.told.map(|told| told.way), Some(Way::CatchUp));
    let other = world.account(chat, "bob", version).await;
    assert!(other.memberships.is_empty() && other.connections.is_empty());

    drop(alice);
    let account = eventually("the ending is remembered", async || {
        let account = world.account(chat, "alice", version).await;
        let ended = |it: &DeliveryAccount| it.connections.iter().all(|it| it.ended.is_some());
        (ended(&account) && account.memberships.iter().all(|it| it.ended.is_some()))
            .then_some(account)
    })
    .await;
    let [membership] = account.memberships.as_slice() else { panic!("{account:?}") };
    assert_eq!(membership.ended.map(|ended| ended.why), Some(Leaving::Closed));
    assert_eq!(membership.up_to, Version(next));
    let [connection] = account.connections.as_slice() else { panic!("{account:?}") };
    assert_eq!((connection.waiting, &connection.socket), (0, &membership.socket));
}

#[tokio::test]
async fn i9_the_endings_that_a_gateway_remembers_are_limited() {
    let world = World::with(&["--recent-endings=2"]).await;
    let chat = world.api.chats.create(0);
    for user in ["alice", "bob", "carol", "dave"] {
        drop(world.gateway.client(user).await);
        // One after the other: the oldest is forgotten.
        eventually("the connection has ended", async || {
            let account = world.account(chat, user, 1).await;
            account.connections.iter().any(|it| it.ended.is_some()).then_some(())
        })
        .await;
    }
    world.gateway.reaches("parley_gateway_endings_forgotten_total", 2).await;
    let forgotten = world.account(chat, "alice", 1).await;
    assert!(forgotten.connections.is_empty());
    assert!(forgotten.remembers_from > forgotten.started_at, "and it says so");
    assert_eq!(world.account(chat, "dave", 1).await.connections.len(), 1);
}
