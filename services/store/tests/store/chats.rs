use futures_util::future::join_all;
use parley_domain::chat::{ChatType, MAX_LISTED_PARTICIPANTS};
use parley_domain::page::Page;
use parley_domain::version::{Seq, Version};
use parley_store::{ChatFilter, CreateChat, UnknownUsers};

use crate::fixture::{World, new_chat, profile, user};

const ALL: Page = Page { number: 1, limit: 100 };

#[tokio::test]
async fn two_people_have_one_direct_chat_whoever_asks_and_however_often() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let wishes: Vec<_> = (0..20)
        .map(|n| if n % 2 == 0 { ("alice", "bob") } else { ("bob", "alice") })
        .map(|(creator, other)| new_chat(creator, &[other], ChatType::Direct))
        .collect();
    let outcomes =
        join_all(wishes.iter().map(|new| world.store.create_chat(new, UnknownUsers::Refuse))).await;
    let created: Vec<_> = outcomes
        .into_iter()
        .map(|outcome| match outcome.unwrap() {
            CreateChat::Created(created) => created,
            other @ CreateChat::UnknownParticipant(_) => panic!("{other:?}"),
        })
        .collect();
    assert!(created.iter().all(|chat| chat.id == created[0].id));
    assert_eq!(created.iter().filter(|chat| chat.new).count(), 1);
    assert_ne!(world.direct("alice", "carol").await, created[0].id);
}

#[tokio::test]
async fn a_claim_whose_maker_died_is_fulfilled_by_the_next() {
    let world = World::with(&["alice", "bob"]).await;
    world
        .db_execute(
            "insert into chat_keys (key, chat_id)
            values ('direct:5:alice:3:bob', '0192f0a4-7c3b-7d2e-8a1b-0123456789ab')",
        )
        .await;
    let created = world.create("bob", &["alice"], ChatType::Direct).await;
    assert!(created.new);
    assert_eq!(created.id.to_string(), "0192f0a4-7c3b-7d2e-8a1b-0123456789ab");
}

#[tokio::test]
async fn groups_are_new_each_time_and_need_known_people() {
    let world = World::with(&["alice", "bob"]).await;
    let one = world.create("alice", &["bob"], ChatType::Group).await;
    let other = world.create("alice", &["bob"], ChatType::Group).await;
    assert!(one.new && other.new && one.id != other.id);
    let unknown = new_chat("alice", &["bob", "nobody"], ChatType::Group);
    let outcome = world.store.create_chat(&unknown, UnknownUsers::Refuse).await.unwrap();
    assert_eq!(outcome, CreateChat::UnknownParticipant(user("nobody")));
}

#[tokio::test]
async fn a_chat_is_shown_whole() {
    let world = World::with(&["alice", "bob"]).await;
    world.store.put_user(&profile("bob", Some("Bob"))).await.unwrap();
    let id = world.direct("alice", "bob").await;
    let sent = world.send(id, "alice", "hi").await;
    let chat = world.store.chat(id, &user("bob")).await.unwrap().unwrap();
    assert_eq!((chat.chat_type, chat.created_by.as_str()), (ChatType::Direct, "alice"));
    assert_eq!((chat.version, chat.message_count, chat.participant_count), (Version(1), 1, 2));
    assert_eq!(chat.last_message.unwrap().id, sent.id);
    assert_eq!(chat.updated_at, sent.created_at);
    assert_eq!(chat.participants[0].name.as_deref(), Some("Bob"), "the viewer comes first");
    assert_eq!(chat.participants[0].read_up_to, Seq(0));
    let counts = chat.unread_counts.unwrap();
    assert_eq!((counts[&user("alice")], counts[&user("bob")]), (0, 1));
    assert_eq!(chat.unread_count, 1);
}

#[tokio::test]
async fn a_list_is_ordered_by_the_newest_message_and_shows_only_ones_own() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let first = world.direct("alice", "bob").await;
    let second = world.create("alice", &["bob", "carol"], ChatType::Group).await.id;
    let third = world.direct("bob", "carol").await;
    let list = async |who: &str, filter| {
        let (chats, pagination) = world.store.chats(&user(who), filter, ALL).await.unwrap();
        assert_eq!(pagination.total, chats.len() as u64);
        chats.into_iter().map(|chat| chat.id).collect::<Vec<_>>()
    };
    let any = ChatFilter::default();
    assert_eq!(
        list("alice", any).await,
        [second, first],
        "without messages, the newest chat first"
    );
    world.send(first, "bob", "hi").await;
    assert_eq!(list("alice", any).await, [first, second]);
    assert_eq!(list("carol", any).await, [third, second]);
    let groups = ChatFilter { chat_type: Some(ChatType::Group), ..any };
    assert_eq!(list("alice", groups).await, [second]);
    let archived = ChatFilter { archived: Some(true), ..any };
    assert!(list("alice", archived).await.is_empty());

    let (page, pagination) =
        world.store.chats(&user("alice"), any, Page { number: 2, limit: 1 }).await.unwrap();
    assert_eq!(page[0].id, second);
    assert_eq!((pagination.total, pagination.has_next), (2, false));
    assert_eq!(page[0].participants.len(), 3, "each chat has its own participants");
    assert!(page[0].last_message.is_none(), "each chat has its own last message");
}

#[tokio::test]
async fn i9_a_big_chat_lists_a_hundred_and_always_the_viewer() {
    let world = World::with(&["zoe"]).await;
    let people: Vec<String> =
        (0..MAX_LISTED_PARTICIPANTS + 20).map(|n| format!("user-{n:03}")).collect();
    for person in &people {
        world.store.put_user(&profile(person, None)).await.unwrap();
    }
    let mut others: Vec<&str> = people.iter().map(String::as_str).collect();
    others.push("zoe");
    let creator = others.remove(0);
    let id = world.create(creator, &others, ChatType::Group).await.id;
    let chat = world.store.chat(id, &user("zoe")).await.unwrap().unwrap();
    assert_eq!(chat.participants.len(), MAX_LISTED_PARTICIPANTS);
    assert_eq!(chat.participant_count, MAX_LISTED_PARTICIPANTS as u64 + 21);
    assert_eq!(chat.participants.iter().filter(|p| p.user_id == user("zoe")).count(), 1);
    assert_eq!(chat.unread_counts.unwrap().len(), MAX_LISTED_PARTICIPANTS);
}

#[tokio::test]
async fn unknown_people_are_made_where_the_settings_say_so() {
    let world = World::with(&["alice", "bob"]).await;
    let wish = new_chat("alice", &["bob", "new"], ChatType::Group);
    let made = world.store.create_chat(&wish, UnknownUsers::Create).await.unwrap();
    assert!(matches!(made, CreateChat::Created(chat) if chat.new));
    assert!(world.store.user(&user("new")).await.unwrap().is_some());
}
