//! Many clients in one process: listeners that come back and resume, senders that insist, outsiders who try.
//!
//! All of them are tasks of one thread, apart from the one that runs the cluster, and write down whatever happens to
//! them. What that means is for the checker to say.

pub(crate) mod file;
mod guest;
mod listener;
mod outsider;
mod reader;
mod rest;
mod sender;
pub(crate) mod socket;
mod world;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use parley_local::Token;
use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::history::Recorder;
use guest::Guests;
use listener::Listener;
use outsider::Outsider;
use reader::Reader;
use rest::Rest;
use sender::Sender;
use world::Person;
pub(crate) use world::{Population, World};

/// How long a token beyond its end still counts: as pods have it by default.
pub(crate) const LEEWAY: Duration = Duration::from_secs(5);
/// How long one counts that is made by a wrong clock.
const SKEWED_LASTS: Duration = Duration::from_secs(20);

/// What the clients do.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Habits {
    /// How long a connection lasts before the client cuts it; for ever if `None`.
    pub(crate) cut_every: Option<Duration>,
    /// Within what time they come.
    pub(crate) arrival: Duration,
    /// How long a client that has cut its connection stays away.
    pub(crate) away: Duration,
    /// How many send at once.
    pub(crate) senders: usize,
    /// Messages a second of all senders together; as fast as they are answered if `None`.
    pub(crate) rate: Option<f64>,
    /// After so many messages a sender stops.
    pub(crate) messages_each: Option<u64>,
    /// How many characters of four bytes each fill up a message.
    pub(crate) filling: usize,
    /// One client in so many, when it is told to, reads its connection no more. Its window is small: on the way within one
    /// machine there is room for megabytes.
    pub(crate) pause_one_in: Option<usize>,
    /// One message in so many is edited by its sender.
    pub(crate) edit_every: Option<u32>,
    /// One message in so many is deleted by its sender.
    pub(crate) delete_every: Option<u32>,
    /// One message in so many is a file.
    pub(crate) file_every: Option<u32>,
    /// How many mark messages as read, for whichever members.
    pub(crate) readers: usize,
    /// How many come as participants, and are removed, again and again.
    pub(crate) guests: usize,
    /// Of those, some are not removed at first: their tokens are revoked, or expire.
    pub(crate) tokens_end: bool,
    /// Says what chance brings.
    pub(crate) seed: u64,
}

impl Default for Habits {
    fn default() -> Self {
        Self {
            cut_every: None,
            arrival: Duration::from_secs(3),
            away: Duration::from_secs(2),
            senders: 100,
            rate: Some(200.0),
            messages_each: None,
            filling: 0,
            pause_one_in: None,
            edit_every: None,
            delete_every: None,
            file_every: None,
            readers: 0,
            guests: 0,
            tokens_end: false,
            seed: 1,
        }
    }
}

/// What the clients share with whoever watches them.
pub(crate) struct Controls {
    /// Senders send.
    sending: AtomicBool,
    /// Senders insist on what they have begun.
    insisting: AtomicBool,
    /// Listeners cut their connections from time to time.
    cutting: AtomicBool,
    stop: watch::Sender<bool>,
    cut: watch::Sender<Cut>,
    pause: watch::Sender<bool>,
    /// How many milliseconds the clock is fast by which tokens are made; if it is right, clients have those that they always
    /// have.
    skew: AtomicI64,
    /// How many tokens were made by a wrong clock.
    skewed: AtomicU64,
    /// How many connections are not read.
    paused: AtomicUsize,
    /// How far the listeners are: one for each listener and chat.
    progress: Vec<Progress>,
    senders: AtomicUsize,
    answered: AtomicU64,
    heard: AtomicU64,
    connections: AtomicUsize,
    opened: AtomicU32,
    /// The number of the next client that nobody knew of.
    clients: AtomicU32,
}

/// An order to cut connections.
#[derive(Debug, Clone, Copy, Default)]
struct Cut {
    number: u64,
    /// Of a hundred connections.
    percent: u8,
}

/// How far a listener is in a chat.
#[derive(Debug)]
pub(crate) struct Progress {
    pub(crate) chat: u32,
    /// Up to here it has everything, as far as it knows.
    position: AtomicU64,
    /// It has asked to enter and was let in, and nothing is being reloaded.
    joined: AtomicBool,
}

impl Progress {
    fn set(&self, position: u64, joined: bool) {
        self.position.store(position, Ordering::Relaxed);
        self.joined.store(joined, Ordering::Release);
    }

    /// Whether it has this version, wherever it is.
    pub(crate) fn has(&self, version: u64) -> bool {
        self.position.load(Ordering::Relaxed) >= version
    }

    /// Whether it is in the room and has this version.
    pub(crate) fn is_at(&self, version: u64) -> bool {
        self.joined.load(Ordering::Acquire) && self.position.load(Ordering::Relaxed) >= version
    }
}

/// The running clients. They end when this is dropped.
pub(crate) struct Crowd {
    around: Surroundings,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Crowd {
    /// Starts them. Nobody sends yet.
    pub(crate) fn start(world: Arc<World>, habits: Habits, recorder: Recorder) -> Self {
        let places = world.members().flat_map(|person| person.chats.iter());
        let progress = places.map(|chat| Progress {
            chat: *chat,
            position: AtomicU64::new(0),
            joined: AtomicBool::new(false),
        });
        let controls = Arc::new(Controls {
            sending: AtomicBool::new(false),
            insisting: AtomicBool::new(true),
            cutting: AtomicBool::new(true),
            stop: watch::Sender::new(false),
            cut: watch::Sender::new(Cut::default()),
            pause: watch::Sender::new(false),
            skew: AtomicI64::new(0),
            skewed: AtomicU64::new(0),
            paused: AtomicUsize::new(0),
            progress: progress.collect(),
            senders: AtomicUsize::new(habits.senders + habits.readers + habits.guests),
            answered: AtomicU64::new(0),
            heard: AtomicU64::new(0),
            connections: AtomicUsize::new(0),
            opened: AtomicU32::new(0),
            clients: AtomicU32::new(world.visitor(world.visitors.len())),
        });
        let around = Surroundings { world, habits, recorder, controls };
        let shared = around.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, everybody(shared))
        });
        Self { around, thread: Some(thread) }
    }

    /// Lets the senders send.
    pub(crate) fn send(&self) {
        self.around.controls.sending.store(true, Ordering::Release);
    }

    /// Nothing new is sent, and connections stay.
    pub(crate) fn calm(&self) {
        self.around.controls.sending.store(false, Ordering::Release);
        self.around.controls.cutting.store(false, Ordering::Release);
    }

    /// Whoever still insists on an answer gives up.
    pub(crate) fn give_up(&self) {
        self.around.controls.insisting.store(false, Ordering::Release);
    }

    /// Cuts about this share of the connections now.
    pub(crate) fn cut(&self, percent: u8) {
        self.around.controls.cut.send_modify(|cut| *cut = Cut { number: cut.number + 1, percent });
    }

    /// Those clients that can be told so read no more, or read again.
    pub(crate) fn pause(&self, pause: bool) {
        self.around.controls.pause.send_replace(pause);
    }

    /// How many connections are not read at present.
    pub(crate) fn paused(&self) -> usize {
        self.around.controls.paused.load(Ordering::Relaxed)
    }

    /// From now on, tokens are made by a clock that is so many milliseconds fast; by 0, they are as they always are.
    pub(crate) fn skew(&self, millis: i64) {
        self.around.controls.skew.store(millis, Ordering::Relaxed);
    }

    /// How many tokens were made by a wrong clock so far.
    pub(crate) fn skewed(&self) -> u64 {
        self.around.controls.skewed.load(Ordering::Relaxed)
    }

    /// What whoever comes beside the crowd needs.
    pub(crate) fn around(&self) -> &Surroundings {
        &self.around
    }

    /// How many senders, readers and guests have something to do.
    pub(crate) fn senders(&self) -> usize {
        self.around.controls.senders.load(Ordering::Acquire)
    }

    /// Good answers, events heard and open connections so far.
    pub(crate) fn counts(&self) -> (u64, u64, usize) {
        let Controls { answered, heard, connections, .. } = &*self.around.controls;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (load(answered), load(heard), connections.load(Ordering::Relaxed))
    }

    /// Where every listener is.
    pub(crate) fn progress(&self) -> &[Progress] {
        &self.around.controls.progress
    }

    /// Lets everybody leave.
    pub(crate) fn stop(mut self) -> Result<()> {
        self.around.controls.stop();
        let thread = self.thread.take().context("the crowd has left already")?;
        thread.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.around.controls.stop();
        if let Some(thread) = self.thread.take() {
            // Whoever drops a crowd has an error to tell already.
            let _ = thread.join();
        }
    }
}

impl Controls {
    fn stop(&self) {
        self.sending.store(false, Ordering::Release);
        self.insisting.store(false, Ordering::Release);
        self.stop.send_replace(true);
    }
}

/// What every client has at hand.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) world: Arc<World>,
    habits: Habits,
    pub(crate) recorder: Recorder,
    controls: Arc<Controls>,
}

impl Surroundings {
    /// A client's own chance: the same in every run with the same seed.
    fn chance(&self, client: usize) -> StdRng {
        StdRng::seed_from_u64(self.habits.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ client as u64)
    }

    fn rest(&self, chance: StdRng) -> Rest {
        Rest::new(Arc::clone(&self.world), chance)
    }

    /// What a person shows at present, and up to when it counts, if that is within the run.
    fn token(&self, person: &Person) -> Result<(String, Option<u64>)> {
        match self.controls.skew.load(Ordering::Relaxed) {
            0 => Ok((person.token.clone(), None)),
            millis => {
                let (token, until) = self.short_token(&person.user, SKEWED_LASTS, millis)?;
                self.controls.skewed.fetch_add(1, Ordering::Relaxed);
                Ok((token, Some(until)))
            }
        }
    }

    /// A token of a clock that is so many milliseconds fast, and up to when it counts.
    fn short_token(&self, user: &str, ttl: Duration, millis: i64) -> Result<(String, u64)> {
        let now = SystemTime::now();
        let off = Duration::from_millis(millis.unsigned_abs());
        let issued = if millis < 0 { now - off } else { now + off };
        let token = Token { ttl, ..Token::user(user) }.sign_at(issued, &self.world.secret)?;
        let ends = issued.duration_since(UNIX_EPOCH)?.as_secs() + ttl.as_secs();
        let ends = UNIX_EPOCH + Duration::from_secs(ends) + LEEWAY;
        let left = ends.duration_since(now).unwrap_or_default();
        Ok((token, self.recorder.after(left)))
    }

    /// The number of a client that nobody knew of.
    fn next_client(&self) -> u32 {
        self.controls.clients.fetch_add(1, Ordering::Relaxed)
    }

    fn is_sending(&self) -> bool {
        self.controls.sending.load(Ordering::Acquire)
    }

    fn is_insisting(&self) -> bool {
        self.controls.insisting.load(Ordering::Acquire)
    }

    fn is_over(&self) -> bool {
        *self.controls.stop.borrow()
    }

    /// Whether a client is one of those that can be told to read no more.
    fn can_pause(&self, client: usize) -> bool {
        self.habits.pause_one_in.is_some_and(|every| client % every == every - 1)
    }

    fn is_cutting(&self) -> bool {
        self.controls.cutting.load(Ordering::Acquire)
    }

    /// The number of a connection that has just begun.
    pub(crate) fn next_connection(&self) -> u32 {
        self.controls.connections.fetch_add(1, Ordering::Relaxed);
        self.controls.opened.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn connection_ends(&self) {
        self.controls.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Waits, but not beyond the end.
    async fn pause(&self, time: Duration) {
        let mut stop = self.controls.stop.subscribe();
        let _ = tokio::time::timeout(time, stop.wait_for(|stop| *stop)).await;
    }
}

async fn everybody(around: Surroundings) -> Result<()> {
    let mut tasks = Vec::new();
    let mut place = 0;
    for (number, person) in around.world.people.iter().enumerate() {
        if person.chats.is_empty() {
            tasks.push(tokio::task::spawn_local(Outsider::new(around.clone(), number).run()));
        } else {
            let listener = Listener::new(around.clone(), number, place);
            place += person.chats.len();
            tasks.push(tokio::task::spawn_local(listener.run()));
        }
    }
    for number in 0..around.habits.senders {
        tasks.push(tokio::task::spawn_local(Sender::new(around.clone(), number)?.run()));
    }
    for number in 0..around.habits.readers {
        tasks.push(tokio::task::spawn_local(Reader::new(around.clone(), number).run()));
    }
    let guests = (0..around.habits.guests).map(|number| Guests::new(around.clone(), number));
    let guests = guests.collect::<Result<Vec<_>>>()?;
    let guests: Vec<_> =
        guests.into_iter().map(|guests| tokio::task::spawn_local(guests.run())).collect();
    for task in tasks {
        task.await.context("a client has panicked")?;
    }
    for task in guests {
        task.await.context("a guest has panicked")??;
    }
    Ok(())
}
