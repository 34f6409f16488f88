//! Who is there, and who is writing: what Redis keeps for a while, for whoever asks or comes later.
//!
//! A gateway pod has one set of its users, which ends by itself some time after the pod. So a pod's heartbeat is one command,
//! whoever it has; who comes and goes is told in batches; and whether somebody is there is one question for each pod,
//! however many are asked about. A Redis that has lost the set is told everybody again.
//!
//! Without Redis nobody is known to be there, nobody's typing is known to late-comers, and nothing else changes: no event
//! waits for any of this.

mod metrics;
mod scripts;
mod turns;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::{DateTime, Utc};
use futures_util::future::{join, join_all};
use parking_lot::Mutex;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::Typist;
use prometheus::Registry;

use crate::limits::link::{Link, Prober};
use crate::{RedisSettings, RelayError};
use metrics::Metrics;
use scripts::Scripts;

/// How long a pod's users are there after its last heartbeat.
const LIFE: Duration = Duration::from_secs(30);
/// Users that one command names.
const CHUNK: usize = 1_000;
/// How long which gateways there are need not be asked again.
const GATEWAYS_AGE: Duration = Duration::from_secs(1);
/// How long it is known when somebody was last there.
const SEEN: Duration = Duration::from_hours(24 * 90);
/// How long somebody writes who was not heard of again. Longer than any pod takes to say so.
const TYPING_LIFE: Duration = Duration::from_secs(9);
/// Most people who write in a chat, of whom late-comers are told.
const TYPISTS: usize = 50;

/// What Redis knows of people's presence. Clones share the connection.
#[derive(Clone)]
pub struct Presence(Arc<Inner>);

struct Inner {
    link: Arc<Link>,
    scripts: Scripts,
    metrics: Metrics,
    gateways: Mutex<Option<(Instant, Vec<String>)>>,
    _prober: Prober,
}

/// Whether somebody is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// A gateway holds a connection of theirs.
    pub online: bool,
    /// When they were last known to come or go.
    pub last_seen_at: Option<DateTime<Utc>>,
}

/// Who has come to a pod, and who has gone from it, since it was last said.
#[derive(Debug, Default)]
pub struct Movements {
    /// Those who have come are everybody: whoever else was known to be at the pod is not.
    pub everybody: bool,
    /// Who has a connection now, and had none.
    pub come: Vec<UserId>,
    /// The other way round.
    pub gone: Vec<UserId>,
}

/// What Redis made of what it was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    /// It has it.
    Yes,
    /// It has it, but had lost everything before: to be told everybody.
    Lost,
    /// It is away: to be told everybody when it is back.
    Away,
}

impl Presence {
    /// Connects; if Redis is away, as soon as it comes.
    pub async fn connect(
        settings: &RedisSettings,
        registry: &Registry,
    ) -> Result<Self, RelayError> {
        let metrics = Metrics::register(registry)?;
        let (link, prober) = Link::open(settings, metrics.up.clone()).await?;
        let (scripts, gateways) = (Scripts::new(), Mutex::default());
        Ok(Self(Arc::new(Inner { link, scripts, metrics, gateways, _prober: prober })))
    }

    /// This pod lives.
    pub async fn beat(&self, pod: &str) -> Kept {
        let Some(live) = self.0.link.live() else { return self.away() };
        let mut connection = live.connection();
        let beat = self.0.scripts.beat(&mut connection, pod, LIFE);
        match self.0.link.run(&live, beat).await {
            Some(true) => Kept::Yes,
            Some(false) => Kept::Lost,
            None => self.away(),
        }
    }

    /// These have come to this pod, and those have gone.
    pub async fn moved(&self, pod: &str, movements: &Movements) -> Kept {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (come, gone) = (movements.come.chunks(CHUNK), movements.gone.chunks(CHUNK));
        let steps = come.map(|come| (come, &[][..])).chain(gone.map(|gone| (&[][..], gone)));
        // A pod without anybody is there, too.
        let nobody = movements.come.is_empty() && movements.gone.is_empty();
        let steps = nobody.then_some((&[][..], &[][..])).into_iter().chain(steps);
        let (mut kept, mut anew) = (Kept::Yes, movements.everybody);
        for (come, gone) in steps {
            let Some(live) = self.0.link.live() else { return self.away() };
            let mut connection = live.connection();
            let anew = std::mem::take(&mut anew);
            let here = self.0.scripts.here(&mut connection, pod, LIFE, anew, (come, gone));
            let Some(was_there) = self.0.link.run(&live, here).await else { return self.away() };
            if !was_there {
                kept = Kept::Lost;
            }
            // Whoever was forgotten meanwhile stays so.
            let come = come.iter().map(|user| (user, false));
            let noted =
                come.chain(gone.iter().map(|user| (user, true))).map(|(user, if_known)| {
                    let mut connection = live.connection();
                    async move {
                        self.0.scripts.seen(&mut connection, user, if_known, (now, SEEN)).await
                    }
                });
            let noted = async { join_all(noted).await.into_iter().collect() };
            let noted: Option<()> = self.0.link.run(&live, noted).await;
            if noted.is_none() {
                return self.away();
            }
        }
        kept
    }

    /// This pod goes, and nobody is at it any more.
    pub async fn leave(&self, pod: &str) {
        if let Some(live) = self.0.link.live() {
            let mut connection = live.connection();
            // What cannot be said now is over by itself soon.
            self.0.link.run(&live, self.0.scripts.leave(&mut connection, pod)).await;
        }
    }

    /// Of each of these people, in their order, whether they are there; `None` when nobody can say.
    pub async fn of(&self, users: &[UserId]) -> Option<Vec<Seen>> {
        if users.is_empty() {
            return Some(Vec::new());
        }
        let live = self.0.link.live()?;
        let gateways = self.gateways().await?;
        let online = gateways.iter().map(|pod| {
            let mut connection = live.connection();
            async move { self.0.scripts.which_are_at(&mut connection, pod, users).await }
        });
        let online = async { join_all(online).await.into_iter().collect::<Result<Vec<_>, _>>() };
        let mut connection = live.connection();
        let seen = self.0.scripts.last_seen(&mut connection, users);
        let both = async {
            let (online, seen) = join(online, seen).await;
            Ok((online?, seen?))
        };
        let (online, seen) = self.0.link.run(&live, both).await?;
        let seen = seen.into_iter().enumerate().map(|(place, last_seen_at)| Seen {
            online: online.iter().any(|pod| pod.get(place).copied().unwrap_or_default()),
            last_seen_at,
        });
        Some(seen.collect())
    }

    /// When this user was there is nobody's business any more.
    pub async fn forget(&self, user: &UserId) {
        if let Some(live) = self.0.link.live() {
            let mut connection = live.connection();
            self.0.link.run(&live, self.0.scripts.forget(&mut connection, user)).await;
        }
    }

    /// The gateways that are there, each start by its own name; one that died is believed to be there for a while. `None` when
    /// nobody can say.
    pub async fn gateways(&self) -> Option<Vec<String>> {
        let young = |(read, _): &&(Instant, _)| read.elapsed() < GATEWAYS_AGE;
        if let Some((_, known)) = self.0.gateways.lock().as_ref().filter(young) {
            return Some(known.clone());
        }
        let live = self.0.link.live()?;
        let mut connection = live.connection();
        let gateways = self.0.link.run(&live, self.0.scripts.gateways(&mut connection)).await?;
        *self.0.gateways.lock() = Some((Instant::now(), gateways.clone()));
        Some(gateways)
    }

    /// Somebody writes: for those who come to the chat within some seconds.
    pub async fn writes(&self, chat: ChatId, typist: &Typist) {
        if let Some(live) = self.0.link.live() {
            let mut connection = live.connection();
            let writes =
                self.0.scripts.writes(&mut connection, chat, typist, (TYPING_LIFE, TYPISTS));
            self.0.link.run(&live, writes).await;
        }
    }

    /// Somebody writes no more.
    pub async fn stops(&self, chat: ChatId, user: &UserId) {
        if let Some(live) = self.0.link.live() {
            let mut connection = live.connection();
            self.0.link.run(&live, self.0.scripts.stops(&mut connection, chat, user)).await;
        }
    }

    /// Who writes in a chat, and how long that holds; nobody while Redis is away.
    pub async fn typists(&self, chat: ChatId) -> Vec<(Typist, Duration)> {
        let Some(live) = self.0.link.live() else { return Vec::new() };
        let mut connection = live.connection();
        let typists = self.0.link.run(&live, self.0.scripts.typists(&mut connection, chat)).await;
        typists.unwrap_or_default()
    }

    fn away(&self) -> Kept {
        self.0.metrics.away.inc();
        Kept::Away
    }
}
