//! `bench planted`: a gateway that breaks deliveries on purpose. The checker must find each kind, each time, and nothing
//! where nothing is broken.

use std::time::Duration;

use anyhow::{Result, bail};
use parley_local::{Cluster, Home, Interrupt, build_planted, say};

use crate::checker::{Verdict, Violated};
use crate::crowd::{Habits, Population};
use crate::stage::{Plan, Shape, Stage};

const NAME: &str = "planted";
const GATEWAYS: [&str; 2] = ["gateway-1", "gateway-2"];
/// What is planted, and as what it has to be found.
const KINDS: [(&str, Violated); 4] = [
    ("drop", Violated::Lost),
    ("duplicate", Violated::Twice),
    ("reorder", Violated::OutOfOrder),
    ("leak", Violated::Leaked),
];

/// What `bench planted` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often each kind is planted
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How long each load runs
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// One delivery in how many is broken
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    every: u32,
}

/// Runs it; true when every fault was found.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let Arguments { rounds, seconds, every } = *arguments;
    let home = home.beside(home.root().join(NAME));
    let binaries = Some(build_planted(&home.root().join("bin"), interrupt)?);
    let shape = Shape { binaries, ..Shape::default() };
    let cluster = Some(shape.start(&home, interrupt)?);
    let mut trial = Trial { home, seconds, interrupt, cluster };
    let verdict = trial.run(1)?;
    if !verdict.is_clean() {
        bail!("nothing is planted, and the checker says:\n{}", verdict.report());
    }
    say::line("nothing planted: nothing found");
    let mut missed = 0;
    for (kind, wanted) in KINDS {
        let mut found = 0;
        for round in 1..=rounds {
            trial.plant(kind, every, round)?;
            let verdict = trial.run(round)?;
            let count = verdict.of(wanted);
            found += u32::from(count > 0);
            say::note(format_args!(
                "{kind} {round}: {} {count} times among {} deliveries",
                wanted.name(),
                verdict.counts.deliveries
            ));
        }
        missed += rounds - found;
        say::line(format_args!("{kind}: found {found} times of {rounds}"));
    }
    drop(trial);
    say::line(if missed == 0 {
        "verdict: every planted fault was found".to_owned()
    } else {
        format!("verdict: {missed} planted faults were NOT found")
    });
    Ok(missed == 0)
}

struct Trial<'a> {
    home: Home,
    seconds: u64,
    interrupt: &'a Interrupt,
    /// Not while a stage has it.
    cluster: Option<Cluster>,
}

impl Trial<'_> {
    /// Starts the gateways anew with this fault.
    fn plant(&mut self, kind: &str, every: u32, seed: u32) -> Result<()> {
        let Some(cluster) = &mut self.cluster else { bail!("the cluster is gone") };
        for gateway in GATEWAYS {
            cluster.set(gateway, "PARLEY_PLANTED_FAULT", kind)?;
            cluster.set(gateway, "PARLEY_PLANTED_EVERY", &every.to_string())?;
            cluster.set(gateway, "PARLEY_PLANTED_SEED", &seed.to_string())?;
            cluster.kill(gateway)?;
            cluster.restart(gateway)?;
        }
        Ok(())
    }

    /// A short load in chats of its own.
    fn run(&mut self, seed: u32) -> Result<Verdict> {
        let Some(cluster) = self.cluster.take() else { bail!("the cluster is gone") };
        let plan = Plan {
            name: NAME,
            command: "cargo parley bench planted".to_owned(),
            population: Population { chats: 8, members: 10, outsiders: 4, visitors: 0, hall: 0 },
            habits: Habits {
                arrival: Duration::from_millis(200),
                senders: 24,
                rate: Some(300.0),
                seed: seed.into(),
                ..Habits::default()
            },
            settle_within: Duration::from_secs(5),
        };
        let stage = Stage::on(cluster, &self.home, &plan, self.interrupt)?;
        stage.crowd.send();
        stage.pass(Duration::from_secs(self.seconds))?;
        let (verdict, cluster) = stage.judge()?;
        self.cluster = Some(cluster);
        Ok(verdict)
    }
}
