//! `bench fanout` and `bench rooms`: what it costs to pass a message on to those who listen, from the bus to their
//! sockets, beside socket.io and beside Bun's own publish.

pub(crate) mod hall;
pub(crate) mod party;
pub(crate) mod peers;
mod saying;

use anyhow::{Context, Result};
use parley_local::{Home, Interrupt, say};
use serde_json::{Value, json};

use crate::audience::{Audience, Guest, Speech};
use crate::pin::Cores;
use crate::report::{self, Measure, Outcome, Range, Side};
use crate::results;
use crate::servers::Servers;
use crate::window::WARM_UP;
use hall::{Fitting, Hall, Shape};
use party::{Pace, Party, Round};
use peers::{Peer, Running};
use saying::{Bus, Room, Speaker};

/// What `bench fanout` and `bench rooms` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Beside whom
    #[arg(long, value_enum, value_delimiter = ',', default_value = "socketio,bun")]
    against: Vec<Peer>,
    /// How long each round counts, after its warm-up
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each side has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the tables into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// A way of speaking, and what it is called.
#[derive(Debug, Clone, Copy)]
struct Mode {
    title: &'static str,
    /// Of its ratio in JSON.
    key: &'static str,
    pace: Pace,
}

/// What is measured: rooms, and how is spoken into them.
#[derive(Debug, Clone, Copy)]
pub struct Scene {
    name: &'static str,
    shape: Shape,
    modes: &'static [Mode],
}

/// One large room.
pub const FANOUT: Scene = Scene {
    name: "fanout",
    shape: Shape { rooms: 1, members: 1000 },
    modes: &[
        Mode { title: "20 messages/s", key: "ratio_fixed_rate", pace: Pace::PerSecond(20) },
        Mode { title: "one message in flight", key: "ratio_unbatched", pace: Pace::InFlight(1) },
        Mode { title: "saturated: 32 in flight", key: "ratio_saturated", pace: Pace::InFlight(32) },
    ],
};

/// Many small ones.
pub const ROOMS: Scene = Scene {
    name: "rooms",
    shape: Shape { rooms: 1250, members: 4 },
    modes: &[
        Mode { title: "2,000 messages/s", key: "ratio_fixed_rate", pace: Pace::PerSecond(2000) },
        Mode {
            title: "saturated: 1,250 in flight",
            key: "ratio_saturated",
            pace: Pace::InFlight(1250),
        },
    ],
};

const SERVER: usize = 1;
const MEASURES: [Measure; 6] = [
    Measure { key: "deliveries_per_s", title: "deliveries/s", decimals: 0 },
    Measure { key: "server_us", title: "the server, CPU µs per delivery", decimals: 2 },
    Measure { key: "nats_us", title: "NATS, CPU µs per delivery", decimals: 2 },
    Measure { key: "load_core_percent", title: "the load, % of one core", decimals: 0 },
    Measure { key: "busy_percent", title: "machine busy, %", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
];

/// Runs a scene and reports; an error unless everybody has heard everything, once.
pub fn run(
    scene: &Scene,
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<bool> {
    Ok(measure(scene, home, arguments, interrupt)?.end(arguments.json))
}

pub(crate) fn measure(
    scene: &Scene,
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let cores = Cores::here()?;
    let home = home.beside(home.root().join(scene.name));
    let hall = Hall::open(&home, &cores, scene.shape, Fitting::default(), interrupt)?;
    let start = |peer: &Peer| Running::start(*peer, &home, &cores, interrupt);
    let peers = arguments.against.iter().map(start).collect::<Result<Vec<_>>>()?;
    let mut parties = vec![ours(&hall, interrupt)?];
    for peer in &peers {
        parties.push(theirs(scene.shape, peer, interrupt)?);
    }
    let mut servers = Servers::of(hall.cluster.description());
    for peer in &peers {
        servers = servers.and(peer.peer.group(), vec![peer.pid()]);
    }
    let mut told = Vec::new();
    for mode in scene.modes {
        let mut sides: Vec<_> =
            parties.iter().map(|it| Side { name: it.name, rounds: Vec::new() }).collect();
        for number in 1..=arguments.rounds {
            for (side, party) in sides.iter_mut().zip(&mut parties) {
                let round = party.round(mode.pace, arguments.seconds, &servers, interrupt)?;
                let values = values(&round, party);
                let cost = values[SERVER].unwrap_or_default();
                say::note(format_args!(
                    "{}, round {number}: {:<10} {cost:6.2} µs",
                    mode.title, side.name
                ));
                side.rounds.push(values);
            }
        }
        told.push((*mode, sides));
    }
    let commands: Vec<_> = peers.iter().map(|peer| format!("`{}`", peer.command)).collect();
    drop((parties, peers, hall));
    Report { scene, arguments, told, commands: commands.join(", ") }.tell()
}

/// Everybody of a hall, come in and waiting for the bus.
pub(crate) fn ours(hall: &Hall, interrupt: &Interrupt) -> Result<Party> {
    let members = hall.chats.shape.members;
    let mut audience = Audience::new()?;
    audience.gather(hall.gateway()?, hall.chats.guests(), interrupt)?;
    let mut rooms = Vec::new();
    let mut epoch = None;
    for (number, chat) in hall.chats.ids.iter().enumerate() {
        let joined = audience.joined(number * members).context("nobody has joined")?;
        let version = joined["version"].as_u64().context("a join without a version")?;
        epoch = joined["epoch"].as_str().map(str::to_owned);
        rooms.push(Room { id: chat.clone(), version });
    }
    let epoch = epoch.context("a join without an epoch")?.parse()?;
    let nats = hall.cluster.description().nats.first().context("there is no NATS")?;
    let speaker = Speaker::Bus(Bus::connect(&nats.url, epoch)?);
    Ok(Party::new(("Parley", "gateway"), audience, speaker, rooms, members as u64))
}

fn theirs(shape: Shape, running: &Running, interrupt: &Interrupt) -> Result<Party> {
    let peer = running.peer;
    let mut audience = Audience::new()?;
    audience.gather(running.address, shape.guests(&peer.speech()), interrupt)?;
    let place = audience.len();
    let guest = Guest { speech: peer.speech(), room: None };
    audience.gather(running.address, [guest], interrupt)?;
    let speaker = match peer.speech() {
        Speech::Raw => Speaker::Raw(place),
        _ => Speaker::SocketIo(place),
    };
    let room = |number| Room { id: format!("room-{number}"), version: 0 };
    let rooms = (0..shape.rooms).map(room).collect();
    Ok(Party::new((peer.name(), peer.group()), audience, speaker, rooms, shape.members as u64))
}

/// A value for each of [`MEASURES`].
#[expect(clippy::cast_precision_loss, reason = "counts of a few minutes are exact in an f64")]
fn values(round: &Round, party: &Party) -> Vec<Option<f64>> {
    let Round { deliveries, spent } = round;
    let seconds = spent.took.as_secs_f64();
    let each = |group| spent.by(group).as_secs_f64() * 1e6 / *deliveries as f64;
    vec![
        Some(*deliveries as f64 / seconds),
        Some(each(party.group)),
        matches!(party.speaker, Speaker::Bus(_)).then(|| each("nats")),
        Some(spent.load.as_secs_f64() / seconds * 100.0),
        Some(spent.busy * 100.0),
        Some(spent.others * 100.0),
    ]
}

/// What is said in the end.
struct Report<'a> {
    scene: &'a Scene,
    arguments: &'a Arguments,
    told: Vec<(Mode, Vec<Side>)>,
    commands: String,
}

impl Report<'_> {
    fn tell(&self) -> Result<Outcome> {
        let tables = self.told.iter().map(|(mode, sides)| {
            format!(
                "**{}**\n\n{}\n\n{}",
                mode.title,
                report::table(&MEASURES, sides),
                Self::ratios(sides)
            )
        });
        let tables: Vec<_> = tables.collect();
        let text = format!("{}\n\n{}", self.header(), tables.join("\n\n"));
        say::line(&text);
        if self.arguments.write {
            results::write(self.scene.name, &text)?;
        }
        Ok(Outcome { met: true, json: self.json() })
    }

    fn header(&self) -> String {
        let Scene { name, shape, .. } = self.scene;
        let Arguments { seconds, rounds, against, .. } = self.arguments;
        let against: Vec<_> = against.iter().map(|peer| peer.group()).collect();
        format!(
            "`cargo parley bench {name} --against {} --seconds {seconds} --rounds {rounds}`\n\n{}. {} room(s) of {} \
            sockets, of which each hears every message of its room: {} bytes of an event. Parley's are authenticated and have \
            joined; the message comes over NATS. The peers ({}) verify nothing, and pass on what a connection says. Each of \
            {rounds} rounds: {seconds} s after {} s of warm-up, the sides in turn. The server has a core for itself; NATS, \
            Postgres, api pod and the load share the others. A round counts only if everybody has heard everything once.",
            against.join(","),
            results::provenance(),
            shape.rooms,
            shape.members,
            saying::message("0192f0a4-7c3b-7d2e-8a1b-000000000001", 1000).len(),
            self.commands,
            WARM_UP.as_secs(),
        )
    }

    /// What Parley spends as a share of what each peer does.
    fn ratios(sides: &[Side]) -> String {
        let ratio = |side: &Side| -> Option<String> {
            Some(format!("{} {}", side.name, sides[0].against(side, SERVER)?.shown(2)))
        };
        let ratios: Vec<_> = sides[1..].iter().filter_map(ratio).collect();
        format!("The gateway's CPU per delivery as a share of the peer's: {}.", ratios.join(", "))
    }

    fn json(&self) -> Value {
        let mut rows = Vec::new();
        let mut said = json!({ "scenario": self.scene.name });
        for (mode, sides) in &self.told {
            for mut row in report::rows(&MEASURES, sides) {
                row["mode"] = mode.title.into();
                rows.push(row);
            }
            let first = sides.get(1).and_then(|peer| sides[0].against(peer, SERVER));
            said[mode.key] = json!(first.map(|Range { median, .. }| report::rounded(median)));
        }
        said["rows"] = rows.into();
        said
    }
}
