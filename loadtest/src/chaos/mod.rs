//! `cargo parley chaos`: a crowd on a cluster of which one part after the other breaks.

mod schedule;

use std::time::{Duration, Instant};

use anyhow::Result;
use parley_local::{Home, Interrupt, say};

use crate::crowd::{Habits, Population};
use crate::history::Record;
use crate::stage::{Plan, SETTLE_WITHIN, Stage};
pub use schedule::Kinds;
use schedule::{Action, Fault, Kind, schedule};

/// What `chaos` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long the load runs
    #[arg(long, default_value_t = 3.0, value_parser = minutes)]
    minutes: f64,
    /// Says what breaks when; the same number breaks the same
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// all, or kinds parted by commas: kill, hang, restart; api, gateway, nats, redis, postgres; kill-api …; cut
    #[arg(long, default_value = "all", value_name = "LIST")]
    faults: Kinds,
    /// How many chats there are, of ten members each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    chats: u16,
    /// Messages a second
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    rate: u16,
}

fn minutes(text: &str) -> Result<f64, String> {
    let minutes: f64 = text.parse().map_err(|_| "a number of minutes".to_owned())?;
    // The checker has the whole history in memory.
    if (0.5..=120.0).contains(&minutes) { Ok(minutes) } else { Err("from 0.5 to 120".to_owned()) }
}

impl Arguments {
    /// The command that does the same again.
    fn command(&self) -> String {
        let Self { minutes, seed, faults, chats, rate } = self;
        let faults = if faults.0.len() == Kind::all().len() {
            "all".to_owned()
        } else {
            faults.0.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
        };
        format!(
            "cargo parley chaos --minutes {minutes} --seed {seed} --faults {faults} --chats {chats} --rate {rate}"
        )
    }
}

/// Runs it; true when the verdict is clean. The verdict is the last line, on whichever stream.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let length = Duration::from_secs_f64(arguments.minutes * 60.0);
    let faults = schedule(arguments.seed, length, &arguments.faults.0);
    say::line(format_args!("{}\n", arguments.command()));
    for fault in &faults {
        say::line(format_args!("{:7.1} s  {fault}", fault.at.as_secs_f64()));
    }
    let plan = Plan {
        name: "chaos",
        command: arguments.command(),
        population: Population {
            chats: arguments.chats.into(),
            members: 10,
            outsiders: 10,
            visitors: 0,
        },
        habits: Habits {
            cut_every: Some(Duration::from_secs(40)),
            senders: 3 * usize::from(arguments.chats),
            rate: Some(arguments.rate.into()),
            edit_every: Some(20),
            delete_every: Some(20),
            guests: usize::from(arguments.chats).div_ceil(2),
            seed: arguments.seed,
            ..Habits::default()
        },
        settle_within: SETTLE_WITHIN,
    };
    let mut stage = Stage::open(home, &plan, interrupt)?;
    stage.crowd.send();
    let begun = Instant::now();
    for fault in &faults {
        stage.pass(fault.at.saturating_sub(begun.elapsed()))?;
        revive(&mut stage)?;
        let (answered, heard, connections) = stage.crowd.counts();
        say::note(format_args!(
            "{:7.1} s  {fault}; so far {answered} answered, {heard} heard, {connections} connections",
            begun.elapsed().as_secs_f64()
        ));
        strike(&mut stage, fault)?;
    }
    stage.pass(length.saturating_sub(begun.elapsed()))?;
    revive(&mut stage)?;
    let (verdict, cluster) = stage.judge()?;
    drop(cluster);
    say::line(format_args!("\n{}", verdict.report()));
    say::line(format_args!("again: {}", arguments.command()));
    say::line(verdict.line());
    Ok(verdict.is_clean())
}

/// Does it, and lets it pass.
fn strike(stage: &mut Stage, fault: &Fault) -> Result<()> {
    let number = stage.fault_begins(&fault.to_string());
    match (fault.kind, fault.process()) {
        (Kind::To(action, _), Some(name)) => match action {
            Action::Kill => {
                stage.cluster.kill(&name)?;
                stage.pass(fault.lasts)?;
                stage.restart(&name)?;
            }
            Action::Restart => {
                stage.cluster.terminate(&name)?;
                stage.restart(&name)?;
            }
            Action::Hang => {
                let frozen = stage.cluster.freeze(&name)?;
                let passed = stage.pass(fault.lasts);
                drop(frozen);
                passed?;
                stage.wait_ready(&name)?;
            }
        },
        (Kind::Cut | Kind::To(..), _) => stage.crowd.cut(fault.percent),
    }
    stage.fault_ends(number);
    Ok(())
}

/// Starts again whatever has ended by itself, as an orchestrator does, and notes that.
fn revive(stage: &mut Stage) -> Result<()> {
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
    }
    Ok(())
}
