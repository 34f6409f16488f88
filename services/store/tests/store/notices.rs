//! Who is told of what was said while they were away: single stories, and random ones against an oracle.
//!
//! `PARLEY_MODEL_OPERATIONS` and `PARLEY_MODEL_SEED` say how many random steps, and replay a run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use parley_domain::ids::{ChatId, MessageId};
use parley_domain::mute::Mute;
use parley_domain::preferences::{Preferences, QuietHours};
use parley_domain::webhook::{EventFilter, EventKind, WebhookUrl};
use parley_store::{ArmNotices, ChangeAs, Decision, DeleteAs, NewWebhook};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use sqlx::types::Json;
use sqlx::{Executor, PgConnection, Row};
use uuid::Uuid;

use crate::fixture::{World, room_for, user};

const LEASE: Duration = Duration::from_mins(1);
const DELAY: Duration = Duration::from_hours(1);
const PEOPLE: usize = 6;
/// Steps in one set of chats.
const PER_SET: u64 = 300;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// A world whose webhook wants notices, and nothing else.
async fn world(people: &[&str]) -> World {
    let world = World::with(people).await;
    let new = NewWebhook {
        url: WebhookUrl::parse("https://app.example/").unwrap(),
        description: None,
        events: EventFilter::of(vec![EventKind::NotificationDue]),
    };
    world.store.create_webhook(&new, &"whsec_x".into(), 9).await.unwrap().unwrap();
    world.store.note_demand().await.unwrap();
    world
}

/// Timers are armed for everything that was said.
async fn arm(world: &World) {
    let arm = ArmNotices { delay: DELAY, crowd: 1000 };
    while world.store.fan_out(10, &arm).await.unwrap().unwrap().rows > 0 {}
}

/// What was told: of which chat, whom, how many messages, and how many in all.
type Told = BTreeMap<(ChatId, String), (u64, u64)>;

/// Every timer ends, and is decided about by this; says who was told.
async fn elapse(
    world: &World,
    connection: &mut PgConnection,
    decide: impl Fn(ChatId, &str) -> (bool, bool),
) -> Told {
    elapse_while(world, connection, decide, async || {}).await
}

/// The same while something happens after it was asked who is here.
async fn elapse_while(
    world: &World,
    connection: &mut PgConnection,
    decide: impl Fn(ChatId, &str) -> (bool, bool),
    mut happens: impl AsyncFnMut(),
) -> Told {
    connection
        .execute("update notices set due_at = now() where due_at is not null and holder is null")
        .await
        .unwrap();
    let holder = Uuid::new_v4();
    let due = world.store.claim_notices(holder, LEASE, 1000).await.unwrap();
    happens().await;
    let decisions = due.into_iter().map(|notice| {
        let (here, later) = decide(notice.chat, notice.user.as_str());
        let later = later.then(|| "2100-01-01T00:00:00Z".parse().unwrap());
        let (chat, user, seen) = (notice.chat, notice.user, here.then_some(notice.last));
        Decision { chat, user, seen, later, previews: true }
    });
    let decisions: Vec<_> = decisions.collect();
    world.store.decide_notices(holder, &decisions, DELAY).await.unwrap();
    let rows = connection
        .fetch_all(
            "delete from outbox where kind = 'notification.due' returning chat_ids[1], detail",
        )
        .await
        .unwrap();
    let mut told = Told::new();
    for row in rows {
        let (chat, Json(detail)): (Uuid, Json<Value>) = (row.get(0), row.get(1));
        let who = detail["userId"].as_str().unwrap().to_owned();
        let numbers = (detail["count"].as_u64().unwrap(), detail["badge"].as_u64().unwrap());
        assert!(told.insert((chat.into(), who), numbers).is_none(), "told twice");
    }
    told
}

#[tokio::test]
async fn three_messages_make_one_notice_with_their_count_and_what_was_read_none() {
    let world = world(&["alice", "bob", "carol"]).await;
    let mut connection = world.connection().await;
    let (chat, other) = (world.direct("alice", "bob").await, world.direct("carol", "bob").await);
    world.send(other, "carol", "unread elsewhere").await;
    arm(&world).await;
    assert_eq!(elapse(&world, &mut connection, |_, _| (false, false)).await.len(), 1);
    for text in ["one", "two", "three"] {
        world.send(chat, "alice", text).await;
        arm(&world).await;
    }
    let told = elapse(&world, &mut connection, |_, _| (false, false)).await;
    assert_eq!(told, [((chat, "bob".to_owned()), (3, 4))].into());
    assert!(elapse(&world, &mut connection, |_, _| (false, false)).await.is_empty(), "once");
    world.send(chat, "alice", "four").await;
    arm(&world).await;
    world.store.mark_read(chat, &user("bob"), None).await.unwrap();
    assert!(elapse(&world, &mut connection, |_, _| (false, false)).await.is_empty(), "read");
    world.send(chat, "alice", "five").await;
    arm(&world).await;
    assert!(elapse(&world, &mut connection, |_, _| (true, false)).await.is_empty(), "seen");
}

#[tokio::test]
async fn who_leaves_after_it_was_asked_who_is_here_is_told_of_what_is_said_then() {
    let world = world(&["alice", "bob"]).await;
    let mut connection = world.connection().await;
    let chat = world.direct("alice", "bob").await;
    world.send(chat, "alice", "seen").await;
    arm(&world).await;
    let missed = async || {
        world.send(chat, "alice", "not seen").await;
        // Its fan-out finds the timer armed.
        arm(&world).await;
    };
    let told = elapse_while(&world, &mut connection, |_, _| (true, false), missed).await;
    assert!(told.is_empty(), "they were here when it was asked");
    let told = elapse(&world, &mut connection, |_, _| (false, false)).await;
    assert_eq!(told, [((chat, "bob".to_owned()), (1, 2))].into());
    assert!(elapse(&world, &mut connection, |_, _| (false, false)).await.is_empty(), "once");
}

#[tokio::test]
async fn a_time_zone_that_is_not_known_here_is_taken_as_utc_and_keeps_nobody_from_being_told() {
    let world = world(&["alice", "bob", "carol"]).await;
    let chat = world.group("alice", &["bob", "carol"]).await;
    let hours = QuietHours::parse("22:00", "07:00", "Europe/Berlin").unwrap();
    let preferences = Preferences { quiet_hours: Some(hours), notification_previews: false };
    world.store.put_preferences(&user("bob"), &preferences).await.unwrap();
    world.db_execute("update user_preferences set quiet_zone = 'Mars/Base'").await;
    world.send(chat, "alice", "hi").await;
    arm(&world).await;
    world.db_execute("update notices set due_at = now()").await;
    let mut due = world.store.claim_notices(Uuid::new_v4(), LEASE, 9).await.unwrap();
    due.sort_by(|one, other| one.user.cmp(&other.user));
    let hours = QuietHours::parse("22:00", "07:00", "UTC").unwrap();
    let expected = Preferences { quiet_hours: Some(hours), notification_previews: false };
    assert_eq!(due[0].preferences, expected);
    assert_eq!((due.len(), due[1].user.as_str()), (2, "carol"));
}

/// What one person has of one chat.
#[derive(Debug, Clone, Default)]
struct Person {
    is_in: bool,
    muted: bool,
    unread: BTreeSet<u64>,
    /// Everything up to here was told, or needed no telling.
    told: u64,
    /// Whether a timer runs.
    armed: bool,
}

/// A chat as the oracle has it.
struct Model {
    id: ChatId,
    names: Vec<String>,
    messages: Vec<(usize, MessageId)>,
    deleted: BTreeSet<u64>,
    /// Messages for which no timer was armed yet, with their authors.
    fresh: Vec<(u64, usize)>,
    people: Vec<Person>,
    /// People of whom something was said before they had any row: from where on they are told.
    rows: BTreeSet<usize>,
}

impl Model {
    async fn act(&mut self, world: &World, rng: &mut StdRng) {
        let who = rng.random_range(0..self.names.len());
        let name = self.names[who].clone();
        match rng.random_range(0..100) {
            0..40 if self.people[who].is_in => self.send(world, who).await,
            40..52 => {
                world.store.mark_read(self.id, &user(&name), None).await.unwrap();
                self.people[who].unread.clear();
            }
            52..64 if !self.messages.is_empty() => {
                let place = rng.random_range(0..self.messages.len());
                let ids = [self.messages[place].1];
                world.store.mark_read(self.id, &user(&name), Some(&ids)).await.unwrap();
                self.people[who].unread.remove(&(place as u64 + 1));
            }
            64..72 if !self.messages.is_empty() => {
                let place = rng.random_range(0..self.messages.len());
                let (by, id) = self.messages[place];
                let by = user(&self.names[by]);
                world.store.delete_message(self.id, id, &by, DeleteAs::Admin).await.unwrap();
                self.deleted.insert(place as u64 + 1);
                for person in &mut self.people {
                    person.unread.remove(&(place as u64 + 1));
                }
            }
            72..82 if self.people[who].is_in => {
                let mute = if self.people[who].muted { Mute::Off } else { Mute::ForGood };
                world.store.mute(self.id, &user(&name), mute).await.unwrap();
                self.people[who].muted ^= true;
            }
            82..92 if who > 0 => self.come_or_go(world, who).await,
            _ => {}
        }
    }

    async fn send(&mut self, world: &World, who: usize) {
        let message = world.send(self.id, &self.names[who], "hi").await;
        self.messages.push((who, message.id));
        let seq = self.messages.len() as u64;
        self.fresh.push((seq, who));
        for (place, person) in self.people.iter_mut().enumerate() {
            if person.is_in && place != who {
                person.unread.insert(seq);
            }
        }
    }

    async fn come_or_go(&mut self, world: &World, who: usize) {
        let (host, name) = (user(&self.names[0]), user(&self.names[who]));
        let person = &mut self.people[who];
        if person.is_in {
            world.store.remove_participant(self.id, &name, &host, ChangeAs::Admin).await.unwrap();
        } else {
            let room = room_for(99);
            world
                .store
                .add_participant(self.id, &name, &host, ChangeAs::Admin, &room)
                .await
                .unwrap();
        }
        person.is_in = !person.is_in;
        person.muted = false;
        person.unread.clear();
    }

    /// Everybody in the chat but the authors has a timer.
    fn arm(&mut self) {
        for (seq, by) in std::mem::take(&mut self.fresh) {
            for (place, person) in self.people.iter_mut().enumerate() {
                if place == by || !person.is_in {
                    continue;
                }
                if self.rows.insert(place) {
                    person.told = seq - 1;
                }
                person.armed = true;
            }
        }
    }

    /// Whom the end of all timers tells of how much, after it was asked who is here when so many were said.
    fn elapse(
        &mut self,
        seen: u64,
        decide: impl Fn(&str) -> (bool, bool),
    ) -> BTreeMap<String, u64> {
        let last = self.messages.len() as u64;
        let mut told = BTreeMap::new();
        for (name, person) in self.names.iter().zip(&mut self.people) {
            if !person.armed {
                continue;
            }
            let (here, later) = decide(name);
            let floor = if here { person.told.max(seen) } else { person.told };
            let count = person.unread.iter().filter(|seq| **seq > floor).count() as u64;
            let wants = person.is_in && !person.muted && count > 0;
            if wants && (here || later) {
                person.told = floor;
                continue;
            }
            if wants {
                told.insert(name.clone(), count);
            }
            (person.armed, person.told) = (false, last);
        }
        told
    }
}

async fn set(world: &World, name: &str) -> Vec<Model> {
    let names: Vec<String> = (0..PEOPLE).map(|n| format!("{name}-{n}")).collect();
    let all: Vec<&str> = names.iter().map(String::as_str).collect();
    world.know(&all).await;
    let mut chats = Vec::new();
    for size in [2, 3, PEOPLE] {
        let id = world.group(all[0], &all[1..size]).await;
        let person = |place| Person { is_in: place < size, ..Person::default() };
        chats.push(Model {
            id,
            names: names.clone(),
            messages: Vec::new(),
            deleted: BTreeSet::new(),
            fresh: Vec::new(),
            people: (0..PEOPLE).map(person).collect(),
            rows: BTreeSet::new(),
        });
    }
    chats
}

/// The end of all timers, by the store and by the oracle.
async fn compare(
    world: &World,
    connection: &mut PgConnection,
    chats: &mut [Model],
    decide: impl Fn(ChatId, &str) -> (bool, bool),
    said: &[(usize, usize)],
) {
    let seen: Vec<u64> = chats.iter().map(|chat| chat.messages.len() as u64).collect();
    let happens = async || {
        for (place, who) in said {
            chats[*place].send(world, *who).await;
        }
    };
    let told = elapse_while(world, connection, &decide, happens).await;
    let mut expected = Told::new();
    for place in 0..chats.len() {
        let id = chats[place].id;
        for (name, count) in chats[place].elapse(seen[place], |name| decide(id, name)) {
            let who = chats[place].names.iter().position(|it| *it == name).unwrap();
            let badge = chats.iter().map(|chat| chat.people[who].unread.len() as u64).sum();
            expected.insert((id, name), (count, badge));
        }
    }
    assert_eq!(told, expected);
}

#[tokio::test]
async fn never_one_is_missed_and_never_is_one_told_of_something_read() {
    let seed = setting("PARLEY_MODEL_SEED", rand::random());
    let steps = setting("PARLEY_MODEL_OPERATIONS", 2_000);
    println!("PARLEY_MODEL_SEED={seed} PARLEY_MODEL_OPERATIONS={steps}");
    let world = world(&[]).await;
    let mut connection = world.connection().await;
    let mut rng = StdRng::seed_from_u64(seed);
    let mut chats = Vec::new();
    for step in 0..steps {
        if step % PER_SET == 0 {
            // At the end of a set everybody is away, and nothing is left untold.
            arm(&world).await;
            chats.iter_mut().for_each(Model::arm);
            connection
                .execute("update notices set due_at = now() where due_at is not null")
                .await
                .unwrap();
            compare(&world, &mut connection, &mut chats, |_, _| (false, false), &[]).await;
            for person in chats.iter().flat_map(|chat| &chat.people).filter(|it| !it.muted) {
                assert!(person.unread.iter().all(|seq| *seq <= person.told), "{person:?}");
            }
            connection.execute("delete from notices").await.unwrap();
            world.store.note_demand().await.unwrap();
            chats = set(&world, &format!("set-{}", step / PER_SET)).await;
        }
        let place = rng.random_range(0..chats.len());
        chats[place].act(&world, &mut rng).await;
        if rng.random_ratio(1, 5) {
            arm(&world).await;
            chats.iter_mut().for_each(Model::arm);
        }
        if rng.random_ratio(1, 8) {
            let (salt, later) = (rng.random::<u64>(), rng.random_ratio(1, 4));
            let here = |chat: ChatId, name: &str| {
                let mixed = chat.uuid().as_u64_pair().1
                    ^ salt
                    ^ name.len() as u64
                    ^ u64::from(name.as_bytes()[name.len() - 1]);
                (mixed.count_ones().is_multiple_of(3), later && mixed.is_multiple_of(2))
            };
            // Some write between the gateways' answer and the decision.
            let mut said = Vec::new();
            for _ in 0..rng.random_range(0..3) {
                let (place, who) = (rng.random_range(0..chats.len()), rng.random_range(0..PEOPLE));
                said.extend(chats[place].people[who].is_in.then_some((place, who)));
            }
            compare(&world, &mut connection, &mut chats, here, &said).await;
        }
    }
}
