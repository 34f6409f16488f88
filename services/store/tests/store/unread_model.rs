//! I7 against an oracle: random operations, and after each of them everybody's counts.
//!
//! `PARLEY_MODEL_OPERATIONS` and `PARLEY_MODEL_SEED` say how many, and replay a run.

mod act;
mod concurrent;
mod oracle;

use futures_util::future::join_all;
use parley_domain::chat::ChatType;
use parley_domain::ids::{ChatId, MessageId};
use parley_domain::page::Page;
use parley_store::ChatFilter;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fixture::{World, user};
use oracle::{Event, History};

/// Operations on one set of chats: short histories keep the naive walks short.
const PER_SET: usize = 300;
const GROUPS: usize = 4;
const POOL: usize = 12;
const WORKERS: u64 = 4;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

fn new_seed() -> u64 {
    setting("PARLEY_MODEL_SEED", rand::random::<u64>())
}

#[tokio::test(flavor = "multi_thread")]
async fn i7_unread_counts_are_those_of_a_naive_replay() {
    let (seed, operations) = (new_seed(), setting("PARLEY_MODEL_OPERATIONS", 3_000));
    println!("PARLEY_MODEL_SEED={seed} PARLEY_MODEL_OPERATIONS={operations}");
    let world = Arc::new(World::new().await.hasty().await);
    let workers = (0..WORKERS).map(|worker| {
        let run = run(world.clone(), seed, worker, operations / WORKERS);
        tokio::spawn(run)
    });
    let checked: u64 = join_all(workers).await.into_iter().map(Result::unwrap).sum();
    println!("{checked} comparisons of a chat's counts with the oracle's");
}

/// Operations one after the other on sets of chats that nobody else uses; says how often it compared.
async fn run(world: Arc<World>, seed: u64, worker: u64, operations: u64) -> u64 {
    let mut rng = StdRng::seed_from_u64(seed ^ worker.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let (mut set, mut compared) = (None, 0);
    for number in 0..operations {
        let place = || format!("PARLEY_MODEL_SEED={seed}, worker {worker}, operation {number}");
        if number % PER_SET as u64 == 0 {
            let name = format!("w{worker}-s{}", number / PER_SET as u64);
            set = Some(Set::make(&world, &mut rng, &name).await);
        }
        let Some(set) = &mut set else { unreachable!() };
        let index = rng.random_range(0..set.chats.len());
        let outcome = match set.act(&world, &mut rng, index).await {
            Ok(()) => set.compare(&world, &mut rng, index).await,
            Err(wrong) => Err(wrong),
        };
        compared += 1;
        if let Err(wrong) = outcome {
            let chat = &set.chats[index];
            panic!("{}: {wrong}\nchat {} of {:?}: {:#?}", place(), chat.id, set.names, chat.did);
        }
        if rng.random_ratio(1, 12) {
            let who = rng.random_range(0..POOL);
            if let Err(wrong) = set.compare_lists(&world, who).await {
                panic!("{}: {wrong}", place());
            }
        }
    }
    compared
}

/// Some chats of a pool of people who are in no others.
struct Set {
    names: Vec<String>,
    chats: Vec<ModelChat>,
}

struct ModelChat {
    id: ChatId,
    history: History,
    /// What was done, to be shown.
    did: Vec<String>,
    messages: Vec<MessageId>,
    /// Who was in from the beginning, which took no version.
    first: u64,
    /// Versions that inheritances took.
    heirs: u64,
    /// How far each has read, as last told.
    pointers: BTreeMap<usize, u64>,
}

impl Set {
    async fn make(world: &World, rng: &mut StdRng, name: &str) -> Self {
        let names: Vec<String> = (0..POOL).map(|n| format!("{name}-{n:02}")).collect();
        let all: Vec<&str> = names.iter().map(String::as_str).collect();
        world.know(&all).await;
        let mut chats = Vec::new();
        for number in 0..=GROUPS {
            let mut people: Vec<usize> = (0..POOL).collect();
            people.shuffle(rng);
            let kind = if number == 0 { ChatType::Direct } else { ChatType::Group };
            people.truncate(if number == 0 { 2 } else { rng.random_range(2..=7) });
            let others: Vec<&str> = people[1..].iter().map(|who| all[*who]).collect();
            let id = world.create(all[people[0]], &others, kind).await.id;
            let history = History(people.iter().map(|who| Event::Joined { who: *who }).collect());
            chats.push(ModelChat {
                id,
                did: vec![format!("{kind:?} of {people:?}")],
                history,
                messages: Vec::new(),
                first: people.len() as u64,
                heirs: 0,
                pointers: BTreeMap::new(),
            });
        }
        Self { names, chats }
    }

    /// The chat as somebody sees it, against the oracle.
    async fn compare(
        &mut self,
        world: &World,
        rng: &mut StdRng,
        index: usize,
    ) -> Result<(), String> {
        let (names, chat) = (&self.names, &mut self.chats[index]);
        let people = chat.history.people();
        let viewer = rng.random_range(0..POOL);
        let shown = world.store.chat(chat.id, &user(&names[viewer])).await.unwrap().unwrap();
        let expected: BTreeMap<_, _> = people
            .iter()
            .map(|who| (user(&names[*who]), chat.history.unread(*who).len() as u64))
            .collect();
        same("unreadCounts", &expected, shown.unread_counts.as_ref().unwrap())?;
        let own = chat.history.unread(viewer).len() as u64;
        same("unreadCount of the viewer", &own, &shown.unread_count)?;
        same("messageCount", &(chat.messages.len() as u64), &shown.message_count)?;
        let version = chat.history.versions(chat.heirs, chat.first);
        same("version", &version, &shown.version.0)?;
        same("participantCount", &(people.len() as u64), &shown.participant_count)?;
        let here = shown.participants.iter().map(|one| one.user_id.clone()).collect();
        same(
            "participants",
            &expected.into_keys().collect::<std::collections::BTreeSet<_>>(),
            &here,
        )?;
        for participant in &shown.participants {
            let who = names.iter().position(|name| name == participant.user_id.as_str()).unwrap();
            let up_to = participant.read_up_to.0;
            let before = chat.pointers.insert(who, up_to).unwrap_or_default();
            if up_to < before {
                return Err(format!("the pointer of {who} fell from {before} to {up_to}"));
            }
            if let Some(unread) = chat.history.unread(who).first().filter(|seq| **seq <= up_to) {
                return Err(format!("{who} has read up to {up_to}, and not {unread}"));
            }
        }
        Ok(())
    }

    /// Somebody's list of chats and totals, against the oracle.
    async fn compare_lists(&self, world: &World, who: usize) -> Result<(), String> {
        let id = user(&self.names[who]);
        let mine = || self.chats.iter().filter(|chat| chat.history.people().contains(&who));
        let expected: BTreeMap<ChatId, u64> =
            mine().map(|chat| (chat.id, chat.history.unread(who).len() as u64)).collect();
        let page = Page { number: 1, limit: 100 };
        let (list, _) = world.store.chats(&id, ChatFilter::default(), page).await.unwrap();
        let got = list.iter().map(|chat| (chat.id, chat.unread_count)).collect();
        same("unreadCount in the list", &expected, &got)?;
        let stats = world.store.stats(&id).await.unwrap();
        let messages: usize = mine().map(|chat| chat.messages.len()).sum();
        let totals = (expected.len() as u64, messages as u64, expected.values().sum());
        same("stats", &totals, &(stats.chats, stats.messages, stats.unread))
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, expected: &T, got: &T) -> Result<(), String> {
    if expected == got {
        return Ok(());
    }
    Err(format!("{what}: expected {expected:?}, got {got:?}"))
}
