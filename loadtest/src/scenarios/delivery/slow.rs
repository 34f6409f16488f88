//! `bench slow`: 50 of 1 000 clients stop reading, one in each room; what the others notice, what it costs the gateways, and
//! what becomes of the 50.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{Times, end, micros, write_results};
use crate::checker::Verdict;
use crate::crowd::{Habits, Population};
use crate::history::Record;
use crate::latencies::{self, Phase};
use crate::proc::resident;
use crate::report::{Measure, Side, table};
use crate::stage::{Plan, SETTLE_WITHIN, Stage};
use crate::truth;

const MEMBERS: usize = 20;
/// What may wait for one connection: the default, but said, so that memory can be judged by it.
const OUTBOX: u64 = 1_000_000;
/// Heartbeats as they ship: who does not read does not answer them either, and is to be closed for being slow.
const SETTINGS: &[(&str, &str)] = &[
    ("PARLEY_PING_INTERVAL_MS", "25000"),
    ("PARLEY_PING_TIMEOUT_MS", "20000"),
    ("PARLEY_OUTBOX_BYTES", "1000000"),
];
/// What allocators and the replays of those who come back take besides.
const MARGIN: u64 = 32 << 20;
const WHOLE_WITHIN: Duration = Duration::from_mins(1);
/// Between two turns, for what is left of the one before.
const BETWEEN: Duration = Duration::from_secs(1);
/// What counts against the run without.
const BAR: f64 = 1.2;
const CLOSED: &str = "parley_gateway_closed_total";

const MEASURES: [Measure; 4] = [
    Measure { key: "p50_ms", title: "others' latency p50, ms", decimals: 2 },
    Measure { key: "p99_ms", title: "others' latency p99, ms", decimals: 1 },
    Measure { key: "deliveries", title: "deliveries to them", decimals: 0 },
    Measure { key: "memory_mb", title: "gateways' memory, MB above the first", decimals: 1 },
];
const P99: usize = 1;

/// What `bench slow` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// How long each turn is
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u64).range(2..=600))]
    seconds: u64,
    /// How many rooms there are, of 20 clients each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
    /// Messages a second in each room
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=100))]
    rate: u16,
    /// Characters of each message, of four bytes each; few and small ones fill no outbox before the write deadline
    #[arg(long, default_value_t = 4900, value_parser = clap::value_parser!(u16).range(0..=4900))]
    characters: u16,
    /// Write what came of it into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

impl Arguments {
    fn command(&self) -> String {
        let Self { rounds, seconds, chats, rate, characters, .. } = self;
        format!(
            "cargo parley bench slow --rounds {rounds} --seconds {seconds} --chats {chats} --rate {rate} --characters {characters}"
        )
    }

    fn plan(&self) -> Plan {
        let chats = usize::from(self.chats);
        Plan {
            name: "slow",
            command: self.command(),
            population: Population { chats, members: MEMBERS, outsiders: 0, visitors: 0, hall: 0 },
            habits: Habits {
                senders: 2 * chats,
                rate: Some(f64::from(self.rate) * f64::from(self.chats)),
                filling: self.characters.into(),
                pause_one_in: Some(MEMBERS),
                ..Habits::default()
            },
            settle_within: SETTLE_WITHIN,
        }
    }
}

/// A turn, with the clients that stop, or without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    With,
    Without,
}

impl Turn {
    const fn name(self) -> &'static str {
        match self {
            Self::With => "they stop reading",
            Self::Without => "all read",
        }
    }
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let plan = arguments.plan();
    let mut stage = Stage::open_with(SETTINGS, home, &plan, interrupt)?;
    let history = stage.recorder.path().to_owned();
    stage.crowd.send();
    stage.pass(Duration::from_secs(3))?;
    let first = memory(&stage)?;
    let mut grown = Vec::new();
    for round in 1..=arguments.rounds {
        // Who goes first changes, so that neither side has the fresher machine.
        let turns = [Turn::With, Turn::Without];
        let order = if round % 2 == 1 { turns } else { [turns[1], turns[0]] };
        for turn in order {
            let most = take(&mut stage, turn, Duration::from_secs(arguments.seconds))?;
            let growth = most.saturating_sub(first);
            say::note(format_args!("round {round}: {}: grown by {} kB", turn.name(), growth >> 10));
            grown.push((turn, growth));
        }
    }
    stage.note_counters(CLOSED)?;
    let (verdict, cluster) = stage.judge()?;
    let is_other = |client: u32| client as usize % MEMBERS != MEMBERS - 1;
    let sides = sides(latencies::by_phase(&history, is_other)?, &grown)?;
    let mut demands = demanded(&sides, arguments)?;
    demands.extend(closings(&verdict, arguments));
    demands.extend(recoveries(&verdict, arguments));
    let table = table(&MEASURES, &sides);
    say::line(format_args!("\n{}\n\n{table}", arguments.command()));
    if arguments.write {
        write_results("slow", &arguments.command(), &table, &verdict, &demands)?;
    }
    Ok(end((verdict, cluster), &demands))
}

/// What the gateways hold together.
fn memory(stage: &Stage) -> Result<u64> {
    stage.cluster.description().gateway.iter().map(|pod| resident(pod.pid)).sum()
}

/// One turn; what the gateways' memory was in it at most.
fn take(stage: &mut Stage, turn: Turn, length: Duration) -> Result<u64> {
    let mut most = 0;
    let fault = (turn == Turn::With).then(|| {
        stage.crowd.pause(true);
        stage.fault_begins(turn.name())
    });
    stage.recorder.note(&Record::Phase { name: turn.name().to_owned() });
    stage.wait(length, || {
        most = most.max(memory(stage)?);
        Ok(false)
    })?;
    stage.recorder.note(&Record::Phase { name: "between".to_owned() });
    if let Some(fault) = fault {
        stage.crowd.pause(false);
        stage.fault_ends(fault);
    }
    let heads = truth::heads(&stage.database, &stage.world.chats)?;
    if !stage.wait(WHOLE_WITHIN, || Ok(stage.have_been_whole(&heads)))? {
        bail!("not every client is whole again after {} s", WHOLE_WITHIN.as_secs());
    }
    stage.pass(BETWEEN)?;
    Ok(most)
}

fn sides(phases: Vec<Phase>, grown: &[(Turn, u64)]) -> Result<[Side; 2]> {
    let mut sides =
        [Turn::With, Turn::Without].map(|turn| Side { name: turn.name(), rounds: Vec::new() });
    let counted = phases.into_iter().filter(|phase| phase.name != "between");
    for (phase, (turn, growth)) in counted.zip(grown) {
        let side = sides.iter_mut().find(|side| side.name == phase.name);
        let side = side.filter(|side| side.name == turn.name()).context("turns out of order")?;
        let count = u32::try_from(phase.latencies.len())?;
        let times = Times::of(phase.latencies);
        let [middle, most] = [times.middle, times.most].map(|time| f64::from(time) / 1000.0);
        let grown = f64::from(u32::try_from(growth / 1000)?) / 1000.0;
        side.rounds.push(vec![Some(middle), Some(most), Some(f64::from(count)), Some(grown)]);
    }
    Ok(sides)
}

fn demanded(sides: &[Side; 2], arguments: &Arguments) -> Result<Vec<(bool, String)>> {
    let [with, without] = sides;
    let ratio = with.against(without, P99).context("nothing was measured")?;
    let grown = with.range(MEASURES.len() - 1).context("nothing was measured")?;
    let most = u64::from(arguments.chats) * OUTBOX + MARGIN;
    let bound = f64::from(u32::try_from(most / 1000)?) / 1000.0;
    Ok(vec![
        (
            ratio.median <= BAR,
            format!(
                "the others' p99 is {} of that of the run beside it in which all read (median of {}; bar {BAR})",
                ratio.shown(2),
                arguments.rounds
            ),
        ),
        (
            grown.max <= bound,
            format!(
                "the gateways' memory grows by at most {:.1} MB: {} outboxes of {} MB and {} MB are {bound:.1} MB",
                grown.max,
                arguments.chats,
                OUTBOX / 1_000_000,
                MARGIN >> 20,
            ),
        ),
    ])
}

/// Why connections were closed, and that each that was not read was closed for that.
fn closings(verdict: &Verdict, arguments: &Arguments) -> Vec<(bool, String)> {
    let count =
        |reason: &str| verdict.counter(CLOSED, &format!("reason=\"{reason}\"")).unwrap_or(0);
    let wanted = u64::from(arguments.chats) * u64::from(arguments.rounds);
    let (full, stalled) = (count("slow_consumer"), count("write_timeout"));
    let all = verdict.counter(CLOSED, "").unwrap_or(0);
    vec![
        (
            full + stalled == wanted && all == wanted,
            format!(
                "{wanted} connections stopped being read, {all} were closed by the gateways or lost: {full} over their outbox, \
                {stalled} past the write deadline, {} otherwise",
                all - full - stalled
            ),
        ),
        (full > stalled, "most of them filled their outbox".to_owned()),
    ]
}

fn recoveries(verdict: &Verdict, arguments: &Arguments) -> Vec<(bool, String)> {
    let took: Vec<_> = verdict.recoveries.iter().filter_map(|it| it.took).collect();
    let times = took.iter().map(|took| micros(Duration::from_micros(*took)));
    let times = Times::of(times.collect());
    let told: u64 =
        verdict.counts.resyncs_told.values().sum::<u64>() + verdict.counts.resyncs_at_join;
    vec![
        (
            took.len() == usize::from(arguments.rounds),
            format!(
                "everybody whole again in {} of {} rounds, {:.2} s after they read again at the latest",
                took.len(),
                arguments.rounds,
                f64::from(times.worst) / 1e6
            ),
        ),
        (told == 0, format!("{told} told to reload, instead of what they missed")),
    ]
}
