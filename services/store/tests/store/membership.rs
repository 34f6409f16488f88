//! Coming and going: who may, at which version, and what it does to roles and unread counts.

use parley_domain::ask::{JoinAnswer, JoinRefusal};
use parley_domain::change::ChangeKind;
use parley_domain::chat::ParticipantRole;
use parley_domain::ids::ChatId;
use parley_domain::page::Page;
use parley_domain::version::{Seq, Version};
use parley_store::{
    Access, AddParticipant, ChangeAs, Committed, MarkRead, MarkUnread, Membership,
    ParticipantSettings, RemoveParticipant, UnknownUsers,
};
use sqlx::{Executor, Row};
use uuid::Uuid;

use crate::fixture::{World, room_for, user};

const MOST: u32 = 4;

async fn add(world: &World, chat: ChatId, who: &str, by: &str) -> AddParticipant {
    let (who, by) = (user(who), user(by));
    world
        .store
        .add_participant(chat, &who, &by, ChangeAs::Participant, &room_for(MOST))
        .await
        .unwrap()
}

async fn remove(world: &World, chat: ChatId, who: &str, by: &str) -> RemoveParticipant {
    let (who, by) = (user(who), user(by));
    world.store.remove_participant(chat, &who, &by, ChangeAs::Participant).await.unwrap()
}

async fn role(world: &World, chat: ChatId, who: &str) -> Option<ParticipantRole> {
    match world.store.access(chat, &user(who)).await.unwrap() {
        Access::Participant(Membership { role }) => Some(role),
        Access::Outsider(_) => None,
        Access::NoChat => panic!("no chat"),
    }
}

fn versions(committed: &Committed) -> Vec<u64> {
    committed.changes.iter().map(|change| change.version.0).collect()
}

async fn standing(world: &World, chat: ChatId) -> (u64, u64) {
    let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    let rows = shown.participants.len() as u64;
    assert_eq!(shown.participant_count, rows, "the count is that of the rows");
    (shown.version.0, rows)
}

#[tokio::test]
async fn i6_who_is_added_is_in_from_that_version_on() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.group("alice", &["bob"]).await;
    world.send(chat, "alice", "before").await;
    let AddParticipant::Added(carol, committed) = add(&world, chat, "carol", "alice").await else {
        panic!("refused")
    };
    assert_eq!((carol.user_id.as_str(), carol.role), ("carol", ParticipantRole::Member));
    assert_eq!((versions(&committed), committed.epoch), (vec![2], world.store.epoch()));
    let ChangeKind::ParticipantsAdded { participants, by } = &committed.changes[0].kind else {
        panic!("{committed:?}")
    };
    assert_eq!((&participants[0].user_id, by), (&user("carol"), &Some(user("alice"))));
    assert_eq!(standing(&world, chat).await, (2, 3));
    assert!(matches!(world.join(chat, "carol").await, JoinAnswer::Joined(_)));
    let shown = world.store.chat(chat, &user("carol")).await.unwrap().unwrap();
    assert_eq!(shown.unread_count, 0, "what was said before is not unread");
    world.send(chat, "carol", "hi").await;
    world.send(chat, "bob", "hi").await;
    let shown = world.store.chat(chat, &user("carol")).await.unwrap().unwrap();
    assert_eq!(shown.unread_count, 1);

    let again = add(&world, chat, "carol", "alice").await;
    assert!(matches!(again, AddParticipant::AlreadyIn(same) if same.user_id == user("carol")));
    assert_eq!(standing(&world, chat).await, (4, 3), "who is in already takes no version");
}

#[tokio::test]
async fn i6_only_the_creator_and_admins_add_and_a_refusal_takes_no_version() {
    let world = World::with(&["alice", "bob", "carol", "dave", "erin"]).await;
    let (chat, direct) = (world.group("alice", &["bob"]).await, world.direct("alice", "bob").await);
    let nowhere = Uuid::nil().into();
    assert!(matches!(add(&world, nowhere, "carol", "alice").await, AddParticipant::ChatNotFound));
    assert!(matches!(add(&world, direct, "carol", "alice").await, AddParticipant::NotGroup));
    assert!(matches!(add(&world, chat, "carol", "dave").await, AddParticipant::NotParticipant));
    assert!(matches!(add(&world, chat, "carol", "carol").await, AddParticipant::NotParticipant));
    assert!(matches!(add(&world, chat, "carol", "bob").await, AddParticipant::NotAllowed));
    assert!(matches!(add(&world, chat, "nobody", "alice").await, AddParticipant::UserNotFound));
    assert_eq!(standing(&world, chat).await, (0, 2));
    let (carol, host) = (user("carol"), user("host"));
    let by_host = async |chat, who| {
        world
            .store
            .add_participant(chat, who, &host, ChangeAs::Admin, &room_for(MOST))
            .await
            .unwrap()
    };
    assert!(matches!(by_host(chat, &carol).await, AddParticipant::Added(..)));
    assert!(matches!(by_host(direct, &carol).await, AddParticipant::NotGroup));
    assert!(matches!(add(&world, chat, "dave", "alice").await, AddParticipant::Added(..)));
    assert!(matches!(add(&world, chat, "erin", "alice").await, AddParticipant::Full));
    assert!(matches!(by_host(chat, &user("erin")).await, AddParticipant::Full));
    assert!(matches!(add(&world, chat, "dave", "alice").await, AddParticipant::AlreadyIn(_)));
    remove(&world, chat, "dave", "alice").await;
    assert!(matches!(add(&world, chat, "erin", "alice").await, AddParticipant::Added(..)));
    assert_eq!(standing(&world, chat).await, (4, 4));
}

#[tokio::test]
async fn i6_who_is_removed_is_out_from_that_version_on() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.group("alice", &["bob", "carol"]).await;
    let RemoveParticipant::Removed(_, committed) = remove(&world, chat, "carol", "alice").await
    else {
        panic!("refused")
    };
    assert_eq!(versions(&committed), [1]);
    let ChangeKind::ParticipantRemoved { user_id, by } = &committed.changes[0].kind else {
        panic!("{committed:?}")
    };
    assert_eq!((user_id, by), (&user("carol"), &Some(user("alice"))));
    let refused = JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant };
    assert_eq!(world.join(chat, "carol").await, refused);
    let carol = user("carol");
    let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    assert!(!shown.unread_counts.unwrap().contains_key(&carol));
    let id = world.send(chat, "bob", "hi").await.id;
    let read = world.store.mark_read(chat, &carol, None).await.unwrap();
    assert_eq!(read, MarkRead::NotParticipant);
    let unread = world.store.mark_unread(chat, &carol, id).await.unwrap();
    assert_eq!(unread, MarkUnread::NotParticipant);
    assert_eq!(world.store.stats(&carol).await.unwrap().chats, 0);
    assert_eq!(standing(&world, chat).await, (2, 2));
}

#[tokio::test]
async fn i6_only_the_creator_and_admins_remove_others_and_anybody_leaves() {
    let world = World::with(&["alice", "bob", "carol", "dave"]).await;
    let chat = world.group("alice", &["bob", "carol"]).await;
    let direct = world.direct("alice", "bob").await;
    let nowhere = Uuid::nil().into();
    let by = async |chat, who, by| remove(&world, chat, who, by).await;
    assert!(matches!(by(nowhere, "bob", "alice").await, RemoveParticipant::ChatNotFound));
    assert!(matches!(by(direct, "bob", "alice").await, RemoveParticipant::NotGroup));
    assert!(matches!(by(direct, "alice", "alice").await, RemoveParticipant::NotGroup));
    assert!(matches!(by(chat, "bob", "dave").await, RemoveParticipant::NotParticipant));
    assert!(matches!(by(chat, "dave", "dave").await, RemoveParticipant::NotParticipant));
    assert!(matches!(by(chat, "bob", "carol").await, RemoveParticipant::NotAllowed));
    assert!(matches!(by(chat, "dave", "alice").await, RemoveParticipant::NotThere));
    assert_eq!(standing(&world, chat).await, (0, 3), "a refusal takes no version");
    assert!(matches!(by(chat, "carol", "carol").await, RemoveParticipant::Removed(..)));
    assert!(matches!(by(chat, "carol", "alice").await, RemoveParticipant::NotThere));
    let (bob, host) = (user("bob"), user("host"));
    let admin = world.store.remove_participant(chat, &bob, &host, ChangeAs::Admin).await.unwrap();
    assert!(matches!(admin, RemoveParticipant::Removed(..)));
    assert_eq!(standing(&world, chat).await, (2, 1));
}

#[tokio::test]
async fn the_oldest_member_inherits_a_group_at_a_version_of_its_own() {
    let world = World::with(&["alice", "bob", "carol", "adam"]).await;
    let chat = world.group("alice", &["carol"]).await;
    add(&world, chat, "bob", "alice").await;
    add(&world, chat, "adam", "alice").await;
    let RemoveParticipant::Removed(_, left) = remove(&world, chat, "alice", "alice").await else {
        panic!("refused")
    };
    assert_eq!(versions(&left), [3, 4]);
    let ChangeKind::ParticipantsAdded { participants, .. } = &left.changes[1].kind else {
        panic!("{left:?}")
    };
    assert_eq!(participants[0].user_id, user("carol"), "in since the beginning");
    assert_eq!(participants[0].role, ParticipantRole::Creator);
    assert_eq!(role(&world, chat, "carol").await, Some(ParticipantRole::Creator));
    assert_eq!(standing(&world, chat).await, (4, 3));
    // Who comes back is a member like any other, and the youngest.
    assert!(matches!(add(&world, chat, "alice", "carol").await, AddParticipant::Added(..)));
    assert_eq!(role(&world, chat, "alice").await, Some(ParticipantRole::Member));
    assert!(matches!(remove(&world, chat, "bob", "alice").await, RemoveParticipant::NotAllowed));
    for (leaves, heir) in [("carol", "bob"), ("bob", "adam"), ("adam", "alice")] {
        let RemoveParticipant::Removed(_, left) = remove(&world, chat, leaves, leaves).await else {
            panic!("refused")
        };
        assert_eq!(left.changes.len(), 2);
        assert_eq!(role(&world, chat, heir).await, Some(ParticipantRole::Creator));
    }
    // The last one leaves it to nobody; the host application may still let somebody in.
    let RemoveParticipant::Removed(_, left) = remove(&world, chat, "alice", "alice").await else {
        panic!("refused")
    };
    assert_eq!(versions(&left), [12]);
    assert_eq!(standing(&world, chat).await, (12, 0));
    let bob = user("bob");
    let added = world
        .store
        .add_participant(chat, &bob, &bob, ChangeAs::Admin, &room_for(MOST))
        .await
        .unwrap();
    assert!(matches!(added, AddParticipant::Added(..)));
    assert_eq!(standing(&world, chat).await, (13, 1));
}

#[tokio::test]
async fn i7_who_rejoins_begins_anew() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.group("alice", &["bob"]).await;
    let mut sent = Vec::new();
    for n in 0..6 {
        sent.push(world.send(chat, if n == 2 { "bob" } else { "alice" }, "hi").await.id);
    }
    let bob = user("bob");
    // Something read singly, which must not count twice later.
    world.store.mark_read(chat, &bob, Some(&sent[3..5])).await.unwrap();
    remove(&world, chat, "bob", "bob").await;
    world.send(chat, "alice", "while away").await;
    add(&world, chat, "bob", "alice").await;
    let unread = async || {
        let shown = world.store.chat(chat, &bob).await.unwrap().unwrap();
        shown.unread_count
    };
    assert_eq!(unread().await, 0);
    let last = world.send(chat, "alice", "after").await;
    world.send(chat, "bob", "mine").await;
    assert_eq!(unread().await, 1);
    let back = world.store.mark_unread(chat, &bob, sent[0]).await.unwrap();
    assert_eq!(back, MarkUnread::Marked { unread: 1, read_up_to: Seq(0) });
    let read = world.store.mark_read(chat, &bob, Some(&[sent[0], last.id])).await.unwrap();
    assert!(matches!(read, MarkRead::Marked(m) if (m.modified, m.unread) == (1, 0)));
    // The whole history is there again.
    let JoinAnswer::Joined(joined) = world.join(chat, "bob").await else { panic!("refused") };
    assert_eq!(joined.version, Version(11));
}

#[tokio::test]
async fn a_users_membership_version_rises_when_their_chats_change() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let chat = world.group("alice", &["bob"]).await;
    let mut connection = world.connection().await;
    let mut version = async || {
        let sql = "select membership_version from users order by id";
        let rows = connection.fetch_all(sql).await.unwrap();
        rows.iter().map(|row| row.get::<i64, _>(0)).collect::<Vec<_>>()
    };
    assert_eq!(version().await, [1, 1, 0], "of the group");
    let before = version().await;
    add(&world, chat, "carol", "alice").await;
    remove(&world, chat, "carol", "alice").await;
    add(&world, chat, "bob", "alice").await;
    let after = version().await;
    assert_eq!(after[2], before[2] + 2);
    assert_eq!(after[..2], before[..2]);
}

#[tokio::test]
async fn an_unknown_user_is_made_where_the_settings_say_so() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.group("alice", &["bob"]).await;
    let open = ParticipantSettings { unknown_users: UnknownUsers::Create, ..room_for(MOST) };
    let add = async |by: &str| {
        let (new, by) = (user("new"), user(by));
        world.store.add_participant(chat, &new, &by, ChangeAs::Participant, &open).await.unwrap()
    };
    assert!(matches!(add("bob").await, AddParticipant::NotAllowed));
    assert!(world.store.user(&user("new")).await.unwrap().is_none(), "a refusal makes nobody");
    assert!(matches!(add("alice").await, AddParticipant::Added(..)));
    assert!(world.store.user(&user("new")).await.unwrap().is_some());
}

#[tokio::test]
async fn i6_one_who_leaves_sees_the_chat_as_of_that_version() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.group("alice", &["bob"]).await;
    let said = world.send(chat, "alice", "before").await;
    let RemoveParticipant::Removed(seen, committed) = remove(&world, chat, "bob", "bob").await
    else {
        panic!("refused")
    };
    assert_eq!(seen.version, committed.changes[0].version);
    assert_eq!(seen.last_message.unwrap().id, said.id);
    assert_eq!((seen.participant_count, seen.participants.len()), (1, 1));
}

#[tokio::test]
async fn participants_are_paged_in_order_of_their_ids() {
    let world = World::with(&["alice", "bob", "carol", "dave"]).await;
    let chat = world.group("dave", &["bob", "alice", "carol"]).await;
    remove(&world, chat, "carol", "dave").await;
    let page = async |number| {
        let page = Page { number, limit: 2 };
        let (people, pagination) = world.store.participants(chat, page).await.unwrap().unwrap();
        let ids: Vec<_> = people.into_iter().map(|p| p.user_id.to_string()).collect();
        (ids, pagination.total, pagination.has_next)
    };
    assert_eq!(page(1).await, (vec!["alice".to_owned(), "bob".to_owned()], 3, true));
    assert_eq!(page(2).await, (vec!["dave".to_owned()], 3, false));
    assert_eq!(page(3).await, (vec![], 3, false));
    let nowhere = Uuid::nil().into();
    let absent = world.store.participants(nowhere, Page { number: 1, limit: 2 }).await.unwrap();
    assert!(absent.is_none());
}
