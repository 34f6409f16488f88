//! Somebody who marks messages as read, for one member after the other, by name and not all: so it is known exactly what
//! remains.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use serde_json::{Value, json};

use super::Surroundings;
use super::rest::Rest;
use crate::history::Record;

/// Between two readings, in milliseconds.
const PAUSE: std::ops::Range<u64> = 200..800;

pub(super) struct Reader {
    around: Surroundings,
    chance: StdRng,
    rest: Rest,
    /// For whom it reads: nobody else does.
    members: Vec<usize>,
}

/// A message that may be read: its seq and its id.
type Message = (u64, String);

impl Reader {
    pub(super) fn new(around: Surroundings, number: usize) -> Self {
        let readers = around.habits.readers;
        let people = around.world.people.iter().enumerate();
        let members =
            people.filter(|(place, person)| place % readers == number && !person.chats.is_empty());
        let members = members.map(|(place, _)| place).collect();
        let chance = around.chance(usize::MAX / 3 - number);
        let rest = around.rest(around.chance(usize::MAX / 5 - number));
        Self { around, chance, rest, members }
    }

    pub(super) async fn run(mut self) {
        while !self.around.is_sending() && !self.around.is_over() {
            self.around.pause(Duration::from_millis(20)).await;
        }
        while self.around.is_sending() {
            let member = self.members.choose(&mut self.chance).copied();
            if let Some(member) = member {
                self.read(member).await;
            }
            let pause = Duration::from_millis(self.chance.random_range(PAUSE));
            self.around.pause(pause).await;
        }
        self.around.controls.senders.fetch_sub(1, Ordering::Release);
    }

    async fn read(&mut self, member: usize) -> Option<()> {
        let chat = *self.around.world.people[member].chats.first()?;
        let path = format!("/api/chat/{}/messages", self.around.world.chats[chat as usize]);
        let page = format!("{path}?limit=20");
        let shown = self.insist(member, ("GET", &page, "")).await?;
        let messages = self.some_of(&messages(&shown)?);
        let (seqs, ids): (Vec<_>, Vec<_>) = messages.into_iter().unzip();
        if ids.is_empty() {
            return None;
        }
        let client = u32::try_from(member).ok()?;
        let recorder = self.around.recorder.clone();
        recorder.note(&Record::Reads { client, chat, seqs: seqs.clone() });
        let body = json!({ "messageIds": ids }).to_string();
        self.insist(member, ("PATCH", &format!("{path}/read"), &body)).await?;
        recorder.note(&Record::HasRead { client, chat, seqs });
        Some(())
    }

    /// A page from its end on, or here and there one.
    fn some_of(&mut self, messages: &[Message]) -> Vec<Message> {
        if self.chance.random_bool(0.5) {
            return messages.to_vec();
        }
        let count = self.chance.random_range(1..=5);
        messages.choose_multiple(&mut self.chance, count).cloned().collect()
    }

    /// Asks until there is a good answer.
    async fn insist(
        &mut self,
        member: usize,
        (method, path, body): (&str, &str, &str),
    ) -> Option<Value> {
        let around = self.around.clone();
        while around.is_insisting() {
            let (token, _) = around.token(&around.world.people[member]).ok()?;
            let pod = self.rest.pod();
            if let Ok((200, answer)) = self.rest.ask(&pod, (method, path, &token, body)).await {
                return Some(answer);
            }
            let pause = Duration::from_millis(self.chance.random_range(50..500));
            around.pause(pause).await;
        }
        None
    }
}

fn messages(page: &Value) -> Option<Vec<Message>> {
    let messages = page["data"]["messages"].as_array()?.iter();
    messages.map(|it| Some((it["seq"].as_u64()?, it["_id"].as_str()?.to_owned()))).collect()
}
