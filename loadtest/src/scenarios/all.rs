//! `bench all`: what says how fast Parley is, one scenario after the other, each as it is by default.

use anyhow::{Result, bail};
use clap::{Args, Parser};
use parley_local::{Home, Interrupt, say};
use serde_json::json;

use super::{arrivals, e2e, fanout, growth, lists, send};
use crate::report::Outcome;

/// What `bench all` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Let each of them write its section of loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

type Measure = fn(&Home, bool, &Interrupt) -> Result<Outcome>;

const SCENARIOS: [(&str, Measure); 8] = [
    ("fanout", |home, write, interrupt| {
        fanout::measure(&fanout::FANOUT, home, &defaults(write)?, interrupt)
    }),
    ("rooms", |home, write, interrupt| {
        fanout::measure(&fanout::ROOMS, home, &defaults(write)?, interrupt)
    }),
    ("idle", |home, write, interrupt| arrivals::measure_idle(home, &defaults(write)?, interrupt)),
    ("connect", |home, write, interrupt| {
        arrivals::measure_connect(home, &defaults(write)?, interrupt)
    }),
    ("send", |home, write, interrupt| send::measure(home, &defaults(write)?, interrupt)),
    ("e2e", |home, write, interrupt| e2e::measure(home, &defaults(write)?, interrupt)),
    ("lists", |home, write, interrupt| lists::measure(home, &defaults(write)?, interrupt)),
    ("growth", |home, write, interrupt| growth::measure(home, &defaults(write)?, interrupt)),
];

/// Runs all of them, whatever becomes of one; true when every one has met its bars.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, measure) in SCENARIOS {
        say::note(format_args!("bench {name}"));
        let outcome = measure(home, arguments.write, interrupt);
        if interrupt.asked() {
            bail!("interrupted");
        }
        let outcome = outcome.unwrap_or_else(|error| {
            say::error(&error);
            let json = json!({ "scenario": name, "error": format!("{error:#}") });
            Outcome { met: false, json }
        });
        if !outcome.met {
            failed.push(name);
        }
        rows.push(outcome.json);
    }
    let said = if failed.is_empty() { "none".to_owned() } else { failed.join(", ") };
    say::line(format_args!("\nBars not met, or not measured: {said}."));
    let json = json!({ "scenario": "all", "rows": rows, "failed": failed });
    Ok(Outcome { met: failed.is_empty(), json }.end(arguments.json))
}

/// The arguments of a scenario that is told nothing, but perhaps to write its section.
fn defaults<A: Args>(write: bool) -> Result<A> {
    #[derive(Parser)]
    struct Program<A: Args> {
        #[command(flatten)]
        arguments: A,
    }
    let said = ["bench", "--write"];
    let program = Program::try_parse_from(&said[..=usize::from(write)])?;
    Ok(program.arguments)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_scenario_can_be_told_nothing_and_to_write() {
        for write in [false, true] {
            defaults::<fanout::Arguments>(write).unwrap();
            defaults::<arrivals::IdleArguments>(write).unwrap();
            defaults::<arrivals::ConnectArguments>(write).unwrap();
            defaults::<send::Arguments>(write).unwrap();
            defaults::<e2e::Arguments>(write).unwrap();
            defaults::<lists::Arguments>(write).unwrap();
            defaults::<growth::Arguments>(write).unwrap();
        }
    }
}
