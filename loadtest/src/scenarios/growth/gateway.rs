//! Deliveries by one gateway: the same number of connections in more and more rooms, and more and more connections.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{Arguments, Told};
use crate::pin::Cores;
use crate::plot::{Line, Plot};
use crate::proc::resident;
use crate::report::{Measure, Range, Side};
use crate::scenarios::fanout::hall::{Chats, Fitting, Hall, Shape, furnish};
use crate::scenarios::fanout::ours;
use crate::scenarios::fanout::party::Pace;
use crate::servers::Servers;

/// At every size as many, so that what a delivery costs is not a matter of how busy the gateway is.
const DELIVERIES_PER_S: usize = 20_000;
/// How long nobody says anything before memory is read.
const QUIET: Duration = Duration::from_secs(3);
const TURN: Duration = Duration::from_millis(50);

/// One row of sizes.
struct Series {
    part: &'static str,
    title: &'static str,
    points: &'static [(Shape, &'static str)],
    /// What grows along it.
    size: fn(Shape) -> usize,
}

const fn shape(rooms: usize, members: usize) -> Shape {
    Shape { rooms, members }
}

const ROOMS: Series = Series {
    part: "rooms",
    title: "A delivery, by the rooms into which 1,000 connections are parted",
    points: &[
        (shape(1, 1_000), "1 room"),
        (shape(10, 100), "10 rooms"),
        (shape(100, 10), "100 rooms"),
        (shape(500, 2), "500 rooms"),
    ],
    size: |shape| shape.rooms,
};
const CONNECTIONS: Series = Series {
    part: "connections",
    title: "A delivery and a connection, by the connections, in rooms of 10",
    points: &[
        (shape(100, 10), "1,000 connections"),
        (shape(250, 10), "2,500 connections"),
        (shape(500, 10), "5,000 connections"),
        (shape(1_000, 10), "10,000 connections"),
    ],
    size: Shape::people,
};

const DELIVERY: usize = 0;
const MESSAGE: usize = 1;
const MEMORY: usize = 2;
const MEASURES: [Measure; 6] = [
    Measure { key: "delivery_us", title: "gateway, CPU µs per delivery", decimals: 2 },
    Measure { key: "message_us", title: "gateway, CPU µs per message", decimals: 1 },
    Measure { key: "kib", title: "gateway, KiB of memory per connection", decimals: 2 },
    Measure { key: "deliveries_per_s", title: "deliveries/s", decimals: 0 },
    Measure { key: "load_core_percent", title: "the load, % of one core", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
];

/// All rounds, the sizes in turn, each with a gateway that has just started.
pub(super) fn measure(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<Told> {
    let cores = Cores::here()?;
    let series = [ROOMS, CONNECTIONS];
    let first = series[0].points[0].0;
    let mut hall = Hall::open(home, &cores, first, Fitting::default(), interrupt)?;
    let mut made = vec![hall.chats.clone()];
    for (shape, _) in series.iter().flat_map(|series| series.points).skip(1) {
        say::note(format_args!("making {} chats of {}", shape.rooms, shape.members));
        made.push(furnish(&hall.cluster, *shape)?);
    }
    let side = |(_, name): &(Shape, &'static str)| Side { name, rounds: Vec::new() };
    let mut sides = series.each_ref().map(|it| it.points.iter().map(side).collect::<Vec<_>>());
    for number in 1..=arguments.rounds {
        for (side, chats) in sides.iter_mut().flatten().zip(&made) {
            let values = round(&mut hall, chats, &cores, arguments.seconds, interrupt)?;
            side.rounds.push(values);
        }
        say::note(format_args!("gateway, round {number} of {}", arguments.rounds));
    }
    drop(hall);
    Ok(tell(&series, &sides, arguments))
}

/// A value for each of [`MEASURES`].
#[expect(clippy::cast_precision_loss, reason = "there are not that many connections, or bytes")]
fn round(
    hall: &mut Hall,
    chats: &Chats,
    cores: &Cores,
    seconds: u64,
    interrupt: &Interrupt,
) -> Result<Vec<Option<f64>>> {
    hall.open_anew(chats.clone(), cores, interrupt)?;
    let (gateway, shape) = (hall.gateway_pid()?, chats.shape);
    let alone = resident(gateway)?;
    let mut party = ours(hall, interrupt)?;
    let until = Instant::now() + QUIET;
    while Instant::now() < until {
        if interrupt.asked() {
            bail!("interrupted");
        }
        party.audience.turn(Some(TURN))?;
    }
    let held = resident(gateway)?.saturating_sub(alone);
    let pace = Pace::PerSecond(u32::try_from(DELIVERIES_PER_S / shape.members)?);
    let servers = Servers::of(hall.cluster.description());
    let round = party.round(pace, seconds, &servers, interrupt)?;
    let (deliveries, spent) = (round.deliveries as f64, round.spent);
    let delivery = spent.by("gateway").as_secs_f64() * 1e6 / deliveries;
    let took = spent.took.as_secs_f64();
    Ok(vec![
        Some(delivery),
        Some(delivery * shape.members as f64),
        Some(held as f64 / 1024.0 / shape.people() as f64),
        Some(deliveries / took),
        Some(spent.load.as_secs_f64() / took * 100.0),
        Some(spent.others * 100.0),
    ])
}

fn tell(series: &[Series; 2], sides: &[Vec<Side>; 2], arguments: &Arguments) -> Told {
    let mut told = Told::default();
    for (series, sides) in series.iter().zip(sides) {
        told.table(series.part, series.title, &MEASURES, sides);
    }
    told.text.push(format!(
        "20,000 deliveries a second at each size, of messages that come over NATS; the gateway has a core for itself and has \
        just started. What is spent on heartbeats meanwhile is in it. Memory is what it has got more {} s after the last connection has \
        joined. Each round: {} s, and it counts only if everybody has heard everything once.",
        QUIET.as_secs(),
        arguments.seconds,
    ));
    let [rooms, connections] = series;
    let [by_rooms, by_connections] = sides;
    let plot = |title, across, up, line| Plot { title, across, up, lines: vec![line], bar: None };
    let delivery = "CPU µs per delivery";
    told.plot(
        "growth-rooms",
        plot(
            "1,000 connections in more and more rooms",
            "rooms",
            delivery,
            rooms.line("a delivery", by_rooms, DELIVERY),
        ),
    );
    told.plot(
        "growth-rooms-messages",
        plot(
            "1,000 connections in more and more rooms",
            "rooms",
            "CPU µs per message",
            rooms.line("a message, to all in its room", by_rooms, MESSAGE),
        ),
    );
    told.plot(
        "growth-connections",
        plot(
            "More and more connections, in rooms of 10",
            "connections",
            delivery,
            connections.line("a delivery", by_connections, DELIVERY),
        ),
    );
    told.plot(
        "growth-connections-memory",
        plot(
            "More and more connections, in rooms of 10",
            "connections",
            "KiB of memory per connection",
            connections.line("a connection that has joined", by_connections, MEMORY),
        ),
    );
    told
}

impl Series {
    fn line(&self, name: &'static str, sides: &[Side], measure: usize) -> Line {
        let point = |((shape, _), side): (&(Shape, &str), &Side)| -> Option<(u32, Range)> {
            Some((u32::try_from((self.size)(*shape)).ok()?, side.range(measure)?))
        };
        Line { name, points: self.points.iter().zip(sides).filter_map(point).collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_but_what_grows_stays_as_it_is() {
        for (shape, _) in ROOMS.points {
            assert_eq!(shape.people(), 1_000);
            assert_eq!(DELIVERIES_PER_S % shape.members, 0, "{shape:?}");
        }
        for (shape, _) in CONNECTIONS.points {
            assert_eq!(shape.members, 10);
        }
        for series in [ROOMS, CONNECTIONS] {
            let sizes = series.points.iter().map(|(shape, _)| (series.size)(*shape));
            assert!(sizes.is_sorted());
        }
    }
}
