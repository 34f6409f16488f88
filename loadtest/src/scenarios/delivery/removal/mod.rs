//! `bench removal`: participants who are taken out of a chat in which 500 messages a second are sent, with a socket on each
//! of two gateways; and others whose tokens are revoked, or expire.

mod trial;

use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::{Home, Interrupt, Role, Token, say};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::{Times, end, write_results};
use crate::checker::Verdict;
use crate::crowd::{Habits, Population};
use crate::load::on_this_thread;
use crate::stage::{Plan, SETTLE_WITHIN, Stage};
use trial::{Bench, Kind, Outcome};

/// Between the last that a client hears, or the end of its connection, and what it comes from.
const SILENT_WITHIN: Duration = Duration::from_secs(1);
/// Tokens are good up to the second that they name, so that it is known when a connection is to end.
const SETTINGS: &[(&str, &str)] = &[("PARLEY_JWT_LEEWAY_SECONDS", "0")];
const KINDS: [Kind; 3] = [Kind::Removal, Kind::Revocation, Kind::Expiry];

/// What `bench removal` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many are removed, how many tokens are revoked, and how many expire
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(1..=300))]
    trials: u16,
    /// Messages a second in the chat
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=5000))]
    rate: u16,
    /// How many trials go on at once
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=100))]
    at_once: u16,
    /// Write what came of it into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let Arguments { trials, rate, at_once, write } = *arguments;
    let command =
        format!("cargo parley bench removal --trials {trials} --rate {rate} --at-once {at_once}");
    let plan = Plan {
        name: "removal",
        command: command.clone(),
        population: Population {
            chats: 1,
            members: 10,
            outsiders: 2,
            visitors: KINDS.len() * usize::from(trials),
            hall: 0,
        },
        habits: Habits { senders: 50, rate: Some(rate.into()), ..Habits::default() },
        settle_within: SETTLE_WITHIN,
    };
    let stage = Stage::open_with(SETTINGS, home, &plan, interrupt)?;
    let secret = &stage.cluster.description().jwt.secret;
    let host = Token { role: Role::Service, ..Token::user("host") }.sign(secret)?;
    let bench = Rc::new(Bench {
        around: stage.crowd.around().clone(),
        host,
        secret: secret.clone(),
        interrupt: interrupt.clone(),
    });
    stage.crowd.send();
    stage.pass(Duration::from_secs(2))?;
    let (before, _, _) = stage.crowd.counts();
    let begun = std::time::Instant::now();
    let mut outcomes = HashMap::new();
    for (turn, kind) in KINDS.into_iter().enumerate() {
        let first = turn * usize::from(trials);
        let places = (first..first + usize::from(trials)).collect();
        let done = on_this_thread(try_all(Rc::clone(&bench), kind, places, at_once))?;
        say::note(format_args!("{}: {} trials done", kind.name(), done.len()));
        outcomes.insert(kind, done);
    }
    let (answered, _, _) = stage.crowd.counts();
    #[expect(clippy::cast_precision_loss, reason = "there are not that many messages")]
    let reached = (answered - before) as f64 / begun.elapsed().as_secs_f64();
    let removals = removals(&stage)?;
    let (verdict, cluster) = stage.judge()?;
    let mut demands = vec![(
        reached >= 0.95 * f64::from(rate),
        format!("{reached:.0} messages/s were sent all the time (of {rate}) over two gateways"),
    )];
    for kind in KINDS {
        demands.extend(demanded(kind, &outcomes[&kind], trials, &removals));
    }
    demands.extend(others(&verdict));
    if write {
        write_results("removal", &command, "", &verdict, &demands)?;
    }
    Ok(end((verdict, cluster), &demands))
}

/// All trials of a kind, so many at once.
async fn try_all(
    bench: Rc<Bench>,
    kind: Kind,
    places: VecDeque<usize>,
    at_once: u16,
) -> Result<Vec<Outcome>> {
    let left = Rc::new(RefCell::new(places));
    let tasks: Vec<_> = (0..at_once)
        .map(|number| {
            let (bench, left) = (Rc::clone(&bench), Rc::clone(&left));
            let mut chance = StdRng::seed_from_u64(number.into());
            tokio::task::spawn_local(async move {
                let mut done = Vec::new();
                loop {
                    let next = left.borrow_mut().pop_front();
                    let Some(place) = next else { return anyhow::Ok(done) };
                    let outcome = bench.trial(kind, place, &mut chance).await;
                    done.push(outcome.with_context(|| format!("{} {place}", kind.name()))?);
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for task in tasks {
        all.extend(task.await.context("a trial has panicked")??);
    }
    Ok(all)
}

/// By user: the version at which it was removed, as Postgres has it.
fn removals(stage: &Stage) -> Result<HashMap<String, u64>> {
    let said = stage
        .database
        .ask("select user_id, changed_version from participants where left_at is not null")?;
    let pair = |line: &str| {
        let (user, version) = line.split_once('|').context("psql said too little")?;
        Ok((user.to_owned(), version.parse()?))
    };
    said.lines().map(pair).collect()
}

fn demanded(
    kind: Kind,
    outcomes: &[Outcome],
    trials: u16,
    removals: &HashMap<String, u64>,
) -> Vec<(bool, String)> {
    let name = kind.name();
    let times = Times::of(outcomes.iter().map(|it| it.took).collect());
    let all = usize::from(trials);
    let count = |what: &dyn Fn(&Outcome) -> bool| outcomes.iter().filter(|it| what(it)).count();
    let mut demands = vec![(
        times.most < super::micros(SILENT_WITHIN) && outcomes.len() == all,
        format!("{name}, {} trials: {}: {times}", outcomes.len(), kind.measured()),
    )];
    let mut each = |what: &str, good: usize| {
        demands.push((good == all, format!("{name}: {what} in {good} of {all} trials")));
    };
    let heard = count(&|it| it.heard_before.iter().all(|count| *count > 0));
    each("both sockets were in the stream before", heard);
    each("whoever tries to come in again is refused", count(&|it| it.is_refused));
    match kind {
        Kind::Removal => {
            let exact = |it: &Outcome| {
                removals.get(&it.user).is_some_and(|left| it.last == [Some(*left); 2])
            };
            each("the removal's own version is the last on both sockets", count(&exact));
            let shown = |it: &Outcome| {
                let left = removals.get(&it.user);
                it.shown.iter().all(|shown| shown.is_some() && shown.as_ref() <= left)
            };
            each("`chat-removed` comes, and shows nothing later than the removal", count(&shown));
            each("both sockets stay connected", count(&|it| it.ended == 0));
        }
        Kind::Revocation => each("both sockets are closed", count(&|it| it.ended == 2)),
        Kind::Expiry => {
            each("both sockets are closed", count(&|it| it.ended == 2));
            each("neither is closed before its time", count(&|it| !it.is_early));
        }
    }
    demands
}

/// Nothing of it may reach those who stay.
fn others(verdict: &Verdict) -> Vec<(bool, String)> {
    let told: u64 = verdict.counts.resyncs_told.values().sum();
    let reloads = verdict.counts.reloads;
    let members = 10;
    vec![
        (told == 0, format!("{told} clients told to reload")),
        (
            reloads == members,
            format!("the other {members} members: {reloads} loads of the chat, each its first"),
        ),
    ]
}
