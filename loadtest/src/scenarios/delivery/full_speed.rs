//! `bench full-speed`: many sends over two api pods as fast as they go, without any fault: what is published out of order is
//! put in order without a catch-up.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt};

use super::end;
use crate::crowd::{Habits, Population};
use crate::stage::{Plan, SETTLE_WITHIN, Stage};

/// What gateways count.
const CATCH_UPS: &str = "parley_gateway_catch_ups_total";
const CLIENTS: u64 = 32;
const SENT_WITHIN: Duration = Duration::from_mins(5);

/// What `bench full-speed` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many are sent at least
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    sends: u64,
    /// How many rooms they go to; few make reordering likely
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=32))]
    chats: u16,
}

/// Runs it; true when the verdict is clean and reordering has caused no catch-up.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let Arguments { sends, chats } = *arguments;
    let plan = Plan {
        name: "full-speed",
        command: format!("cargo parley bench full-speed --sends {sends} --chats {chats}"),
        population: Population {
            chats: chats.into(),
            members: 20,
            outsiders: 0,
            visitors: 0,
            hall: 0,
        },
        habits: Habits {
            senders: usize::try_from(CLIENTS)?,
            rate: None,
            messages_each: Some(sends.div_ceil(CLIENTS)),
            ..Habits::default()
        },
        settle_within: SETTLE_WITHIN,
    };
    let stage = Stage::open(home, &plan, interrupt)?;
    stage.crowd.send();
    if !stage.wait(SENT_WITHIN, || Ok(stage.crowd.senders() == 0))? {
        bail!("not everything is sent after {} s", SENT_WITHIN.as_secs());
    }
    let judged = stage.judge()?;
    let verdict = &judged.0;
    let by_gaps = verdict.counter(CATCH_UPS, "cause=\"gap\"");
    let gaps = by_gaps.with_context(|| format!("the gateways do not have {CATCH_UPS}"));
    let resyncs: u64 = verdict.counts.resyncs_told.values().sum();
    let (demand, is_known) = match &gaps {
        Ok(gaps) => (format!("{gaps} catch-ups caused by reordering"), *gaps == 0),
        Err(error) => (format!("catch-ups are not available: {error:#}"), false),
    };
    let demands = [(is_known, demand), (resyncs == 0, format!("{resyncs} resyncs told"))];
    Ok(end(judged, &demands))
}
