//! `bench rolling`: both gateways are restarted, one after the other, as a rollout does it: SIGTERM, the end, a new start;
//! and nobody notices more than a connection that came back.

mod pace;

use std::time::Duration;

use anyhow::{Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{end, jittering, write_results};
use crate::checker::Verdict;
use crate::crowd::Habits;
use crate::stage::{Plan, Stage};
use crate::truth;
use pace::{Drain, drains, most_in_a_second, rate};

const GATEWAYS: [&str; 2] = ["gateway-1", "gateway-2"];
/// How far the pace may be from what was configured.
const WITHIN: f64 = 0.1;
/// A client waits up to so long before it tries again, in seconds; by that, a few who were sent away at a steady pace come
/// back over a longer time.
const SPREAD: f64 = 0.5;
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
const BETWEEN: Duration = Duration::from_secs(5);

/// What `bench rolling` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Connections that a gateway sends away each second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pace: u16,
    /// How often both are restarted
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
    /// Write what came of it into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

impl Arguments {
    fn command(&self) -> String {
        let Self { pace, rounds, chats, .. } = self;
        format!("cargo parley bench rolling --pace {pace} --rounds {rounds} --chats {chats}")
    }

    /// So long a gateway with all connections may take to send them away: more than it needs, or it would be faster.
    fn drain(&self) -> Duration {
        let connections = f64::from(self.chats) * 20.0 + 10.0;
        Duration::from_secs_f64((connections / f64::from(self.pace)).ceil() + 5.0)
    }

    /// By when it has ended.
    fn grace(&self) -> Duration {
        self.drain() + Duration::from_secs(10)
    }

    /// Nobody goes by habit: every end of a connection is the gateways' doing.
    fn plan(&self) -> Plan {
        let plan = jittering("rolling", self.command(), self.chats);
        Plan { habits: Habits { cut_every: None, ..plan.habits }, ..plan }
    }
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let pace = arguments.pace.to_string();
    let [drain, grace] =
        [arguments.drain(), arguments.grace()].map(|time| time.as_secs().to_string());
    let settings = [
        ("PARLEY_DRAIN_PER_SECOND", pace.as_str()),
        ("PARLEY_DRAIN_SECONDS", drain.as_str()),
        ("PARLEY_SHUTDOWN_SECONDS", grace.as_str()),
    ];
    let mut stage = Stage::open_with(&settings, home, &arguments.plan(), interrupt)?;
    let history = stage.recorder.path().to_owned();
    stage.crowd.send();
    for _ in 0..arguments.rounds {
        for gateway in GATEWAYS {
            stage.pass(BETWEEN)?;
            restart(&mut stage, gateway, arguments.grace())?;
        }
    }
    let (verdict, cluster) = stage.judge()?;
    let mut demands = Vec::new();
    for (drain, gateway) in drains(&history)?.iter().zip(GATEWAYS.iter().cycle()) {
        demands.extend(demanded(gateway, drain, f64::from(arguments.pace)));
    }
    let wanted = GATEWAYS.len() * usize::from(arguments.rounds);
    let recovered = verdict.recoveries.iter().filter(|it| it.took.is_some()).count();
    demands.push((
        recovered == wanted,
        format!("every client whole again after {recovered} of {wanted} restarts"),
    ));
    demands.push(told(&verdict));
    if arguments.write {
        write_results("rolling", &arguments.command(), "", &verdict, &demands)?;
    }
    Ok(end((verdict, cluster), &demands))
}

/// One pod goes as a rollout lets it go, and comes again.
pub(super) fn restart(stage: &mut Stage, pod: &str, grace: Duration) -> Result<()> {
    let number = stage.fault_begins(&format!("restart {pod}"));
    let process = stage.cluster.process(pod)?.clone();
    stage.cluster.terminate(pod)?;
    if !stage.wait(grace, || Ok(!process.is_alive()))? {
        bail!("{pod} has not ended {} s after SIGTERM", grace.as_secs());
    }
    stage.restart(pod)?;
    stage.fault_ends(number);
    let heads = truth::heads(&stage.database, &stage.world.chats)?;
    if !stage.wait(WHOLE_WITHIN, || Ok(stage.are_whole(&heads)))? {
        bail!("not every client is whole again after {} s", WHOLE_WITHIN.as_secs());
    }
    say::note(format_args!("{pod} is back, and everybody whole"));
    Ok(())
}

fn demanded(gateway: &str, drain: &Drain, pace: f64) -> Vec<(bool, String)> {
    let Drain { closed, back, otherwise } = drain;
    let shown =
        |rate: Option<f64>| rate.map_or_else(|| "no".to_owned(), |rate| format!("{rate:.1}"));
    let is_within = |rate: Option<f64>, from: f64| {
        rate.is_some_and(|rate| rate >= from * (1.0 - WITHIN) && rate <= pace * (1.0 + WITHIN))
    };
    let (away, again) = (rate(closed), rate(back));
    let slowest = spread(back.len(), pace);
    let most = most_in_a_second(closed);
    #[expect(clippy::cast_precision_loss, reason = "there are not that many connections")]
    let is_steady = most as f64 <= pace * (1.0 + WITHIN);
    vec![
        (
            is_within(away, pace) && is_steady,
            format!(
                "{gateway}: {} connections sent away, {} a second of {pace}, at most {most} within one",
                closed.len(),
                shown(away)
            ),
        ),
        (
            is_within(again, slowest) && back.len() == closed.len(),
            format!(
                "{gateway}: {} back, {} a second of {pace} ({slowest:.1} with what the clients wait), at most {} within one",
                back.len(),
                shown(again),
                most_in_a_second(back)
            ),
        ),
        (
            otherwise.is_empty(),
            format!("{gateway}: connections that ended otherwise: {otherwise:?}"),
        ),
    ]
}

/// The pace at which so many come back whom one attempt more or less has kept waiting.
#[expect(clippy::cast_precision_loss, reason = "there are not that many connections")]
fn spread(clients: usize, pace: f64) -> f64 {
    let middle = clients as f64 * 0.8;
    if middle > 0.0 { middle / (middle / pace + SPREAD) } else { pace }
}

fn told(verdict: &Verdict) -> (bool, String) {
    let told = verdict.counts.resyncs_told.values().sum::<u64>() + verdict.counts.resyncs_at_join;
    (told == 0, format!("{told} told to reload, instead of what they missed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Back at this rate, of so many who were sent away at 50 a second: whether that is as it should be.
    fn is_met(clients: u64, rate: u64) -> bool {
        let steady = |rate: u64| (0..clients).map(|number| number * 1_000_000 / rate).collect();
        let drain = Drain { closed: steady(50), back: steady(rate), otherwise: [].into() };
        demanded("gateway-1", &drain, 50.0).iter().all(|(is_met, _)| *is_met)
    }

    #[test]
    fn a_few_may_come_back_more_slowly_than_many() {
        assert!(is_met(100, 50) && is_met(1000, 50));
        assert!(is_met(100, 42) && !is_met(1000, 42));
        assert!(!is_met(100, 30) && !is_met(100, 60) && !is_met(1000, 60));
    }
}
