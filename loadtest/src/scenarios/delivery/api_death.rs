//! `bench api-death`: SIGKILL of an api pod between its commits and the bus. That it is between is made certain: what the
//! pod writes to NATS is swallowed on the way.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{end, longest, millis};
use crate::crowd::{Habits, Population};
use crate::hole::Hole;
use crate::stage::{Plan, SETTLE_WITHIN, Stage};
use crate::truth;

const DYING: &str = "api-1";
const NATS_SETTING: &str = "PARLEY_NATS_URL";
const HEARD_WITHIN: Duration = Duration::from_secs(5);
/// Committed and untold, by the time of death.
const UNTOLD: u64 = 20;

/// What `bench api-death` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often it dies
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
}

/// Runs it; true when the verdict is clean and everything was heard in time.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let rounds = arguments.rounds;
    let plan = Plan {
        name: "api-death",
        command: format!("cargo parley bench api-death --rounds {rounds}"),
        population: Population { chats: 10, members: 20, outsiders: 0, visitors: 0, hall: 0 },
        habits: Habits { senders: 20, rate: Some(40.0), ..Habits::default() },
        settle_within: SETTLE_WITHIN,
    };
    let mut stage = Stage::open(home, &plan, interrupt)?;
    let mut times = Vec::new();
    let nats = stage.cluster.description().nats[0].url.clone();
    stage.crowd.send();
    for round in 1..=rounds {
        let hole = Hole::before(nats.trim_start_matches("nats://"))?;
        stage.cluster.set(DYING, NATS_SETTING, &format!("nats://{}", hole.address))?;
        stage.cluster.terminate(DYING)?;
        stage.restart(DYING)?;
        stage.pass(Duration::from_secs(2))?;

        hole.swallow();
        let before = untold(&stage)?;
        if !stage.wait(Duration::from_secs(20), || Ok(untold(&stage)? >= before + UNTOLD))? {
            bail!("{DYING} has committed too little that is untold");
        }
        let number = stage.fault_begins(&format!(
            "kill {DYING}, which has told nothing of what it has committed"
        ));
        stage.cluster.kill(DYING)?;
        stage.fault_ends(number);
        let (killed, untold) = (Instant::now(), untold(&stage)?);
        let heads = truth::heads(&stage.database, &stage.world.chats)?;
        let heard = stage.wait(4 * HEARD_WITHIN, || Ok(stage.have_been_whole(&heads)))?;
        let took = killed.elapsed();
        times.push(took);
        say::note(format_args!(
            "round {round}: {untold} transactions untold; {} {} after the kill",
            if heard { "all heard" } else { "NOT all heard" },
            millis(took)
        ));
        // By the way that swallows nothing.
        stage.cluster.set(DYING, NATS_SETTING, &nats)?;
        stage.restart(DYING)?;
    }
    let judged = stage.judge()?;
    let slowest = longest(times)?;
    let demand = format!(
        "all that was committed was heard {} after the kill at the latest",
        millis(slowest)
    );
    Ok(end(judged, &[(slowest <= HEARD_WITHIN, demand)]))
}

/// Transactions that are in Postgres and, as far as it knows, not told.
fn untold(stage: &Stage) -> Result<u64> {
    Ok(stage.database.ask("select count(*) from pending_heads")?.parse()?)
}
