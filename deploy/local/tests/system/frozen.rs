//! Postgres hangs as a whole, and goes on.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parley_local::Client;
use serde_json::json;

use crate::arena::{Arena, GoOn, histories, messages_of};
use crate::operator::eventually;

const CLIENTS: usize = 64;
const CHATS: usize = 20;
const FREEZE: Duration = Duration::from_secs(10);
const RECOVERY: Duration = Duration::from_secs(5);
/// How long after its recovery the cluster is watched.
const CALM: Duration = Duration::from_secs(5);
/// `PARLEY_SEND_MS` is 3 s and covers every wait of a send, that for a connection too; the rest is
/// for a machine that is busy.
const DEADLINE: Duration = Duration::from_millis(4_500);
/// In KiB; queues and batches of two hundred small messages are nothing beside it.
const GROWTH: u64 = 64 * 1024;

#[test]
fn i9_a_postgres_that_hangs_costs_neither_memory_nor_patience_nor_messages() {
    let arena = Arena::alone("frozen", 2, &[("PARLEY_MESSAGE_LIMITS", "user=none")]);
    let (author, chats) = arena.author(CHATS);
    let pods = [0, 1].map(|pod| arena.api()[pod].pid);
    let urls = [0, 1].map(|pod| arena.api()[pod].url.as_str());
    let (go_on, done) = (&AtomicBool::new(false), &AtomicUsize::new(0));
    let most = pods.map(|_| AtomicU64::new(0));

    let (tries, times, before, processes) = thread::scope(|scope| {
        let running = GoOn::until_dropped(go_on);
        let clients: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let client = author.at(urls[number % 2]);
                let load = Load { number, client, chat: &chats[number / 2 % CHATS] };
                scope.spawn(move || load.run(go_on, done))
            })
            .collect();
        eventually("a warm cluster", || done.load(Ordering::Relaxed) >= 2_000);
        let before = pods.map(resident);
        scope.spawn(|| sample(go_on, pods, &most));

        let frozen_at = Instant::now();
        let frozen = arena.cluster.freeze("postgres").unwrap();
        let processes = frozen.count();
        let frozen_by = Instant::now();
        // Here and below, time is the subject.
        thread::sleep(FREEZE);
        let thawed_at = Instant::now();
        drop(frozen);
        thread::sleep(RECOVERY + CALM);
        drop(running);
        let tries: Vec<Try<'_>> = clients.into_iter().flat_map(|it| it.join().unwrap()).collect();
        (tries, Times { frozen_at, frozen_by, thawed_at }, before, processes)
    });
    assert!(processes > 20, "{processes} processes are no Postgres under load");
    let growth = [0, 1].map(|pod| most[pod].load(Ordering::Relaxed).saturating_sub(before[pod]));
    assert!(growth.iter().all(|growth| *growth < GROWTH), "{growth:?} KiB more than {before:?}");
    let seen = times.judge(&tries);

    // Every message that was refused is sent again: now it is known what became of it.
    let refused: Vec<&Try<'_>> = tries.iter().filter(|it| it.status == 503).collect();
    let author = author.at(urls[0]);
    let mut had_been_made = 0;
    for refused in &refused {
        let again = Load { number: refused.client, client: author.clone(), chat: refused.chat };
        let again = again.send(refused.number);
        assert!(matches!(again.status, 200 | 201), "{again:?}");
        had_been_made += usize::from(again.status == 200);
    }
    let history = histories(&author, &chats);
    let ids: BTreeSet<String> = tries.iter().map(Try::id).collect();
    assert_eq!(ids.len(), tries.len());
    assert_eq!(history.keys().cloned().collect::<BTreeSet<_>>(), ids, "what was sent is there");
    for made in tries.iter().filter(|it| it.status == 201) {
        assert_eq!(history[&made.id()]["_id"].as_str(), made.message.as_deref(), "{made:?}");
    }
    eprintln!(
        "{} sends; {processes} processes of Postgres frozen for {FREEZE:?}; {seen}; {} refused, of \
         which {had_been_made} were made nevertheless, once; memory {before:?} KiB + {growth:?}",
        tries.len(),
        refused.len()
    );
    arena.close();
}

/// One of the clients.
struct Load<'a> {
    number: usize,
    client: Client,
    chat: &'a str,
}

/// One send, and what came of it.
#[derive(Debug)]
struct Try<'a> {
    client: usize,
    number: usize,
    chat: &'a str,
    began: Instant,
    ended: Instant,
    /// 0 without an answer; `said` is why.
    status: u16,
    retry_after: bool,
    message: Option<String>,
    said: String,
}

impl Try<'_> {
    fn id(&self) -> String {
        format!("frozen-{}-{}", self.client, self.number)
    }
}

impl<'a> Load<'a> {
    fn run(&self, go_on: &AtomicBool, done: &AtomicUsize) -> Vec<Try<'a>> {
        let mut tries = Vec::new();
        while go_on.load(Ordering::Relaxed) {
            tries.push(self.send(tries.len()));
            done.fetch_add(1, Ordering::Relaxed);
        }
        tries
    }

    fn send(&self, number: usize) -> Try<'a> {
        let began = Instant::now();
        let mut it = Try {
            client: self.number,
            number,
            chat: self.chat,
            began,
            ended: began,
            status: 0,
            retry_after: false,
            message: None,
            said: String::new(),
        };
        let body = json!({ "content": format!("message {number}"), "clientMessageId": it.id() });
        let answer = self.client.post(&messages_of(self.chat), &body);
        it.ended = Instant::now();
        match answer {
            Ok(answer) => {
                it.status = answer.status;
                it.retry_after = answer.header("retry-after").is_some();
                let id = &answer.body["data"]["message"]["_id"];
                it.message = id.as_str().map(str::to_owned);
                if it.message.is_none() {
                    it.said = answer.body.to_string();
                }
            }
            Err(error) => it.said = format!("{error:#}"),
        }
        it
    }
}

/// When Postgres began to hang, hung as a whole, and went on.
struct Times {
    frozen_at: Instant,
    frozen_by: Instant,
    thawed_at: Instant,
}

impl Times {
    fn judge(&self, tries: &[Try<'_>]) -> String {
        let recovered = self.thawed_at + RECOVERY;
        let (mut slowest, mut last_refusal, mut in_freeze) = (Duration::ZERO, Duration::ZERO, 0);
        for it in tries {
            slowest = slowest.max(it.ended - it.began);
            assert!(it.ended - it.began < DEADLINE, "{:?}: {it:?}", it.ended - it.began);
            assert!(matches!(it.status, 201 | 503), "{it:?}");
            assert!(it.status == 201 || it.retry_after, "when to come again? {it:?}");
            let while_frozen = it.began > self.frozen_by && it.ended < self.thawed_at;
            assert!(!while_frozen || it.status == 503, "by whom was it kept? {it:?}");
            in_freeze += usize::from(while_frozen);
            if it.status == 503 {
                assert!(it.ended > self.frozen_at, "there was no reason yet: {it:?}");
                let after = it.began.saturating_duration_since(self.thawed_at);
                assert!(it.began < recovered, "begun {after:?} after the thaw: {it:?}");
                last_refusal = last_refusal.max(it.ended.saturating_duration_since(self.thawed_at));
            }
        }
        assert!(in_freeze >= CLIENTS, "only {in_freeze} answers while all was frozen");
        let first = [0, 1].map(|pod| {
            let good = tries
                .iter()
                .filter(|it| it.client % 2 == pod && it.status == 201 && it.began > self.thawed_at);
            good.map(|it| it.ended - self.thawed_at).min().unwrap()
        });
        assert!(first.iter().all(|first| *first < RECOVERY), "{first:?}");
        format!(
            "{in_freeze} answers meanwhile, the slowest after {slowest:.2?}; first 201 of a send \
             after the thaw after {first:.2?}, last 503 after {last_refusal:.2?}"
        )
    }
}

/// Keeps the greatest memory.
fn sample(go_on: &AtomicBool, pods: [u32; 2], most: &[AtomicU64; 2]) {
    while go_on.load(Ordering::Relaxed) {
        for (pid, most) in pods.into_iter().zip(most) {
            most.fetch_max(resident(pid), Ordering::Relaxed);
        }
        thread::sleep(Duration::from_millis(250));
    }
}

/// Resident memory in KiB.
fn resident(pid: u32) -> u64 {
    let output = Command::new("ps").args(["-o", "rss=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}
