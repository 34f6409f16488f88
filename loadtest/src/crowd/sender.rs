//! Somebody who sends, and sends again under the same id until it is known what became of it.

use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use rand::Rng;
use rand::rngs::StdRng;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::Surroundings;
use super::file;
use super::rest::Rest;
use crate::history::Record;
use crate::http::request;

/// One client that sends into one chat.
pub(super) struct Sender {
    around: Surroundings,
    number: usize,
    chance: StdRng,
    rest: Rest,
    chat: u32,
    /// Who sends.
    person: usize,
    /// What each message ends with.
    filling: String,
}

/// What is asked for: a message, a file, another text for it, or its end.
struct Wish {
    key: String,
    method: &'static str,
    path: String,
    body: String,
    is_file: bool,
}

impl Wish {
    fn request(&self, token: &str) -> Vec<u8> {
        if self.is_file {
            file::request(&self.path, token, &self.key, &self.body)
        } else {
            request(self.method, &self.path, token, &self.body)
        }
    }
}

impl Sender {
    /// The senders are spread over the chats, and in each over its members.
    pub(super) fn new(around: Surroundings, number: usize) -> Result<Self> {
        let chats = around.world.chats.len();
        let (chat, turn) = (u32::try_from(number % chats)?, number / chats);
        let people = around.world.people.iter().enumerate();
        let members: Vec<_> = people.filter(|(_, person)| person.chats.contains(&chat)).collect();
        let author = members.get(turn % members.len().max(1)).context("an empty chat")?;
        let person = author.0;
        let chance = around.chance(usize::MAX - number);
        let rest = around.rest(around.chance(usize::MAX / 2 - number));
        // Four bytes each in UTF-8: as many as a character can have.
        let filling = "\u{1f30d}".repeat(around.habits.filling);
        Ok(Self { around, number, chance, rest, chat, person, filling })
    }

    pub(super) async fn run(mut self) {
        let habits = self.around.habits;
        #[expect(clippy::cast_precision_loss, reason = "there are not that many senders")]
        let every = habits.rate.map(|rate| Duration::from_secs_f64(habits.senders as f64 / rate));
        self.begin().await;
        let mut next = Instant::now() + every.unwrap_or_default().mul_f64(self.chance.random());
        let mut count = 0;
        while self.around.is_sending() && habits.messages_each.is_none_or(|most| count < most) {
            if let Some(every) = every {
                sleep_until(next).await;
                // What was not sent in time is not made up for all at once.
                next = (next + every).max(Instant::now());
                if !self.around.is_sending() {
                    break;
                }
            }
            count += 1;
            let is_file = self.is_one_in(habits.file_every);
            let message = if is_file { self.upload(count).await } else { self.send(count).await };
            let Some(message) = message else { continue };
            if self.is_one_in(habits.edit_every) {
                self.edit(count, &message).await;
            }
            if self.is_one_in(habits.delete_every) {
                self.delete(count, &message).await;
            }
        }
        self.around.controls.senders.fetch_sub(1, Ordering::Release);
    }

    async fn begin(&self) {
        while !self.around.is_sending() && !self.around.is_over() {
            self.around.pause(Duration::from_millis(20)).await;
        }
    }

    fn is_one_in(&mut self, so_many: Option<u32>) -> bool {
        so_many.is_some_and(|many| self.chance.random_range(0..many) == 0)
    }

    /// Sends one message; its id, if it is there now.
    async fn send(&mut self, count: u64) -> Option<String> {
        let key = format!("s{}-{count}", self.number);
        let content = format!("message {key}{}", self.filling);
        let body = json!({ "content": content, "clientMessageId": key });
        let path = format!("/api/chat/{}/messages", self.around.world.chats[self.chat as usize]);
        let (body, is_file) = (body.to_string(), false);
        self.insist(Wish { key, method: "POST", path, body, is_file }).await
    }

    /// Sends one file; the id of its message, if it is there now.
    async fn upload(&mut self, count: u64) -> Option<String> {
        let key = format!("f{}-{count}", self.number);
        let body = file::content(&key);
        let (chat, sum) = (self.chat, file::sum(body.as_bytes()));
        self.around.recorder.note(&Record::Uploads { key: key.clone(), chat, sum });
        let id = &self.around.world.chats[chat as usize];
        let path = format!("/api/chat/{id}/messages/file");
        self.insist(Wish { key, method: "POST", path, body, is_file: true }).await
    }

    async fn edit(&mut self, count: u64, message: &str) {
        let key = format!("e{}-{count}", self.number);
        let body = json!({ "content": format!("edited {key}") });
        let chat = &self.around.world.chats[self.chat as usize];
        let path = format!("/api/chat/{chat}/messages/{message}");
        let (body, is_file) = (body.to_string(), false);
        self.insist(Wish { key, method: "PUT", path, body, is_file }).await;
    }

    async fn delete(&mut self, count: u64, message: &str) {
        let key = format!("d{}-{count}", self.number);
        let chat = &self.around.world.chats[self.chat as usize];
        let path = format!("/api/chat/{chat}/messages/{message}");
        let (body, is_file) = (String::new(), false);
        self.insist(Wish { key, method: "DELETE", path, body, is_file }).await;
    }

    /// Asks again and again, now here, now there.
    async fn insist(&mut self, wish: Wish) -> Option<String> {
        let (chat, key) = (self.chat, wish.key.clone());
        let (around, recorder) = (self.around.clone(), self.around.recorder.clone());
        for attempt in 1.. {
            let pod = self.rest.pod();
            let (token, _) = around.token(&around.world.people[self.person]).ok()?;
            let name = pod.name.clone();
            recorder.note(&Record::Send { key: key.clone(), chat, attempt, pod: name });
            match self.rest.send(&pod, &wish.request(&token)).await {
                Ok((status, answer)) => {
                    let message = &answer["data"]["message"];
                    let id = message["_id"].as_str().unwrap_or_default().to_owned();
                    let version = if wish.method == "POST" { "version" } else { "changedVersion" };
                    let version = message[version].as_u64().unwrap_or(0);
                    let message = id.clone();
                    let key = key.clone();
                    recorder.note(&Record::Answered { key, chat, status, message, version });
                    if (200..300).contains(&status) {
                        self.around.controls.answered.fetch_add(1, Ordering::Relaxed);
                        return Some(id);
                    }
                    if status < 500 && status != 429 {
                        return None;
                    }
                }
                Err(error) => {
                    let (key, why) = (key.clone(), format!("{error:#}"));
                    recorder.note(&Record::Unanswered { key, chat, why });
                }
            }
            if !self.around.is_insisting() {
                break;
            }
            let pause = Duration::from_millis(self.chance.random_range(50..500));
            self.around.pause(pause).await;
        }
        recorder.note(&Record::GivenUp { key, chat });
        None
    }
}
