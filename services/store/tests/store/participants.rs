use parley_domain::ask::{JoinAnswer, JoinRefusal};
use parley_domain::chat::{ChatType, MAX_LISTED_PARTICIPANTS};
use parley_domain::version::{Seq, Version};
use parley_store::Access;
use uuid::Uuid;

use crate::fixture::{World, profile, user};

#[tokio::test]
async fn i6_only_current_participants_may_enter() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.direct("alice", "bob").await;
    let nowhere = Uuid::nil().into();
    let join = async |chat, who: &str| world.join(chat, who).await;
    let refused = |refusal| JoinAnswer::Refused { refusal };
    assert_eq!(join(nowhere, "alice").await, refused(JoinRefusal::ChatNotFound));
    assert_eq!(join(chat, "carol").await, refused(JoinRefusal::NotParticipant));
    assert_eq!(world.store.access(nowhere, &user("alice")).await.unwrap(), Access::NoChat);
    assert_eq!(
        world.store.access(chat, &user("carol")).await.unwrap(),
        Access::Outsider(ChatType::Direct)
    );
    assert!(matches!(
        world.store.access(chat, &user("bob")).await.unwrap(),
        Access::Participant(_)
    ));

    world.db_execute("update participants set left_at = now() where user_id = 'bob'").await;
    assert_eq!(join(chat, "bob").await, refused(JoinRefusal::NotParticipant));
    assert_eq!(
        world.store.access(chat, &user("bob")).await.unwrap(),
        Access::Outsider(ChatType::Direct)
    );
}

#[tokio::test]
async fn a_join_starts_from_the_chats_own_position() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    world.send(chat, "alice", "one").await;
    world.send(chat, "bob", "two").await;
    let JoinAnswer::Joined(snapshot) = world.join(chat, "bob").await else {
        panic!("refused");
    };
    assert_eq!((snapshot.version, snapshot.epoch), (Version(2), world.store.epoch()));
    assert_eq!(snapshot.read_pointers, [(user("alice"), Seq(0)), (user("bob"), Seq(0))].into());
}

#[tokio::test]
async fn i9_a_join_names_a_hundred_read_positions_and_always_ones_own() {
    let world = World::with(&["zoe"]).await;
    let people: Vec<String> =
        (0..MAX_LISTED_PARTICIPANTS + 5).map(|n| format!("user-{n:03}")).collect();
    for person in &people {
        world.store.put_user(&profile(person, None)).await.unwrap();
    }
    let others: Vec<&str> = people.iter().map(String::as_str).collect();
    let chat = world.create("zoe", &others, ChatType::Group).await.id;
    let JoinAnswer::Joined(snapshot) = world.join(chat, "zoe").await else {
        panic!("refused");
    };
    assert_eq!(snapshot.read_pointers.len(), MAX_LISTED_PARTICIPANTS);
    assert!(snapshot.read_pointers.contains_key(&user("zoe")));
}
