//! The clients of a storm: each is in one room, keeps count of what it hears there, and comes back by itself.
//!
//! They speak to Parley or to socket.io, and are otherwise the same: one thread, the same parser, the back-off of a stock
//! client. Messages of a room are numbered 1, 2, 3 …, so each client sees for itself what it missed or heard twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::LocalSet;
use tokio::time::timeout;

use super::socket::{Heard, Socket};

/// `timeout` of a stock client: it is for the handshake, and does not wait for the answer to CONNECT.
const OPEN_WITHIN: Duration = Duration::from_secs(20);
/// `reconnectionDelay`, `reconnectionDelayMax` and `randomizationFactor` of a stock client.
const DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(5);
const RANDOMIZATION: f64 = 0.5;
/// Within what time the clients come in the beginning.
const ARRIVAL: Duration = Duration::from_secs(15);

/// What a client speaks.
#[derive(Debug, Clone)]
pub(super) enum Speech {
    /// It joins the chat, and says how far it is.
    Parley { token: String },
    /// It connects, and says what it heard last: connection state recovery.
    SocketIo,
}

/// Who a client is.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    pub(super) speech: Speech,
    pub(super) room: String,
}

/// How far a client is, for whoever watches.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Everything up to this message was heard, or was there before it came.
    position: AtomicU64,
    is_in: AtomicBool,
    /// When this last changed, in microseconds of the fleet.
    changed: AtomicU64,
    lost: AtomicU32,
    doubled: AtomicU32,
    /// How often it was told that it has to reload, or was not recovered.
    reloads: AtomicU32,
}

impl Progress {
    pub(super) fn is_at(&self, head: u64) -> bool {
        self.is_in.load(Ordering::Acquire) && self.position.load(Ordering::Relaxed) >= head
    }

    pub(super) fn is_in(&self) -> bool {
        self.is_in.load(Ordering::Acquire)
    }

    /// When it became as it is, since the fleet's beginning.
    pub(super) fn changed(&self) -> Duration {
        Duration::from_micros(self.changed.load(Ordering::Relaxed))
    }

    pub(super) fn counts(&self) -> Counts {
        let load = |counter: &AtomicU32| u64::from(counter.load(Ordering::Relaxed));
        Counts {
            lost: load(&self.lost),
            doubled: load(&self.doubled),
            reloads: load(&self.reloads),
        }
    }

    /// Messages that should have come by now, and did not.
    pub(super) fn behind(&self, head: u64) -> u64 {
        head.saturating_sub(self.position.load(Ordering::Relaxed))
    }
}

/// What went wrong.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) lost: u64,
    pub(super) doubled: u64,
    pub(super) reloads: u64,
}

struct Shared {
    addresses: Vec<String>,
    begun: Instant,
    progress: Vec<Progress>,
    /// Rises when all connections are to be dropped.
    drops: watch::Sender<u64>,
    stop: watch::Sender<bool>,
    refused: AtomicU64,
}

/// The running clients; they end with this value.
pub(super) struct Fleet {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<()>>>,
}

impl Fleet {
    /// Starts one client for each identity; each comes to one of the addresses by chance.
    pub(super) fn start(addresses: Vec<String>, identities: Vec<Identity>) -> Self {
        let shared = Arc::new(Shared {
            addresses,
            begun: Instant::now(),
            progress: identities.iter().map(|_| Progress::default()).collect(),
            drops: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            refused: AtomicU64::new(0),
        });
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            LocalSet::new().block_on(&runtime, everybody(identities, theirs))
        });
        Self { shared, thread: Some(thread) }
    }

    pub(super) fn progress(&self) -> &[Progress] {
        &self.shared.progress
    }

    /// Drops every connection, without a word; when, since the fleet's beginning.
    pub(super) fn drop_all(&self) -> Duration {
        for progress in &self.shared.progress {
            progress.is_in.store(false, Ordering::Release);
        }
        let at = self.shared.begun.elapsed();
        self.shared.drops.send_modify(|drops| *drops += 1);
        at
    }

    /// Attempts to connect that came to nothing.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// Lets everybody leave.
    pub(super) fn stop(mut self) -> Result<()> {
        self.shared.stop.send_replace(true);
        let thread = self.thread.take().context("the fleet has left already")?;
        thread.join().map_err(|_| anyhow::anyhow!("a client has panicked"))?
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.shared.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Whoever drops a fleet has an error to tell already.
            let _ = thread.join();
        }
    }
}

async fn everybody(identities: Vec<Identity>, shared: Arc<Shared>) -> Result<()> {
    let clients = identities.into_iter().enumerate().map(|(number, identity)| {
        let client = Client {
            identity,
            number,
            shared: Arc::clone(&shared),
            chance: StdRng::seed_from_u64(number as u64),
            memory: Memory::default(),
        };
        tokio::task::spawn_local(client.run())
    });
    for client in clients.collect::<Vec<_>>() {
        client.await.context("a client has panicked")?;
    }
    Ok(())
}

struct Client {
    identity: Identity,
    number: usize,
    shared: Arc<Shared>,
    chance: StdRng,
    memory: Memory,
}

/// What a client knows across its connections.
#[derive(Debug, Default)]
struct Memory {
    position: Option<u64>,
    /// Parley's history.
    epoch: Option<String>,
    /// Socket.IO's private session id, and the place of the last event.
    pid: Option<String>,
    offset: Option<String>,
}

/// How a connection ends.
enum End {
    Dropped,
    Lost,
    Over,
}

#[derive(Deserialize)]
struct ParleyPayload {
    version: Option<u64>,
}

#[derive(Deserialize)]
struct PeerPayload {
    number: u64,
}

impl Client {
    async fn run(mut self) {
        let mut stop = self.shared.stop.subscribe();
        let arrival = ARRIVAL.mul_f64(self.chance.random());
        let mut pause = arrival;
        let mut attempt = 0;
        loop {
            if timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok() {
                return;
            }
            match timeout(OPEN_WITHIN, self.open()).await {
                Ok(Ok(socket)) => {
                    attempt = 0;
                    if matches!(self.live(socket).await, End::Over) {
                        return;
                    }
                }
                Ok(Err(_)) | Err(_) => {
                    self.shared.refused.fetch_add(1, Ordering::Relaxed);
                }
            }
            pause = back_off(attempt, &mut self.chance);
            attempt += 1;
        }
    }

    async fn open(&mut self) -> Result<Socket> {
        let address =
            &self.shared.addresses[self.chance.random_range(0..self.shared.addresses.len())];
        let Memory { pid, offset, .. } = &self.memory;
        let auth = match &self.identity.speech {
            Speech::Parley { token } => json!({ "token": token }),
            Speech::SocketIo => match (pid, offset) {
                (Some(pid), Some(offset)) => {
                    json!({ "room": self.identity.room, "pid": pid, "offset": offset })
                }
                _ => json!({ "room": self.identity.room }),
            },
        };
        Socket::open(address, &auth).await
    }

    /// The answer to CONNECT. With Parley, the client is in its room only once that has let it in.
    async fn on_connected(&mut self, socket: &mut Socket, answer: &str) -> Option<()> {
        if matches!(self.identity.speech, Speech::SocketIo) {
            self.connected(&serde_json::from_str(answer).ok()?);
            return Some(());
        }
        let mut join = json!({ "chatId": self.identity.room });
        if let (Some(since), Some(epoch)) = (self.memory.position, &self.memory.epoch) {
            join["since"] = since.into();
            join["epoch"] = epoch.as_str().into();
        }
        socket.say(format!("421{}", json!(["join-chat-room", join]))).await.ok()
    }

    async fn live(&mut self, mut socket: Socket) -> End {
        let mut stop = self.shared.stop.subscribe();
        let mut drops = self.shared.drops.subscribe();
        drops.mark_unchanged();
        loop {
            tokio::select! {
                heard = socket.next() => {
                    let understood = match heard {
                        Heard::Connected(answer) => self.on_connected(&mut socket, &answer).await,
                        Heard::Event(event) => self.on_event(&event),
                        Heard::Ack(ack) => self.on_ack(&ack),
                        Heard::Closed => None,
                    };
                    if understood.is_none() {
                        self.progress().is_in.store(false, Ordering::Release);
                        return End::Lost;
                    }
                }
                changed = drops.changed() => if changed.is_ok() {
                    socket.cut();
                    return End::Dropped;
                },
                _ = stop.wait_for(|stop| *stop) => return End::Over,
            }
        }
    }

    /// The answer to CONNECT of socket.io: who is recovered has its old private id again.
    fn connected(&mut self, answer: &Value) {
        let pid = answer["pid"].as_str().map(str::to_owned);
        if self.memory.pid.is_some() && self.memory.pid != pid {
            self.progress().reloads.fetch_add(1, Ordering::Relaxed);
        }
        self.memory.pid = pid;
        self.enter();
    }

    /// The ack of Parley's join; `None` if it is a refusal.
    fn on_ack(&mut self, ack: &str) -> Option<()> {
        let (ack,): (Value,) = serde_json::from_str(ack).ok()?;
        let version = ack["version"].as_u64()?;
        self.memory.epoch = ack["epoch"].as_str().map(str::to_owned);
        if ack["resync"] == true {
            self.progress().reloads.fetch_add(1, Ordering::Relaxed);
            self.memory.position = Some(version);
        }
        let position = *self.memory.position.get_or_insert(version);
        self.progress().position.store(position, Ordering::Relaxed);
        self.enter();
        Some(())
    }

    fn enter(&self) {
        self.progress().is_in.store(true, Ordering::Release);
        self.note();
    }

    fn on_event(&mut self, event: &str) -> Option<()> {
        let number = match self.identity.speech {
            Speech::Parley { .. } => {
                let (_, payload): (&str, ParleyPayload) = serde_json::from_str(event).ok()?;
                let Some(version) = payload.version else { return Some(()) };
                version
            }
            Speech::SocketIo => {
                let heard: (&str, PeerPayload, String) = serde_json::from_str(event).ok()?;
                self.memory.offset = Some(heard.2);
                heard.1.number
            }
        };
        // Before the first message there is nothing that could have been missed.
        let position = self.memory.position.unwrap_or(number - 1);
        let progress = self.progress();
        if number <= position {
            progress.doubled.fetch_add(1, Ordering::Relaxed);
        } else {
            let lost = u32::try_from(number - position - 1).unwrap_or(u32::MAX);
            progress.lost.fetch_add(lost, Ordering::Relaxed);
            progress.position.store(number, Ordering::Relaxed);
            self.memory.position = Some(number);
        }
        self.note();
        Some(())
    }

    fn note(&self) {
        let now = u64::try_from(self.shared.begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.progress().changed.store(now, Ordering::Relaxed);
    }

    fn progress(&self) -> &Progress {
        &self.shared.progress[self.number]
    }
}

/// As `socket.io-client` (backo2) waits before its attempts.
fn back_off(attempt: u32, chance: &mut StdRng) -> Duration {
    let delay = DELAY * 2_u32.saturating_pow(attempt.min(10));
    let spread = chance.random_range(-RANDOMIZATION..=RANDOMIZATION);
    delay.mul_f64(1.0 + spread).min(LONGEST_DELAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(speech: Speech) -> Client {
        let shared = Shared {
            addresses: Vec::new(),
            begun: Instant::now(),
            progress: vec![Progress::default()],
            drops: watch::Sender::new(0),
            stop: watch::Sender::new(false),
            refused: AtomicU64::new(0),
        };
        Client {
            identity: Identity { speech, room: "r".to_owned() },
            number: 0,
            shared: Arc::new(shared),
            chance: StdRng::seed_from_u64(1),
            memory: Memory::default(),
        }
    }

    #[test]
    fn what_is_lost_or_doubled_is_counted() {
        let mut client = client(Speech::Parley { token: String::new() });
        let ack = |version: u64, resync: bool| {
            json!([{ "version": version, "epoch": "e", "resync": resync }]).to_string()
        };
        let message = |version: u64| json!(["new-message", { "version": version }]).to_string();
        client.on_ack(&ack(3, false)).unwrap();
        assert!(client.progress().is_at(3));
        for version in [4, 5, 5, 8] {
            client.on_event(&message(version)).unwrap();
        }
        let counts = |lost, doubled, reloads| Counts { lost, doubled, reloads };
        assert_eq!(client.progress().counts(), counts(2, 1, 0));
        client.on_ack(&ack(10, false)).unwrap();
        assert_eq!(client.progress().behind(10), 2, "what was missed comes after the ack");
        client.on_ack(&ack(12, true)).unwrap();
        assert!(client.progress().is_at(12));
        assert_eq!(client.progress().counts(), counts(2, 1, 1));
        assert_eq!(client.on_ack(r#"[{"success":false}]"#), None);
    }

    #[test]
    fn who_is_recovered_has_its_old_id() {
        let mut client = client(Speech::SocketIo);
        client.connected(&json!({ "sid": "s", "pid": "p" }));
        client.on_event(r#"["message",{"number":7},"1-0"]"#).unwrap();
        client.connected(&json!({ "sid": "t", "pid": "p" }));
        client.on_event(r#"["message",{"number":8},"1-1"]"#).unwrap();
        assert_eq!(client.progress().counts(), Counts::default());
        assert_eq!(client.memory.offset.as_deref(), Some("1-1"));
        client.connected(&json!({ "sid": "u", "pid": "q" }));
        client.on_event(r#"["message",{"number":10},"1-2"]"#).unwrap();
        assert_eq!(client.progress().counts(), Counts { lost: 1, doubled: 0, reloads: 1 });
    }

    #[test]
    fn the_back_off_is_a_stock_clients() {
        let mut chance = StdRng::seed_from_u64(1);
        for (attempt, from, to) in [(0, 500, 1_500), (1, 1_000, 3_000), (9, 5_000, 5_000)] {
            let waits = (0..100).map(|_| back_off(attempt, &mut chance).as_millis());
            assert!(waits.into_iter().all(|wait| (from..=to).contains(&wait)));
        }
    }
}
