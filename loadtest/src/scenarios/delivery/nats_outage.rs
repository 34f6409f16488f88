//! `bench nats-outage`: NATS is away for 10 s, and once more hangs for 10 s; sockets stay, and what was committed
//! meanwhile comes within 2 s of its return.

use std::time::Duration;

use anyhow::Result;
use parley_local::{Home, Interrupt};

use super::{end, ended_early, millis, steady};
use crate::checker::Verdict;
use crate::stage::Stage;

const OUTAGE: Duration = Duration::from_secs(10);
const WHOLE_WITHIN: Duration = Duration::from_secs(2);
const NATS: &str = "nats-1";

/// What `bench nats-outage` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let plan = steady("nats-outage", arguments.chats);
    let mut stage = Stage::open(home, &plan, interrupt)?;
    stage.crowd.send();
    stage.pass(Duration::from_secs(5))?;

    let killed = stage.fault_begins("kill nats-1, start it after 10 s");
    stage.cluster.kill(NATS)?;
    stage.pass(OUTAGE)?;
    stage.restart(NATS)?;
    stage.fault_ends(killed);
    stage.pass(Duration::from_secs(10))?;

    let hung = stage.fault_begins("hang nats-1 for 10 s");
    let frozen = stage.cluster.freeze(NATS)?;
    let passed = stage.pass(OUTAGE);
    drop(frozen);
    stage.fault_ends(hung);
    passed?;
    stage.pass(Duration::from_secs(10))?;

    let judged = stage.judge()?;
    let demands = demands(&judged.0);
    Ok(end(judged, &demands))
}

fn demands(verdict: &Verdict) -> Vec<(bool, String)> {
    let lost = ended_early(verdict);
    let mut demands = vec![(lost == 0, format!("{lost} connections ended before the end"))];
    let told: u64 = verdict.counts.resyncs_told.values().sum();
    demands.push((
        told == 0,
        format!("{told} rooms of clients told to reload, instead of what they missed"),
    ));
    for recovery in &verdict.recoveries {
        let took = recovery.took.map(Duration::from_micros);
        let said = took.map_or_else(|| "never".to_owned(), millis);
        let met = took.is_some_and(|took| took <= WHOLE_WITHIN);
        demands.push((met, format!("{}: everybody whole {said} after its return", recovery.what)));
    }
    demands
}
