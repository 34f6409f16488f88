//! Somebody who is in no chat and tries to get into all of them.

use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Surroundings;
use super::socket::{Heard, Socket};
use super::world::any;
use crate::history::Record;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(500);

/// One client of nobody's.
pub(super) struct Outsider {
    around: Surroundings,
    number: usize,
    chance: StdRng,
    /// The try that is not answered yet, and its chat.
    asked: Option<(u64, u32)>,
}

impl Outsider {
    pub(super) fn new(around: Surroundings, number: usize) -> Self {
        let chance = around.chance(number);
        Self { around, number, chance, asked: None }
    }

    pub(super) async fn run(mut self) {
        while !self.around.is_over() {
            self.connect().await;
            self.around.pause(PAUSE).await;
        }
    }

    async fn connect(&mut self) {
        let gateway = any(&self.around.world.gateways, &mut self.chance).clone();
        let token = self.around.world.people[self.number].token.clone();
        let Ok(mut socket) = Socket::open(&gateway.address, &token).await else { return };
        let (connection, recorder) = (self.around.next_connection(), self.around.recorder.clone());
        let client = u32::try_from(self.number).unwrap_or(u32::MAX);
        recorder.note(&Record::Open { client, connection, gateway: gateway.name });
        let why = self.live(&mut socket, connection).await;
        recorder.note(&Record::Closed { connection, why });
        self.around.connection_ends();
    }

    async fn live(&mut self, socket: &mut Socket, connection: u32) -> String {
        let recorder = self.around.recorder.clone();
        let mut stop = self.around.controls.stop.subscribe();
        self.asked = None;
        let mut next = Instant::now();
        loop {
            tokio::select! {
                heard = socket.next() => match heard {
                    Heard::Closed(why) => return why,
                    Heard::Event(event) => {
                        let chat = self.around.world.number(&event.chat);
                        // Of a chat, an outsider is to hear nothing at all, durable or not.
                        if event.version.is_some() || !event.chat.is_empty() {
                            recorder.note(&Record::Heard {
                                connection,
                                chat,
                                version: event.version.unwrap_or(0),
                                event: event.name,
                                message: event.message,
                            });
                        }
                    }
                    Heard::Ack(id, ack) => {
                        let Some((_, chat)) = self.asked.take_if(|(asked, _)| *asked == id) else {
                            return format!("an ack of nothing: {ack}");
                        };
                        recorder.note(&answered(connection, chat, &ack));
                    }
                },
                () = sleep_until(next) => {
                    next = Instant::now() + PAUSE;
                    if self.asked.is_none() && let Err(error) = self.ask(socket, connection).await {
                        return format!("broken: {error:#}");
                    }
                }
                _ = stop.wait_for(|stop| *stop) => return "over".to_owned(),
            }
        }
    }

    async fn ask(&mut self, socket: &mut Socket, connection: u32) -> anyhow::Result<()> {
        let chat = self.chance.random_range(0..self.around.world.chats.len());
        let id = &self.around.world.chats[chat];
        let chat = u32::try_from(chat)?;
        // Whoever says that they have been there is not there either.
        let since = self.chance.random_bool(0.5).then_some(0);
        let argument = json!({ "chatId": id, "since": since });
        self.around.recorder.note(&Record::Join { connection, chat, since });
        self.asked = Some((socket.emit("join-chat-room", &argument).await?, chat));
        Ok(())
    }
}

fn answered(connection: u32, chat: u32, ack: &serde_json::Value) -> Record {
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    if ack["success"] == true {
        Record::Joined {
            connection,
            chat,
            version: ack["version"].as_u64().unwrap_or(0),
            epoch: text(&ack["epoch"]),
            resync: ack["resync"] == true,
            pod: text(&ack["pod"]),
        }
    } else {
        Record::Refused { connection, chat, code: text(&ack["error"]["code"]) }
    }
}
