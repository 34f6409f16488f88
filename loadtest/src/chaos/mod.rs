//! `cargo parley chaos`: a crowd on a cluster of which one part after the other breaks.

mod disk;
mod kinds;
mod report;
mod schedule;
mod strike;
mod ways;

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};

use crate::crowd::{Habits, LEEWAY, Population};
use crate::history::Record;
use crate::stage::{Plan, SETTLE_WITHIN, Shape, Stage};
use disk::Disk;
use kinds::Kind;
pub use kinds::Kinds;
use report::Run;
use schedule::{Fault, Size, schedule};
use strike::{Ground, strike};
use ways::Ways;

/// What `chaos` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long the load runs: 3 on a small cluster, 10 on a whole one if nothing is said
    #[arg(long, value_parser = minutes)]
    minutes: Option<f64>,
    /// Says what breaks when; the same number breaks the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// basic, all, or kinds parted by commas, of which README.md has a table: kill, hang, restart; api, gateway, nats, redis, postgres;
    /// kill-api …; cut; and on a whole cluster courier, outage, roll, delay, silence, flush, skew, fill, pause
    #[arg(long, default_value = "basic", value_name = "LIST")]
    faults: Kinds,
    /// How many chats there are: 20, of ten members each, or 45, of twenty members each
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: Option<u16>,
    /// Members of one chat more, on a whole cluster
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(2..=1000))]
    hall: u16,
    /// Messages a second: 100, or 280
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: Option<u16>,
    /// Write what came of it into loadtest/RESULTS.md, in place of what this seed has brought before
    #[arg(long)]
    write: bool,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes".to_owned())?;
    // The checker has the whole history in memory.
    if (0.5..=120.0).contains(&minutes) { Ok(minutes) } else { Err("from 0.5 to 120".to_owned()) }
}

impl Arguments {
    fn size(&self) -> Size {
        if self.faults.are_basic() { Size::Small } else { Size::Whole }
    }

    fn chats(&self) -> u16 {
        self.chats.unwrap_or(if self.size() == Size::Small { 20 } else { 45 })
    }

    fn rate(&self) -> u16 {
        self.rate.unwrap_or(if self.size() == Size::Small { 100 } else { 280 })
    }

    fn minutes(&self) -> f64 {
        self.minutes.unwrap_or(if self.size() == Size::Small { 3.0 } else { 10.0 })
    }

    /// The command that does the same again.
    fn command(&self) -> String {
        let Self { seed, faults, hall, .. } = self;
        let (minutes, chats, rate) = (self.minutes(), self.chats(), self.rate());
        let hall = match self.size() {
            Size::Small => String::new(),
            Size::Whole => format!(" --hall {hall}"),
        };
        format!(
            "cargo parley chaos --minutes {minutes} --seed {seed} --faults {faults} --chats {chats}{hall} --rate {rate}"
        )
    }

    fn plan(&self) -> Plan {
        let chats = usize::from(self.chats());
        let small = Habits {
            cut_every: Some(Duration::from_secs(40)),
            senders: 3 * chats,
            rate: Some(self.rate().into()),
            edit_every: Some(20),
            delete_every: Some(20),
            guests: chats.div_ceil(2),
            seed: self.seed,
            ..Habits::default()
        };
        let (population, habits) = match self.size() {
            Size::Small => {
                let members = 10;
                (Population { chats, members, outsiders: 10, visitors: 0, hall: 0 }, small)
            }
            Size::Whole => {
                let (members, hall) = (20, self.hall.into());
                let whole = Habits {
                    // Of whom those that wait for a part that hangs are few enough for the others to go on.
                    senders: 5 * chats,
                    file_every: Some(200),
                    readers: chats.div_ceil(4),
                    tokens_end: true,
                    pause_one_in: Some(members),
                    ..small
                };
                (Population { chats, members, outsiders: 10, visitors: 0, hall }, whole)
            }
        };
        Plan {
            name: "chaos",
            command: self.command(),
            population,
            habits,
            settle_within: SETTLE_WITHIN,
        }
    }
}

/// Runs it; true when the verdict is clean, and what is demanded of a whole cluster is met. The verdict is the last line,
/// on whichever stream.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    if arguments.write && arguments.size() == Size::Small {
        bail!("--write keeps what a whole cluster has shown: --faults all");
    }
    let length = Duration::from_secs_f64(arguments.minutes() * 60.0);
    let faults = schedule(arguments.seed, length, &arguments.faults.0, arguments.size());
    say::line(format_args!("{}\n", arguments.command()));
    for fault in &faults {
        say::line(format_args!("{:7.1} s  {fault}", fault.at.as_secs_f64()));
    }
    if arguments.faults.are_all() {
        all_have_their_turn(&faults)?;
    }
    let plan = arguments.plan();
    let (mut stage, ground) = match arguments.size() {
        Size::Small => (Stage::open(home, &plan, interrupt)?, None),
        Size::Whole => {
            let fills = arguments.faults.0.contains(&Kind::Fill);
            let (stage, ground) = open_whole(home, &plan, fills, interrupt)?;
            (stage, Some(ground))
        }
    };
    let mut run = Run::new(arguments);
    let times = (length, arguments.size().at_least_between());
    suffer(&mut stage, ground.as_ref(), &faults, times, &mut run)?;
    let (verdict, cluster) = stage.judge()?;
    if arguments.size() == Size::Whole {
        let judged = run.end((verdict, cluster), arguments);
        drop(ground);
        return judged;
    }
    drop(cluster);
    say::line(format_args!("\n{}", verdict.report()));
    say::line(format_args!("again: {}", arguments.command()));
    say::line(verdict.line());
    Ok(verdict.is_clean())
}

/// What would only be found at the end of a run: that it was too short.
fn all_have_their_turn(faults: &[Fault]) -> Result<()> {
    let missing = Kind::all().into_iter().filter(|kind| !faults.iter().any(|it| it.kind == *kind));
    let missing: Vec<_> = missing.map(|kind| kind.to_string()).collect();
    if !missing.is_empty() {
        bail!(
            "too short for all kinds of faults, --minutes 8 are enough: {} would be left out",
            missing.join(", ")
        );
    }
    Ok(())
}

/// A whole cluster with wires, and everybody on it.
fn open_whole(
    home: &Home,
    plan: &Plan,
    fills: bool,
    interrupt: &Interrupt,
) -> Result<(Stage, Ground)> {
    let home = home.beside(home.root().join(plan.name));
    let leeway = LEEWAY.as_secs().to_string();
    let settings = [("PARLEY_JWT_LEEWAY_SECONDS", leeway.as_str())];
    let shape =
        Shape { settings: &settings, gateways: 3, couriers: 1, nats: 3, ..Shape::default() };
    let mut cluster = shape.start(&home, interrupt)?;
    let ways = Ways::before(&mut cluster)?;
    let disk = fills.then(|| Disk::mount(&home.root().join("disk"))).transpose()?;
    if let Some(disk) = &disk {
        let files = disk.files().display().to_string();
        for pod in cluster.description().api.clone() {
            cluster.set(&pod.name, "PARLEY_FILES_FOLDER", &files)?;
        }
    }
    ways.start_pods(&mut cluster)?;
    let doors = ways.doors(&cluster);
    let stage = Stage::before(&doors, cluster, &home, plan, interrupt)?;
    Ok((stage, Ground { ways, disk }))
}

/// The load, and one fault after the other.
fn suffer(
    stage: &mut Stage,
    ground: Option<&Ground>,
    faults: &[Fault],
    (length, between): (Duration, Duration),
    run: &mut Run,
) -> Result<()> {
    stage.crowd.send();
    let begun = Instant::now();
    let mut earliest = Duration::ZERO;
    for fault in faults {
        stage.pass(fault.at.max(earliest).saturating_sub(begun.elapsed()))?;
        revive(stage, run)?;
        let (answered, heard, connections) = stage.crowd.counts();
        run.connections.push(connections);
        say::note(format_args!(
            "{:7.1} s  {fault}; so far {answered} answered, {heard} heard, {connections} connections",
            begun.elapsed().as_secs_f64()
        ));
        strike(stage, ground, fault)?;
        run.kinds.push(Some(fault.kind));
        earliest = begun.elapsed() + between;
    }
    stage.pass(length.saturating_sub(begun.elapsed()))?;
    revive(stage, run)?;
    run.took = begun.elapsed();
    Ok(())
}

/// Starts again whatever has ended by itself, as an orchestrator does, and notes that.
fn revive(stage: &mut Stage, run: &mut Run) -> Result<()> {
    let dead = stage.cluster.processes().iter().filter(|process| !process.is_alive());
    for name in dead.map(|process| process.name.clone()).collect::<Vec<_>>() {
        say::line(format_args!("{name} has ended by itself"));
        let number = stage.fault_begins(&format!("{name} has ended by itself"));
        stage.recorder.note(&Record::Counter {
            pod: name.clone(),
            name: "ended_by_itself".to_owned(),
            value: 1,
        });
        stage.restart(&name)?;
        stage.fault_ends(number);
        run.kinds.push(None);
    }
    Ok(())
}
