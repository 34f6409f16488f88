//! Somebody who is added to a chat, listens there for a while, and is taken out of it again; and then another one. Of some the
//! token ends first: it is revoked, or expires.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::Token;
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::Surroundings;
use super::rest::Rest;
use super::socket::{Event, Heard, Socket};
use super::world::any;
use crate::history::Record;

/// How long one stays, in milliseconds.
const STAYS: std::ops::Range<u64> = 1000..6000;
/// How long is listened on after the removal is answered, for what should not come.
const AFTERWARDS: Duration = Duration::from_secs(1);
/// How long after a token's end: what is told of it has no place among the versions of the chat, and may be late.
const AFTER_ITS_TOKEN: Duration = Duration::from_secs(8);
/// How long a token counts that expires, without the leeway.
const TOKEN_LASTS: Duration = Duration::from_secs(3);

/// How a guest's time ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ending {
    Removal,
    Revocation,
    Expiry,
}

/// One after the other, all into the same chat. Each has a user of its own, so that in the end Postgres has the version of
/// each removal.
pub(super) struct Guests {
    around: Surroundings,
    number: usize,
    chance: StdRng,
    rest: Rest,
    chat: u32,
    /// The token of whoever may add and remove.
    creator: String,
}

/// One of them.
struct Guest {
    client: u32,
    user: String,
    token: String,
    /// Up to when it counts, if that is within the run.
    expires: Option<u64>,
    /// Everything up to here is known.
    position: Option<u64>,
    epoch: Option<String>,
}

/// Why a connection is left.
enum End {
    Lost(String),
    Refused,
    Over,
}

impl Guests {
    pub(super) fn new(around: Surroundings, number: usize) -> Result<Self> {
        // The last chat is the one that may be larger than the others.
        let chats = around.world.chats.len();
        let chat = u32::try_from(chats - 1 - number % chats)?;
        let creator = around.world.people.iter().find(|person| person.chats.contains(&chat));
        let creator = creator.context("an empty chat")?.token.clone();
        let chance = around.chance(usize::MAX / 4 - number);
        let rest = around.rest(around.chance(usize::MAX / 8 - number));
        Ok(Self { around, number, chance, rest, chat, creator })
    }

    pub(super) async fn run(mut self) -> Result<()> {
        while !self.around.is_sending() && !self.around.is_over() {
            self.around.pause(Duration::from_millis(20)).await;
        }
        let mut turn = 0;
        while self.around.is_sending() {
            turn += 1;
            self.come_and_go(turn).await?;
        }
        self.around.controls.senders.fetch_sub(1, Ordering::Release);
        Ok(())
    }

    async fn come_and_go(&mut self, turn: u32) -> Result<()> {
        let client = self.around.next_client();
        let user = format!("guest-{}-{turn}", self.number);
        let token = Token { ttl: Duration::from_hours(24), ..Token::user(&user) };
        let token = token.sign(&self.around.world.secret)?;
        let mut guest =
            Guest { client, user: user.clone(), token, expires: None, position: None, epoch: None };
        if self.enter(&guest).await {
            let ending = self.ending();
            if ending == Ending::Expiry {
                let (token, at) = self.around.short_token(&user, TOKEN_LASTS, 0)?;
                (guest.token, guest.expires) = (token, Some(at));
            }
            let listening = tokio::task::spawn_local(listen(self.listener(guest)));
            self.stay(ending, client, &user).await;
            self.remove(client, &user).await;
            self.around.pause(AFTERWARDS).await;
            listening.abort();
            // What it was told to stop has stopped.
            let _ = listening.await;
        }
        self.around.recorder.note(&Record::Gone { client });
        Ok(())
    }

    fn ending(&mut self) -> Ending {
        if !self.around.habits.tokens_end {
            return Ending::Removal;
        }
        match self.chance.random_range(0..4) {
            0 => Ending::Revocation,
            1 => Ending::Expiry,
            _ => Ending::Removal,
        }
    }

    /// All that comes before the removal.
    async fn stay(&mut self, ending: Ending, client: u32, user: &str) {
        let stay = Duration::from_millis(self.chance.random_range(STAYS));
        match ending {
            Ending::Removal => self.around.pause(stay).await,
            Ending::Revocation => {
                self.around.pause(stay).await;
                self.revoke(client, user).await;
                self.around.pause(AFTER_ITS_TOKEN).await;
            }
            Ending::Expiry => {
                self.around.pause(TOKEN_LASTS + super::LEEWAY + AFTER_ITS_TOKEN).await;
            }
        }
    }

    async fn revoke(&mut self, client: u32, user: &str) {
        let chat = self.chat;
        self.around.recorder.note(&Record::Leaving { client, chat });
        let host = self.around.world.host.clone();
        let revoke = ("POST", format!("/api/users/{user}/revoke"), host, String::new());
        if self.insist(&revoke).await.is_some_and(|status| status < 300) {
            self.around.recorder.note(&Record::Revoked { client });
        }
    }

    /// Becomes known, and a participant.
    async fn enter(&mut self, guest: &Guest) -> bool {
        let Guest { client, user, token, .. } = guest;
        let seen = ("GET", "/api/chat?limit=1".to_owned(), token.clone(), String::new());
        if self.insist(&seen).await.is_none() {
            return false;
        }
        let (chat, recorder) = (self.chat, self.around.recorder.clone());
        let (client, user) = (*client, user.clone());
        recorder.note(&Record::Client { client, user: user.clone(), chats: vec![chat] });
        recorder.note(&Record::Adding { client, chat });
        let body = json!({ "userId": user }).to_string();
        let add = ("POST", self.path(""), self.creator.clone(), body);
        self.insist(&add).await.is_some_and(|status| status < 300)
    }

    async fn remove(&mut self, client: u32, user: &str) {
        self.around.recorder.note(&Record::Leaving { client, chat: self.chat });
        let remove =
            ("DELETE", self.path(&format!("/{user}")), self.creator.clone(), String::new());
        self.insist(&remove).await;
    }

    fn path(&self, rest: &str) -> String {
        let chat = &self.around.world.chats[self.chat as usize];
        format!("/api/chat/{chat}/participants{rest}")
    }

    /// Asks until there is an answer that says what became of it.
    async fn insist(&mut self, ask: &(&str, String, String, String)) -> Option<u16> {
        let (method, path, token, body) = ask;
        while self.around.is_insisting() {
            let pod = self.rest.pod();
            match self.rest.ask(&pod, (method, path, token, body)).await {
                Ok((status, _)) if status < 500 && status != 429 => return Some(status),
                _ => {}
            }
            let pause = Duration::from_millis(self.chance.random_range(50..500));
            self.around.pause(pause).await;
        }
        None
    }

    fn listener(&mut self, guest: Guest) -> Listener {
        let chance = self.around.chance(guest.client as usize);
        Listener { around: self.around.clone(), chat: self.chat, chance, guest, connection: None }
    }
}

/// A guest's client.
struct Listener {
    around: Surroundings,
    chat: u32,
    chance: StdRng,
    guest: Guest,
    /// The one that is open.
    connection: Option<u32>,
}

impl Drop for Listener {
    /// However it ends: what is open is closed with it.
    fn drop(&mut self) {
        self.closed("over");
    }
}

async fn listen(mut listener: Listener) {
    while !listener.around.is_over() {
        if let Some(End::Refused) = listener.connect().await {
            // In again it does not come; until it is sent home it tries.
            listener.around.pause(Duration::from_millis(200)).await;
        }
        let pause = Duration::from_millis(listener.chance.random_range(50..500));
        listener.around.pause(pause).await;
    }
}

impl Listener {
    fn closed(&mut self, why: &str) {
        if let Some(connection) = self.connection.take() {
            self.around.recorder.note(&Record::Closed { connection, why: why.to_owned() });
            self.around.connection_ends();
        }
    }

    async fn connect(&mut self) -> Option<End> {
        let gateway = any(&self.around.world.gateways, &mut self.chance).clone();
        let mut socket = Socket::open(&gateway.address, &self.guest.token).await.ok()?;
        let connection = self.around.next_connection();
        self.connection = Some(connection);
        let open = Record::Open { client: self.guest.client, connection, gateway: gateway.name };
        self.around.recorder.note(&open);
        if let Some(at) = self.guest.expires {
            self.around.recorder.note(&Record::Expires { connection, at });
        }
        let end = self.live(&mut socket, connection).await;
        self.closed(match &end {
            End::Lost(why) => why,
            End::Refused => "refused",
            End::Over => "over",
        });
        Some(end)
    }

    async fn live(&mut self, socket: &mut Socket, connection: u32) -> End {
        const ANSWERED_WITHIN: Duration = Duration::from_secs(25);
        let mut stop = self.around.controls.stop.subscribe();
        let mut argument = json!({ "chatId": self.around.world.chats[self.chat as usize] });
        if let (Some(position), Some(epoch)) = (self.guest.position, &self.guest.epoch) {
            argument["since"] = position.into();
            argument["epoch"] = epoch.as_str().into();
        }
        let (chat, since) = (self.chat, self.guest.position);
        self.around.recorder.note(&Record::Join { connection, chat, since });
        if let Err(error) = socket.emit("join-chat-room", &argument).await {
            return End::Lost(format!("broken: {error:#}"));
        }
        let (deadline, mut is_in) = (Instant::now() + ANSWERED_WITHIN, false);
        loop {
            tokio::select! {
                heard = socket.next() => match heard {
                    Heard::Closed(why) => return End::Lost(why),
                    Heard::Ack(_, ack) => match self.on_ack(connection, &ack) {
                        Some(end) => return end,
                        None => is_in = true,
                    },
                    Heard::Event(event) => {
                        let Some(version) = event.version else {
                            self.on_resync(connection, event);
                            continue;
                        };
                        if event.is_of_users() {
                            continue;
                        }
                        let chat = self.around.world.number(&event.chat);
                        let (event, message) = (event.name, event.message);
                        let heard = Record::Heard { connection, chat, version, event, message };
                        self.around.recorder.note(&heard);
                        self.guest.position = self.guest.position.max(Some(version));
                    }
                },
                () = sleep_until(deadline), if !is_in => {
                    return End::Lost("a join was not answered".to_owned());
                }
                _ = stop.wait_for(|stop| *stop) => return End::Over,
            }
        }
    }

    fn on_ack(&mut self, connection: u32, ack: &Value) -> Option<End> {
        let text = |name: &str| ack[name].as_str().unwrap_or_default().to_owned();
        let chat = self.chat;
        if ack["success"] != true {
            let code = ack["error"]["code"].as_str().unwrap_or("none").to_owned();
            self.around.recorder.note(&Record::Refused { connection, chat, code });
            return Some(End::Refused);
        }
        let (version, resync) = (ack["version"].as_u64().unwrap_or(0), ack["resync"] == true);
        let (epoch, pod) = (text("epoch"), text("pod"));
        self.guest.epoch = Some(epoch.clone());
        if resync || self.guest.position.is_none() {
            self.guest.position = Some(version);
        }
        self.around.recorder.note(&Record::Joined {
            connection,
            chat,
            version,
            epoch,
            resync,
            pod,
        });
        None
    }

    fn on_resync(&self, connection: u32, event: Event) {
        let chat = self.around.world.number(&event.chat);
        // One without a chat is about the list of chats, and excuses nothing in the room.
        if event.name == "resync" && chat == self.chat {
            self.around.recorder.note(&Record::Resync { connection, chat, reason: event.reason });
        }
    }
}
