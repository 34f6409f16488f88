//! Parley's side: a cluster with chats in it, whose one gateway has a core for itself.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home, Interrupt, Options, Token, say};
use serde_json::json;

use crate::audience::{Guest, Speech};
use crate::http::{address, chat_id, request};
use crate::load::ask_all;
use crate::measured;
use crate::pin::Cores;
use crate::scenarios::send::requests::Sender;

/// The gateway has room for everybody.
const SETTINGS: &[(&str, &str)] = &[("PARLEY_MAX_CONNECTIONS", "40000")];
const GATEWAY: &str = "gateway-1";
const READY_WITHIN: Duration = Duration::from_secs(20);

/// How many rooms there are, and how many listen in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) rooms: usize,
    pub(crate) members: usize,
}

impl Shape {
    /// How many listen in all.
    pub(crate) fn people(self) -> usize {
        self.rooms * self.members
    }

    /// Whom a peer's server is filled with.
    pub(crate) fn guests(self, speech: &Speech) -> Vec<Guest> {
        let guest = |number: usize| Guest {
            speech: speech.clone(),
            room: Some(format!("room-{}", number / self.members)),
        };
        (0..self.people()).map(guest).collect()
    }
}

/// How a hall differs from any other.
#[derive(Debug, Clone, Default)]
pub(crate) struct Fitting {
    /// Of the pods, beyond those of every hall.
    pub(crate) settings: Vec<(String, String)>,
    /// Other services than those that are built.
    pub(crate) binaries: Option<PathBuf>,
}

/// Chats that were made, and who is in them.
#[derive(Debug, Clone)]
pub(crate) struct Chats {
    pub(crate) shape: Shape,
    pub(crate) ids: Vec<String>,
    /// Of the members, chat by chat.
    pub(crate) tokens: Vec<String>,
}

/// A cluster with chats in it.
pub(crate) struct Hall {
    pub(crate) cluster: Cluster,
    pub(crate) chats: Chats,
}

impl Hall {
    /// Starts the cluster and makes the chats, through REST.
    pub(crate) fn open(
        home: &Home,
        cores: &Cores,
        shape: Shape,
        fitting: Fitting,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let mut cluster = Cluster::start(home, &options(fitting), interrupt)?;
        renew_gateway(&mut cluster, cores, interrupt)?;
        let others = cluster.processes().iter().filter(|process| process.name != GATEWAY);
        let mut others: Vec<_> = others.map(|process| process.pid).collect();
        others.push(std::process::id());
        cores.keep_away(&others)?;
        say::note(format_args!("making {} chats of {}", shape.rooms, shape.members));
        let chats = furnish(&cluster, shape)?;
        Ok(Self { cluster, chats })
    }

    /// Opens it for others, with a gateway that remembers nobody.
    pub(crate) fn open_anew(
        &mut self,
        chats: Chats,
        cores: &Cores,
        interrupt: &Interrupt,
    ) -> Result<()> {
        self.chats = chats;
        renew_gateway(&mut self.cluster, cores, interrupt)
    }

    pub(crate) fn gateway_pid(&self) -> Result<u32> {
        Ok(self.cluster.process(GATEWAY)?.pid)
    }

    pub(crate) fn gateway(&self) -> Result<SocketAddr> {
        gateway(&self.cluster)
    }
}

impl Chats {
    /// The members, chat by chat.
    pub(crate) fn guests(&self) -> Vec<Guest> {
        let guest = |(number, token): (usize, &String)| Guest {
            speech: Speech::Parley { token: token.clone() },
            room: Some(self.ids[number / self.shape.members].clone()),
        };
        self.tokens.iter().enumerate().map(guest).collect()
    }

    /// One sender for each member, into its chat.
    pub(crate) fn senders(&self) -> Vec<Sender> {
        let chat = |number: usize| &self.ids[number / self.shape.members];
        self.tokens.iter().enumerate().map(|(it, token)| Sender::new(chat(it), token)).collect()
    }
}

/// Kills the gateway and starts it again, on its core.
fn renew_gateway(cluster: &mut Cluster, cores: &Cores, interrupt: &Interrupt) -> Result<()> {
    cluster.kill(GATEWAY)?;
    wait("the gateway ends", interrupt, || {
        Ok(!cluster.process(GATEWAY).is_ok_and(parley_local::Process::is_alive))
    })?;
    cores.start(|| cluster.restart(GATEWAY))?;
    let gateway = gateway(cluster)?;
    wait("the gateway is there", interrupt, || Ok(TcpStream::connect(gateway).is_ok()))
}

fn gateway(cluster: &Cluster) -> Result<SocketAddr> {
    let pod = cluster.description().gateway.first().context("there is no gateway")?;
    address(&pod.url).parse().context("the gateway has no address")
}

/// Makes people and chats, through REST.
pub(crate) fn furnish(cluster: &Cluster, shape: Shape) -> Result<Chats> {
    let running = cluster.description();
    let user = |number: usize| format!("client-{number}");
    let token = |number| {
        let ttl = Duration::from_hours(24);
        Token { ttl, ..Token::user(&user(number)) }.sign(&running.jwt.secret)
    };
    let tokens = (0..shape.people()).map(token).collect::<Result<Vec<_>>>()?;
    let api = address(&running.api.first().context("there is no api pod")?.url);
    // Whoever has asked for something is known to the directory.
    let seen = tokens.iter().map(|token| request("GET", "/api/chat?limit=1", token, ""));
    ask_all(api, seen.collect())?;
    let make = (0..shape.rooms).map(|room| {
        let first = room * shape.members;
        let others: Vec<_> = (1..shape.members).map(|member| user(first + member)).collect();
        let body =
            json!({ "type": "group", "title": format!("Room {room}"), "participantIds": others });
        request("POST", "/api/chat", &tokens[first], &body.to_string())
    });
    let made = ask_all(api, make.collect())?;
    let ids = made.iter().map(|answer| chat_id(answer)).collect::<Result<_>>()?;
    Ok(Chats { shape, ids, tokens })
}

fn options(fitting: Fitting) -> Options {
    let mut options = Options { binaries: fitting.binaries, ..measured::cluster(SETTINGS) };
    options.settings.extend(fitting.settings);
    options
}

/// Waits until it is so.
pub(crate) fn wait(what: &str, interrupt: &Interrupt, it: impl Fn() -> Result<bool>) -> Result<()> {
    let deadline = Instant::now() + READY_WITHIN;
    while !it()? {
        if interrupt.asked() || Instant::now() > deadline {
            bail!("waited in vain until {what}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
