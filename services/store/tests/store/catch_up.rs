//! I4's source: from any version, a catch-up leads to where the chat stands.

use std::collections::BTreeMap;

use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinRefusal, MAX_MISSED, MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Missed,
    MissedPage, Position,
};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::ParticipantRole;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::message::Message;
use parley_domain::user::Role;
use parley_domain::version::{Epoch, Version};
use parley_store::{
    AddParticipant, CatchUp, ChangeAs, DeleteAs, DeleteMessage, EditMessage, RemoveParticipant,
};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use std::time::Duration;
use uuid::Uuid;

use crate::fixture::{World, content, room_for, user};

const PEOPLE: [&str; 5] = ["ann", "ben", "cem", "dee", "eve"];

/// What a client holds of a chat.
#[derive(Debug, Clone, Default, PartialEq)]
struct State {
    messages: BTreeMap<u64, String>,
    people: BTreeMap<UserId, ParticipantRole>,
}

impl State {
    fn apply(&mut self, change: &Change) {
        if let Some(message) = change.message() {
            self.messages.insert(message.seq.0, shown(message));
        }
        match &change.kind {
            ChangeKind::ParticipantsAdded { participants, .. } => {
                let added = participants.iter().map(|one| (one.user_id.clone(), one.role));
                self.people.extend(added);
            }
            ChangeKind::ParticipantRemoved { user_id, .. } => {
                self.people.remove(user_id);
            }
            _ => {}
        }
    }
}

fn shown(message: &Message) -> String {
    serde_json::to_string(message).unwrap()
}

/// A chat with everything that happened in it, and what a client held after each version.
struct Told {
    chat: ChatId,
    changes: Vec<Change>,
    states: Vec<State>,
    /// Messages that may be changed.
    messages: Vec<Message>,
}

impl Told {
    async fn begin(world: &World) -> Self {
        let chat = world.group(PEOPLE[0], &PEOPLE[1..3]).await;
        let people = [
            (user(PEOPLE[0]), ParticipantRole::Creator),
            (user(PEOPLE[1]), ParticipantRole::Member),
            (user(PEOPLE[2]), ParticipantRole::Member),
        ];
        let state = State { people: people.into(), ..State::default() };
        Self { chat, changes: Vec::new(), states: vec![state], messages: Vec::new() }
    }

    fn hear(&mut self, changes: Vec<Change>) {
        for change in changes {
            let mut state = self.states.last().unwrap().clone();
            assert_eq!(change.version.0, self.states.len() as u64, "{change:?}");
            state.apply(&change);
            self.states.push(state);
            self.changes.push(change);
        }
    }

    /// Something random; perhaps nothing comes of it.
    async fn happen(&mut self, world: &World, rng: &mut StdRng) {
        let (store, chat) = (&world.store, self.chat);
        let who = user(PEOPLE[rng.random_range(0..PEOPLE.len())]);
        let some = |rng: &mut StdRng| {
            let far = rng.random_range(1..=self.messages.len().clamp(1, 60));
            self.messages.len().checked_sub(far).map(|index| self.messages[index].clone())
        };
        let changes = match rng.random_range(0..12) {
            0..6 => {
                let text = format!("text {}", rng.random::<u16>());
                let message = world.send(chat, PEOPLE[0], &text).await;
                self.messages.push(message.clone());
                vec![Change::sent(message)]
            }
            6..8 => {
                let Some(message) = some(rng) else { return };
                let (by, text) = (message.sender_id, content("edited"));
                let window = Duration::from_hours(1);
                let edited = store.edit_message(chat, message.id, &by, &text, window).await;
                let EditMessage::Edited(_, committed) = edited.unwrap() else { return };
                committed.changes
            }
            8 => {
                let Some(message) = some(rng) else { return };
                let deleted = store.delete_message(chat, message.id, &who, DeleteAs::Admin).await;
                let DeleteMessage::Deleted(_, committed) = deleted.unwrap() else { return };
                committed.changes
            }
            9..11 => {
                let added =
                    store.add_participant(chat, &who, &who, ChangeAs::Admin, &room_for(9)).await;
                let AddParticipant::Added(_, committed) = added.unwrap() else { return };
                committed.changes
            }
            // ann is the one who sends.
            _ if who != user(PEOPLE[0]) => {
                let removed = store.remove_participant(chat, &who, &who, ChangeAs::Admin).await;
                let RemoveParticipant::Removed(_, committed) = removed.unwrap() else { return };
                committed.changes
            }
            _ => return,
        };
        self.hear(changes);
    }
}

fn seed() -> u64 {
    std::env::var("PARLEY_MODEL_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap())
}

const fn since(version: u64) -> Position {
    Position { since: Version(version), epoch: None }
}

/// A page, the position after it and where the chat stands.
async fn page(world: &World, chat: ChatId, from: u64) -> (Vec<Change>, u64, u64) {
    let answer = world.store.catch_up(chat, since(from)).await.unwrap().unwrap();
    let CatchUp::Changes { changes, up_to, version, epoch, .. } = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(epoch, world.store.epoch());
    assert!(changes.len() <= MAX_PAGE_EVENTS);
    (changes, up_to.0, version.0)
}

#[tokio::test]
async fn i4_from_any_version_a_catch_up_leads_to_where_the_chat_stands() {
    let seed = seed();
    println!("PARLEY_MODEL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::with(&PEOPLE).await.hasty().await;
    let mut told = Told::begin(&world).await;
    while told.changes.len() < 300 {
        told.happen(&world, &mut rng).await;
    }
    let last = told.changes.len() as u64;
    let finally = told.states.last().unwrap();
    let shown = world.store.chat(told.chat, &user(PEOPLE[0])).await.unwrap().unwrap();
    let people = shown.participants.into_iter().map(|one| (one.user_id, one.role)).collect();
    assert_eq!(finally.people, people, "seed {seed}");
    let (to_be_told, mut several) = (to_be_told(finally), 0);
    for from in 0..=last {
        let place = format!("seed {seed}, since {from}");
        let (mut changes, mut at) = (Vec::new(), from);
        loop {
            let (more, up_to, version) = page(&world, told.chat, at).await;
            assert_eq!(version, last, "{place}");
            assert!(up_to > at || up_to == last, "{place}: no way on at {at}");
            changes.extend(more);
            at = up_to;
            if up_to == version {
                break;
            }
            several += 1;
        }
        let versions: Vec<u64> = changes.iter().map(|change| change.version.0).collect();
        assert!(versions.is_sorted_by(|one, next| one < next), "{place}: {versions:?}");
        assert!(versions.first().is_none_or(|first| *first > from), "{place}: {versions:?}");
        let mut state = told.states[usize::try_from(from).unwrap()].clone();
        for change in &changes {
            state.apply(change);
        }
        assert_eq!(state, *finally, "{place}");
        let expected = to_be_told.clone().split_off(&(from + 1));
        assert_eq!(of_messages(&changes), expected, "{place}");
    }
    assert!(several > 20, "pages were never full");
}

/// The changes of messages that a catch-up has to tell: of each where it came and where it last changed, as it is now.
fn to_be_told(finally: &State) -> BTreeMap<u64, (&'static str, String)> {
    let mut expected = BTreeMap::new();
    for text in finally.messages.values() {
        let message: Value = serde_json::from_str(text).unwrap();
        let kind = if message["deletedAt"].is_null() { "edited" } else { "deleted" };
        for (version, kind) in [(&message["version"], "new"), (&message["changedVersion"], kind)] {
            if let Some(version) = version.as_u64() {
                expected.insert(version, (kind, text.clone()));
            }
        }
    }
    expected
}

/// The changes of messages that were told.
fn of_messages(changes: &[Change]) -> BTreeMap<u64, (&'static str, String)> {
    let told = changes.iter().filter_map(|change| {
        let kind = match &change.kind {
            ChangeKind::NewMessage(_) => "new",
            ChangeKind::MessageEdited(_) => "edited",
            ChangeKind::MessageDeleted { .. } => "deleted",
            _ => return None,
        };
        Some((change.version.0, (kind, shown(change.message()?))))
    });
    told.collect()
}

#[tokio::test]
async fn i4_pages_lead_there_also_while_the_chat_goes_on() {
    let seed = seed();
    println!("PARLEY_MODEL_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    let world = World::with(&PEOPLE).await.hasty().await;
    let mut told = Told::begin(&world).await;
    while told.changes.len() < 260 {
        told.happen(&world, &mut rng).await;
    }
    for _ in 0..12 {
        let from = rng.random_range(0..60);
        let mut state = told.states[from].clone();
        let mut at = from as u64;
        loop {
            let (changes, up_to, version) = page(&world, told.chat, at).await;
            for change in &changes {
                state.apply(change);
            }
            at = up_to;
            if up_to == version {
                break;
            }
            for _ in 0..4 {
                told.happen(&world, &mut rng).await;
            }
        }
        assert_eq!(state, *told.states.last().unwrap(), "seed {seed}, since {from}");
    }
}

#[tokio::test]
async fn i9_a_position_in_the_future_in_another_history_or_too_far_back_is_a_resync() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    world.send(chat, "alice", "hi").await;
    let epoch = world.store.epoch();
    let ask = async |position| world.store.catch_up(chat, position).await.unwrap().unwrap();
    let resyncs = async |position| match ask(position).await {
        CatchUp::Resync { version, epoch: of } => {
            assert_eq!(of, epoch);
            Some(version.0)
        }
        CatchUp::Changes { .. } => None,
    };
    assert_eq!(resyncs(since(0)).await, None);
    assert_eq!(resyncs(since(1)).await, None);
    assert_eq!(resyncs(since(2)).await, Some(1));
    assert_eq!(resyncs(since(u64::MAX)).await, Some(1));
    let of = |epoch| Position { epoch: Some(epoch), ..since(1) };
    assert_eq!(resyncs(of(epoch)).await, None);
    assert_eq!(resyncs(of(Epoch(epoch.0 ^ 1))).await, Some(1));
    world.db_execute("update chats set version = 6000").await;
    assert_eq!(resyncs(since(6_000 - MAX_MISSED)).await, None);
    assert_eq!(resyncs(since(6_000 - MAX_MISSED - 1)).await, Some(6_000));
    assert_eq!(resyncs(since(0)).await, Some(6_000));
    let nowhere = world.store.catch_up(Uuid::nil().into(), since(0)).await.unwrap();
    assert!(nowhere.is_none());
}

#[tokio::test]
async fn i6_a_join_with_a_position_brings_what_a_catch_up_would_and_only_to_participants() {
    let mut rng = StdRng::seed_from_u64(7);
    let world = World::with(&PEOPLE).await;
    let mut told = Told::begin(&world).await;
    while told.changes.len() < 60 {
        told.happen(&world, &mut rng).await;
    }
    let join = async |who: &str, position| {
        let ask = JoinAsk { chat_id: told.chat, user_id: user(who), role: Role::User, position };
        world.store.join(&ask).await.unwrap()
    };
    for from in [0, 1, 30, 60, 61] {
        let caught = world.store.catch_up(told.chat, since(from)).await.unwrap().unwrap();
        let JoinAnswer::Joined(joined) = join(PEOPLE[0], Some(since(from))).await else {
            panic!("refused")
        };
        let mut caught = caught.into_missed();
        if let Missed::Events(page) = &mut caught {
            // A joiner is a participant: nothing is hidden from it.
            page.events.iter_mut().for_each(|event| event.hidden_from.clear());
        }
        assert_eq!(joined.missed, Some(caught));
        assert_eq!((joined.version, joined.epoch), (Version(60), world.store.epoch()));
        if from == 61 {
            let (version, epoch) = (Version(60), world.store.epoch());
            assert_eq!(joined.missed, Some(Missed::Resync { version, epoch }));
        }
    }
    let JoinAnswer::Joined(joined) = join(PEOPLE[0], None).await else { panic!("refused") };
    assert_eq!(joined.missed, None);
    let refused = JoinAnswer::Refused { refusal: JoinRefusal::NotParticipant };
    assert_eq!(join("nobody", Some(since(0))).await, refused);
}

#[tokio::test]
async fn i6_what_shows_a_later_change_is_hidden_from_whoever_was_removed_before_it() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let (store, chat) = (&world.store, world.group("alice", &["bob", "carol"]).await);
    let hidden = async |from| {
        let missed = store.catch_up(chat, since(from)).await.unwrap().unwrap().into_missed();
        let Missed::Events(page) = missed else { panic!("resync") };
        let told = page.events.into_iter().map(|event| (event.version.0, event.hidden_from));
        told.collect::<Vec<_>>()
    };
    let (alice, bob) = (user("alice"), user("bob"));
    let early = world.send(chat, "alice", "edited before").await;
    let late = world.send(chat, "alice", "edited after").await;
    let window = Duration::from_hours(1);
    store.edit_message(chat, early.id, &alice, &content("early"), window).await.unwrap();
    store.remove_participant(chat, &bob, &bob, ChangeAs::Admin).await.unwrap();
    store.edit_message(chat, late.id, &alice, &content("late"), window).await.unwrap();
    assert_eq!(
        hidden(0).await,
        [(1, vec![]), (2, vec![bob.clone()]), (3, vec![]), (4, vec![]), (5, vec![])]
    );
    assert_eq!(hidden(4).await, [(5, vec![])]);
    store.add_participant(chat, &bob, &alice, ChangeAs::Admin, &room_for(9)).await.unwrap();
    assert!(hidden(0).await.iter().all(|(_, hidden)| hidden.is_empty()), "the whole history again");
}

#[tokio::test]
async fn i9_a_page_has_at_most_512_kib_and_the_next_one_goes_on() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    // As bad as it gets: each of these characters is six as JSON, and seven as JSON within JSON.
    for _ in 0..60 {
        world.send(chat, "alice", &format!("x{}", "\u{1}".repeat(4_999))).await;
    }
    for _ in 0..10 {
        world.send(chat, "alice", &"\"\\\u{1F600}".repeat(1_600)).await;
    }
    let (mut versions, mut at, mut pages) = (Vec::new(), 0, 0);
    while at < 70 {
        let caught = world.store.catch_up(chat, since(at)).await.unwrap().unwrap();
        let missed = caught.into_missed();
        let answer = serde_json::to_string(&missed).unwrap();
        assert!(answer.len() <= MAX_PAGE_BYTES + 64 * 1024, "{} bytes", answer.len());
        let Missed::Events(MissedPage { events, up_to, version, .. }) = missed else {
            panic!("resync")
        };
        let as_text = events.iter().map(|event| serde_json::to_string(&event.event).unwrap().len());
        assert!(as_text.sum::<usize>() <= MAX_PAGE_BYTES + 2 * events.len());
        assert_eq!(version, Version(70));
        assert_eq!(events.last().map(|event| event.version), Some(up_to));
        versions.extend(events.iter().map(|event| event.version.0));
        (at, pages) = (up_to.0, pages + 1);
    }
    assert_eq!(versions, (1..=70).collect::<Vec<_>>());
    assert!((4..=8).contains(&pages), "{pages} pages");
}
