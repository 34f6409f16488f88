//! What was committed is heard before it is answered, and leaves a trace until it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use parley_domain::ids::ChatId;
use parley_domain::version::Version;
use parley_store::{ChangeAs, Committed, DeleteAs, DeleteMessage, EditMessage, RemoveParticipant};

use super::SOON;
use crate::fixture::{World, content, room_for, user};

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_is_heard_once_in_rising_version_before_its_senders_are_answered() {
    let world = Arc::new(World::with(&["alice", "bob", "carol"]).await);
    let chats = [
        world.direct("alice", "bob").await,
        world.direct("alice", "carol").await,
        world.group("alice", &["bob", "carol"]).await,
    ];
    let sends = (0..200).map(|n| {
        let (world, chat) = (world.clone(), chats[n % 3]);
        tokio::spawn(async move {
            let sent = world.send(chat, "alice", "hi").await;
            let log = world.log.lock();
            let heard = log.iter().flat_map(|committed| &committed.changes);
            let times = heard.filter(|change| change.message().unwrap().id == sent.id).count();
            assert_eq!(times, 1, "heard when answered");
        })
    });
    for send in join_all(sends).await {
        send.unwrap();
    }
    let mut last: BTreeMap<ChatId, Version> = BTreeMap::new();
    let mut heads = BTreeSet::new();
    let log = std::mem::take(&mut *world.log.lock());
    for committed in &log {
        assert_eq!(committed.epoch, world.store.epoch());
        heads.insert(format!("{:?}", committed.head));
        for change in &committed.changes {
            let before = last.insert(change.chat_id, change.version).unwrap_or_default();
            assert_eq!(change.version, before.next());
        }
    }
    assert_eq!(heads.len(), log.len(), "every commit has a trace of its own");
    let heard: usize = log.iter().map(|committed| committed.changes.len()).sum();
    assert_eq!(heard, 200);
}

#[tokio::test]
async fn a_trace_is_found_until_it_is_told_and_then_goes() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.group("alice", &["bob", "carol"]).await;
    let sent = world.send(chat, "alice", "hi").await;
    let (alice, bob) = (user("alice"), user("bob"));
    let store = &world.store;
    let edited = store.edit_message(chat, sent.id, &alice, &content("ho"), SOON).await.unwrap();
    let EditMessage::Edited(_, edited) = edited else { panic!("{edited:?}") };
    let deleted = store.delete_message(chat, sent.id, &alice, DeleteAs::Author).await.unwrap();
    let DeleteMessage::Deleted(_, deleted) = deleted else { panic!("{deleted:?}") };
    let left = store.remove_participant(chat, &alice, &alice, ChangeAs::Participant).await.unwrap();
    let RemoveParticipant::Removed(_, left) = left else { panic!("{left:?}") };
    assert_eq!(left.changes.len(), 2, "bob inherits");
    let back = store
        .add_participant(chat, &alice, &bob, ChangeAs::Participant, &room_for(9))
        .await
        .unwrap();
    let parley_store::AddParticipant::Added(_, back) = back else { panic!("{back:?}") };
    let new = world.log.lock().pop().unwrap();

    let all: Vec<Committed> = vec![new, edited, deleted, left, back];
    let untold = store.untold(Duration::ZERO, 100).await.unwrap();
    assert_eq!(untold.len(), all.len());
    for (untold, committed) in untold.iter().zip(&all) {
        let before = Version(committed.changes[0].version.0 - 1);
        assert_eq!((untold.head, &untold.chats), (committed.head, &vec![(chat, before)]));
    }
    assert_eq!(store.untold(Duration::ZERO, 2).await.unwrap(), untold[..2], "the oldest first");
    assert!(store.untold(Duration::from_mins(1), 100).await.unwrap().is_empty());

    store.told(&[all[0].head, all[2].head]).await.unwrap();
    let heads = async || -> Vec<_> {
        let untold = store.untold(Duration::ZERO, 100).await.unwrap();
        untold.into_iter().map(|untold| untold.head).collect()
    };
    assert_eq!(heads().await, [all[1].head, all[3].head, all[4].head]);
    store.told_soon(all[1].head);
    world.appender.told(all[3].head);
    // With the next commit, or soon without one.
    let until = Instant::now() + SOON;
    while heads().await.len() > 1 {
        assert!(Instant::now() < until, "told traces stay");
    }
    assert_eq!(heads().await, [all[4].head], "what is not told stays");
}

#[tokio::test]
async fn heads_are_where_chats_stand_and_leave_out_what_is_not_there() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (one, other) = (world.direct("alice", "bob").await, world.direct("bob", "carol").await);
    world.send(one, "alice", "hi").await;
    let nowhere = uuid::Uuid::nil().into();
    let mut heads = world.store.heads(&[one, nowhere, other]).await.unwrap();
    heads.sort_unstable();
    let mut expected = vec![(one, Version(1)), (other, Version(0))];
    expected.sort_unstable();
    assert_eq!(heads, expected);
}
