//! Parley's side: chats in Postgres, sends over REST, statements by Postgres's own log.

use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::{Cluster, Home, Interrupt, Token, postgres_programs};
use serde_json::json;

use super::fleet::{Fleet, Identity, Speech};
use super::statements::Statements;
use super::{Cost, MEMBERS, Party};
use crate::database::Database;
use crate::http::{address, chat_id, request};
use crate::load::ask_all;

/// A cluster with chats in it.
pub(super) struct Ours {
    api: Vec<String>,
    gateways: Vec<String>,
    gateway_pids: Vec<u32>,
    chats: Vec<String>,
    /// Of the members, chat by chat.
    tokens: Vec<String>,
    head: u64,
    statements: Statements,
}

impl Ours {
    pub(super) fn prepare(
        home: &Home,
        cluster: &Cluster,
        rooms: usize,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let running = cluster.description();
        let user = |number: usize| format!("client-{number}");
        let token = |number| {
            let ttl = Duration::from_hours(24);
            Token { ttl, ..Token::user(&user(number)) }.sign(&running.jwt.secret)
        };
        let tokens = (0..rooms * MEMBERS).map(token).collect::<Result<Vec<_>>>()?;
        let places = |pods: &[parley_local::Pod]| -> Vec<String> {
            pods.iter().map(|pod| address(&pod.url).to_owned()).collect()
        };
        let (api, gateways) = (places(&running.api), places(&running.gateway));
        let first = api.first().context("there is no api pod")?;
        // Whoever has asked for something is known to the directory.
        let seen = tokens.iter().map(|token| request("GET", "/api/chat?limit=1", token, ""));
        ask_all(first, seen.collect())?;
        let make = (0..rooms).map(|room| {
            let others: Vec<_> = (1..MEMBERS).map(|member| user(room * MEMBERS + member)).collect();
            let body =
                json!({ "type": "group", "title": format!("Room {room}"), "participantIds": others });
            request("POST", "/api/chat", &tokens[room * MEMBERS], &body.to_string())
        });
        let made = ask_all(first, make.collect())?;
        let chats = made.iter().map(|answer| chat_id(answer)).collect::<Result<_>>()?;
        let url = running.postgres.url.clone();
        let database = Database { programs: postgres_programs(home, interrupt)?, url };
        database.tidy()?;
        database.settle()?;
        let statements = Statements::log(&database, home.log("postgres"))?;
        let gateway_pids = running.gateway.iter().map(|pod| pod.pid).collect();
        Ok(Self { api, gateways, gateway_pids, chats, tokens, head: 0, statements })
    }
}

/// The clients of these chats.
pub(super) fn fleet(ours: &Ours) -> Fleet {
    let identity = |(number, token): (usize, &String)| Identity {
        speech: Speech::Parley { token: token.clone() },
        room: ours.chats[number / MEMBERS].clone(),
    };
    let identities = ours.tokens.iter().enumerate().map(identity).collect();
    Fleet::start(ours.gateways.clone(), identities)
}

impl Party for Ours {
    fn say(&mut self) -> Result<()> {
        self.head += 1;
        let say = self.chats.iter().enumerate().map(|(room, chat)| {
            let body = json!({ "content": format!("message {} of this room", self.head) });
            let path = format!("/api/chat/{chat}/messages");
            request("POST", &path, &self.tokens[room * MEMBERS], &body.to_string())
        });
        let pod = usize::try_from(self.head)? % self.api.len();
        ask_all(&self.api[pod], say.collect()).map(drop)
    }

    fn head(&self) -> u64 {
        self.head
    }

    fn begin(&mut self) -> Result<()> {
        self.statements.begin()
    }

    fn asked(&self) -> Result<Cost> {
        Ok(Cost { statements: Some(self.statements.asked()?), commands: None })
    }

    fn sockets(&self) -> (&'static str, Vec<u32>) {
        ("gateway", self.gateway_pids.clone())
    }
}
