//! `bench nats-cluster`: three NATS servers; each is killed once while the others serve, and then all of them for 10 s.
//! Sockets stay, and nothing is lost.

use std::time::Duration;

use anyhow::Result;
use parley_local::{Home, Interrupt};

use super::{end, ended_early, millis, steady, write_results};
use crate::checker::Verdict;
use crate::stage::{Shape, Stage};

const SERVERS: [&str; 3] = ["nats-1", "nats-2", "nats-3"];
/// After the loss of one server, its pods are to be at another one, and everybody whole, this soon; the server is still away.
const MOVED_WITHIN: Duration = Duration::from_secs(1);
const WHOLE_WITHIN: Duration = Duration::from_secs(2);
const OUTAGE: Duration = Duration::from_secs(10);
const BETWEEN: Duration = Duration::from_secs(5);

/// What `bench nats-cluster` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
    /// Write what came of it into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let plan = steady("nats-cluster", arguments.chats);
    let mut stage = Stage::open_as(&Shape { nats: 3, ..Shape::default() }, home, &plan, interrupt)?;
    stage.crowd.send();
    for server in SERVERS {
        lose(&mut stage, server)?;
    }
    lose_all(&mut stage)?;
    stage.pass(OUTAGE)?;

    let judged = stage.judge()?;
    let demands = demands(&judged.0);
    if arguments.write {
        write_results("nats-cluster", &plan.command, "", &judged.0, &demands)?;
    }
    Ok(end(judged, &demands))
}

/// The fault ends before the server is back: what is measured is how the others do without it.
fn lose(stage: &mut Stage, server: &str) -> Result<()> {
    stage.pass(BETWEEN)?;
    let lost = stage.fault_begins(&format!("kill {server} of three"));
    stage.cluster.kill(server)?;
    stage.pass(MOVED_WITHIN)?;
    stage.fault_ends(lost);
    stage.pass(BETWEEN)?;
    stage.restart(server)
}

fn lose_all(stage: &mut Stage) -> Result<()> {
    stage.pass(BETWEEN)?;
    let lost = stage.fault_begins("kill all three, start them after 10 s");
    for server in SERVERS {
        stage.cluster.kill(server)?;
    }
    stage.pass(OUTAGE)?;
    for server in SERVERS {
        stage.restart(server)?;
    }
    stage.fault_ends(lost);
    Ok(())
}

fn demands(verdict: &Verdict) -> Vec<(bool, String)> {
    let ended = ended_early(verdict);
    let told: u64 = verdict.counts.resyncs_told.values().sum();
    let mut demands = vec![
        (ended == 0, format!("{ended} connections ended before the end")),
        (told == 0, format!("{told} rooms of clients told to reload, instead of what they missed")),
    ];
    for recovery in &verdict.recoveries {
        let took = recovery.took.map(Duration::from_micros);
        let said = took.map_or_else(|| "never".to_owned(), millis);
        let met = took.is_some_and(|took| took <= WHOLE_WITHIN);
        demands.push((met, format!("{}: everybody whole {said} after", recovery.what)));
    }
    demands
}
