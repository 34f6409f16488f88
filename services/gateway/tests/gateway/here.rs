//! What a gateway tells whoever asks who sees a chat at this moment.

use std::time::Duration;

use parley_domain::attendance::Turn;
use parley_domain::here::{HereAsk, Viewers};
use parley_domain::ids::{ChatId, UserId};
use tokio::sync::mpsc;

use crate::fixture::{Gateway, World};
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

/// The next turn that couriers are told of.
async fn next(turns: &mut mpsc::UnboundedReceiver<Turn>) -> (String, bool) {
    let next = tokio::time::timeout(Duration::from_secs(30), turns.recv()).await;
    let Turn { user_id, online } = next.unwrap().unwrap();
    (user_id.to_string(), online)
}

#[tokio::test]
async fn couriers_are_told_who_comes_first_and_goes_last_and_nothing_without_the_setting() {
    let mut world = World::start().await;
    let url = world.nats.url();
    let (sender, mut turns) = mpsc::unbounded_channel();
    let bus = world.api.bus().clone();
    tokio::spawn(async move {
        let hear = |heard: Vec<Turn>| {
            for turn in heard {
                sender.send(turn).unwrap();
            }
            std::future::ready(())
        };
        bus.hear_turns(hear, std::future::pending()).await
    });
    let new = || format!("user-{}", uuid::Uuid::new_v4());
    let (silent, alice, bob) = (new(), new(), new());
    let _silent = world.gateway.client(&silent).await;
    let telling = ["--presence-events", "true"];
    world.gateway = Gateway::start(&url, &telling).await;
    let other = Gateway::start(&url, &telling).await;
    let (first, second) = (world.gateway.client(&alice).await, other.client(&alice).await);
    assert_eq!(next(&mut turns).await, (alice.clone(), true));
    first.close().await;
    let _bob = world.gateway.client(&bob).await;
    assert_eq!(next(&mut turns).await, (bob, true), "she is still at the other one");
    second.close().await;
    assert_eq!(next(&mut turns).await, (alice, false));
}
