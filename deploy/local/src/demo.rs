//! The demo: its page behind the balancer, and a few people who have already talked.
//!
//! All of it goes through the services' REST interface, as an app would.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::home::{Home, workspace, write_json};
use crate::interrupt::Interrupt;
use crate::npm;
use crate::rest::Client;
use crate::token::{Role, Token};
use crate::typescript;

const DAY: Duration = Duration::from_hours(24);
const PEOPLE: [(&str, &str); 4] =
    [("alice", "Alice"), ("bob", "Bob"), ("carol", "Carol"), ("dan", "Dan")];

/// The `n`-th line is sent under the id `demo-<chat>-<n>`: seeding twice adds nothing.
const DIRECT: [(&str, &str); 4] = [
    ("alice", "Hi Bob, did you get the keys?"),
    ("bob", "Yes, this morning. The flat is lovely!"),
    ("alice", "Great. Tell me if anything is missing."),
    ("bob", "Only a corkscrew."),
];
const TEAM: [(&str, &str); 4] = [
    ("carol", "Welcome to the team chat, everyone."),
    ("dan", "Hello! Glad to be here."),
    ("alice", "Stop one of the pods while we talk: nobody will notice."),
    ("bob", "Challenge accepted."),
];

/// What the balancer serves.
pub(crate) struct Demo {
    pub(crate) pages: PathBuf,
    pub(crate) vendor: PathBuf,
    pub(crate) client: PathBuf,
    pub(crate) file: PathBuf,
}

/// A user who is ready to use.
pub(crate) struct Person {
    pub(crate) id: &'static str,
    name: &'static str,
    pub(crate) token: String,
}

impl Person {
    fn all(secret: &str) -> Result<Vec<Self>> {
        let person = |(id, name): (&'static str, &'static str)| {
            let token = Token { name: Some(name.to_owned()), ttl: DAY, ..Token::user(id) };
            Ok(Self { id, name, token: token.sign(secret)? })
        };
        PEOPLE.into_iter().map(person).collect()
    }
}

impl Demo {
    /// Gets the page's two libraries, Parley's own client built on the spot, and writes fresh tokens for its two users.
    pub(crate) fn prepare(home: &Home, secret: &str, interrupt: &Interrupt) -> Result<Self> {
        let pages = workspace().join("deploy/demo");
        let vendor = npm::install(home, &pages, "demo", interrupt)?
            .join("node_modules/socket.io-client/dist");
        let built = home.file("client");
        typescript::build(home, &built, interrupt)?;
        let client = built.join("dist/esm");
        let file = home.file("demo.json");
        let users: Vec<_> = Person::all(secret)?
            .iter()
            .take(2)
            .map(|person| json!({ "id": person.id, "name": person.name, "token": person.token }))
            .collect();
        write_json(&file, &json!({ "users": users, "api": "" }))?;
        Ok(Self { pages, vendor, client, file })
    }
}

/// What the demo's data hold.
pub(crate) struct Seeded {
    pub(crate) people: Vec<Person>,
    /// The chat of alice and bob.
    pub(crate) chat: String,
}

/// Fills a cluster with the demo's people, chats and messages, or finds them there.
pub(crate) fn seed(url: &str, secret: &str) -> Result<Seeded> {
    let people = Person::all(secret)?;
    make_users(url, secret, &people).context("cannot make the demo's users")?;
    let alice = client(url, &people, "alice")?;
    let chat = make_chat(&alice, &json!({ "participantIds": ["bob"], "type": "direct" }))?;
    let team = match find_team(&alice)? {
        Some(id) => id,
        None => make_chat(
            &alice,
            &json!({ "participantIds": ["bob", "carol", "dan"], "type": "group", "title": "Team" }),
        )?,
    };
    // The direct chat last: it is the one on top when the demo opens.
    say(url, &people, &team, "team", &TEAM)?;
    say(url, &people, &chat, "direct", &DIRECT)?;
    Ok(Seeded { people, chat })
}

fn client(url: &str, people: &[Person], id: &str) -> Result<Client> {
    let person = people.iter().find(|person| person.id == id).context("nobody of that name")?;
    Ok(Client::new(url, Some(person.token.clone())))
}

fn make_users(url: &str, secret: &str, people: &[Person]) -> Result<()> {
    let token = Token { role: Role::Service, ..Token::user("parley-demo") }.sign(secret)?;
    let service = Client::new(url, Some(token));
    for person in people {
        let body = json!({ "name": person.name, "avatar": null });
        service.put(&format!("/api/users/{}", person.id), &body)?.data()?;
    }
    Ok(())
}

fn make_chat(alice: &Client, body: &Value) -> Result<String> {
    let answer = alice.post("/api/chat", body)?;
    let data = answer.data().context("cannot make the demo's chats")?;
    Ok(data["chat"]["_id"].as_str().context("a chat without an id")?.to_owned())
}

/// Groups are made anew by each request, so ask first.
fn find_team(alice: &Client) -> Result<Option<String>> {
    let answer = alice.get("/api/chat?limit=100")?;
    let chats = answer.data()?["chats"].as_array().cloned().unwrap_or_default();
    let team = chats.iter().find(|chat| chat["type"] == "group" && chat["title"] == "Team");
    Ok(team.and_then(|chat| chat["_id"].as_str()).map(str::to_owned))
}

fn say(url: &str, people: &[Person], chat: &str, name: &str, lines: &[(&str, &str)]) -> Result<()> {
    for (number, (author, content)) in lines.iter().enumerate() {
        let body =
            json!({ "content": content, "clientMessageId": format!("demo-{name}-{number}") });
        let answer =
            client(url, people, author)?.post(&format!("/api/chat/{chat}/messages"), &body)?;
        answer.data().context("cannot send the demo's messages")?;
    }
    Ok(())
}
