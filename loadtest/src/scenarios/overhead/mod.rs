//! `bench overhead`: what metrics, and traces of one request in a hundred, add to a send and to a delivery.
//!
//! Clusters that differ in nothing else stand side by side and have their turns, many times; what a round's api pod and gateway
//! have spent is compared with the neighbours'.

mod unmeasured;

use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, say, testing};
use serde_json::json;

use super::fanout::hall::{Fitting, Hall, Shape, wait};
use super::send::requests::{Client, Sender};
use crate::audience::Audience;
use crate::http::address;
use crate::load::Load;
use crate::pin::Cores;
use crate::report::{self, Measure, Range, Side};
use crate::results;
use crate::servers::Servers;
use crate::window::WARM_UP;

const SHAPE: Shape = Shape { rooms: 250, members: 4 };
const TURN: Duration = Duration::from_millis(20);

/// What `bench overhead` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long each round counts, after its warm-up
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each side has its turn
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How many send at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
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
const MEASURES: [Measure; 5] = [
    Measure { key: "api_us", title: "api, CPU µs per send", decimals: 1 },
    Measure { key: "gateway_us", title: "gateway, CPU µs per delivery", decimals: 2 },
    Measure { key: "sends_per_s", title: "sends/s", decimals: 0 },
    Measure { key: "busy_percent", title: "machine busy, %", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
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
        for (side, party) in sides.iter_mut().zip(&mut parties) {
            side.rounds.push(party.round(arguments, interrupt)?);
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

/// A cluster, its listeners, and who sends there.
struct Party {
    name: &'static str,
    hall: Hall,
    audience: Audience,
    senders: Arc<[Sender]>,
    servers: Servers,
    /// Sends answered so far.
    sent: u64,
    /// Events heard before the first of them.
    before: u64,
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
        audience.gather(hall.gateway()?, hall.guests(), interrupt)?;
        let servers = Servers::of(hall.cluster.description());
        let (senders, before) = (hall.senders().into(), audience.heard());
        Ok(Self { name, hall, audience, senders, servers, sent: 0, before })
    }

    /// Sends for a while, while everybody listens; a value for each of [`MEASURES`].
    #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes are exact in an f64")]
    fn round(&mut self, arguments: &Arguments, interrupt: &Interrupt) -> Result<Vec<Option<f64>>> {
        let api = self.hall.cluster.description().api.first().context("there is no api pod")?;
        let client = |_| Client { senders: Arc::clone(&self.senders), own: None };
        let clients = (0..arguments.clients).map(client).collect();
        let load = Load::start(vec![address(&api.url).to_owned()], clients, 201)?;
        self.listen(WARM_UP, interrupt)?;
        let (from, heard) = (self.servers.usage(std::process::id())?, self.audience.heard());
        self.listen(Duration::from_secs(arguments.seconds), interrupt)?;
        let (to, deliveries) =
            (self.servers.usage(std::process::id())?, self.audience.heard() - heard);
        let outcome = load.stop()?;
        if let Some(error) = outcome.first_error {
            bail!("{}: {} sends have failed; the first: {error}", self.name, outcome.errors);
        }
        self.sent += outcome.done.len() as u64;
        let wanted = self.before + self.sent * SHAPE.members as u64;
        self.audience.hears(wanted).context(self.name)?;
        let spent = to.since(&from);
        let inside = (from.at.as_micros()..to.at.as_micros(), &outcome.done);
        let sends = inside.1.iter().filter(|it| inside.0.contains(&u128::from(it.at))).count();
        let each = |group, number: f64| spent.by(group).as_secs_f64() * 1e6 / number;
        Ok(vec![
            Some(each("api", sends as f64)),
            Some(each("gateway", deliveries as f64)),
            Some(sends as f64 / spent.took.as_secs_f64()),
            Some(spent.busy * 100.0),
            Some(spent.others * 100.0),
        ])
    }

    fn listen(&mut self, time: Duration, interrupt: &Interrupt) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if interrupt.asked() {
                bail!("interrupted");
            }
            self.audience.turn(Some(TURN))?;
        }
        Ok(())
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
        {members} who listen, and {clients} clients that send into them through REST as fast as they are answered, on clusters \
        that differ in nothing else. Each of {rounds} rounds: {seconds} s after {} s of warm-up, the sides in turn. The gateways have \
        a core for themselves. *Without metrics*: the same sources, built with a `prometheus` whose counters, gauges and histograms do \
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
