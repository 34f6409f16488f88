//! `bench gateway-death`: SIGKILL of one of two gateways, again and again, under the load of `bench jitter`.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{end, jittering};
use crate::stage::Stage;
use crate::truth;

/// How long a gateway is away.
const AWAY: Duration = Duration::from_secs(3);
/// By when everybody has to be whole again.
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
const BETWEEN: Duration = Duration::from_secs(5);

/// What `bench gateway-death` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often one dies
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
}

/// Runs it; true when the verdict is clean and every client came back whole in every round.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let Arguments { rounds, chats } = *arguments;
    let command = format!("cargo parley bench gateway-death --rounds {rounds} --chats {chats}");
    let mut stage = Stage::open(home, &jittering("gateway-death", command, chats), interrupt)?;
    stage.crowd.send();
    for round in 0..rounds {
        stage.pass(BETWEEN)?;
        let name = format!("gateway-{}", 1 + round % 2);
        let number = stage.fault_begins(&format!("kill {name}"));
        stage.cluster.kill(&name)?;
        stage.fault_ends(number);
        let killed = Instant::now();
        let heads = truth::heads(&stage.database, &stage.world.chats)?;
        stage.pass(AWAY)?;
        stage.restart(&name)?;
        if !stage.wait(WHOLE_WITHIN, || Ok(stage.have_been_whole(&heads)))? {
            bail!(
                "round {round}: not every client is whole again after {} s",
                WHOLE_WITHIN.as_secs()
            );
        }
        let took = killed.elapsed().as_secs_f64();
        say::note(format_args!(
            "round {}: {name}: everybody is past the kill after {took:.1} s",
            round + 1
        ));
    }
    let judged = stage.judge()?;
    let recovered = judged.0.recoveries.iter().filter(|it| it.took.is_some()).count();
    let demand = format!("every client whole again in {recovered} of {rounds} rounds");
    Ok(end(judged, &[(recovered == rounds as usize, demand)]))
}
