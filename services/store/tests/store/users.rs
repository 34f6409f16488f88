use std::time::Duration;

use chrono::{TimeDelta, Utc};
use parley_domain::user::{Avatar, Profile};

use crate::fixture::{World, profile, user};

#[tokio::test]
async fn what_a_profile_leaves_out_stays() {
    let world = World::new().await;
    let avatar = Some(Avatar::parse("https://cdn.example/a.png").unwrap());
    world.store.put_user(&profile("alice", Some("Alice"))).await.unwrap();
    world.store.put_user(&Profile { avatar, ..profile("alice", None) }).await.unwrap();
    let alice = world.store.user(&user("alice")).await.unwrap().unwrap();
    assert_eq!(alice.name.as_deref(), Some("Alice"));
    assert_eq!(alice.avatar.as_deref(), Some("https://cdn.example/a.png"));
    assert_eq!(world.store.user(&user("nobody")).await.unwrap(), None);
}

#[tokio::test]
async fn a_token_overrules_only_what_is_older_than_itself() {
    let world = World::new().await;
    let name = async || world.store.user(&user("alice")).await.unwrap().unwrap().name.unwrap();
    let note = async |says: &str, issued_at| {
        world.store.note_user(&profile("alice", Some(says)), issued_at).await.unwrap();
    };
    #[expect(
        clippy::disallowed_methods,
        reason = "compared with the database's clock, which is this machine's"
    )]
    let now = Utc::now();
    let hour = TimeDelta::hours(1);

    note("First", None).await;
    assert_eq!(name().await, "First", "a token fills what is not known");
    note("Old", Some(now - hour)).await;
    assert_eq!(name().await, "First", "an older token is overruled");
    note("Undated", None).await;
    assert_eq!(name().await, "First", "an undated token overrules nothing");
    note("New", Some(now + hour)).await;
    assert_eq!(name().await, "New");
    world.store.note_user(&profile("alice", None), Some(now + hour)).await.unwrap();
    assert_eq!(name().await, "New", "a token without a name says nothing about it");
}

#[tokio::test]
async fn batches_with_the_same_people_wait_for_each_other() {
    let world = World::new().await;
    let ids: Vec<String> = (0..200).map(|number| format!("user-{number}")).collect();
    let people: Vec<Profile> = ids.iter().map(|id| profile(id, Some("Someone"))).collect();
    let backwards: Vec<Profile> = people.iter().rev().cloned().collect();
    for _ in 0..10 {
        let (one, other) =
            tokio::join!(world.store.put_users(&people), world.store.put_users(&backwards));
        one.unwrap();
        other.unwrap();
    }
}

#[tokio::test]
async fn revocations_are_read_in_pages_and_none_is_passed_over() {
    let world = World::new().await;
    let mut revoked = Vec::new();
    for number in 0..5 {
        revoked.push(world.store.revoke_tokens(&user(&format!("user-{number}"))).await.unwrap());
    }
    let minute = Duration::from_mins(1);
    let mut read = Vec::new();
    loop {
        let page = world.store.revocations(minute, read.last(), 2).await.unwrap();
        let is_last = page.len() < 2;
        read.extend(page);
        if is_last {
            break;
        }
    }
    assert_eq!(read, revoked);
    assert_eq!(world.store.revocations(Duration::ZERO, None, 2).await.unwrap(), []);
    let valid_after = world.store.tokens_valid_after(&user("user-3")).await.unwrap();
    assert_eq!(valid_after, Some(revoked[3].valid_after));
    assert_eq!(world.store.tokens_valid_after(&user("nobody")).await.unwrap(), None);
}
