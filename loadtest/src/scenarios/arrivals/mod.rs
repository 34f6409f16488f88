//! `bench connect` and `bench idle`: what a connection costs when it comes, and what it holds while nothing is said.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};
use serde_json::{Value, json};

use super::fanout::hall::{Fitting, Hall, Shape};
use super::fanout::peers::{Peer, Running};
use crate::audience::{Audience, Guest};
use crate::pin::Cores;
use crate::proc::resident;
use crate::report::{self, Measure, Outcome, Range, Side};
use crate::results;
use crate::servers::Servers;

const MEMBERS: usize = 20;
const TURN: Duration = Duration::from_millis(50);
/// A server that spends less than this in a turn has nothing to do any more.
const STILL: Duration = Duration::from_millis(10);
const STILL_WITHIN: Duration = Duration::from_secs(20);

/// What `bench connect` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct ConnectArguments {
    /// Beside whom
    #[arg(long, value_enum, value_delimiter = ',', default_value = "socketio,bun")]
    against: Vec<Peer>,
    /// How many connect in a round, 32 at a time
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u16).range(100..=20_000))]
    connections: u16,
    /// How often each side has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    #[command(flatten)]
    end: End,
}

/// What `bench idle` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct IdleArguments {
    /// Beside whom
    #[arg(long, value_enum, value_delimiter = ',', default_value = "socketio,bun")]
    against: Vec<Peer>,
    /// How many connections there are
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u16).range(100..=20_000))]
    connections: u16,
    /// How long nothing is said before memory is read; longer than a heartbeat takes
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    #[command(flatten)]
    end: End,
}

/// How the numbers are given.
#[derive(Clone, Debug, clap::Args)]
struct End {
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// A side: where it is, and who comes.
struct Host {
    name: &'static str,
    group: &'static str,
    pid: u32,
    address: SocketAddr,
    guests: Vec<Guest>,
}

/// Everything that stands while it is measured.
struct Stand {
    hosts: Vec<Host>,
    servers: Servers,
    _peers: Vec<Running>,
    // Last, so that it is stopped last.
    _hall: Hall,
}

impl Stand {
    fn open(
        home: &Home,
        connections: usize,
        against: &[Peer],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let cores = Cores::here()?;
        let shape = Shape { rooms: connections.div_ceil(MEMBERS), members: MEMBERS };
        let hall = Hall::open(home, &cores, shape, Fitting::default(), interrupt)?;
        let start = |peer: &Peer| Running::start(*peer, home, &cores, interrupt);
        let peers = against.iter().map(start).collect::<Result<Vec<_>>>()?;
        let mut servers = Servers::of(hall.cluster.description());
        let (pid, address) = (hall.gateway_pid()?, hall.gateway()?);
        let ours = |name, guests| Host { name, group: "gateway", pid, address, guests };
        let guests = hall.chats.guests();
        let alone = guests.iter().map(|it| Guest { room: None, ..it.clone() }).collect();
        let mut hosts = vec![ours("Parley, joined", guests), ours("Parley, connected", alone)];
        for peer in &peers {
            servers = servers.and(peer.peer.group(), vec![peer.pid()]);
            hosts.push(Host {
                name: peer.peer.name(),
                group: peer.peer.group(),
                pid: peer.pid(),
                address: peer.address,
                guests: shape.guests(&peer.peer.speech()),
            });
        }
        Ok(Self { hosts, servers, _peers: peers, _hall: hall })
    }

    /// Waits until a server has nothing to do any more.
    fn settle(&self, host: &Host, interrupt: &Interrupt) -> Result<()> {
        let deadline = Instant::now() + STILL_WITHIN;
        let mut before = self.servers.usage(std::process::id())?;
        loop {
            std::thread::sleep(TURN * 4);
            let now = self.servers.usage(std::process::id())?;
            if now.since(&before).by(host.group) <= STILL {
                return Ok(());
            }
            if interrupt.asked() || Instant::now() > deadline {
                bail!("{} does not come to rest", host.name);
            }
            before = now;
        }
    }
}

const CONNECT: [Measure; 4] = [
    Measure { key: "server_us", title: "the server, CPU µs per connection", decimals: 0 },
    Measure { key: "per_s", title: "connections/s", decimals: 0 },
    Measure { key: "load_us", title: "the load, CPU µs per connection", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
];

/// Lets everybody come, again and again.
pub fn connect(home: &Home, arguments: &ConnectArguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure_connect(home, arguments, interrupt)?.end(arguments.end.json))
}

#[expect(clippy::cast_precision_loss, reason = "there are not that many connections")]
pub(crate) fn measure_connect(
    home: &Home,
    arguments: &ConnectArguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let home = home.beside(home.root().join("connect"));
    let ConnectArguments { against, connections, rounds, end } = arguments;
    let stand = Stand::open(&home, usize::from(*connections), against, interrupt)?;
    let mut sides: Vec<_> =
        stand.hosts.iter().map(|it| Side { name: it.name, rounds: Vec::new() }).collect();
    // The first round warms caches and allocators up, and does not count.
    for number in 0..=*rounds {
        for (side, host) in sides.iter_mut().zip(&stand.hosts) {
            let mut audience = Audience::new()?;
            let before = stand.servers.usage(std::process::id())?;
            audience.gather(host.address, host.guests.clone(), interrupt)?;
            let spent = stand.servers.usage(std::process::id())?.since(&before);
            let came = audience.len() as f64;
            drop(audience);
            stand.settle(host, interrupt)?;
            if number > 0 {
                let each = |time: Duration| Some(time.as_secs_f64() * 1e6 / came);
                side.rounds.push(vec![
                    each(spent.by(host.group)),
                    Some(came / spent.took.as_secs_f64()),
                    each(spent.load),
                    Some(spent.others * 100.0),
                ]);
            }
        }
        say::note(format_args!("round {number} of {rounds}"));
    }
    drop(stand);
    let header = format!(
        "`cargo parley bench connect --against {} --connections {connections} --rounds {rounds}`\n\n{}. {connections} WebSocket connections, 32 \
        on their way at a time, into rooms of {MEMBERS}. *Connected*: upgrade, handshake and the token's check. *Joined*: and a join, which an \
        api pod answers over NATS; its CPU is not in it. The peers verify nothing. The server has a core for itself.",
        names(against),
        results::provenance(),
    );
    tell("connect", &header, &CONNECT, &sides, end)
}

const IDLE: [Measure; 2] = [
    Measure { key: "kib", title: "KiB of memory per connection", decimals: 2 },
    Measure {
        key: "heartbeat_us",
        title: "the server, CPU µs per connection and second",
        decimals: 2,
    },
];

/// Lets everybody come and say nothing.
pub fn idle(home: &Home, arguments: &IdleArguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure_idle(home, arguments, interrupt)?.end(arguments.end.json))
}

#[expect(clippy::cast_precision_loss, reason = "there are not that many connections, or bytes")]
pub(crate) fn measure_idle(
    home: &Home,
    arguments: &IdleArguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let home = home.beside(home.root().join("idle"));
    let IdleArguments { against, connections, seconds, end } = arguments;
    let stand = Stand::open(&home, usize::from(*connections), against, interrupt)?;
    let mut sides = Vec::new();
    // Who is only connected is measured by `bench connect`.
    for host in stand.hosts.iter().filter(|it| it.name != "Parley, connected") {
        let before = resident(host.pid)?;
        let mut audience = Audience::new()?;
        audience.gather(host.address, host.guests.clone(), interrupt)?;
        let usage = stand.servers.usage(std::process::id())?;
        let until = Instant::now() + Duration::from_secs(*seconds);
        while Instant::now() < until {
            if interrupt.asked() {
                bail!("interrupted");
            }
            audience.turn(Some(TURN))?;
        }
        let spent = stand.servers.usage(std::process::id())?.since(&usage);
        let (held, count) = (resident(host.pid)?.saturating_sub(before), audience.len() as f64);
        let beat = spent.by(host.group).as_secs_f64() * 1e6 / count / spent.took.as_secs_f64();
        let round = vec![Some(held as f64 / 1024.0 / count), Some(beat)];
        say::note(format_args!(
            "{}: {:.2} KiB per connection",
            host.name,
            held as f64 / 1024.0 / count
        ));
        sides.push(Side { name: host.name, rounds: vec![round] });
        drop(audience);
        stand.settle(host, interrupt)?;
    }
    drop(stand);
    let header = format!(
        "`cargo parley bench idle --against {} --connections {connections} --seconds {seconds}`\n\n{}. {connections} WebSocket connections in \
        rooms of {MEMBERS}; Parley's are authenticated and have joined. What the server's resident memory has grown by {seconds} s after the last \
        came, heartbeats included.",
        names(against),
        results::provenance(),
    );
    tell("idle", &header, &IDLE, &sides, end)
}

fn names(peers: &[Peer]) -> String {
    peers.iter().map(|peer| peer.group()).collect::<Vec<_>>().join(",")
}

fn tell(
    scenario: &str,
    header: &str,
    measures: &[Measure],
    sides: &[Side],
    end: &End,
) -> Result<Outcome> {
    let text = format!("{header}\n\n{}", report::table(measures, sides));
    say::line(&text);
    if end.write {
        results::write(scenario, &text)?;
    }
    let ratio =
        |side: &Side| sides[0].against(side, 0).map(|Range { median, .. }| report::rounded(median));
    let ratios: serde_json::Map<String, Value> =
        sides[1..].iter().map(|side| (side.name.to_owned(), json!(ratio(side)))).collect();
    let json =
        json!({ "scenario": scenario, "rows": report::rows(measures, sides), "ratios": ratios });
    Ok(Outcome { met: true, json })
}
