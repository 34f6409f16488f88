//! Who there is, in which chats, and where the pods are.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::{Description, Role, Token};
use rand::Rng;
use serde_json::json;

use crate::history::{Record, Recorder, UNKNOWN_CHAT};
use crate::http::{address, chat_id, request};
use crate::load::ask_all;

/// Everybody and everything.
pub(crate) struct World {
    /// The members, chat by chat, and then the outsiders.
    pub(crate) people: Vec<Person>,
    /// Members, too, whose clients are not the crowd's: whoever has them made says what they do.
    pub(crate) visitors: Vec<Person>,
    /// The chats' ids.
    pub(crate) chats: Vec<String>,
    numbers: HashMap<String, u32>,
    pub(crate) api: Vec<Place>,
    pub(crate) gateways: Vec<Place>,
    /// What tokens are signed with.
    pub(crate) secret: String,
    /// The host application's own.
    pub(crate) host: String,
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
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Population {
    pub(crate) chats: usize,
    /// Members of each chat; nobody is in two.
    pub(crate) members: usize,
    pub(crate) outsiders: usize,
    /// Further members of each chat, without clients.
    pub(crate) visitors: usize,
    /// Members of one more chat, the last one; there is none if it is 0.
    pub(crate) hall: usize,
}

impl Population {
    /// The members of each chat.
    fn sizes(self) -> Vec<usize> {
        let hall = (self.hall > 0).then_some(self.hall);
        std::iter::repeat_n(self.members, self.chats).chain(hall).collect()
    }
}

impl World {
    /// Makes it all over REST, and writes it down.
    pub(crate) fn make(
        cluster: &Description,
        population: Population,
        recorder: &Recorder,
    ) -> Result<Self> {
        let Population { outsiders, visitors, .. } = population;
        let sizes = population.sizes();
        let chats = sizes.len();
        let person = |number: usize| {
            let user = format!("client-{number}");
            let ttl = Duration::from_hours(24);
            let token = Token { ttl, ..Token::user(&user) }.sign(&cluster.jwt.secret)?;
            Ok(Person { user, token, chats: Vec::new() })
        };
        let inside = sizes.iter().sum::<usize>();
        let count = inside + outsiders;
        let mut people = (0..count).map(person).collect::<Result<Vec<_>>>()?;
        let mut guests =
            (count..count + chats * visitors).map(person).collect::<Result<Vec<_>>>()?;
        let place = |pod: &parley_local::Pod| Place {
            name: pod.name.clone(),
            address: address(&pod.url).to_owned(),
        };
        let api: Vec<_> = cluster.api.iter().map(place).collect();
        let gateways = cluster.gateway.iter().map(place).collect();
        let first = &api.first().context("there is no api pod")?.address;
        let seen = people.iter().chain(&guests);
        let seen = seen.map(|one| request("GET", "/api/chat?limit=1", &one.token, ""));
        ask_all(first, seen.collect())?;
        let mut next = 0;
        let make = sizes.iter().enumerate().map(|(number, size)| {
            let group = &people[next..next + size];
            next += size;
            let guests = &guests[number * visitors..(number + 1) * visitors];
            let others: Vec<_> = group[1..].iter().chain(guests).map(|one| &one.user).collect();
            let body = json!({ "type": "group", "title": format!("Chat {number}"), "participantIds": others });
            request("POST", "/api/chat", &group[0].token, &body.to_string())
        });
        let made = ask_all(first, make.collect())?;
        let chats = made.iter().map(|answer| chat_id(answer)).collect::<Result<Vec<_>>>()?;
        let numbers =
            (0..).zip(&sizes).flat_map(|(number, size)| std::iter::repeat_n(number, *size));
        for (person, number) in people.iter_mut().zip(numbers) {
            person.chats.push(number);
        }
        for (place, guest) in guests.iter_mut().enumerate() {
            guest.chats.push(u32::try_from(place / visitors)?);
        }
        let secret = cluster.jwt.secret.clone();
        let host =
            Token { role: Role::Service, ttl: Duration::from_hours(24), ..Token::user("host") };
        let host = host.sign(&secret)?;
        let numbers = chats.iter().cloned().zip(0..).collect();
        let world = Self { people, visitors: guests, chats, numbers, api, gateways, secret, host };
        world.note(recorder);
        Ok(world)
    }

    fn note(&self, recorder: &Recorder) {
        for (chat, id) in (0..).zip(&self.chats) {
            recorder.note(&Record::Chat { chat, id: id.clone() });
        }
        for (client, person) in (0..).zip(self.people.iter().chain(&self.visitors)) {
            let (user, chats) = (person.user.clone(), person.chats.clone());
            recorder.note(&Record::Client { client, user, chats });
        }
    }

    /// Whoever is in a chat.
    pub(crate) fn members(&self) -> impl Iterator<Item = &Person> {
        self.people.iter().filter(|person| !person.chats.is_empty())
    }

    /// The number of a visitor's client.
    pub(crate) fn visitor(&self, place: usize) -> u32 {
        u32::try_from(self.people.len() + place).unwrap_or(u32::MAX)
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
