//! A front end as it should be: it knows how far it is, and after every loss of its connection says so to whichever
//! gateway it finds.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::Surroundings;
use super::socket::{Event, Heard, REFUSED, Socket, Way};
use super::world::any;
use crate::history::{Record, UNKNOWN_CHAT};

/// By when a join is answered, or the connection closed: a gateway gives itself 20 s.
const JOIN_WITHIN: Duration = Duration::from_secs(25);

/// One client of a member.
pub(super) struct Listener {
    around: Surroundings,
    number: usize,
    chance: StdRng,
    chats: Vec<Chat>,
    /// What is reloaded comes from here.
    reloaded: (mpsc::Sender<Reload>, mpsc::Receiver<Reload>),
    reloads: u64,
}

/// What it knows of a chat.
struct Chat {
    number: u32,
    /// Where its progress stands.
    place: usize,
    /// Everything up to here is known; `None` before the first reload.
    position: Option<u64>,
    epoch: Option<String>,
    /// The ask to enter that is not answered yet.
    asked: Option<u64>,
    /// The reload that is waited for; until then what is heard is no position.
    reloading: Option<u64>,
    /// The highest version heard.
    ahead: u64,
    /// The present connection is in the room.
    is_in: bool,
}

/// A reload that is done.
struct Reload {
    number: u64,
    chat: usize,
    version: u64,
}

/// Why a connection is left.
enum End {
    /// The client cuts it, as is its habit.
    Cut,
    /// It was told to cut it.
    Ordered,
    Over,
    Lost(String),
}

impl Listener {
    pub(super) fn new(around: Surroundings, number: usize, place: usize) -> Self {
        let chance = around.chance(number);
        let chats = around.world.people[number].chats.iter().zip(place..);
        let chats = chats.map(|(chat, place)| Chat {
            number: *chat,
            place,
            position: None,
            epoch: None,
            asked: None,
            reloading: None,
            ahead: 0,
            is_in: false,
        });
        let chats: Vec<_> = chats.collect();
        // Each chat has at most one reload that is waited for, and perhaps some that are not any more.
        let reloaded = mpsc::channel(64);
        Self { number, chance, chats, reloaded, reloads: 0, around }
    }

    pub(super) async fn run(mut self) {
        // They do not all come at once.
        self.around.pause(self.around.habits.arrival.mul_f64(self.chance.random())).await;
        for chat in 0..self.chats.len() {
            self.reload(chat);
        }
        while self.chats.iter().any(|chat| chat.position.is_none()) && !self.around.is_over() {
            let Some(reload) = self.reloaded.1.recv().await else { return };
            self.on_reloaded(&reload);
        }
        while !self.around.is_over() {
            match self.connect().await {
                Some(End::Cut | End::Ordered) => self.around.pause(self.around.habits.away).await,
                Some(End::Over) => return,
                Some(End::Lost(_)) | None => {
                    let pause = Duration::from_millis(self.chance.random_range(50..500));
                    self.around.pause(pause).await;
                }
            }
        }
    }

    /// One connection, from its beginning to its end; `None` if there was none.
    async fn connect(&mut self) -> Option<End> {
        let gateway = any(&self.around.world.gateways, &mut self.chance).clone();
        let person = &self.around.world.people[self.number];
        let (token, expires) = self.around.token(person).ok()?;
        let way = if self.around.can_pause(self.number) { Way::Narrow } else { Way::Wide };
        let opened = Socket::open_by(way, &gateway.address, &token).await;
        let mut socket = opened.map_err(|error| self.is_turned_away(&error)).ok()?;
        let connection = self.around.next_connection();
        let recorder = self.around.recorder.clone();
        recorder.note(&Record::Open {
            client: self.client(),
            connection,
            gateway: gateway.name.clone(),
        });
        if let Some(at) = expires {
            recorder.note(&Record::Expires { connection, at });
        }
        let end = self.live(&mut socket, connection).await;
        let why = match &end {
            End::Cut => "cut",
            End::Ordered => "cut by order",
            End::Over => "over",
            End::Lost(why) => why,
        };
        recorder.note(&Record::Closed { connection, why: why.to_owned() });
        self.around.connection_ends();
        for chat in &mut self.chats {
            chat.asked = None;
            // What is being reloaded belongs to this connection.
            chat.reloading = None;
            chat.is_in = false;
            self.around.show(chat);
        }
        if matches!(end, End::Cut | End::Ordered) {
            socket.cut();
        }
        Some(end)
    }

    /// A refusal is noted; that there was nobody, or no answer, is not.
    fn is_turned_away(&self, error: &anyhow::Error) {
        let why = format!("{error:#}");
        if why.contains(REFUSED) {
            self.around.recorder.note(&Record::TurnedAway { client: self.client(), why });
        }
    }

    async fn live(&mut self, socket: &mut Socket, connection: u32) -> End {
        let mut stop = self.around.controls.stop.subscribe();
        let mut cut = self.around.controls.cut.subscribe();
        cut.mark_unchanged();
        let mut pause = self.around.controls.pause.subscribe();
        let can_pause = self.around.can_pause(self.number);
        let begun = Instant::now();
        // Spread around the wanted length, so that not all are cut at once.
        let spread = self.chance.random_range(0.8..1.2);
        let mut last = self.around.habits.cut_every.map(|every| every.mul_f64(spread));
        if let Err(why) = self.join(socket, connection).await {
            return End::Lost(why);
        }
        loop {
            tokio::select! {
                heard = socket.next() => match heard {
                    Heard::Event(event) => self.on_event(connection, event),
                    Heard::Ack(id, ack) => if let Err(why) = self.on_ack(connection, id, &ack) {
                        return End::Lost(why);
                    },
                    Heard::Closed(why) => return End::Lost(why),
                },
                Some(reload) = self.reloaded.1.recv() => self.on_reloaded(&reload),
                changed = cut.changed() => {
                    let percent = cut.borrow_and_update().percent;
                    if changed.is_ok() && self.chance.random_range(0..100) < percent {
                        return End::Ordered;
                    }
                }
                () = until(last.map(|last| begun + last)) => {
                    if self.around.is_cutting() {
                        return End::Cut;
                    }
                    last = None;
                }
                () = sleep_until(begun + JOIN_WITHIN), if self.is_waiting() => {
                    return End::Lost("a join was not answered".to_owned());
                }
                // What is waited for locks whoever changes it, until it is dropped.
                true = async { pause.wait_for(|pause| *pause).await.is_ok() }, if can_pause => {
                    self.pause(connection).await;
                }
                _ = stop.wait_for(|stop| *stop) => return End::Over,
            }
        }
    }

    /// Does nothing, and reads nothing, until it is told to go on.
    async fn pause(&self, connection: u32) {
        let mut pause = self.around.controls.pause.subscribe();
        let mut stop = self.around.controls.stop.subscribe();
        self.around.recorder.note(&Record::Paused { connection });
        self.around.controls.paused.fetch_add(1, Ordering::Relaxed);
        tokio::select! {
            _ = pause.wait_for(|pause| !*pause) => {}
            _ = stop.wait_for(|stop| *stop) => {}
        }
        self.around.controls.paused.fetch_sub(1, Ordering::Relaxed);
        self.around.recorder.note(&Record::Resumed { connection });
    }

    fn is_waiting(&self) -> bool {
        self.chats.iter().any(|chat| chat.asked.is_some())
    }

    async fn join(&mut self, socket: &mut Socket, connection: u32) -> Result<(), String> {
        for chat in &mut self.chats {
            let id = &self.around.world.chats[chat.number as usize];
            let mut argument = json!({ "chatId": id });
            if let Some(position) = chat.position {
                argument["since"] = position.into();
            }
            if let Some(epoch) = &chat.epoch {
                argument["epoch"] = epoch.as_str().into();
            }
            self.around.recorder.note(&Record::Join {
                connection,
                chat: chat.number,
                since: chat.position,
            });
            let asked = socket.emit("join-chat-room", &argument).await;
            chat.asked = Some(asked.map_err(|error| format!("broken: {error:#}"))?);
        }
        Ok(())
    }

    fn on_ack(&mut self, connection: u32, id: u64, ack: &Value) -> Result<(), String> {
        let asked = self.chats.iter().position(|chat| chat.asked == Some(id));
        let place = asked.ok_or_else(|| format!("an ack of nothing: {ack}"))?;
        let chat = &mut self.chats[place];
        chat.asked = None;
        if ack["success"] != true {
            let code = ack["error"]["code"].as_str().unwrap_or("none").to_owned();
            self.around.recorder.note(&Record::Refused { connection, chat: chat.number, code });
            return Err("refused".to_owned());
        }
        let version = ack["version"].as_u64().ok_or("an ack without a version")?;
        let resync = ack["resync"].as_bool().ok_or("an ack without resync")?;
        let text = |name: &str| ack[name].as_str().unwrap_or_default().to_owned();
        let epoch = text("epoch");
        chat.epoch = Some(epoch.clone());
        chat.ahead = version;
        chat.is_in = true;
        let number = chat.number;
        let joined =
            Record::Joined { connection, chat: number, version, epoch, resync, pod: text("pod") };
        self.around.recorder.note(&joined);
        if resync {
            self.reload(place);
        } else {
            self.around.show(chat);
        }
        Ok(())
    }

    fn on_event(&mut self, connection: u32, event: Event) {
        let number = self.around.world.number(&event.chat);
        let Some(version) = event.version else {
            if event.name == "resync" {
                let (chat, reason) = (number, event.reason);
                self.around.recorder.note(&Record::Resync { connection, chat, reason });
                if let Some(place) = self.chats.iter().position(|chat| chat.number == number) {
                    self.reload(place);
                }
            }
            return;
        };
        if event.is_of_users() {
            // What it shows is where the chat stands, and comes whatever rooms one is in.
            return;
        }
        let Event { name, message, .. } = event;
        self.around.recorder.note(&Record::Heard {
            connection,
            chat: number,
            version,
            event: name,
            message,
        });
        self.around.controls.heard.fetch_add(1, Ordering::Relaxed);
        let known =
            self.chats.iter_mut().find(|chat| chat.number == number && number != UNKNOWN_CHAT);
        let Some(chat) = known else { return };
        chat.ahead = chat.ahead.max(version);
        if chat.reloading.is_none() {
            chat.position = chat.position.max(Some(version));
            self.around.show(chat);
        }
    }

    /// Begins to reload a chat.
    fn reload(&mut self, place: usize) {
        self.reloads += 1;
        let (number, chat) = (self.reloads, &mut self.chats[place]);
        chat.reloading = Some(number);
        self.around.show(chat);
        let path = format!(
            "/api/chat/{}/messages?limit=50",
            self.around.world.chats[chat.number as usize]
        );
        let token = self.around.world.people[self.number].token.clone();
        let around = self.around.clone();
        let mut rest = around.rest(around.chance(self.number));
        let done = self.reloaded.0.clone();
        tokio::task::spawn_local(async move {
            while !around.is_over() {
                let pod = rest.pod();
                let answer = rest.ask(&pod, ("GET", &path, &token, "")).await;
                if let Ok((200, body)) = answer
                    && let Some(version) = body["data"]["version"].as_u64()
                {
                    // Nobody waits for it any more if this fails.
                    let _ = done.send(Reload { number, chat: place, version }).await;
                    return;
                }
                around.pause(Duration::from_millis(200)).await;
            }
        });
    }

    fn on_reloaded(&mut self, reload: &Reload) {
        let client = self.client();
        let chat = &mut self.chats[reload.chat];
        let version = reload.version;
        if chat.reloading != Some(reload.number) {
            // Of a connection that is gone: what was heard since need not follow it.
            return;
        }
        self.around.recorder.note(&Record::Reloaded { client, chat: chat.number, version });
        chat.reloading = None;
        chat.position = chat.position.max(Some(version.max(chat.ahead)));
        self.around.show(chat);
    }

    fn client(&self) -> u32 {
        u32::try_from(self.number).unwrap_or(u32::MAX)
    }
}

impl Surroundings {
    /// Shows those who watch how far a client is.
    fn show(&self, chat: &Chat) {
        let is_whole = chat.is_in && chat.reloading.is_none();
        self.controls.progress[chat.place].set(chat.position.unwrap_or(0), is_whole);
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
