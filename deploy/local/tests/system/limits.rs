//! Limits over two pods, by the clock of the limiter: this machine's, for Redis as for the tests.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parley_local::Pod;
use serde_json::json;

use crate::arena::{Arena, GoOn, messages_of};
use crate::operator::eventually;
use crate::people::{Person, direct_chat, refusal};
use crate::wires::Redis;

#[test]
fn limits_are_exact_in_short_windows() {
    eprintln!("{}", exact(&SHORT));
}

#[test]
fn limits_hold_twofold_at_most_without_redis_in_short_windows() {
    eprintln!("{}", without_redis(&SHORT));
}

#[test]
#[ignore = "takes minutes: cargo parley test --full"]
fn limits_are_exact_for_thirty_users_and_three_minutes() {
    eprintln!("{}", exact(&FULL));
}

#[test]
#[ignore = "takes minutes: cargo parley test --full"]
fn limits_hold_twofold_at_most_without_redis_for_thirty_users_and_three_minutes() {
    eprintln!("{}", without_redis(&FULL));
}

/// How much is tried, and how much is allowed.
struct Trial {
    name: &'static str,
    arena: fn(&str, u16, &[(&str, &str)]) -> Arena,
    users: usize,
    limits: &'static str,
    limit: usize,
    window: Duration,
    length: Duration,
    /// Between two tries of a device that was refused.
    pause: Duration,
    /// When Redis dies, and for how long, where it does.
    outage: (Duration, Duration),
}

const SHORT: Trial = Trial {
    name: "short",
    arena: Arena::alone,
    users: 6,
    limits: "user=5/4",
    limit: 5,
    window: Duration::from_secs(4),
    length: Duration::from_secs(22),
    pause: Duration::from_millis(150),
    outage: (Duration::from_secs(6), Duration::from_secs(4)),
};

const FULL: Trial = Trial {
    name: "full",
    // Two that wait most of the time.
    arena: Arena::open,
    users: 30,
    limits: "user=20/60",
    limit: 20,
    window: Duration::from_mins(1),
    length: Duration::from_mins(3),
    pause: Duration::from_millis(400),
    outage: (Duration::from_secs(40), Duration::from_secs(20)),
};

/// Nobody gets more than the limit in any window, nobody less where they tried.
fn exact(trial: &Trial) -> String {
    let arena = trial.arena("limits");
    let users = trial.people(&arena);
    let mut redis = Redis::at(&arena.cluster.description().redis.url);
    let go_on = AtomicBool::new(false);
    let (tries, windows) = thread::scope(|scope| {
        let running = GoOn::until_dropped(&go_on);
        // Often enough to see every member before it leaves.
        let every = trial.window / 16;
        let (users, go_on) = (&users, &go_on);
        let reading = scope.spawn(move || {
            let mut windows = vec![BTreeMap::new(); users.len()];
            loop {
                let last = !go_on.load(Ordering::Relaxed);
                for (user, window) in users.iter().zip(&mut windows) {
                    window.extend(redis.members(&user.window));
                }
                if last {
                    return windows;
                }
                thread::sleep(every);
            }
        });
        let tries = trial.run(&arena, users);
        drop(running);
        (tries, reading.join().unwrap())
    });

    let (mut refused, mut most) = (0, 0);
    for (number, window) in windows.iter().enumerate() {
        let tries = &tries[number];
        let sent = tries.iter().filter(|it| it.status == 201).count();
        assert_eq!(window.len(), sent, "not what the limiter decided by");
        let scores = window.values().copied().collect();
        let grants = Scores { scores, window: micros(trial.window) };
        most = most.max(grants.most());
        assert!(grants.most() <= trial.limit, "user {number}: {}", grants.most());
        for it in tries.iter().filter(|it| it.status == 429) {
            refused += 1;
            let had = grants.most_at(it.began, it.ended);
            assert_eq!(had, trial.limit, "user {number} was refused with {had} of them: {it:?}");
        }
        let windows_tried = (tries.last().unwrap().ended - tries[0].began) / micros(trial.window);
        assert!(windows_tried >= 2);
        let least = trial.limit * usize::try_from(windows_tried).unwrap();
        assert!(sent >= least, "user {number} got {sent} in {windows_tried} windows");
    }
    let all: Vec<usize> = windows.iter().map(BTreeMap::len).collect();
    assert!(refused > trial.users);
    arena.close();
    format!("most in a window {most}; {refused} refusals, each at the limit; sent {all:?}")
}

/// No answer says that anything is wrong, and no window that touches the outage holds more than
/// twice the limit.
fn without_redis(trial: &Trial) -> String {
    let mut arena = trial.arena("outage");
    let users = trial.people(&arena);
    let (dies, dead_for) = trial.outage;
    let (urls, pods) = (urls(&arena), arena.api().to_vec());
    let cluster = &mut arena.cluster;
    let (tries, gone, back, found) = thread::scope(|scope| {
        let running = scope.spawn(|| trial.run_at(&urls, &users));
        // Time is the subject.
        thread::sleep(dies);
        cluster.kill("redis").unwrap();
        let gone = now();
        thread::sleep(dead_for);
        cluster.restart("redis").unwrap();
        let back = now();
        eventually("Redis, on every pod", || pods.iter().all(is_limited_by_redis));
        let found = now();
        (running.join().unwrap(), gone, back, found)
    });

    let (mut meanwhile, mut refused, mut touching, mut apart) = (0, 0, 0, 0);
    for (number, tries) in tries.iter().enumerate() {
        refused += tries.iter().filter(|it| it.status == 429).count();
        let sent: Vec<&Try> = tries.iter().filter(|it| it.status == 201).collect();
        meanwhile += sent.iter().filter(|it| it.began > gone && it.ended < back).count();
        // A grant came between its try's begin and end: what is counted was in one window for sure.
        for begin in sent.iter().map(|it| it.began) {
            let end = begin + micros(trial.window);
            let held = sent.iter().filter(|it| it.began >= begin && it.ended < end).count();
            let touches = begin < found && end > gone;
            let (most, limit) =
                if touches { (&mut touching, 2 * trial.limit) } else { (&mut apart, trial.limit) };
            *most = held.max(*most);
            let when = (begin.cast_signed() - gone.cast_signed()) / 1_000;
            assert!(held <= limit, "user {number}: {held} from {when} ms after the kill on");
        }
    }
    let all: usize = tries.iter().flatten().filter(|it| it.status == 201).count();
    assert_eq!(apart, trial.limit, "as if nothing had been");
    assert!(meanwhile > 0, "nothing was sent while Redis was gone");
    assert!(refused > trial.users);
    arena.close();
    format!(
        "Redis gone for {} ms; most in a window that touches it {touching}, in any other {apart}; \
         {all} sent, {meanwhile} of them meanwhile; {refused} refusals; found again after {} ms",
        (back - gone) / 1_000,
        (found - back) / 1_000
    )
}

fn is_limited_by_redis(pod: &Pod) -> bool {
    let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
    let mut answer = agent.get(format!("{}/metrics", pod.admin)).call().unwrap();
    let metrics = answer.body_mut().read_to_string().unwrap();
    let line = metrics.lines().find(|line| line.starts_with("parley_redis_up")).unwrap();
    line.ends_with(" 1")
}

fn urls(arena: &Arena) -> [String; 2] {
    [0, 1].map(|pod: usize| arena.api()[pod].url.clone())
}

struct User {
    person: Person,
    chat: String,
    /// The key of the window in Redis.
    window: String,
}

/// One send. Times are µs since 1970.
#[derive(Debug)]
struct Try {
    began: u64,
    ended: u64,
    status: u16,
}

impl Trial {
    fn arena(&self, name: &str) -> Arena {
        let name = format!("{name}-{}", self.name);
        // A machine that is slow for a moment must not count as a Redis that is gone.
        let settings = [("PARLEY_MESSAGE_LIMITS", self.limits), ("PARLEY_REDIS_MS", "5000")];
        (self.arena)(&name, 2, &settings)
    }

    fn people(&self, arena: &Arena) -> Vec<User> {
        let cluster = arena.cluster.description();
        let reader = Person::new(cluster, "reader");
        let user = |_| {
            let person = Person::new(cluster, "user");
            let chat = direct_chat(&person.at(&cluster.url), &reader);
            let key = URL_SAFE_NO_PAD.encode(&person.id);
            User { person, chat, window: format!("parley:limit:{{{key}}}") }
        };
        (0..self.users).map(user).collect()
    }

    fn run(&self, arena: &Arena, users: &[User]) -> Vec<Vec<Try>> {
        self.run_at(&urls(arena), users)
    }

    /// All users' tries, each user's by time.
    fn run_at(&self, urls: &[String; 2], users: &[User]) -> Vec<Vec<Try>> {
        let begin = now();
        thread::scope(|scope| {
            let devices = |(number, user)| {
                [0, 1].map(|device| {
                    scope.spawn(move || self.device(urls, user, number, device, begin))
                })
            };
            let threads: Vec<_> = users.iter().enumerate().map(devices).collect();
            let tries = threads.into_iter().map(|devices| {
                let mut tries: Vec<Try> =
                    devices.into_iter().flat_map(|device| device.join().unwrap()).collect();
                tries.sort_by_key(|it| it.began);
                tries
            });
            tries.collect()
        })
    }

    /// Sends without pause until it is refused, and then tries again and again, on either pod in
    /// turn. Users begin one after the other within a window, so that at any time someone has room.
    fn device(
        &self,
        urls: &[String; 2],
        user: &User,
        number: usize,
        device: usize,
        begin: u64,
    ) -> Vec<Try> {
        let clients = [0, 1].map(|pod: usize| user.person.at(&urls[pod]));
        let path = messages_of(&user.chat);
        let (mut tries, end) = (Vec::new(), begin + micros(self.length));
        let late = micros(self.window) * number as u64 / self.users as u64;
        thread::sleep(Duration::from_micros((begin + late).saturating_sub(now())));
        while now() < end {
            let id = format!("{device}-{}", tries.len());
            let body = json!({ "content": "one more", "clientMessageId": id });
            let began = now();
            let answer = clients[(tries.len() + device) % 2].post(&path, &body).unwrap();
            tries.push(Try { began, ended: now(), status: answer.status });
            if answer.status == 429 {
                assert_eq!(refusal(&answer, 429), "rate_limited");
                let wait: u64 = answer.header("retry-after").unwrap().parse().unwrap();
                assert!((1..=self.window.as_secs()).contains(&wait), "Retry-After: {wait}");
                thread::sleep(self.pause.mul_f64(rand::random_range(0.5..1.5)));
            } else {
                assert_eq!(answer.status, 201, "{}", answer.body);
            }
        }
        tries
    }
}

/// When one user's places were granted, by Redis's clock.
struct Scores {
    scores: Vec<u64>,
    window: u64,
}

impl Scores {
    /// The most in any window.
    fn most(&self) -> usize {
        self.scores.iter().map(|last| self.at(*last)).max().unwrap_or_default()
    }

    /// How many were in the window at this time. What is as old as the window is out.
    fn at(&self, time: u64) -> usize {
        let inside = |score: &&u64| **score <= time && **score + self.window > time;
        self.scores.iter().filter(inside).count()
    }

    /// The most that were in the window at any time between these two: one of them was that of the
    /// decision. It rises only with a score.
    fn most_at(&self, from: u64, to: u64) -> usize {
        let rises = self.scores.iter().copied().filter(|score| (from..=to).contains(score));
        rises.chain([from]).map(|time| self.at(time)).max().unwrap_or_default()
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap()
}

fn now() -> u64 {
    micros(SystemTime::now().duration_since(UNIX_EPOCH).unwrap())
}
