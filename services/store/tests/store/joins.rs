//! Many joins at once are answered as each would be alone.

use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinOutcome, JoinRefusal, JoinSnapshot, Joins, MAX_JOINS, MAX_JOINS_BYTES,
    Missed, Position,
};
use parley_domain::ids::ChatId;
use parley_domain::user::Role;
use parley_domain::version::{Epoch, Version};
use uuid::Uuid;

use crate::fixture::{World, user};

fn ask(chat_id: ChatId, who: &str, since: Option<u64>) -> JoinAsk {
    let position = since.map(|since| Position { since: Version(since), epoch: None });
    JoinAsk { chat_id, user_id: user(who), role: Role::User, position }
}

/// Each join's answer out of the common one.
fn each(joins: &Joins, asks: &[JoinAsk]) -> Vec<JoinAnswer> {
    assert_eq!(joins.joins.len(), asks.len());
    let answers = asks.iter().enumerate();
    answers.map(|(place, ask)| joins.answer(place, &ask.user_id)).collect()
}

fn versions(answer: &JoinAnswer) -> Vec<u64> {
    match answer {
        JoinAnswer::Joined(JoinSnapshot { missed: Some(Missed::Events(page)), .. }) => {
            page.events.iter().map(|event| event.version.0).collect()
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn i6_each_of_many_joins_is_answered_as_it_would_be_alone() {
    let world = World::with(&["ann", "ben", "cem"]).await;
    let (one, two) = (world.group("ann", &["ben"]).await, world.group("cem", &["ben"]).await);
    for text in ["first", "second", "third"] {
        world.send(one, "ann", text).await;
        world.send(two, "cem", text).await;
    }
    let mut other_history = ask(one, "ann", Some(1));
    other_history.position = Some(Position { since: Version(1), epoch: Some(Epoch(1)) });
    let asks = [
        ask(one, "ann", Some(1)),
        ask(one, "ben", Some(1)),
        ask(one, "cem", Some(1)),
        ask(two, "ben", Some(3)),
        ask(two, "cem", Some(0)),
        ask(one, "ben", None),
        ask(Uuid::nil().into(), "ann", Some(0)),
        ask(two, "ann", None),
        ask(two, "cem", Some(4)),
        other_history,
        ask(one, "nobody", None),
    ];
    let joins = world.store.joins(&asks).await.unwrap();
    let together = each(&joins, &asks);
    for (ask, answer) in asks.iter().zip(&together) {
        assert_eq!(*answer, world.store.join(ask).await.unwrap(), "{ask:?}");
    }
    assert_eq!(versions(&together[0]), [2, 3]);
    assert!(versions(&together[3]).is_empty());
    assert_eq!(together[2], JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant });
    assert_eq!(together[6], JoinAnswer::Refused { refusal: JoinRefusal::ChatNotFound });
    // What several are told stands there once.
    assert_eq!((joins.rooms.len(), joins.missed.len()), (2, 5));
    let of = |place: usize| match joins.joins[place] {
        JoinOutcome::Joined { room, missed, .. } => (room, missed),
        other => panic!("{other:?}"),
    };
    assert_eq!(of(0), of(1));
}

#[tokio::test]
async fn one_room_that_cannot_be_read_fails_nobody_elses_join() {
    let world = World::with(&["ann", "ben"]).await;
    let (broken, whole) = (world.group("ann", &["ben"]).await, world.group("ann", &["ben"]).await);
    world.send(whole, "ann", "hi").await;
    // No id of ours ends with a space.
    world.db_execute("insert into users (id) values ('eve ')").await;
    let broken_id = broken.uuid();
    world
        .db_execute(&format!(
            "insert into participants (chat_id, user_id, role) values ('{broken_id}', 'eve ', 'member')"
        ))
        .await;
    let asks = [ask(broken, "ann", None), ask(whole, "ben", Some(0)), ask(broken, "ann", Some(0))];
    let joins = world.store.joins(&asks).await.unwrap();
    assert_eq!(joins.joins[0], JoinOutcome::Unavailable);
    assert_eq!(joins.joins[2], JoinOutcome::Unavailable);
    assert_eq!(versions(&joins.answer(1, &user("ben"))), [1]);
}

#[tokio::test]
async fn i4_many_positions_have_small_pages_and_each_leads_on_to_where_the_chat_stands() {
    let world = World::with(&["ann", "ben"]).await.hasty().await;
    let mut chats = Vec::new();
    for _ in 0..128 {
        chats.push(world.group("ann", &["ben"]).await);
    }
    for number in 0..20 {
        world.send(chats[0], "ann", &format!("{number}")).await;
    }
    let (mut at, mut heard) = (0, Vec::new());
    while at < 20 {
        let asks: Vec<_> = chats.iter().map(|chat| ask(*chat, "ann", Some(0))).collect();
        let asks = [&[ask(chats[0], "ann", Some(at))], &asks[1..]].concat();
        let answer = world.store.joins(&asks).await.unwrap().answer(0, &user("ann"));
        let page = versions(&answer);
        assert_eq!(page.len(), 8.min(20 - heard.len()));
        heard.extend(page);
        let JoinAnswer::Joined(JoinSnapshot { missed: Some(Missed::Events(page)), .. }) = answer
        else {
            panic!("refused")
        };
        at = page.up_to.0;
    }
    assert_eq!(heard, (1..=20).collect::<Vec<_>>());
}

#[tokio::test]
async fn i9_what_has_no_room_in_the_answer_is_to_be_asked_again_and_somebody_always_has() {
    let world = World::with(&["ann", "ben"]).await;
    // As bad as it gets: each character of a message is seven in the answer.
    let long = "\u{1}".repeat(4_999);
    let mut waiting = Vec::new();
    for _ in 0..30 {
        let chat = world.group("ann", &["ben"]).await;
        world.send(chat, "ann", &format!("x{long}")).await;
        waiting.push(ask(chat, "ann", Some(0)));
    }
    let mut answers = 0;
    while !waiting.is_empty() {
        let joins = world.store.joins(&waiting).await.unwrap();
        let bytes = serde_json::to_vec(&joins).unwrap().len();
        assert!(bytes < MAX_JOINS_BYTES + 64 * 1024, "{bytes} bytes");
        let mut outcomes = joins.joins.iter();
        let before = waiting.len();
        waiting.retain(|_| *outcomes.next().unwrap() == JoinOutcome::Later);
        assert!(waiting.len() < before);
        answers += 1;
    }
    assert_eq!(answers, 2);
}

#[tokio::test]
async fn i9_more_joins_than_an_ask_may_have_are_not_answered() {
    let world = World::with(&["ann", "ben"]).await;
    let chat = world.group("ann", &["ben"]).await;
    let asks = vec![ask(chat, "ann", None); MAX_JOINS + 1];
    let joins = world.store.joins(&asks).await.unwrap();
    assert_eq!(joins.joins.len(), MAX_JOINS);
    assert_eq!(joins.answer(MAX_JOINS, &user("ann")), JoinAnswer::Unavailable);
}
