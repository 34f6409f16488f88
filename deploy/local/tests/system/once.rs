//! One client message id makes one message, whatever is retried in parallel and whoever dies.

use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parley_local::{Answer, Client};
use serde_json::{Value, json};

use crate::arena::{Arena, histories, messages_of};
use crate::operator::eventually;
use crate::people::{Person, refusal};

const IDS: usize = 1_000;
/// Sends of one id at the same time.
const DUPLICATES: usize = 8;
/// Ids at the same time.
const TEAMS: usize = 4;
/// Every other id belongs to the first of them.
const CHATS: usize = 9;

#[test]
fn i2_a_thousand_ids_eight_times_each_over_two_pods_of_which_one_dies() {
    let arena = Arena::alone("once", 2, &[("PARLEY_MESSAGE_LIMITS", "user=none")]);
    let (author, chats) = arena.author(CHATS);
    let fire = Fire {
        author: &author,
        urls: [&arena.api()[0].url, &arena.api()[1].url],
        chats: &chats,
        answered: AtomicUsize::new(0),
        failed: AtomicUsize::new(0),
    };
    let (begin, kill_at) = (Instant::now(), IDS * DUPLICATES / 2);
    let answers = fire.all(|| {
        eventually("half of the answers", || fire.answered.load(Ordering::Relaxed) >= kill_at);
        arena.cluster.kill(&arena.api()[0].name).unwrap();
    });
    let took = begin.elapsed();

    let living = author.at(fire.urls[1]);
    let history = histories(&living, &chats);
    assert_eq!(history.len(), IDS, "one row for each id");
    let mut made_unheard = 0;
    for (number, answers) in &answers {
        assert_eq!(answers.len(), DUPLICATES, "every send has its answer");
        let message = &history[&client_id(*number)];
        for answer in answers {
            assert!(matches!(answer.status, 200 | 201), "{}: {}", answer.status, answer.body);
            assert_eq!(&answer.body["data"]["message"], message, "equal bodies");
        }
        let made = answers.iter().filter(|answer| answer.status == 201).count();
        assert!(made <= 1, "{} was made {made} times", client_id(*number));
        made_unheard += usize::from(made == 0);
    }
    // Whose 201 went down with its pod: at most what that pod had in hand.
    assert!(made_unheard <= TEAMS, "{made_unheard}");
    let failed = fire.failed.load(Ordering::Relaxed);
    assert!(failed > 0, "the pod was killed after all was done");

    for number in 0..IDS {
        let other = json!({ "content": "another", "clientMessageId": client_id(number) });
        let answer = living.post(&messages_of(fire.chat(number)), &other).unwrap();
        assert_eq!(refusal(&answer, 422), "idempotency_conflict");
    }
    assert_eq!(histories(&living, &chats), history, "a conflict changes nothing");

    let log = std::fs::read_to_string(arena.home.log("postgres")).unwrap();
    assert!(log.contains("ready to accept connections"), "not Postgres's log: {log}");
    assert!(!log.contains("deadlock detected"), "{log}");
    eprintln!(
        "{IDS} ids × {DUPLICATES}: {} sends in {took:.1?}; {failed} tries failed, {made_unheard} \
         ids without a 201",
        IDS * DUPLICATES
    );
    arena.close();
}

fn client_id(number: usize) -> String {
    format!("once-{number:04}")
}

/// All sends, and what has become of them so far.
struct Fire<'a> {
    author: &'a Person,
    urls: [&'a str; 2],
    chats: &'a [String],
    answered: AtomicUsize,
    /// Tries without an answer that says what became of them.
    failed: AtomicUsize,
}

impl Fire<'_> {
    fn chat(&self, number: usize) -> &str {
        let others = self.chats.len() - 1;
        &self.chats[if number.is_multiple_of(2) { 0 } else { 1 + number / 2 % others }]
    }

    /// The answers by id, while something else happens.
    fn all(&self, meanwhile: impl FnOnce()) -> BTreeMap<usize, Vec<Answer>> {
        let barriers: Vec<_> = (0..TEAMS).map(|_| Barrier::new(DUPLICATES)).collect();
        thread::scope(|scope| {
            let mut threads = Vec::new();
            for (team, barrier) in barriers.iter().enumerate() {
                for duplicate in 0..DUPLICATES {
                    threads.push(scope.spawn(move || self.shots(team, duplicate, barrier)));
                }
            }
            meanwhile();
            let mut all = BTreeMap::<usize, Vec<Answer>>::new();
            for (number, answer) in threads.into_iter().flat_map(|thread| thread.join().unwrap()) {
                all.entry(number).or_default().extend(answer);
            }
            all
        })
    }

    /// One member of a team, all of which send the same at the same time. Whatever is wrong is told
    /// by its answers: a member that panicked would keep the others waiting.
    fn shots(
        &self,
        team: usize,
        duplicate: usize,
        barrier: &Barrier,
    ) -> Vec<(usize, Option<Answer>)> {
        let clients = self.urls.map(|url| self.author.at(url));
        let shot = |number| {
            let path = messages_of(self.chat(number));
            let content = format!("shot {number}");
            let body = json!({ "content": content, "clientMessageId": client_id(number) });
            barrier.wait();
            let answer = self.insist(&clients, duplicate, &path, &body);
            self.answered.fetch_add(1, Ordering::Relaxed);
            (number, answer)
        };
        (team..IDS).step_by(TEAMS).map(shot).collect()
    }

    /// Sends, to either pod in turn, until one says what became of it.
    fn insist(
        &self,
        clients: &[Client; 2],
        first: usize,
        path: &str,
        body: &Value,
    ) -> Option<Answer> {
        let deadline = Instant::now() + Duration::from_secs(30);
        for client in clients.iter().cycle().skip(first % 2) {
            match client.post(path, body) {
                Ok(answer) if answer.status != 503 => return Some(answer),
                _ => self.failed.fetch_add(1, Ordering::Relaxed),
            };
            if Instant::now() > deadline {
                break;
            }
        }
        None
    }
}
