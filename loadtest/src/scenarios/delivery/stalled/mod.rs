//! `bench stalled`: a thousand peers come so far and then do nothing more, in the ways in which a peer can; what everybody else
//! notices, and whether the gateways let all of them go in time, with all that they held for them.

mod peer;

use std::fs;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, say};

use super::{Times, end, write_results};
use crate::checker::Verdict;
use crate::crowd::{Habits, Population, World};
use crate::history::Record;
use crate::latencies::{self, Phase};
use crate::load::on_this_thread;
use crate::proc::resident;
use crate::report::{Measure, Side, table};
use crate::stage::{Plan, SETTLE_WITHIN, Stage};
use peer::{Kind, Peer};

const MEMBERS: usize = 20;
/// Who says nothing has so long for its head.
const HEAD: Duration = Duration::from_secs(10);
/// Who answers no heartbeat is asked within half of it, and has the other half for its answer. Who does not read does not
/// answer either.
const HEARTBEAT: Duration = Duration::from_secs(4);
const SETTINGS: &[(&str, &str)] = &[("PARLEY_HEADER_TIMEOUT_MS", "10000")];
/// A goodbye that nobody answers is waited for so long.
const FAREWELL: Duration = Duration::from_secs(2);
/// What a machine with two cores may be late.
const SLACK: Duration = Duration::from_secs(1);
/// What counts against the turn without.
const BAR: f64 = 1.2;
/// What allocators keep of it.
const MARGIN: u64 = 16 << 20;
const BETWEEN: Duration = Duration::from_secs(2);
const WITH: &str = "peers that stall";
const WITHOUT: &str = "as many that behave";

const MEASURES: [Measure; 3] = [
    Measure { key: "p50_ms", title: "others' latency p50, ms", decimals: 2 },
    Measure { key: "p99_ms", title: "others' latency p99, ms", decimals: 1 },
    Measure { key: "deliveries", title: "deliveries to them", decimals: 0 },
];
const P99: usize = 1;

/// What `bench stalled` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many of each kind come at once
    #[arg(long, default_value_t = 250, value_parser = clap::value_parser!(u16).range(1..=2000))]
    peers: u16,
    /// How often each side has its turn
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
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
        let Self { peers, rounds, chats, .. } = self;
        format!("cargo parley bench stalled --peers {peers} --rounds {rounds} --chats {chats}")
    }

    fn plan(&self) -> Plan {
        let chats = usize::from(self.chats);
        // One for each peer that comes into a room.
        let visitors = (3 * usize::from(self.peers)).div_ceil(chats);
        Plan {
            name: "stalled",
            command: self.command(),
            population: Population { chats, members: MEMBERS, outsiders: 0, visitors, hall: 0 },
            habits: Habits {
                senders: 2 * chats,
                rate: Some(4.0 * f64::from(self.chats)),
                ..Habits::default()
            },
            settle_within: SETTLE_WITHIN,
        }
    }
}

/// What came of one turn with stalled peers.
struct Turn {
    /// Of each kind that can know: how long each took to be let go; `None` for who was not.
    gone: Vec<(Kind, Option<Duration>)>,
    /// When the gateways had no more open files than before but those of who says nothing, and when not even those.
    but_mute: Option<Duration>,
    all: Option<Duration>,
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let plan = arguments.plan();
    let mut stage = Stage::open_with(SETTINGS, home, &plan, interrupt)?;
    for place in 0..stage.world.visitors.len() {
        // Whatever they do, they are owed nothing.
        stage.recorder.note(&Record::Gone { client: stage.world.visitor(place) });
    }
    let history = stage.recorder.path().to_owned();
    stage.crowd.send();
    stage.pass(Duration::from_secs(3))?;
    let before = memory(&stage)?;
    let mut turns = Vec::new();
    for round in 1..=arguments.rounds {
        // Who goes first changes, so that neither side has the fresher machine.
        for with in [round % 2 == 1, round % 2 == 0] {
            if with {
                turns.push(suffer(&mut stage, usize::from(arguments.peers))?);
            } else {
                endure(&mut stage, usize::from(arguments.peers))?;
            }
            stage.pass(BETWEEN)?;
        }
        say::note(format_args!("round {round}: {} kB of memory", memory(&stage)? >> 10));
    }
    let after = memory(&stage)?;
    let (verdict, cluster) = stage.judge()?;
    let sides = sides(latencies::by_phase(&history, |_| true)?)?;
    let mut demands = let_go(&turns, arguments);
    demands.push(noticed(&sides, arguments)?);
    let grown = after.saturating_sub(before) >> 20;
    demands.push((
        after <= before + MARGIN,
        format!(
            "the gateways have {} MiB of memory, {grown} more than before (bar {})",
            after >> 20,
            MARGIN >> 20
        ),
    ));
    demands.push(stayed(&verdict));
    let table = table(&MEASURES, &sides);
    say::line(format_args!("\n{}\n\n{table}", arguments.command()));
    if arguments.write {
        write_results("stalled", &arguments.command(), &table, &verdict, &demands)?;
    }
    Ok(end((verdict, cluster), &demands))
}

fn phase(stage: &Stage, name: &str) {
    stage.recorder.note(&Record::Phase { name: name.to_owned() });
}

/// What the gateways hold together.
fn memory(stage: &Stage) -> Result<u64> {
    stage.cluster.description().gateway.iter().map(|pod| resident(pod.pid)).sum()
}

/// How many files they have open: each connection is one.
fn open_files(stage: &Stage) -> Result<usize> {
    let count = |pid: u32| -> Result<usize> {
        let open = fs::read_dir(format!("/proc/{pid}/fd"));
        Ok(open.context("a gateway's open files cannot be counted")?.count())
    };
    stage.cluster.description().gateway.iter().map(|pod| count(pod.pid)).sum()
}

/// One turn: all of them come, stall, and are waited for.
fn suffer(stage: &mut Stage, peers: usize) -> Result<Turn> {
    let open = open_files(stage)?;
    let length = HEAD + SLACK;
    let stalling = all_come(Arc::clone(&stage.world), peers, true, length);
    // Until they are there.
    let there = stage.wait(length, || Ok(open_files(stage)? >= open + 4 * peers))?;
    // That they come costs what any arrival does; what is asked is what it costs that they stall.
    phase(stage, WITH);
    let (since, mut but_mute, mut all) = (Instant::now(), None, None);
    stage.wait(length, || {
        let now = open_files(stage)?;
        if now <= open + peers {
            but_mute.get_or_insert(since.elapsed());
        }
        if now <= open {
            all.get_or_insert(since.elapsed());
        }
        Ok(false)
    })?;
    phase(stage, "between");
    let gone = stalling.join().map_err(|_| anyhow::anyhow!("a stalled peer has panicked"))??;
    if !there {
        bail!("{} stalled peers were not there at once", 4 * peers);
    }
    Ok(Turn { gone, but_mute, all })
}

/// One turn in which as many come, behave, and go when the others would have been let go: what is asked is not what it costs
/// that somebody is there.
fn endure(stage: &mut Stage, peers: usize) -> Result<()> {
    let open = open_files(stage)?;
    let length = HEAD + SLACK;
    let behaving = all_come(Arc::clone(&stage.world), peers, false, length);
    let there = stage.wait(length, || Ok(open_files(stage)? >= open + 4 * peers))?;
    phase(stage, WITHOUT);
    stage.pass(length)?;
    phase(stage, "between");
    behaving.join().map_err(|_| anyhow::anyhow!("a peer has panicked"))??;
    if !there {
        bail!("{} peers were not there at once", 4 * peers);
    }
    Ok(())
}

type Stalling = JoinHandle<Result<Vec<(Kind, Option<Duration>)>>>;

/// So many of each kind, on a thread of their own; how long each that stalls took to be let go.
fn all_come(world: Arc<World>, peers: usize, stalls: bool, within: Duration) -> Stalling {
    std::thread::spawn(move || {
        on_this_thread(async move {
            let world = std::rc::Rc::new(world);
            let mut tasks = Vec::new();
            for (number, kind) in Kind::ALL.into_iter().cycle().take(4 * peers).enumerate() {
                let world = std::rc::Rc::clone(&world);
                tasks.push(tokio::task::spawn_local(async move {
                    let visitor = &world.visitors[number % world.visitors.len()];
                    let chat = *visitor.chats.first().context("a visitor without a chat")?;
                    // Some of each kind at every gateway.
                    let gateway = number / Kind::ALL.len() % world.gateways.len();
                    let gateway = &world.gateways[gateway].address;
                    let chat = &world.chats[chat as usize];
                    let who = (visitor.token.as_str(), chat.as_str());
                    let mut peer = Peer::come(kind, stalls, gateway, who).await?;
                    if stalls {
                        return anyhow::Ok((kind, peer.gone(within).await));
                    }
                    // Who says nothing is let go in time, behaved or not.
                    let stays = kind.deadline().min(HEAD.saturating_sub(SLACK));
                    peer.behave(stays).await?;
                    Ok((kind, None))
                }));
            }
            let mut all = Vec::new();
            for task in tasks {
                all.push(task.await.context("a stalled peer has panicked")??);
            }
            Ok(all)
        })
    })
}

/// All of them, each kind within its deadline.
fn let_go(turns: &[Turn], arguments: &Arguments) -> Vec<(bool, String)> {
    let all = usize::from(arguments.peers) * turns.len();
    let mut demands = Vec::new();
    for kind in [Kind::Mute, Kind::HalfFrame, Kind::NoPong] {
        let deadline = kind.deadline();
        let of_kind = turns.iter().flat_map(|turn| &turn.gone).filter(|(it, _)| *it == kind);
        let gone: Vec<_> = of_kind.filter_map(|(_, gone)| *gone).collect();
        let worst = gone.iter().max().copied().unwrap_or_default();
        demands.push((
            gone.len() == all && worst <= deadline + SLACK,
            format!(
                "{}: {} of {all} let go, after {:.2} s at the latest (deadline {} s)",
                kind.name(),
                gone.len(),
                worst.as_secs_f64(),
                deadline.as_secs()
            ),
        ));
    }
    let counted = [
        (
            Kind::NoRead.name(),
            Kind::NoRead.deadline(),
            turns.iter().map(|turn| turn.but_mute).collect::<Vec<_>>(),
        ),
        ("all of them", HEAD, turns.iter().map(|turn| turn.all).collect()),
    ];
    for (name, deadline, times) in counted {
        let known: Vec<_> = times.iter().flatten().collect();
        let worst = known.iter().max().map_or(Duration::ZERO, |worst| **worst);
        demands.push((
            known.len() == turns.len() && worst <= deadline + SLACK,
            format!(
                "{name}, by the gateways' open files: gone in {} of {} turns, {:.2} s after all were there at the latest \
                (deadline {} s)",
                known.len(),
                turns.len(),
                worst.as_secs_f64(),
                deadline.as_secs()
            ),
        ));
    }
    demands
}

fn sides(phases: Vec<Phase>) -> Result<[Side; 2]> {
    let mut sides = [WITH, WITHOUT].map(|name| Side { name, rounds: Vec::new() });
    for phase in phases {
        let Some(side) = sides.iter_mut().find(|side| side.name == phase.name) else { continue };
        let count = f64::from(u32::try_from(phase.latencies.len())?);
        let times = Times::of(phase.latencies);
        let [middle, most] = [times.middle, times.most].map(|time| f64::from(time) / 1000.0);
        side.rounds.push(vec![Some(middle), Some(most), Some(count)]);
    }
    Ok(sides)
}

fn noticed([with, without]: &[Side; 2], arguments: &Arguments) -> Result<(bool, String)> {
    let ratio = with.against(without, P99).context("nothing was measured")?;
    let text = format!(
        "the others' p99 is {} of that of the turn beside it with as many that behave (median of {}; bar {BAR})",
        ratio.shown(2),
        arguments.rounds
    );
    Ok((ratio.median <= BAR, text))
}

/// Of the others, nobody had to come back.
fn stayed(verdict: &Verdict) -> (bool, String) {
    let ended = super::ended_early(verdict);
    (ended == 0, format!("{ended} of the others' connections ended before the end"))
}
