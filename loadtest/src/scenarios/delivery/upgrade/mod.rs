//! `bench upgrade`: the database is brought to the next release's schema while this release serves, then pod by pod is restarted
//! as the next release, and then pod by pod as this one again. No request fails, and nobody misses anything.

mod callers;

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, binaries, migrate_by, say};

use super::rolling::restart;
use super::{end, jittering, write_results};
use crate::checker::Verdict;
use crate::crowd::Habits;
use crate::stage::{Plan, Shape, Stage};
use callers::{Callers, Calls};

const PODS: [&str; 4] = ["api-1", "api-2", "gateway-1", "gateway-2"];
const SERVICES: [&str; 2] = ["parley-api", "parley-gateway"];
const NEXT: &str = include_str!("next.sql");
const BETWEEN: Duration = Duration::from_secs(3);
/// What an orchestrator's balancers take to notice, and until when a pod has ended.
const SETTINGS: [(&str, &str); 4] = [
    ("PARLEY_LINGER_SECONDS", "2"),
    ("PARLEY_DRAIN_SECONDS", "5"),
    ("PARLEY_SHUTDOWN_SECONDS", "15"),
    // A pod that has just started opens its connections to the database while it is asked: on a busy machine that takes a while, and is
    // not what is looked at here.
    ("PARLEY_DATABASE_WAIT_MS", "7000"),
];
const GRACE: Duration = Duration::from_secs(20);
const CALLERS: usize = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// What `bench upgrade` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
    /// A folder with the services of this release; those of this build by default
    #[arg(long, value_name = "FOLDER")]
    from: Option<PathBuf>,
    /// A folder with the services of the next release; those of this build by default
    #[arg(long, value_name = "FOLDER")]
    to: Option<PathBuf>,
    /// Write what came of it into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

impl Arguments {
    fn plan(&self) -> Plan {
        let chats = self.chats;
        let command = format!("cargo parley bench upgrade --chats {chats}");
        let plan = jittering("upgrade", command, chats);
        Plan { habits: Habits { cut_every: None, ..plan.habits }, ..plan }
    }
}

/// Both releases, and the folder from which pods are started: links to one of them.
struct Releases {
    links: PathBuf,
    from: PathBuf,
    to: PathBuf,
}

impl Releases {
    fn prepare(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<Self> {
        let folder = |given: &Option<PathBuf>| {
            let folder = given.clone().map_or_else(|| binaries(interrupt), Ok)?;
            // As the kernel will name it.
            fs::canonicalize(&folder).with_context(|| format!("there is no {}", folder.display()))
        };
        let (from, to) = (folder(&arguments.from)?, folder(&arguments.to)?);
        let links = home.root().join("upgrade/bin");
        fs::create_dir_all(&links)?;
        let releases = Self { links, from, to };
        for service in SERVICES {
            releases.link(service, &releases.from)?;
        }
        Ok(releases)
    }

    /// From now on this service is started as that release.
    fn link(&self, service: &str, release: &Path) -> Result<()> {
        let (link, fresh) = (self.links.join(service), self.links.join(format!("{service}.new")));
        let _ = fs::remove_file(&fresh);
        symlink(release.join(service), &fresh)?;
        fs::rename(fresh, link).context("cannot change a link")
    }

    /// In what the releases differ, besides the schema.
    fn differ(&self) -> Result<bool> {
        let same = |service: &&str| -> Result<bool> {
            Ok(fs::read(self.from.join(service))? == fs::read(self.to.join(service))?)
        };
        let all = SERVICES.iter().map(same).collect::<Result<Vec<_>>>()?;
        Ok(!all.into_iter().all(|same| same))
    }
}

/// Runs it; true when the verdict is clean and every demand is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let plan = arguments.plan();
    let releases = Releases::prepare(home, arguments, interrupt)?;
    let binaries = Some(releases.links.clone());
    let shape = Shape { settings: &SETTINGS, binaries, ..Shape::default() };
    let mut stage = Stage::open_as(&shape, home, &plan, interrupt)?;
    let callers = Callers::start(stage.cluster.description(), CALLERS, PAUSE)?;
    stage.crowd.send();
    stage.pass(BETWEEN)?;
    let statements = migrate(&stage, &releases.to)?;
    stage.pass(BETWEEN)?;
    let mut restarted = 0;
    for release in [&releases.to, &releases.from] {
        for pod in PODS {
            roll(&mut stage, &releases, pod, release)?;
            restarted += 1;
        }
    }
    let calls = callers.stop()?;
    let (verdict, cluster) = stage.judge()?;
    let programs = if releases.differ()? { "two builds" } else { "one build under both names" };
    let what = format!("N and N+1: {programs}; {statements} statements beyond the migrations.");
    let demands = demands(&verdict, &calls, restarted);
    if arguments.write {
        write_results("upgrade", &plan.command, &what, &verdict, &demands)?;
    }
    say::line(&what);
    Ok(end((verdict, cluster), &demands))
}

/// The next release's own migrations, and then one of each kind that is allowed; each under load.
fn migrate(stage: &Stage, next: &Path) -> Result<usize> {
    migrate_by(next, &stage.database.url)?;
    let statements: Vec<_> =
        NEXT.lines().filter(|line| !line.starts_with("--") && !line.is_empty()).collect();
    for statement in &statements {
        stage.database.ask(statement)?;
    }
    say::note(format_args!("the database has the next release's schema"));
    Ok(statements.len())
}

/// As an orchestrator does it: asked to stop, waited for, started anew as the other release, waited for.
fn roll(stage: &mut Stage, releases: &Releases, pod: &str, release: &Path) -> Result<()> {
    let service = if pod.starts_with("api") { SERVICES[0] } else { SERVICES[1] };
    releases.link(service, release)?;
    restart(stage, pod, GRACE)?;
    let pid = stage.cluster.process(pod)?.pid;
    let runs = fs::read_link(format!("/proc/{pid}/exe"))?;
    if runs != release.join(service) {
        bail!("{pod} runs {}, and not {}'s", runs.display(), release.display());
    }
    stage.pass(BETWEEN)
}

fn demands(verdict: &Verdict, calls: &Calls, restarted: usize) -> Vec<(bool, String)> {
    let Calls { good, bad, told } = calls;
    let told = if told.is_empty() { String::new() } else { format!(": {}", told.join("; ")) };
    let recovered = verdict.recoveries.iter().filter(|it| it.took.is_some()).count();
    let resyncs =
        verdict.counts.resyncs_told.values().sum::<u64>() + verdict.counts.resyncs_at_join;
    vec![
        (
            *bad == 0 && *good > 0,
            format!("{bad} of {} requests through the balancer failed{told}", good + bad),
        ),
        (
            recovered == restarted,
            format!("every client whole again after {recovered} of {restarted} restarts"),
        ),
        (resyncs == 0, format!("{resyncs} told to reload, instead of what they missed")),
    ]
}
