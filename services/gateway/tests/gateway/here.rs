//! What a gateway tells whoever asks who sees a chat at this moment.

use std::time::Duration;

use parley_domain::here::{HereAsk, Viewers};
use parley_domain::ids::{ChatId, UserId};

use crate::fixture::World;
use crate::server::eventually;

impl World {
    /// Who of these sees the chat.
    async fn here(&self, chat_id: ChatId, users: &[&str]) -> Vec<String> {
        let users = users.iter().map(|user| UserId::parse(user).unwrap()).collect();
        let ask = HereAsk { asked: vec![Viewers { chat_id, users }] };
        let patience = Duration::from_millis(250);
        eventually("the gateway's answer", async || {
            let mut answers = self.api.bus().ask_here(&ask, patience).await.unwrap();
            let here = answers.pop()?.here;
            Some(here.iter().flat_map(|it| &it.users).map(ToString::to_string).collect())
        })
        .await
    }
}

#[tokio::test]
async fn who_has_joined_a_chat_is_here_until_they_leave_or_their_connection_ends() {
    let world = World::start().await;
    let (chat, other) = (world.api.chats.create(0), world.api.chats.create(0));
    let mut alice = world.gateway.client("alice").await;
    let mut bob = world.gateway.client("bob").await;
    alice.join_at(chat, 0).await;
    bob.join_at(chat, 0).await;
    let _carol = world.gateway.client("carol").await;
    let all = ["alice", "bob", "carol"];
    assert_eq!(world.here(chat, &all).await, ["alice", "bob"]);
    assert_eq!(world.here(other, &all).await, [""; 0], "connected is not joined");
    alice.leave(chat).await;
    assert_eq!(world.here(chat, &all).await, ["bob"]);
    drop(bob);
    eventually("bob's end", async || world.here(chat, &all).await.is_empty().then_some(())).await;
}
