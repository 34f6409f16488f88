//! A cluster with a crowd on it, from its start to the verdict.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{
    Client, Cluster, Description, Home, Interrupt, Options, postgres_programs, say,
};

use crate::checker::{self, Verdict};
use crate::crowd::{Crowd, Habits, Population, World};
use crate::database::Database;
use crate::history::{Record, Recorder};
use crate::http::{address, request};
use crate::kept;
use crate::load::ask_all;
use crate::measured;
use crate::truth;

/// Heartbeats are quick, so that a gateway that hangs is noticed within the run.
const SETTINGS: &[(&str, &str)] =
    &[("PARLEY_PING_INTERVAL_MS", "2000"), ("PARLEY_PING_TIMEOUT_MS", "2000")];
/// By when every client is in its room after the start.
const ARRIVE_WITHIN: Duration = Duration::from_mins(1);
/// By when every answer is there, and then every client whole, after the last fault.
pub(crate) const SETTLE_WITHIN: Duration = Duration::from_mins(1);
/// How long is listened on, once all are whole, for what should not come.
const AFTERWARDS: Duration = Duration::from_secs(1);
const POLL: Duration = Duration::from_millis(20);

/// Who comes, and what they do.
pub(crate) struct Plan {
    /// Names the cluster's folder.
    pub(crate) name: &'static str,
    /// Repeats the run.
    pub(crate) command: String,
    pub(crate) population: Population,
    pub(crate) habits: Habits,
    /// How long is waited in the end for clients that are not whole.
    pub(crate) settle_within: Duration,
}

/// A cluster and its crowd.
pub(crate) struct Stage {
    pub(crate) crowd: Crowd,
    pub(crate) cluster: Cluster,
    pub(crate) database: Database,
    pub(crate) recorder: Recorder,
    pub(crate) world: Arc<World>,
    pub(crate) interrupt: Interrupt,
    settle_within: Duration,
    habits: Habits,
    faults: u32,
}

impl Stage {
    /// Starts a cluster of two and two, and everybody on it.
    pub(crate) fn open(home: &Home, plan: &Plan, interrupt: &Interrupt) -> Result<Self> {
        Self::open_with(&[], home, plan, interrupt)
    }

    /// The same, with pods that have these settings of their own.
    pub(crate) fn open_with(
        settings: &[(&str, &str)],
        home: &Home,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        Self::open_as(&Shape { settings, ..Shape::default() }, home, plan, interrupt)
    }

    /// The same, on a cluster of this shape.
    pub(crate) fn open_as(
        shape: &Shape<'_>,
        home: &Home,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let home = home.beside(home.root().join(plan.name));
        let cluster = shape.start(&home, interrupt)?;
        Self::on(cluster, &home, plan, interrupt)
    }

    /// Brings everybody onto a cluster and waits until every member is in the room. Nobody sends yet.
    pub(crate) fn on(
        cluster: Cluster,
        home: &Home,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let doors = cluster.description().clone();
        Self::before(&doors, cluster, home, plan, interrupt)
    }

    /// The same, with everybody coming to these doors of the cluster instead of its own.
    pub(crate) fn before(
        doors: &Description,
        cluster: Cluster,
        home: &Home,
        plan: &Plan,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let running = cluster.description();
        let programs = postgres_programs(home, interrupt)?;
        let database = Database { programs, url: running.postgres.url.clone() };
        let recorder = Recorder::create(&home.root().join("history.jsonl"), &plan.command)?;
        let world = Arc::new(World::make(doors, plan.population, &recorder)?);
        let crowd = Crowd::start(Arc::clone(&world), plan.habits, recorder.clone());
        let interrupt = interrupt.clone();
        let Plan { settle_within, habits, .. } = *plan;
        let stage = Self {
            crowd,
            cluster,
            database,
            recorder,
            world,
            interrupt,
            settle_within,
            habits,
            faults: 0,
        };
        let members = stage.crowd.progress().len();
        if !stage.wait(ARRIVE_WITHIN, || Ok(stage.are_whole(&vec![0; stage.world.chats.len()])))? {
            bail!(
                "not all of {members} clients are in their rooms after {} s",
                ARRIVE_WITHIN.as_secs()
            );
        }
        Ok(stage)
    }

    /// Waits until it is so; false when time is over.
    pub(crate) fn wait(
        &self,
        within: Duration,
        mut it: impl FnMut() -> Result<bool>,
    ) -> Result<bool> {
        let deadline = Instant::now() + within;
        loop {
            self.not_interrupted()?;
            if it()? {
                return Ok(true);
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Lets time pass; the load goes on.
    pub(crate) fn pass(&self, time: Duration) -> Result<()> {
        self.wait(time, || Ok(false)).map(drop)
    }

    fn not_interrupted(&self) -> Result<()> {
        if self.interrupt.asked() {
            bail!("interrupted");
        }
        Ok(())
    }

    /// Whether every listener is in its room and has these versions of the chats.
    pub(crate) fn are_whole(&self, heads: &[u64]) -> bool {
        self.crowd.progress().iter().all(|it| it.is_at(heads[it.chat as usize]))
    }

    /// Whether every listener has these versions by now, in the room or just on the way back to it.
    pub(crate) fn have_been_whole(&self, heads: &[u64]) -> bool {
        self.crowd.progress().iter().all(|it| it.has(heads[it.chat as usize]))
    }

    /// Notes that something breaks; the number is for its end.
    pub(crate) fn fault_begins(&mut self, what: &str) -> u32 {
        self.faults += 1;
        self.recorder.note(&Record::FaultBegins { fault: self.faults, what: what.to_owned() });
        self.faults
    }

    pub(crate) fn fault_ends(&self, fault: u32) {
        self.recorder.note(&Record::FaultEnds { fault });
    }

    /// Waits until a pod or a server takes work again.
    pub(crate) fn wait_ready(&self, name: &str) -> Result<()> {
        if self.is_ready_soon(name)? { Ok(()) } else { bail!("{name} is not ready") }
    }

    /// False when time is over, or the process ends.
    fn is_ready_soon(&self, name: &str) -> Result<bool> {
        const WITHIN: Duration = Duration::from_mins(1);
        let process = self.cluster.process(name)?.clone();
        let is_ready = || match (&process.admin, name) {
            (Some(admin), _) => {
                let answer = Client::new(admin, None).get("/readyz");
                answer.is_ok_and(|answer| answer.status == 200)
            }
            (None, "postgres") => self.database.ask("select 1").is_ok(),
            (None, _) => std::net::TcpStream::connect(host(&process.url)).is_ok(),
        };
        let mut ready = false;
        self.wait(WITHIN, || {
            ready = is_ready();
            // What a killed Postgres has left may be in the way of the next one for a moment.
            Ok(ready || !process.is_alive())
        })?;
        Ok(ready)
    }

    /// Starts a process again that has ended, and waits for it.
    pub(crate) fn restart(&mut self, name: &str) -> Result<()> {
        const TRIES: u32 = 20;
        for attempt in 1.. {
            self.cluster.restart(name)?;
            if self.is_ready_soon(name)? {
                return Ok(());
            }
            if self.cluster.process(name)?.is_alive() || attempt == TRIES {
                break;
            }
        }
        bail!("{name} does not start again")
    }

    /// Reads these counters of the gateways into the history; says how many pods have any.
    pub(crate) fn note_counters(&self, prefix: &str) -> Result<usize> {
        let mut pods = 0;
        for pod in &self.cluster.description().gateway {
            let counters = counters(&pod.admin, prefix)?;
            pods += usize::from(!counters.is_empty());
            for (name, value) in counters {
                self.recorder.note(&Record::Counter { pod: pod.name.clone(), name, value });
            }
        }
        Ok(pods)
    }

    /// Nothing is sent any more: waits for all answers, and until every client has everything.
    pub(crate) fn settle(&mut self) -> Result<bool> {
        self.crowd.calm();
        if !self.wait(SETTLE_WITHIN, || Ok(self.crowd.senders() == 0))? {
            self.crowd.give_up();
            self.wait(SETTLE_WITHIN, || Ok(self.crowd.senders() == 0))?;
        }
        let heads = truth::heads(&self.database, &self.world.chats)?;
        let whole = self.wait(self.settle_within, || Ok(self.are_whole(&heads)))?;
        self.pass(AFTERWARDS)?;
        self.recorder.note(&Record::Settled { whole });
        Ok(whole)
    }

    /// Sends everybody home and judges what was written down. The cluster runs on: whoever prints the verdict as the last
    /// line has stopped it before.
    pub(crate) fn judge(mut self) -> Result<(Verdict, Cluster)> {
        self.settle()?;
        self.note_counters("parley_gateway_catch_ups_total")?;
        if self.habits.readers > 0 {
            kept::note_unread(&self)?;
        }
        if self.habits.file_every.is_some() {
            kept::note_files(&self)?;
        }
        let Self { crowd, cluster, database, recorder, world, .. } = self;
        crowd.stop()?;
        truth::note(&database, &world.chats, &recorder)?;
        let history = recorder.finish()?;
        say::note(format_args!("the history: {}", history.display()));
        Ok((checker::judge(&history)?, cluster))
    }
}

/// What a cluster of two api pods has of its own.
pub(crate) struct Shape<'a> {
    /// Of two values, the later one counts.
    pub(crate) settings: &'a [(&'a str, &'a str)],
    pub(crate) gateways: u16,
    pub(crate) couriers: u16,
    /// How many NATS servers.
    pub(crate) nats: u16,
    /// Other programs than those that are built.
    pub(crate) binaries: Option<PathBuf>,
}

impl Default for Shape<'_> {
    fn default() -> Self {
        Self { settings: &[], gateways: 2, couriers: 0, nats: 1, binaries: None }
    }
}

impl Shape<'_> {
    pub(crate) fn start(&self, home: &Home, interrupt: &Interrupt) -> Result<Cluster> {
        let mut options = Options {
            api: 2,
            gateways: self.gateways,
            couriers: self.couriers,
            nats: self.nats,
            binaries: self.binaries.clone(),
            ..measured::cluster(SETTINGS)
        };
        let own = self.settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        options.settings.extend(own);
        Cluster::start(home, &options, interrupt)
    }
}

/// Counters whose names begin so, with their labels.
fn counters(admin: &str, prefix: &str) -> Result<Vec<(String, u64)>> {
    let bodies = ask_all(address(admin), vec![request("GET", "/metrics", "", "")])?;
    let text = bodies.first().map(|body| String::from_utf8_lossy(body)).context("no metrics")?;
    Ok(text
        .lines()
        .filter(|line| line.starts_with(prefix))
        .filter_map(|line| line.rsplit_once(' '))
        .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
        .collect())
}

/// `host:port` of a server's URL.
fn host(url: &str) -> &str {
    let address = url.split_once("://").map_or(url, |(_, rest)| rest);
    address.split('/').next().unwrap_or(address)
}
