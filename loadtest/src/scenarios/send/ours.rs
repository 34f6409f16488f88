//! Parley's side of a send: people and chats made through REST, clients that send, and a listener in each chat.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Description, Interrupt, Token, say};
use serde_json::json;

use super::requests::{Client, Sender};
use super::{Measured, Shape, Where};
use crate::audience::{Audience, Guest, Listening, Speech};
use crate::database::Database;
use crate::http::{address, chat_id, request};
use crate::load::{Load, ask_all};
use crate::servers::Servers;
use crate::window::Window;

/// A cluster with people who have chats.
pub(super) struct Ours {
    database: Database,
    pods: Vec<String>,
    /// One for each participant of each direct chat.
    many: Arc<[Sender]>,
    /// One for each client, all into the same chat.
    hot: Arc<[Sender]>,
    /// One in each chat.
    listeners: Listening,
}

impl Ours {
    /// Makes everything through REST, and lets every pod see everybody once.
    pub(super) fn prepare(
        cluster: &Description,
        database: &Database,
        shape: Shape,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let pods: Vec<_> = cluster.api.iter().map(|pod| address(&pod.url).to_owned()).collect();
        let first = pods.first().context("there is no api pod")?;
        let people = people(shape, &cluster.jwt.secret)?;
        for pod in &pods {
            let seen = people.iter().map(|one| request("GET", "/api/chat?limit=1", &one.token, ""));
            ask_all(pod, seen.collect())?;
        }
        let (pairs, crowd) = people.split_at(2 * shape.chats as usize);
        let direct = pairs.chunks_exact(2).map(|pair| {
            let body = json!({ "participantIds": [pair[1].id] });
            request("POST", "/api/chat", &pair[0].token, &body.to_string())
        });
        let chats = ask_all(first, direct.collect())?;
        let group = json!({
            "type": "group", "title": "Everybody",
            "participantIds": crowd[1..].iter().map(|one| &one.id).collect::<Vec<_>>(),
        });
        let group = request("POST", "/api/chat", &crowd[0].token, &group.to_string());
        let group = chat_id(&ask_all(first, vec![group])?[0])?;
        let (mut many, mut guests) = (Vec::new(), vec![crowd[0].listens_to(&group)]);
        for (pair, chat) in pairs.chunks_exact(2).zip(&chats) {
            let chat = chat_id(chat)?;
            many.extend(pair.iter().map(|one| Sender::new(&chat, &one.token)));
            guests.push(pair[0].listens_to(&chat));
        }
        let hot = crowd.iter().map(|one| Sender::new(&group, &one.token)).collect();
        let gateway = cluster.gateway.first().context("there is no gateway")?;
        let mut audience = Audience::new()?;
        audience.gather(address(&gateway.url).parse()?, guests, interrupt)?;
        let listeners = Listening::begin(audience)?;
        database.tidy()?;
        Ok(Self { database: database.clone(), pods, many: many.into(), hot, listeners })
    }

    /// One round.
    pub(super) fn round(
        &self,
        place: Where,
        clients: u16,
        seconds: u64,
        servers: &Servers,
        interrupt: &Interrupt,
    ) -> Result<Measured> {
        self.database.settle()?;
        let before = self.database.stand()?;
        let heard = self.listeners.heard();
        let clients = (0..usize::from(clients)).map(|number| Client {
            senders: Arc::clone(if place == Where::HotChat { &self.hot } else { &self.many }),
            own: (place == Where::HotChat).then_some(number),
        });
        let load = Load::start(self.pods.clone(), clients.collect(), 201)?;
        let window = Window::take(servers, std::process::id(), seconds, interrupt)?;
        let outcome = load.stop()?;
        let after = self.database.stand()?;
        self.database.tidy()?;
        if let Some(error) = outcome.first_error {
            say::note(format_args!("{} sends have failed; the first: {error}", outcome.errors));
        }
        let (made, answered) = (after.messages - before.messages, outcome.done.len());
        // A send that failed may have been committed all the same.
        if outcome.errors == 0 && made != answered as u64 {
            bail!("{answered} answers 201 have made {made} messages");
        }
        self.listeners.hears(heard + made)?;
        Ok(Measured { window, done: outcome.done, errors: outcome.errors, before, after })
    }
}

struct Person {
    id: String,
    token: String,
}

impl Person {
    fn listens_to(&self, chat: &str) -> Guest {
        let speech = Speech::Parley { token: self.token.clone() };
        Guest { speech, room: Some(chat.to_owned()) }
    }
}

/// Two for each direct chat, and then one for each client.
fn people(shape: Shape, secret: &str) -> Result<Vec<Person>> {
    let count = 2 * shape.chats + u32::from(shape.clients);
    let person = |number: u32| {
        let id = format!("bench-{number}");
        let token = Token { ttl: Duration::from_hours(24), ..Token::user(&id) }.sign(secret)?;
        Ok(Person { id, token })
    };
    (0..count).map(person).collect()
}
