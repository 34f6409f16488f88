//! `bench storm`: ten thousand clients that lose their connections at once and come back, beside socket.io with the Redis
//! streams adapter.

mod fleet;
mod ours;
mod peer;
mod socket;
mod statements;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Cluster, Home, Interrupt, Options, say};
use serde_json::json;

use crate::measured;
use crate::report::{self, Measure, Side};
use crate::results;
use crate::servers::{Servers, Spent};
use fleet::Fleet;
use ours::Ours;
use peer::Peer;

/// A pod has room for all clients, should they come to one.
const SETTINGS: &[(&str, &str)] = &[("PARLEY_MAX_CONNECTIONS", "12000")];
/// By when everybody is in the room after the start.
const ARRIVE_WITHIN: Duration = Duration::from_mins(1);
/// By when everybody is whole after a drop.
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
/// By when a message is heard by everybody who is there.
const HEAR_WITHIN: Duration = Duration::from_secs(10);
const POLL: Duration = Duration::from_millis(10);
/// The goal.
const STATEMENTS_PER_CLIENT: f64 = 0.05;

/// What `bench storm` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many rooms there are, of 20 clients each
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=900))]
    rooms: u16,
    /// How often all of them are dropped
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=20))]
    rounds: u16,
    /// How often the peer's are; 0: Parley alone
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=20))]
    peer_rounds: u16,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// Clients in each room.
const MEMBERS: usize = 20;

const LOST: usize = 4;
const DOUBLED: usize = 5;
const STATEMENTS: usize = 7;
const MEASURES: [Measure; 20] = [
    Measure { key: "whole_50_s", title: "half of the clients whole after, s", decimals: 2 },
    Measure { key: "whole_99_s", title: "99 % whole after, s", decimals: 2 },
    Measure { key: "whole_100_s", title: "all whole after, s", decimals: 2 },
    Measure { key: "whole", title: "clients that got everything", decimals: 0 },
    Measure { key: "lost", title: "messages lost", decimals: 0 },
    Measure { key: "doubled", title: "messages doubled", decimals: 0 },
    Measure { key: "reloads", title: "told to reload, or not recovered", decimals: 0 },
    Measure { key: "statements", title: "statements of joins and tokens per client", decimals: 4 },
    Measure { key: "joins", title: "statements of joins", decimals: 0 },
    Measure { key: "tokens", title: "statements of tokens", decimals: 0 },
    Measure { key: "others", title: "other statements: sends, sweeps", decimals: 0 },
    Measure { key: "commands", title: "commands of Redis per client", decimals: 2 },
    Measure { key: "sockets_s", title: "gateways or Node, CPU s", decimals: 2 },
    Measure { key: "api_s", title: "api, CPU s", decimals: 2 },
    Measure { key: "postgres_s", title: "Postgres, CPU s", decimals: 2 },
    Measure { key: "redis_s", title: "Redis, CPU s", decimals: 2 },
    Measure { key: "nats_s", title: "NATS, CPU s", decimals: 2 },
    Measure { key: "load_s", title: "the load, CPU s", decimals: 2 },
    Measure { key: "sockets_mib", title: "gateways or Node, largest MiB together", decimals: 0 },
    Measure { key: "refused", title: "attempts in vain", decimals: 0 },
];

/// What a side of the storm can do besides holding connections.
trait Party {
    /// Says one more message in each room, to whichever of its pods.
    fn say(&mut self) -> Result<()>;
    /// How many messages were said in each room.
    fn head(&self) -> u64;
    /// From here on it counts what its database is asked.
    fn begin(&mut self) -> Result<()>;
    /// What its databases were asked since.
    fn asked(&self) -> Result<Cost>;
    /// The processes that hold the connections, and their group in [`Servers`].
    fn sockets(&self) -> (&'static str, Vec<u32>);
}

/// What databases were asked; `None` where it has no meaning.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    statements: Option<statements::Asked>,
    commands: Option<u64>,
}

/// One drop.
struct Round {
    /// When each client was whole after it, the first one first; those that never were are missing.
    whole: Vec<Duration>,
    clients: usize,
    counts: fleet::Counts,
    cost: Cost,
    spent: Spent,
    sockets: &'static str,
    mebibytes: f64,
    refused: u64,
}

/// Runs both sides and reports; true when nothing was lost or doubled, everybody came back, and the goal is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let home = home.beside(home.root().join("bench"));
    let cluster = Cluster::start(&home, &options(), interrupt)?;
    let mut sides = Vec::new();
    let rooms = usize::from(arguments.rooms);
    let storm = |rounds| Storm { rounds, interrupt };
    say::note(format_args!("making {rooms} chats of {MEMBERS}"));
    let mut ours = Ours::prepare(&home, &cluster, rooms, interrupt)?;
    let servers = Servers::of(cluster.description());
    let rounds = storm(arguments.rounds).side(&mut ours, &servers, ours::fleet)?;
    sides.push(Side { name: "Parley", rounds });
    if arguments.peer_rounds > 0 {
        let mut peer = Peer::start(&home, &cluster, rooms, interrupt)?;
        let servers = servers.and("node", peer.sockets().1);
        let rounds = storm(arguments.peer_rounds).side(&mut peer, &servers, peer::fleet)?;
        sides.push(Side { name: "socket.io, redis-streams", rounds });
    }
    // Before the last line is written: a cluster that stops badly says so.
    drop(cluster);
    report(arguments, &sides)
}

fn options() -> Options {
    Options { api: 2, gateways: 2, ..measured::cluster(SETTINGS) }
}

struct Storm<'a> {
    rounds: u16,
    interrupt: &'a Interrupt,
}

impl Storm<'_> {
    /// All rounds of a side, on the same clients.
    fn side<P: Party>(
        &self,
        party: &mut P,
        servers: &Servers,
        fleet: impl Fn(&P) -> Fleet,
    ) -> Result<Vec<Vec<Option<f64>>>> {
        let fleet = fleet(party);
        let number = fleet.progress().len();
        if !self.wait(ARRIVE_WITHIN, || fleet.progress().iter().all(fleet::Progress::is_in))? {
            bail!("not all of {number} clients have come");
        }
        say::note(format_args!("{number} clients are in their rooms"));
        // Each has heard something, and knows where it is.
        party.say()?;
        let mut rounds = Vec::new();
        for _ in 0..self.rounds {
            let head = party.head();
            if !self.wait(HEAR_WITHIN, || fleet.progress().iter().all(|it| it.is_at(head)))? {
                say::note("not everybody has heard what was said last");
            }
            let round = self.round(party, servers, &fleet)?;
            rounds.push(round.values());
        }
        fleet.stop()?;
        Ok(rounds)
    }

    fn round<P: Party>(&self, party: &mut P, servers: &Servers, fleet: &Fleet) -> Result<Round> {
        let before = Sum::of(fleet, party.head());
        party.begin()?;
        let usage = servers.usage(std::process::id())?;
        let dropped = fleet.drop_all();
        // While everybody is away, and while they come back.
        party.say()?;
        self.wait(Duration::from_secs(1), || false)?;
        party.say()?;
        let head = party.head();
        self.wait(WHOLE_WITHIN, || fleet.progress().iter().all(|it| it.is_at(head)))?;
        let spent = servers.usage(std::process::id())?.since(&usage);
        let cost = party.asked()?;
        let mut whole: Vec<_> = fleet
            .progress()
            .iter()
            .filter(|it| it.is_at(head))
            .map(|it| it.changed().saturating_sub(dropped))
            .collect();
        whole.sort_unstable();
        // Everybody is there again: this one comes to all, and once.
        party.say()?;
        let head = party.head();
        self.wait(HEAR_WITHIN, || fleet.progress().iter().all(|it| it.is_at(head)))?;
        let counts = Sum::of(fleet, party.head()).since(&before);
        let (sockets, pids) = party.sockets();
        let round = Round {
            clients: fleet.progress().len(),
            whole,
            counts: counts.counts,
            refused: counts.refused,
            cost,
            spent,
            sockets,
            mebibytes: crate::proc::largest(&pids),
        };
        say::note(format_args!(
            "{} of {} clients whole, the last after {:.2} s",
            round.whole.len(),
            round.clients,
            round.whole.last().map_or(0.0, Duration::as_secs_f64),
        ));
        Ok(round)
    }

    /// Waits until it is so; false when time is over.
    fn wait(&self, within: Duration, it: impl Fn() -> bool) -> Result<bool> {
        let deadline = Instant::now() + within;
        while !it() {
            if self.interrupt.asked() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(POLL);
        }
        Ok(true)
    }
}

/// What has gone wrong up to a moment, of all clients together.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    counts: fleet::Counts,
    refused: u64,
}

impl Sum {
    fn of(fleet: &Fleet, head: u64) -> Self {
        let mut sum = Self { refused: fleet.refused(), ..Self::default() };
        for progress in fleet.progress() {
            let counts = progress.counts();
            sum.counts.lost += counts.lost + progress.behind(head);
            sum.counts.doubled += counts.doubled;
            sum.counts.reloads += counts.reloads;
        }
        sum
    }

    fn since(self, earlier: &Self) -> Self {
        let (now, then) = (self.counts, earlier.counts);
        let counts = fleet::Counts {
            // What was behind before may have come since.
            lost: now.lost.saturating_sub(then.lost),
            doubled: now.doubled - then.doubled,
            reloads: now.reloads - then.reloads,
        };
        Self { counts, refused: self.refused - earlier.refused }
    }
}

impl Round {
    /// A value for each of [`MEASURES`].
    #[expect(clippy::cast_precision_loss, reason = "counts of a minute are exact in an f64")]
    fn values(&self) -> Vec<Option<f64>> {
        let at = |percent: usize| {
            let rank = (self.clients * percent).div_ceil(100).max(1);
            self.whole.get(rank - 1).map(Duration::as_secs_f64)
        };
        let count = |number: u64| Some(number as f64);
        let each = |number: u64| number as f64 / self.clients as f64;
        let seconds = |group: &str| Some(self.spent.by(group).as_secs_f64());
        let Cost { statements, commands } = self.cost;
        // Parley's own processes have no part in what its peer does.
        let ours = |group| statements.and_then(|_| seconds(group));
        vec![
            at(50),
            at(99),
            at(100),
            count(self.whole.len() as u64),
            count(self.counts.lost),
            count(self.counts.doubled),
            count(self.counts.reloads),
            statements.map(|it| each(it.joins + it.tokens)),
            statements.and_then(|it| count(it.joins)),
            statements.and_then(|it| count(it.tokens)),
            statements.and_then(|it| count(it.others)),
            commands.map(each),
            seconds(self.sockets),
            ours("api"),
            ours("postgres"),
            seconds("redis"),
            ours("nats"),
            Some(self.spent.load.as_secs_f64()),
            Some(self.mebibytes),
            count(self.refused),
        ]
    }
}

fn report(arguments: &Arguments, sides: &[Side]) -> Result<bool> {
    let clients = usize::from(arguments.rooms) * MEMBERS;
    let header = format!(
        "`cargo parley bench storm --rooms {} --rounds {} --peer-rounds {}`\n\n{}. {clients} clients in rooms of {MEMBERS}, on two gateways or two \
        Node processes by address, all dropped at once; a message into each room at once and another a second later. Clients \
        wait as stock ones do (1 s ± 50 %, then up to 5 s). Load and servers share the cores.",
        arguments.rooms,
        arguments.rounds,
        arguments.peer_rounds,
        results::provenance(),
    );
    let table = report::table(&MEASURES, sides);
    say::line(format_args!("{header}\n\n{table}"));
    let verdict = verdict(clients, &sides[0]);
    if arguments.write {
        results::write("storm", &format!("{header}\n\n{table}"))?;
    }
    say::line(format_args!("\n{}", verdict.as_ref().err().map_or("clean", String::as_str)));
    if arguments.json {
        let rows = report::rows(&MEASURES, sides);
        say::line(json!({ "scenario": "storm", "clients": clients, "rows": rows }));
    }
    Ok(verdict.is_ok())
}

/// Whether Parley did what it must in each round.
fn verdict(clients: usize, parley: &Side) -> Result<(), String> {
    let value = |round: &[Option<f64>], measure: usize| round[measure].unwrap_or(f64::INFINITY);
    for (number, round) in parley.rounds.iter().enumerate() {
        let wrong = [
            (round[2].is_none(), "not all of the clients are whole"),
            (value(round, LOST) > 0.0, "messages were lost"),
            (value(round, DOUBLED) > 0.0, "messages were doubled"),
            (value(round, STATEMENTS) > STATEMENTS_PER_CLIENT, "too many statements per client"),
        ];
        if let Some((_, what)) = wrong.iter().find(|(is_so, _)| *is_so) {
            return Err(format!("round {} of {clients} clients: {what}", number + 1));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_or_too_much_is_no_clean_verdict() {
        let clean: Vec<_> = MEASURES.iter().map(|_| Some(0.0)).collect();
        let judge = |change: &dyn Fn(&mut Vec<Option<f64>>)| {
            let mut round = clean.clone();
            change(&mut round);
            verdict(10, &Side { name: "Parley", rounds: vec![clean.clone(), round] })
        };
        assert_eq!(judge(&|_| {}), Ok(()));
        for measure in [LOST, DOUBLED, STATEMENTS] {
            assert!(judge(&|round| round[measure] = Some(1.0)).is_err());
            assert!(judge(&|round| round[measure] = None).is_err());
        }
        assert!(judge(&|round| round[2] = None).unwrap_err().starts_with("round 2 "));
    }
}
