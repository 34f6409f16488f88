//! `bench overhead`: what metrics, and traces of one request in a hundred, add to a send and to a delivery.
//!
//! Clusters that differ in nothing else work side by side, at the same time on the same cores: whatever else this machine does
//! slows all of them alike. What their api pods and gateways have spent in a round is compared.

mod unmeasured;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, say, testing};
use serde_json::json;

use super::fanout::hall::{Fitting, Hall, Shape, wait};
use super::send::requests::{Client, Sender};
use crate::audience::{Audience, Listening};
use crate::http::address;
use crate::load::Load;
use crate::pin::Cores;
use crate::report::{self, Measure, Range, Side};
use crate::results;
use crate::servers::{Servers, Usage};
use crate::window::{WARM_UP, wait_for};

const SHAPE: Shape = Shape { rooms: 250, members: 4 };

/// What `bench overhead` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long each round counts, after its warm-up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How many rounds
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How many send at once, on each side
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=100))]
    clients: u16,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

const API: usize = 0;
const GATEWAY: usize = 1;
const MEASURES: [Measure; 4] = [
    Measure { key: "api_us", title: "api, CPU µs per send", decimals: 1 },
    Measure { key: "gateway_us", title: "gateway, CPU µs per delivery", decimals: 2 },
    Measure { key: "sends_per_s", title: "sends/s", decimals: 0 },
    Measure { key: "busy_percent", title: "machine busy, %", decimals: 0 },
];

/// Runs the rounds and reports.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let unmeasured = unmeasured::build(home, interrupt)?;
    let receiver = Receiver::start(home, interrupt)?;
    let cores = Cores::here()?;
    let traced =
        [("PARLEY_OTLP_ENDPOINT", receiver.url()), ("PARLEY_TRACE_SAMPLE", "0.01".to_owned())];
    let traced = traced.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let fittings = [
        Fitting::default(),
        Fitting { binaries: Some(unmeasured), ..Fitting::default() },
        Fitting { settings: traced, ..Fitting::default() },
    ];
    let mut parties = Vec::new();
    for (fitting, name) in fittings.into_iter().zip(NAMES) {
        parties.push(Party::open(home, &cores, fitting, name, interrupt)?);
    }
    let mut sides = NAMES.map(|name| Side { name, rounds: Vec::new() });
    for number in 1..=arguments.rounds {
        let values = round(&parties, arguments, interrupt)?;
        for (side, values) in sides.iter_mut().zip(values) {
            side.rounds.push(values);
        }
        say::note(format_args!("round {number} of {}", arguments.rounds));
    }
    let spans = receiver.spans()?;
    drop((parties, receiver));
    if spans == 0 {
        bail!("nothing was traced: there is nothing to compare");
    }
    tell(arguments, &sides, spans)?;
    Ok(true)
}

const NAMES: [&str; 3] = ["as it ships", "without metrics", "one in 100 traced"];

/// Sends on all sides at once for a while; for each of them a value for each of [`MEASURES`].
fn round(
    parties: &[Party],
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Vec<Vec<Option<f64>>>> {
    let rounds = parties.iter().map(|party| party.begin(arguments));
    let rounds = rounds.collect::<Result<Vec<_>>>()?;
    wait_for(WARM_UP, interrupt)?;
    let from = parties.iter().map(Party::stand).collect::<Result<Vec<_>>>()?;
    wait_for(Duration::from_secs(arguments.seconds), interrupt)?;
    let to = parties.iter().map(Party::stand).collect::<Result<Vec<_>>>()?;
    let ended = parties.iter().zip(rounds).zip(from.iter().zip(&to));
    ended.map(|((party, round), stands)| party.end(round, stands)).collect()
}

/// A cluster, its listeners, and who sends there.
struct Party {
    name: &'static str,
    listeners: Listening,
    senders: Arc<[Sender]>,
    servers: Servers,
    // Last, so that it is stopped last.
    hall: Hall,
}

/// A round that goes on.
struct Round {
    load: Load,
    /// Events heard before it.
    heard: u64,
}

/// Where a side is.
struct Stand {
    usage: Usage,
    heard: u64,
}

impl Party {
    fn open(
        home: &Home,
        cores: &Cores,
        fitting: Fitting,
        name: &'static str,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let home = home.beside(home.root().join("overhead").join(name.replace(' ', "-")));
        let hall = Hall::open(&home, cores, SHAPE, fitting, interrupt)?;
        let mut audience = Audience::new()?;
        audience.gather(hall.gateway()?, hall.chats.guests(), interrupt)?;
        let servers = Servers::of(hall.cluster.description());
        let senders = hall.chats.senders().into();
        Ok(Self { name, listeners: Listening::begin(audience)?, senders, servers, hall })
    }

    fn begin(&self, arguments: &Arguments) -> Result<Round> {
        let api = self.hall.cluster.description().api.first().context("there is no api pod")?;
        let client = |_| Client { senders: Arc::clone(&self.senders), own: None };
        let clients = (0..arguments.clients).map(client).collect();
        let heard = self.listeners.heard();
        let load = Load::start(vec![address(&api.url).to_owned()], clients, 201)?;
        Ok(Round { load, heard })
    }

    fn stand(&self) -> Result<Stand> {
        let usage = self.servers.usage(std::process::id())?;
        Ok(Stand { usage, heard: self.listeners.heard() })
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes are exact in an f64")]
    fn end(&self, round: Round, (from, to): (&Stand, &Stand)) -> Result<Vec<Option<f64>>> {
        let outcome = round.load.stop()?;
        if let Some(error) = outcome.first_error {
            bail!("{}: {} sends have failed; the first: {error}", self.name, outcome.errors);
        }
        let sent = outcome.done.len() as u64;
        self.listeners.hears(round.heard + sent * SHAPE.members as u64).context(self.name)?;
        let spent = to.usage.since(&from.usage);
        let inside = from.usage.at.as_micros()..to.usage.at.as_micros();
        let sends = outcome.done.iter().filter(|it| inside.contains(&u128::from(it.at))).count();
        let each = |group, number: f64| spent.by(group).as_secs_f64() * 1e6 / number;
        Ok(vec![
            Some(each("api", sends as f64)),
            Some(each("gateway", (to.heard - from.heard) as f64)),
            Some(sends as f64 / spent.took.as_secs_f64()),
            Some(spent.busy * 100.0),
        ])
    }
}

/// oteltap: an OTLP receiver that writes down what it is told. It stands in the launcher's tools.
struct Receiver {
    child: Child,
    port: u16,
    said: PathBuf,
}

impl Receiver {
    fn start(home: &Home, interrupt: &Interrupt) -> Result<Self> {
        let program = testing::tool(home, "oteltap");
        if !program.exists() {
            bail!("there is no oteltap yet: `cargo parley test` installs it");
        }
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let said = home.root().join("overhead-spans.ndjson");
        let mut command = Command::new(program);
        command.args(["--port", &port.to_string()]).stdin(Stdio::null());
        command.stdout(File::create(&said)?).stderr(Stdio::null());
        let receiver = Self { child: command.spawn().context("cannot start oteltap")?, port, said };
        wait("the receiver of spans listens", interrupt, || {
            Ok(TcpStream::connect(("127.0.0.1", port)).is_ok())
        })?;
        Ok(receiver)
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// How many it was told.
    fn spans(&self) -> Result<usize> {
        let said = std::fs::read_to_string(&self.said)?;
        Ok(said.lines().filter(|line| line.contains("\"traceId\"")).count())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn tell(arguments: &Arguments, sides: &[Side], spans: usize) -> Result<()> {
    let Arguments { seconds, rounds, clients, .. } = arguments;
    let Shape { rooms, members } = SHAPE;
    let added = |more: usize, less: usize, measure| {
        let ratio = sides[more].against(&sides[less], measure);
        ratio.map(|Range { median, min, max }| {
            let percent = |ratio: f64| (ratio - 1.0) * 100.0;
            Range { median: percent(median), min: percent(min), max: percent(max) }
        })
    };
    let shown = |range: Option<Range>| range.map_or_else(|| "–".to_owned(), |it| it.shown(1));
    let text = format!(
        "`cargo parley bench overhead --seconds {seconds} --rounds {rounds} --clients {clients}`\n\n{}. {rooms} chats of \
        {members} who listen, and {clients} clients that send into them through REST as fast as they are answered, on each of three \
        clusters that differ in nothing else and work at the same time. Each of {rounds} rounds: {seconds} s after {} s of warm-up. The \
        gateways share a core, and everything else the others. *Without metrics*: the same sources, built with a `prometheus` whose counters, gauges and histograms do \
        nothing; the clock is read all the same. *One in 100 traced*: as it ships, and one request in a hundred is traced over OTLP \
        to a receiver ({spans} spans).\n\n{}\n\nMetrics add {} % to the api pod's CPU per send and {} % to the gateway's per delivery; \
        traces of 1 % add {} % and {} %.",
        results::provenance(),
        WARM_UP.as_secs(),
        report::table(&MEASURES, sides),
        shown(added(0, 1, API)),
        shown(added(0, 1, GATEWAY)),
        shown(added(2, 0, API)),
        shown(added(2, 0, GATEWAY)),
    );
    say::line(&text);
    if arguments.write {
        results::write("overhead", &text)?;
    }
    if arguments.json {
        say::line(json!({ "scenario": "overhead", "rows": report::rows(&MEASURES, sides) }));
    }
    Ok(())
}
