//! A pod that dies between the commit and the bus.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::arena::{Arena, GoOn, messages_of, version};
use crate::operator::eventually;
use crate::people::Person;
use crate::wires::Heard;

const CLIENTS: usize = 32;
const CHATS: usize = 12;
const DEADLINE: Duration = Duration::from_secs(5);
/// By when a pod that lives has told what it has committed.
const TELLING: Duration = Duration::from_millis(300);

#[test]
fn i4_what_a_pod_had_committed_is_told_within_5_s_of_its_death() {
    let arena = Arena::alone("untold", 4, &[("PARLEY_MESSAGE_LIMITS", "user=none")]);
    let (author, chats) = arena.author(CHATS);
    let stage = Stage {
        heard: Heard::on(&arena.cluster.description().nats[0].url),
        arena: &arena,
        author: &author,
        chats: &chats,
    };
    let mut report = Vec::new();
    // The first dies as it comes, the others with something in hand that nobody was told.
    for (dying, death) in [Death::Sudden, Death::WithCommits, Death::WithCommits].iter().enumerate()
    {
        let (untold, killed) = stage.under_load(dying, || death.of(&stage, dying));
        let took = stage.all_is_told(dying + 1, killed);
        report.push(format!("{death:?}: {untold} untold, all told {took:.1?} after the kill"));
    }
    let versions: u64 = chats.iter().map(|chat| stage.version(3, chat)).sum();
    eprintln!("{versions} versions of {CHATS} chats: {}", report.join("; "));
    arena.close();
}

struct Stage<'a> {
    arena: &'a Arena,
    author: &'a Person,
    chats: &'a [String],
    heard: Heard,
}

impl Stage<'_> {
    /// Sends through all pods from `first` on while something happens.
    fn under_load<T>(&self, first: usize, work: impl FnOnce() -> T) -> T {
        let (go_on, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
        thread::scope(|scope| {
            let _running = GoOn::until_dropped(&go_on);
            for number in 0..CLIENTS {
                let (go_on, sent) = (&go_on, &sent);
                scope.spawn(move || self.send(first, number, go_on, sent));
            }
            eventually("a cluster under load", || sent.load(Ordering::Relaxed) >= 2_000);
            work()
        })
    }

    fn send(&self, first: usize, number: usize, go_on: &AtomicBool, sent: &AtomicUsize) {
        let path = messages_of(&self.chats[number % CHATS]);
        let pods = &self.arena.api()[first..];
        let client = self.author.at(&pods[number % pods.len()].url);
        while go_on.load(Ordering::Relaxed) {
            let Ok(answer) = client.post(&path, &json!({ "content": "tell it" })) else {
                // Its pod is dead. The others have clients enough.
                return;
            };
            assert_eq!(answer.status, 201, "{}", answer.body);
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A chat's version, by this pod.
    fn version(&self, pod: usize, chat: &str) -> u64 {
        version(&self.author.at(&self.arena.api()[pod].url), chat)
    }

    fn versions(&self, pod: usize) -> Vec<u64> {
        self.chats.iter().map(|chat| self.version(pod, chat)).collect()
    }

    /// How many of these versions nobody has told.
    fn untold(&self, versions: &[u64]) -> usize {
        let both = self.chats.iter().zip(versions);
        both.map(|(chat, version)| self.heard.missing(chat, *version).len()).sum()
    }

    /// How many of these versions are not told although the living had the time for it.
    fn still_untold(&self, versions: &[u64]) -> usize {
        let deadline = Instant::now() + TELLING;
        while self.untold(versions) > 0 && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        self.untold(versions)
    }

    /// Waits until everything that the database has was heard; says how long after the kill.
    fn all_is_told(&self, pod: usize, killed: Instant) -> Duration {
        let versions = self.versions(pod);
        while self.untold(&versions) > 0 {
            assert!(killed.elapsed() < DEADLINE, "{} are untold", self.untold(&versions));
            thread::sleep(Duration::from_millis(10));
        }
        killed.elapsed()
    }
}

#[derive(Debug)]
enum Death {
    Sudden,
    WithCommits,
}

impl Death {
    /// Kills a pod; says how much it took along untold, and when.
    fn of(&self, stage: &Stage<'_>, pod: usize) -> (usize, Instant) {
        let (cluster, name) = (&stage.arena.cluster, stage.arena.api()[pod].name.as_str());
        if matches!(self, Self::WithCommits) {
            catch_with_commits(stage, pod, name);
        }
        cluster.kill(name).unwrap();
        let killed = Instant::now();
        (stage.still_untold(&stage.versions(pod + 1)), killed)
    }
}

/// Makes a pod hang while Postgres carries out what it was asked for, until there is something in
/// the database that only this pod could have told.
fn catch_with_commits(stage: &Stage<'_>, pod: usize, name: &str) {
    let cluster = &stage.arena.cluster;
    for _ in 0..50 {
        cluster.pause(name).unwrap();
        if stage.still_untold(&stage.versions(pod + 1)) > 0 {
            return;
        }
        cluster.resume(name).unwrap();
        // Until it is at work again.
        stage.author.at(&stage.arena.api()[pod].url).get("/api/chat").unwrap();
    }
    panic!("{name} was never caught between a commit and the bus");
}
