//! `bench send`: what a send costs, beside one statement of pgbench that does the same work, and one that does the least.

mod ours;
pub(crate) mod peer;
pub(crate) mod requests;

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home, Interrupt, Options, postgres_programs, say};
use serde_json::json;

use crate::database::{Database, Stand};
use crate::measured;
use crate::report::{self, Measure, Outcome, Range, Side};
use crate::results;
use crate::servers::Servers;
use crate::window::{Done, WARM_UP, Window, percentile};
use ours::Ours;
use peer::Peer;

/// A message as people write them: 100 characters that are no news to a compressor or a parser.
const CONTENT: &str = "Shall we meet at the station at half past seven, or is that too early for the others? Tell me soon.";

/// What `bench send` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long each round counts, after its warm-up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each side has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How many send at once
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u16).range(2..=100))]
    clients: u16,
    /// How many direct chats there are
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    chats: u32,
    /// How many api pods
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=4))]
    api: u16,
    /// How many commits an api pod has in flight at a time
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    shards: u16,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// How much there is of everything, on both sides.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) chats: u32,
    pub(crate) clients: u16,
}

/// Into which chats a round sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Where {
    ManyChats,
    HotChat,
}

/// What the peer's statement does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    /// All that Parley does in its database.
    Whole,
    /// The least that puts a message into its place.
    Bare,
}

/// Who has its turn in a round: Parley, or its peer.
const TURNS: [(&str, Where, Option<Work>); 6] = [
    ("Parley, many chats", Where::ManyChats, None),
    ("whole statement, many chats", Where::ManyChats, Some(Work::Whole)),
    ("bare statement, many chats", Where::ManyChats, Some(Work::Bare)),
    ("Parley, hot chat", Where::HotChat, None),
    ("whole statement, hot chat", Where::HotChat, Some(Work::Whole)),
    ("bare statement, hot chat", Where::HotChat, Some(Work::Bare)),
];

/// What a round has brought.
struct Measured {
    window: Window,
    done: Vec<Done>,
    errors: u64,
    before: Stand,
    after: Stand,
}

/// Whose costs are those of a send; a gateway's are those of a delivery.
const SENDERS: [&str; 4] = ["postgres", "api", "redis", "nats"];

const RATE: usize = 0;
const MEASURES: [Measure; 14] = [
    Measure { key: "sends_per_s", title: "sends/s", decimals: 0 },
    Measure { key: "p50_ms", title: "latency p50, ms", decimals: 1 },
    Measure { key: "p99_ms", title: "latency p99, ms", decimals: 1 },
    Measure { key: "api_us", title: "api, CPU µs per send", decimals: 0 },
    Measure { key: "postgres_us", title: "Postgres, CPU µs per send", decimals: 0 },
    Measure { key: "redis_us", title: "Redis, CPU µs per send", decimals: 1 },
    Measure { key: "nats_us", title: "NATS, CPU µs per send", decimals: 1 },
    Measure { key: "servers_us", title: "these together, CPU µs per send", decimals: 0 },
    Measure { key: "gateway_us", title: "gateway, CPU µs per send", decimals: 1 },
    Measure { key: "wal_bytes", title: "WAL bytes per send", decimals: 0 },
    Measure { key: "load_us", title: "the load, CPU µs per send", decimals: 1 },
    Measure { key: "load_core_percent", title: "the load, % of one core", decimals: 0 },
    Measure { key: "busy_percent", title: "machine busy, %", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
];

/// Runs the rounds and reports; true when no send has failed.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure(home, arguments, interrupt)?.end(arguments.json))
}

pub(crate) fn measure(
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let bench = Bench::start(home, arguments, interrupt)?;
    let header = bench.header()?;
    say::line(format_args!("{header}\n"));
    let (sides, errors) = bench.rounds()?;
    // Before the last line is written: a cluster that stops badly says so.
    drop(bench);
    let report = Report { header, sides, errors };
    report.tell(arguments)?;
    Ok(Outcome { met: report.errors == 0, json: report.json(arguments) })
}

/// Everything that a round needs.
struct Bench<'a> {
    arguments: &'a Arguments,
    interrupt: &'a Interrupt,
    servers: Servers,
    database: Database,
    ours: Ours,
    peer: Peer,
    // Last, so that it is stopped last.
    _cluster: Cluster,
}

impl<'a> Bench<'a> {
    fn start(home: &Home, arguments: &'a Arguments, interrupt: &'a Interrupt) -> Result<Self> {
        let home = home.beside(home.root().join("bench"));
        let cluster = Cluster::start(&home, &options(arguments), interrupt)?;
        let running = cluster.description();
        let programs = postgres_programs(&home, interrupt)?;
        let database = Database { programs, url: running.postgres.url.clone() };
        let shape = Shape { chats: arguments.chats, clients: arguments.clients };
        say::note(format_args!("making {} chats on both sides", shape.chats));
        let ours = Ours::prepare(running, &database, shape, interrupt)?;
        let peer = Peer::prepare(&database, &home.root().join("pgbench"), shape, interrupt)?;
        let servers = Servers::of(running);
        Ok(Self { arguments, interrupt, servers, database, ours, peer, _cluster: cluster })
    }

    /// What was run, on what; fails when the server does not keep what it commits.
    fn header(&self) -> Result<String> {
        let mut said = String::new();
        for database in [&self.database, self.peer.database()] {
            said = database.ask(
                "select current_setting('server_version'), current_setting('synchronous_commit'), current_setting('fsync')",
            )?;
            if !said.ends_with("|on|on") {
                bail!("the database is not durable: version, synchronous_commit, fsync are {said}");
            }
        }
        let version = said.split('|').next().context("psql said nothing")?;
        let Arguments { seconds, rounds, clients, chats, api, shards, .. } = self.arguments;
        Ok(format!(
            "`cargo parley bench send --seconds {seconds} --rounds {rounds} --clients {clients} --chats {chats} --api {api} --shards {shards}`\n\n\
            {}. Postgres {version} with synchronous_commit on and fsync on, asked of the server. Each of {rounds} \
            rounds: {seconds} s after {} s of warm-up. In each of Parley's chats one connection listens, and a round counts only if \
            it has heard every message once. Load and servers share the cores.",
            results::provenance(),
            WARM_UP.as_secs(),
        ))
    }

    /// All rounds, the sides in turn.
    fn rounds(&self) -> Result<([Side; 6], u64)> {
        let mut sides = TURNS.map(|(name, ..)| Side { name, rounds: Vec::new() });
        let mut errors = 0;
        for number in 1..=self.arguments.rounds {
            for (side, (name, place, peer)) in sides.iter_mut().zip(TURNS) {
                let measured = self.round(place, peer)?;
                errors += measured.errors;
                let round = measured.values(peer.is_some())?;
                let rate = round[RATE].unwrap_or_default();
                say::note(format_args!("round {number}: {name:<27} {rate:>7.0} sends/s"));
                side.rounds.push(round);
            }
        }
        Ok((sides, errors))
    }

    fn round(&self, place: Where, peer: Option<Work>) -> Result<Measured> {
        let Arguments { seconds, clients, .. } = *self.arguments;
        match peer {
            Some(work) => self.peer.round(place, work, seconds, &self.servers, self.interrupt),
            None => self.ours.round(place, clients, seconds, &self.servers, self.interrupt),
        }
    }
}

fn options(arguments: &Arguments) -> Options {
    let shards = arguments.shards.to_string();
    Options { api: arguments.api, ..measured::cluster(&[("PARLEY_APPEND_SHARDS", &shards)]) }
}

impl Measured {
    /// A value for each of [`MEASURES`].
    #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes are exact in an f64")]
    fn values(&self, peer: bool) -> Result<Vec<Option<f64>>> {
        let latencies = self.window.latencies(&self.done);
        if latencies.is_empty() {
            bail!("nothing was sent");
        }
        let sends = latencies.len() as f64;
        let spent = self.window.spent();
        let seconds = spent.took.as_secs_f64();
        let millis = |percent| f64::from(percentile(&latencies, percent)) / 1e3;
        let micros = |time: std::time::Duration| time.as_secs_f64() * 1e6 / sends;
        // Parley's own processes have no part in what pgbench does.
        let ours = |group| (!peer).then(|| micros(spent.by(group)));
        let senders = if peer { &SENDERS[..1] } else { &SENDERS };
        let messages = self.after.messages - self.before.messages;
        let wal = (self.after.wal - self.before.wal) as f64 / messages.max(1) as f64;
        Ok(vec![
            Some(sends / seconds),
            Some(millis(50)),
            Some(millis(99)),
            ours("api"),
            Some(micros(spent.by("postgres"))),
            ours("redis"),
            ours("nats"),
            Some(senders.iter().map(|group| micros(spent.by(group))).sum()),
            ours("gateway"),
            Some(wal),
            Some(micros(spent.load)),
            Some(spent.load.as_secs_f64() / seconds * 100.0),
            Some(spent.busy * 100.0),
            Some(spent.others * 100.0),
        ])
    }
}

/// What is said in the end.
struct Report {
    header: String,
    sides: [Side; 6],
    errors: u64,
}

impl Report {
    fn tell(&self, arguments: &Arguments) -> Result<()> {
        let text = format!("{}\n\n{}", report::table(&MEASURES, &self.sides), self.ratios());
        say::line(&text);
        if self.errors > 0 {
            say::line(format_args!("\n{} sends have failed: this is no result.", self.errors));
        } else if arguments.write {
            results::write("send", &format!("{}\n\n{text}", self.header))?;
        }
        Ok(())
    }

    /// Parley's rate into one chat as a share of its rate into many.
    fn hot_share(&self) -> Option<Range> {
        let side = |place| TURNS.iter().position(|turn| (turn.1, turn.2) == (place, None));
        self.sides[side(Where::HotChat)?].against(&self.sides[side(Where::ManyChats)?], RATE)
    }

    /// Parley's rate as a share of a peer's.
    fn ratio(&self, place: Where, work: Work) -> Option<Range> {
        let side = |peer| TURNS.iter().position(|turn| (turn.1, turn.2) == (place, peer));
        self.sides[side(None)?].against(&self.sides[side(Some(work))?], RATE)
    }

    fn ratios(&self) -> String {
        let shown =
            |place, work| self.ratio(place, work).map_or_else(|| "–".to_owned(), |it| it.shown(2));
        format!(
            "Parley's rate as a share of the whole statement's: many chats {}, hot chat {}; of the bare one's: many \
            chats {}, hot chat {}. Parley's rate into one hot chat as a share of its rate into many: {}.",
            shown(Where::ManyChats, Work::Whole),
            shown(Where::HotChat, Work::Whole),
            shown(Where::ManyChats, Work::Bare),
            shown(Where::HotChat, Work::Bare),
            self.hot_share().map_or_else(|| "–".to_owned(), |it| it.shown(2)),
        )
    }

    fn json(&self, arguments: &Arguments) -> serde_json::Value {
        let ratio =
            |place, work| self.ratio(place, work).map(|range| report::rounded(range.median));
        json!({
            "scenario": "send",
            "clients": arguments.clients,
            "chats": arguments.chats,
            "api": arguments.api,
            "shards": arguments.shards,
            "seconds": arguments.seconds,
            "rounds": arguments.rounds,
            "rows": report::rows(&MEASURES, &self.sides),
            "ratio_many": ratio(Where::ManyChats, Work::Whole),
            "ratio_hot": ratio(Where::HotChat, Work::Whole),
            "ratio_many_bare": ratio(Where::ManyChats, Work::Bare),
            "ratio_hot_bare": ratio(Where::HotChat, Work::Bare),
            "ratio_hot_of_many": self.hot_share().map(|range| report::rounded(range.median)),
            "errors": self.errors,
        })
    }
}
