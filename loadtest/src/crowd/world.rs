//! Who there is, in which chats, and where the pods are.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::{Description, Token};
use rand::Rng;
use serde_json::{Value, json};

use crate::history::{Record, Recorder, UNKNOWN_CHAT};
use crate::http::{address, request};
use crate::load::ask_all;

/// Everybody and everything.
pub(crate) struct World {
    /// The members, chat by chat, and then the outsiders.
    pub(crate) people: Vec<Person>,
    /// The chats' ids.
    pub(crate) chats: Vec<String>,
    numbers: HashMap<String, u32>,
    pub(crate) api: Vec<Place>,
    pub(crate) gateways: Vec<Place>,
}

/// A user with one client.
pub(crate) struct Person {
    pub(crate) user: String,
    pub(crate) token: String,
    /// By their numbers; an outsider is in none.
    pub(crate) chats: Vec<u32>,
}

/// A pod.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// `host:port`
    pub(crate) address: String,
}

/// How much there is of everything.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Population {
    pub(crate) chats: usize,
    /// Members of each chat; nobody is in two.
    pub(crate) members: usize,
    pub(crate) outsiders: usize,
}

impl World {
    /// Makes it all over REST, and writes it down.
    pub(crate) fn make(
        cluster: &Description,
        population: Population,
        recorder: &Recorder,
    ) -> Result<Self> {
        let Population { chats, members, outsiders } = population;
        let person = |number: usize| {
            let user = format!("client-{number}");
            let ttl = Duration::from_hours(24);
            let token = Token { ttl, ..Token::user(&user) }.sign(&cluster.jwt.secret)?;
            Ok(Person { user, token, chats: Vec::new() })
        };
        let mut people =
            (0..chats * members + outsiders).map(person).collect::<Result<Vec<_>>>()?;
        let place = |pod: &parley_local::Pod| Place {
            name: pod.name.clone(),
            address: address(&pod.url).to_owned(),
        };
        let api: Vec<_> = cluster.api.iter().map(place).collect();
        let gateways = cluster.gateway.iter().map(place).collect();
        let first = &api.first().context("there is no api pod")?.address;
        let seen = people.iter().map(|one| request("GET", "/api/chat?limit=1", &one.token, ""));
        ask_all(first, seen.collect())?;
        let groups = people[..chats * members].chunks_exact(members).enumerate();
        let make = groups.map(|(number, group)| {
            let others: Vec<_> = group[1..].iter().map(|one| &one.user).collect();
            let body = json!({ "type": "group", "title": format!("Chat {number}"), "participantIds": others });
            request("POST", "/api/chat", &group[0].token, &body.to_string())
        });
        let made = ask_all(first, make.collect())?;
        let chats = made.iter().map(|answer| chat_id(answer)).collect::<Result<Vec<_>>>()?;
        for (number, group) in (0..).zip(people[..chats.len() * members].chunks_exact_mut(members))
        {
            for person in group {
                person.chats.push(number);
            }
        }
        let numbers = chats.iter().cloned().zip(0..).collect();
        let world = Self { people, chats, numbers, api, gateways };
        world.note(recorder);
        Ok(world)
    }

    fn note(&self, recorder: &Recorder) {
        for (chat, id) in (0..).zip(&self.chats) {
            recorder.note(&Record::Chat { chat, id: id.clone() });
        }
        for (client, person) in (0..).zip(&self.people) {
            let (user, chats) = (person.user.clone(), person.chats.clone());
            recorder.note(&Record::Client { client, user, chats });
        }
    }

    /// Whoever is in a chat.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Person> {
        self.people.iter().filter(|person| !person.chats.is_empty())
    }

    /// A chat's number.
    pub(crate) fn number(&self, chat: &str) -> u32 {
        self.numbers.get(chat).copied().unwrap_or(UNKNOWN_CHAT)
    }
}

/// One of some pods.
pub(crate) fn any<'a>(places: &'a [Place], chance: &mut impl Rng) -> &'a Place {
    // A cluster has pods of each kind.
    &places[chance.random_range(0..places.len())]
}

fn chat_id(answer: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    let id = answer["data"]["chat"]["_id"].as_str();
    Ok(id.with_context(|| format!("no chat in {answer}"))?.to_owned())
}
