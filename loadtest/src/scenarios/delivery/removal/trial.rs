//! One trial: somebody listens on two gateways, and then may listen no more.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use parley_local::{Interrupt, Token};
use rand::Rng;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use crate::crowd::Surroundings;
use crate::crowd::socket::{Heard, Socket};
use crate::history::Record;
use crate::http::{Connection, request};

/// How long is listened on after a removal, for what should not come.
const AFTERWARDS: Duration = Duration::from_secs(2);
/// By when a connection is closed at all.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// By when a join, and a request, is answered.
const ANSWERED_WITHIN: Duration = Duration::from_secs(20);
/// How long a token that expires is good for.
const TOKEN_LASTS: Duration = Duration::from_secs(3);
/// Clocks are read one after the other.
const SAME_TIME: Duration = Duration::from_millis(2);

/// Why somebody may listen no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Removal,
    Revocation,
    Expiry,
}

impl Kind {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Removal => "removal",
            Self::Revocation => "revocation",
            Self::Expiry => "expiry",
        }
    }

    /// From when to when.
    pub(super) const fn measured(self) -> &'static str {
        match self {
            Self::Removal => {
                "from the request, which is before the commit, to the last event on either socket"
            }
            Self::Revocation => {
                "from the request, which is before the commit, to the close of the later socket"
            }
            Self::Expiry => "from `exp` to the close of the later socket",
        }
    }
}

/// What every trial needs.
pub(super) struct Bench {
    pub(super) around: Surroundings,
    /// The token of the host application.
    pub(super) host: String,
    pub(super) secret: String,
    pub(super) interrupt: Interrupt,
}

/// What came of a trial.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) user: String,
    /// Microseconds; see [`Kind::measured`].
    pub(super) took: u32,
    /// Something came to an end before its time.
    pub(super) is_early: bool,
    /// What each socket had heard before.
    pub(super) heard_before: [u64; 2],
    /// The last version that each socket has heard.
    pub(super) last: [Option<u64>; 2],
    /// Where the chat stood that each was told to have no more.
    pub(super) shown: [Option<u64>; 2],
    /// How many sockets were closed by the server.
    pub(super) ended: usize,
    /// Whoever comes again is not let in.
    pub(super) is_refused: bool,
}

/// What a socket has heard so far.
#[derive(Debug, Clone, Default)]
struct Ear {
    count: u64,
    last: Option<(Instant, u64)>,
    /// Where a chat stood that it was told to have or not to have, at most.
    shown: Option<u64>,
    closed: Option<Instant>,
}

/// A socket in the chat, and the task that listens to it.
struct Listening {
    connection: u32,
    ear: Rc<RefCell<Ear>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Bench {
    /// Runs one; an error is no outcome, but a trial that could not be held.
    pub(super) async fn trial(
        self: &Rc<Self>,
        kind: Kind,
        place: usize,
        chance: &mut impl Rng,
    ) -> Result<Outcome> {
        if self.interrupt.asked() {
            bail!("interrupted");
        }
        let person = &self.around.world.visitors[place];
        let client = self.around.world.visitor(place);
        let (token, expires) = match kind {
            Kind::Expiry => self.short_token(&person.user)?,
            Kind::Removal | Kind::Revocation => (person.token.clone(), Instant::now()),
        };
        let chat = person.chats[0];
        let ears = [
            self.listen(client, chat, &token, 0).await?,
            self.listen(client, chat, &token, 1).await?,
        ];
        sleep(Duration::from_millis(chance.random_range(300..1000))).await;
        let heard_before = ears.each_ref().map(|it| it.ear.borrow().count);
        let from = match kind {
            Kind::Removal => self.remove(client, chat, &person.user).await?,
            Kind::Revocation => self.revoke(&person.user).await?,
            Kind::Expiry => expires,
        };
        if kind == Kind::Removal {
            sleep(AFTERWARDS).await;
        } else {
            sleep(from.saturating_duration_since(Instant::now())).await;
            for it in &ears {
                it.closed().await;
            }
        }
        let is_refused = self.is_refused(kind, client, chat, &token).await?;
        let seen = ears.each_ref().map(|it| it.ear.borrow().clone());
        for it in ears {
            it.leave().await?;
        }
        self.around.recorder.note(&Record::Gone { client });
        let last = seen.each_ref().map(|ear| ear.last.map(|(_, version)| version));
        let shown = seen.each_ref().map(|ear| ear.shown);
        let closed: Vec<_> = seen.iter().filter_map(|ear| ear.closed).collect();
        let ends: Vec<_> = match kind {
            Kind::Removal => seen.iter().filter_map(|ear| Some(ear.last?.0)).collect(),
            Kind::Revocation | Kind::Expiry => closed.clone(),
        };
        let latest =
            ends.iter().max().map_or(Duration::ZERO, |end| end.saturating_duration_since(from));
        // Not closed at all is not closed in time.
        let took = if kind == Kind::Removal || closed.len() == 2 { latest } else { CLOSED_WITHIN };
        let is_early = ends.iter().any(|end| *end + SAME_TIME < from);
        let (took, ended) = (super::super::micros(took), closed.len());
        Ok(Outcome {
            user: person.user.clone(),
            took,
            is_early,
            heard_before,
            last,
            shown,
            ended,
            is_refused,
        })
    }

    /// A token that expires soon, and when.
    fn short_token(&self, user: &str) -> Result<(String, Instant)> {
        loop {
            let before = SystemTime::now().duration_since(UNIX_EPOCH)?;
            let token = Token { ttl: TOKEN_LASTS, ..Token::user(user) }.sign(&self.secret)?;
            let (now, after) = (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH)?);
            // It counts from the second in which it was made.
            if before.as_secs() == after.as_secs() {
                let expires = Duration::from_secs(before.as_secs()) + TOKEN_LASTS;
                return Ok((token, now + expires.saturating_sub(after)));
            }
        }
    }

    /// Comes into the chat over one of the gateways.
    async fn listen(
        &self,
        client: u32,
        chat: u32,
        token: &str,
        gateway: usize,
    ) -> Result<Listening> {
        let world = &self.around.world;
        let gateway = &world.gateways[gateway];
        let mut socket = Socket::open(&gateway.address, token).await?;
        let connection = self.around.next_connection();
        let recorder = &self.around.recorder;
        recorder.note(&Record::Open { client, connection, gateway: gateway.name.clone() });
        ensure!(self.join(&mut socket, connection, chat).await?, "a member was refused");
        let (ear, stop) = (Rc::new(RefCell::new(Ear::default())), watch::Sender::new(false));
        let hears =
            hear(self.around.clone(), socket, connection, Rc::clone(&ear), stop.subscribe());
        Ok(Listening { connection, ear, stop, task: tokio::task::spawn_local(hears) })
    }

    /// Asks to be let in; whether it was.
    async fn join(&self, socket: &mut Socket, connection: u32, chat: u32) -> Result<bool> {
        let (world, recorder) = (&self.around.world, &self.around.recorder);
        recorder.note(&Record::Join { connection, chat, since: None });
        let argument = json!({ "chatId": world.chats[chat as usize] });
        socket.emit("join-chat-room", &argument).await?;
        let ack = async {
            loop {
                match socket.next().await {
                    Heard::Ack(_, ack) => return Ok(ack),
                    Heard::Event(event) if event.version.is_some() => {
                        bail!("an event before the ack")
                    }
                    Heard::Event(_) => {}
                    Heard::Closed(why) => bail!("closed: {why}"),
                }
            }
        };
        let ack = timeout(ANSWERED_WITHIN, ack).await.context("a join was not answered")??;
        let text = |name: &str| ack[name].as_str().unwrap_or_default().to_owned();
        if ack["success"] != true {
            let code = ack["error"]["code"].as_str().unwrap_or("none").to_owned();
            recorder.note(&Record::Refused { connection, chat, code });
            return Ok(false);
        }
        let version = ack["version"].as_u64().context("an ack without a version")?;
        let (epoch, pod, resync) = (text("epoch"), text("pod"), ack["resync"] == true);
        recorder.note(&Record::Joined { connection, chat, version, epoch, resync, pod });
        Ok(true)
    }

    /// Somebody is taken out of the chat, by its creator; says when the request went out.
    async fn remove(&self, client: u32, chat: u32, user: &str) -> Result<Instant> {
        let world = &self.around.world;
        let creator = &world
            .people
            .iter()
            .find(|it| it.chats.contains(&chat))
            .context("an empty chat")?
            .token;
        let path = format!("/api/chat/{}/participants/{user}", world.chats[chat as usize]);
        self.around.recorder.note(&Record::Leaving { client, chat });
        self.ask("DELETE", &path, creator).await
    }

    async fn revoke(&self, user: &str) -> Result<Instant> {
        self.ask("POST", &format!("/api/users/{user}/revoke"), &self.host).await
    }

    /// A request that succeeds; says when it went out.
    async fn ask(&self, method: &str, path: &str, token: &str) -> Result<Instant> {
        let pod = &self.around.world.api[0];
        let mut connection = Connection::open(&pod.address).await?;
        let begun = Instant::now();
        let request = request(method, path, token, "");
        let answer = timeout(ANSWERED_WITHIN, connection.exchange(&request)).await;
        let answer = answer.context("no answer")??;
        ensure!(answer.status == 200, "{method} {path} was answered with {}", answer.status);
        Ok(begun)
    }

    /// Whether somebody who comes again is kept out: of the chat, or of the gateway at all.
    async fn is_refused(&self, kind: Kind, client: u32, chat: u32, token: &str) -> Result<bool> {
        let gateway = &self.around.world.gateways[0];
        let mut socket = match Socket::open(&gateway.address, token).await {
            Ok(socket) => socket,
            Err(error) => {
                return Ok(kind != Kind::Removal && format!("{error:#}").contains("refused"));
            }
        };
        let connection = self.around.next_connection();
        let recorder = &self.around.recorder;
        recorder.note(&Record::Open { client, connection, gateway: gateway.name.clone() });
        let is_in = self.join(&mut socket, connection, chat).await?;
        recorder.note(&Record::Closed { connection, why: "over".to_owned() });
        self.around.connection_ends();
        Ok(kind == Kind::Removal && !is_in)
    }
}

impl Listening {
    /// Waits until the server has closed it, but not for ever.
    async fn closed(&self) {
        let deadline = Instant::now() + CLOSED_WITHIN;
        while self.ear.borrow().closed.is_none() && Instant::now() < deadline {
            sleep(Duration::from_millis(5)).await;
        }
    }

    async fn leave(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await.with_context(|| format!("connection {} has panicked", self.connection))
    }
}

/// Hears and notes everything until the connection ends, or it is enough.
async fn hear(
    around: Surroundings,
    mut socket: Socket,
    connection: u32,
    ear: Rc<RefCell<Ear>>,
    mut stop: watch::Receiver<bool>,
) {
    let why = loop {
        tokio::select! {
            heard = socket.next() => match heard {
                Heard::Event(event) => {
                    let Some(version) = event.version else { continue };
                    if event.is_of_users() {
                        let mut ear = ear.borrow_mut();
                        ear.shown = ear.shown.max(Some(version));
                        continue;
                    }
                    let chat = around.world.number(&event.chat);
                    let (event, message) = (event.name, event.message);
                    around.recorder.note(&Record::Heard { connection, chat, version, event, message });
                    let mut ear = ear.borrow_mut();
                    ear.count += 1;
                    ear.last = Some((Instant::now(), version));
                }
                Heard::Ack(..) => {}
                Heard::Closed(why) => {
                    ear.borrow_mut().closed = Some(Instant::now());
                    break why;
                }
            },
            _ = stop.wait_for(|stop| *stop) => break "over".to_owned(),
        }
    };
    around.recorder.note(&Record::Closed { connection, why });
    around.connection_ends();
}
