//! `bench e2e`: how long a message takes from the POST to the socket of whoever listens, beside the time of one commit and
//! of one hop through NATS, which nothing that keeps its messages and has more than one pod can do without.

mod hop;
mod speaking;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use parley_local::{Cluster, Home, Interrupt, Options, postgres_programs, say};
use serde_json::json;

use crate::audience::{Audience, Guest, HEARD_WITHIN, Speech};
use crate::database::Database;
use crate::http::address;
use crate::measured;
use crate::report::{self, Measure, Outcome, Range, Side};
use crate::results;
use crate::scenarios::fanout::hall::{self, furnish};
use crate::scenarios::send;
use crate::scenarios::send::peer::Peer;
use crate::scenarios::send::requests::Sender;
use crate::window::{WARM_UP, percentile};
use speaking::{Begun, Speaking};

/// How long an audience waits for something to hear before it looks up.
const TURN: Duration = Duration::from_millis(5);
/// How many commit at once, if the ones before have not ended.
const COMMITTERS: u16 = 8;

/// What `bench e2e` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Messages a second
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=2000))]
    rate: u32,
    /// How long each round counts, after its warm-up
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=40))]
    seconds: u64,
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

const P99: usize = 1;
const MEASURES: [Measure; 2] = [
    Measure { key: "p50_ms", title: "p50, ms", decimals: 2 },
    Measure { key: "p99_ms", title: "p99, ms", decimals: 2 },
];

const DELIVERED: usize = 0;
const FLOOR: usize = 4;
const SIDES: [&str; 5] =
    ["POST to socket", "POST to answer", "one commit", "one hop of NATS", "commit and hop"];

/// Runs the rounds and reports; an error unless every message was heard once.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure(home, arguments, interrupt)?.end(arguments.json))
}

pub(crate) fn measure(
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let mut bench = Bench::start(home, arguments, interrupt)?;
    let mut sides = SIDES.map(|name| Side { name, rounds: Vec::new() });
    for number in 1..=arguments.rounds {
        let [delivered, answered] = bench.messages()?;
        let [commits, hops] = bench.floor()?;
        // The one after the other, as a message has them.
        let sums = commits.iter().zip(&hops).map(|(commit, hop)| commit + hop).collect();
        for (side, times) in sides.iter_mut().zip([delivered, answered, commits, hops, sums]) {
            side.rounds.push(values(times));
        }
        let p99 = |side: usize| sides[side].rounds.last().and_then(|it| it[P99]).unwrap_or(0.0);
        let (ours, floor) = (p99(DELIVERED), p99(FLOOR));
        say::note(format_args!("round {number}: p99 {ours:.2} ms, of the floor {floor:.2} ms"));
    }
    drop(bench);
    tell(arguments, &sides)
}

/// Median and 99th percentile, in milliseconds.
fn values(mut times: Vec<u32>) -> Vec<Option<f64>> {
    times.sort_unstable();
    [50, 99].map(|percent| Some(f64::from(percentile(&times, percent)) / 1e3)).to_vec()
}

fn tell(arguments: &Arguments, sides: &[Side; 5]) -> Result<Outcome> {
    let Arguments { rate, seconds, rounds, .. } = arguments;
    let ratio = sides[DELIVERED].against(&sides[FLOOR], P99);
    let shown = ratio.map_or_else(|| "–".to_owned(), |it| it.shown(2));
    let text = format!(
        "`cargo parley bench e2e --rate {rate} --seconds {seconds} --rounds {rounds}`\n\n{}. {rate} messages/s into direct \
        chats, over two api pods; in each chat one connection listens, on one of two gateways. Each of {rounds} rounds: \
        {seconds} s after {} s of warm-up, then as long the floor: pgbench with the least statement that puts a message into \
        its place, at the same rate, and at the same time events of the same size through NATS from one connection to another. \
        A round counts only if every message was heard once. Load and servers share the cores.\n\n{}\n\nThe p99 from POST to \
        socket as a multiple of the p99 of commit and hop: {shown}.",
        results::provenance(),
        WARM_UP.as_secs(),
        report::table(&MEASURES, sides),
    );
    say::line(&text);
    if arguments.write {
        results::write("e2e", &text)?;
    }
    let json = json!({
        "scenario": "e2e",
        "rows": report::rows(&MEASURES, sides),
        "ratio_p99": ratio.map(|Range { median, .. }| report::rounded(median)),
    });
    Ok(Outcome { met: true, json })
}

/// Everything that a round needs.
struct Bench<'a> {
    arguments: &'a Arguments,
    audience: Audience,
    pods: Vec<String>,
    senders: Arc<[Sender]>,
    peer: Peer,
    nats: String,
    // Last, so that it is stopped last.
    _cluster: Cluster,
}

impl<'a> Bench<'a> {
    fn start(home: &Home, arguments: &'a Arguments, interrupt: &Interrupt) -> Result<Self> {
        let home = home.beside(home.root().join("e2e"));
        let options = Options { api: 2, gateways: 2, ..measured::cluster(&[]) };
        let cluster = Cluster::start(&home, &options, interrupt)?;
        let running = cluster.description();
        let chats = Speaking::chats(arguments.rate);
        let hall::Chats { ids, tokens, .. } =
            furnish(&cluster, hall::Shape { rooms: chats, members: 2 })?;
        let gateways = running.gateway.iter().map(|pod| Ok(address(&pod.url).parse()?));
        let gateways = gateways.collect::<Result<Vec<_>>>()?;
        let mut audience = Audience::new()?;
        for (place, (chat, pair)) in ids.iter().zip(tokens.chunks_exact(2)).enumerate() {
            let speech = Speech::Parley { token: pair[0].clone() };
            let guest = Guest { speech, room: Some(chat.clone()) };
            audience.gather(gateways[place % gateways.len()], [guest], interrupt)?;
        }
        let senders = ids.iter().zip(tokens.chunks_exact(2));
        let senders = senders.map(|(chat, pair)| Sender::new(chat, &pair[1])).collect();
        let programs = postgres_programs(&home, interrupt)?;
        let database = Database { programs, url: running.postgres.url.clone() };
        let shape = send::Shape { chats: u32::try_from(chats)?, clients: COMMITTERS };
        let peer = Peer::prepare(&database, &home.root().join("pgbench"), shape, interrupt)?;
        let nats = running.nats.first().context("there is no NATS")?.url.clone();
        let pods = running.api.iter().map(|pod| address(&pod.url).to_owned()).collect();
        Ok(Self { arguments, audience, pods, senders, peer, nats, _cluster: cluster })
    }

    fn time(&self) -> Duration {
        WARM_UP + Duration::from_secs(self.arguments.seconds)
    }

    /// A round of messages: from each POST to its delivery, and to its answer, in microseconds.
    fn messages(&mut self) -> Result<[Vec<u32>; 2]> {
        let begun = Arc::new(Begun::now(self.senders.len()));
        let speaking = Speaking {
            pods: self.pods.clone(),
            senders: Arc::clone(&self.senders),
            rate: self.arguments.rate,
            time: self.time(),
            begun: Arc::clone(&begun),
        };
        let before = self.audience.heard();
        let speaking = std::thread::spawn(move || speaking.run());
        let mut heard = Vec::new();
        let mut tell = |place, events| heard.extend((0..events).map(|_| begun.heard(place)));
        while !speaking.is_finished() {
            self.audience.turn_telling(Some(TURN), &mut tell)?;
        }
        let said = speaking.join().map_err(|_| anyhow::anyhow!("the speakers have panicked"))??;
        let (wanted, deadline) = (before + said.sent, Instant::now() + HEARD_WITHIN);
        while self.audience.heard() < wanted && Instant::now() < deadline {
            self.audience.turn_telling(Some(TURN), &mut tell)?;
        }
        self.audience.hears(wanted)?;
        let delivered = heard.into_iter().filter_map(Result::transpose).collect::<Result<_>>()?;
        Ok([delivered, said.answered])
    }

    /// A round of what it cannot do without: commits, and hops through NATS. Meanwhile the audience answers heartbeats: a floor
    /// takes longer than gateways wait for one.
    fn floor(&mut self) -> Result<[Vec<u32>; 2]> {
        let warm = (SystemTime::now() + WARM_UP).duration_since(UNIX_EPOCH)?.as_micros();
        let pgbench = self.peer.commits(self.arguments.rate, self.time())?;
        let (nats, rate, time) = (self.nats.clone(), self.arguments.rate, self.time());
        let hops = std::thread::spawn(move || hop::hops(&nats, rate, time));
        while !hops.is_finished() {
            self.audience.turn(Some(TURN))?;
        }
        let hops = hops.join().map_err(|_| anyhow::anyhow!("the hops have panicked"))??;
        let commits = pgbench.finish()?.done;
        let commits = commits.iter().filter(|it| u128::from(it.at) >= warm).map(|it| it.took);
        Ok([commits.collect(), hops])
    }
}
