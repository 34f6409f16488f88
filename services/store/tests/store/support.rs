//! Support chats: one for a double click, all of them for the pool, rows for agents who act.

use std::time::Duration;

use futures_util::future::join_all;
use parley_domain::change::ChangeKind;
use parley_domain::chat::{ChatType, ParticipantRole, Subject};
use parley_domain::ids::ChatId;
use parley_domain::page::Page;
use parley_domain::version::Version;
use parley_store::{
    Access, AddParticipant, ChangeAs, ComesBack, CreatedChat, EnterSupport, RemoveParticipant,
};
use uuid::Uuid;

use crate::fixture::{World, room_for, user};

const DOUBLE_CLICK: Duration = Duration::from_secs(5);
const ALL: Page = Page { number: 1, limit: 100 };

async fn open(world: &World, who: &str, subject: Option<&str>) -> CreatedChat {
    let subject = subject.map(|text| Subject::parse(text).unwrap());
    world.store.open_support_chat(&user(who), subject, DOUBLE_CLICK).await.unwrap()
}

async fn enter(world: &World, chat: ChatId, agent: &str) -> EnterSupport {
    world.store.enter_support_chat(chat, &user(agent)).await.unwrap()
}

async fn listed(world: &World, agent: &str, archived: Option<bool>) -> Vec<ChatId> {
    let (chats, pagination) = world.store.support_chats(&user(agent), archived, ALL).await.unwrap();
    assert_eq!(pagination.total, chats.len() as u64);
    chats.into_iter().map(|chat| chat.id).collect()
}

#[tokio::test]
async fn a_double_click_opens_one_support_chat_and_a_later_one_another() {
    let world = World::with(&["alice", "bob"]).await;
    let clicks = join_all((0..20).map(|_| open(&world, "alice", Some("help")))).await;
    assert!(clicks.iter().all(|click| click.id == clicks[0].id));
    assert_eq!(clicks.iter().filter(|click| click.new).count(), 1);
    for (who, subject) in [("alice", Some("other")), ("alice", None), ("bob", Some("help"))] {
        let other = open(&world, who, subject).await;
        assert!(other.new && other.id != clicks[0].id, "{who} {subject:?}");
        assert_eq!(
            open(&world, who, subject).await,
            CreatedChat { new: false, head: None, ..other }
        );
    }
    let aged =
        |seconds: u32| format!("update chats set created_at = now() - interval '{seconds} s'");
    world.db_execute(&aged(4)).await;
    assert!(!open(&world, "alice", Some("help")).await.new);
    world.db_execute(&aged(6)).await;
    let later = open(&world, "alice", Some("help")).await;
    assert!(later.new && later.id != clicks[0].id);
}

#[tokio::test]
async fn i6_the_pool_has_no_rows_in_a_support_chat_until_an_agent_enters() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = open(&world, "alice", Some("help")).await.id;
    world.send(chat, "alice", "hello?").await;
    let before = world.store.chat(chat, &user("agent")).await.unwrap().unwrap();
    assert_eq!((before.chat_type, before.subject.as_deref()), (ChatType::Support, Some("help")));
    assert_eq!((before.participant_count, before.participants.len()), (1, 1));
    assert_eq!(before.unread_count, 0);
    let outside = world.store.access(chat, &user("agent")).await.unwrap();
    assert_eq!(outside, Access::Outsider(ChatType::Support));

    // Never seen by the directory: an agent may come over a socket first.
    let EnterSupport::Entered(committed) = enter(&world, chat, "agent").await else {
        panic!("refused")
    };
    assert_eq!(committed.changes[0].version, Version(2));
    let ChangeKind::ParticipantsAdded { participants, by } = &committed.changes[0].kind else {
        panic!("{committed:?}")
    };
    assert_eq!((&participants[0].user_id, by), (&user("agent"), &Some(user("agent"))));
    assert_eq!(participants[0].role, ParticipantRole::Agent);
    let after = world.store.chat(chat, &user("agent")).await.unwrap().unwrap();
    assert_eq!((after.participant_count, after.version), (2, Version(2)));
    assert_eq!(after.unread_count, 0, "what was said before is not unread");
    world.send(chat, "alice", "still there?").await;
    let after = world.store.chat(chat, &user("agent")).await.unwrap().unwrap();
    assert_eq!(after.unread_count, 1);

    assert!(matches!(enter(&world, chat, "agent").await, EnterSupport::AlreadyIn));
    assert!(matches!(enter(&world, chat, "alice").await, EnterSupport::AlreadyIn));
    let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    assert_eq!((shown.version, shown.participant_count), (Version(3), 2), "it takes no version");
}

#[tokio::test]
async fn i5_agents_who_enter_at_once_have_one_row_each() {
    let world = World::with(&["alice"]).await;
    let chat = open(&world, "alice", None).await.id;
    let agents = ["one", "two", "one", "two", "one", "two"];
    let outcomes = join_all(agents.iter().map(|agent| enter(&world, chat, agent))).await;
    let entered = outcomes.iter().filter(|it| matches!(it, EnterSupport::Entered(_))).count();
    assert_eq!(entered, 2);
    let shown = world.store.chat(chat, &user("alice")).await.unwrap().unwrap();
    assert_eq!((shown.version, shown.participant_count), (Version(2), 3));
}

#[tokio::test]
async fn i6_an_agent_enters_support_chats_only() {
    let world = World::with(&["alice", "bob"]).await;
    let group = world.group("alice", &["bob"]).await;
    assert!(matches!(enter(&world, group, "agent").await, EnterSupport::NotSupport));
    let direct = world.direct("alice", "bob").await;
    assert!(matches!(enter(&world, direct, "agent").await, EnterSupport::NotSupport));
    let nowhere = Uuid::nil().into();
    assert!(matches!(enter(&world, nowhere, "agent").await, EnterSupport::ChatNotFound));
    assert!(world.store.user(&user("agent")).await.unwrap().is_none(), "a refusal makes nobody");
}

#[tokio::test]
async fn all_support_chats_are_listed_for_an_agent_with_their_own_flags() {
    let world = World::with(&["alice", "bob", "agent"]).await;
    world.direct("alice", "bob").await;
    let first = open(&world, "alice", None).await.id;
    let second = open(&world, "bob", None).await.id;
    assert_eq!(listed(&world, "agent", None).await, [second, first], "the newest first");
    world.send(first, "alice", "hi").await;
    assert_eq!(listed(&world, "agent", None).await, [first, second], "and the newest message");
    enter(&world, first, "agent").await;
    let toggled = world.store.toggle_archived(first, &user("agent"), ComesBack::Never).await;
    assert_eq!(toggled.unwrap(), Some(true));
    assert_eq!(listed(&world, "agent", Some(true)).await, [first]);
    assert_eq!(listed(&world, "agent", Some(false)).await, [second]);
    assert_eq!(listed(&world, "other", Some(false)).await, [first, second]);
    let page = Page { number: 2, limit: 1 };
    let (chats, pagination) = world.store.support_chats(&user("agent"), None, page).await.unwrap();
    assert_eq!((chats[0].id, pagination.total, pagination.has_next), (second, 2, false));
}

#[tokio::test]
async fn the_people_of_a_support_chat_change_by_an_admin_only() {
    let world = World::with(&["alice", "bob", "agent"]).await;
    let chat = open(&world, "alice", None).await.id;
    enter(&world, chat, "agent").await;
    let (alice, bob, agent, root) = (user("alice"), user("bob"), user("agent"), user("root"));
    let add = async |by, authority| {
        world.store.add_participant(chat, &bob, by, authority, &room_for(9)).await.unwrap()
    };
    let remove = async |who, by, authority| {
        world.store.remove_participant(chat, who, by, authority).await.unwrap()
    };
    assert!(matches!(add(&alice, ChangeAs::Participant).await, AddParticipant::NotGroup));
    let own = remove(&alice, &alice, ChangeAs::Participant).await;
    assert!(matches!(own, RemoveParticipant::NotGroup));
    assert!(matches!(add(&root, ChangeAs::Admin).await, AddParticipant::Added(..)));
    let gone = remove(&alice, &root, ChangeAs::Admin).await;
    let RemoveParticipant::Removed(_, committed) = gone else { panic!("{gone:?}") };
    assert_eq!(committed.changes.len(), 1, "nobody inherits a support chat");
    assert!(matches!(remove(&agent, &root, ChangeAs::Admin).await, RemoveParticipant::Removed(..)));
    assert!(matches!(enter(&world, chat, "agent").await, EnterSupport::Entered(_)), "by role");
}
