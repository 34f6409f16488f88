//! `cargo parley load`: the k6 scenarios of `loadtest/k6`, on a cluster of their own or on one that runs somewhere.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use crate::cluster::{Cluster, Durability, Options};
use crate::home::{Home, make_folder, shown, workspace};
use crate::interrupt::Interrupt;
use crate::panels::Recording;
use crate::pods::setting;
use crate::process::run;
use crate::say;
use crate::state::Description;
use crate::tools::{Group, install, venv_program};

/// The exit status of k6 when a threshold was missed.
const THRESHOLDS_MISSED: i32 = 99;
/// Before the first pod of a rolling restart is stopped: by then everybody is connected.
const BEFORE_ROLLING: Duration = Duration::from_secs(20);
/// The longest that a pod may take to end.
const ENDING: Duration = Duration::from_mins(3);

/// What people do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Scenario {
    /// A few people for half a minute
    Smoke,
    /// An ordinary day of team chat
    Steady,
    /// Ten times as busy for a third of the time
    Spike,
    /// The ordinary day for hours
    Soak,
    /// Everybody loses the connection at once, three times
    Storm,
    /// Big rooms
    Fanout,
    /// The ordinary day while every pod is restarted
    Rolling,
}

impl Scenario {
    fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

/// What `load` can be told.
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// What people do
    #[arg(value_enum)]
    scenario: Scenario,
    /// A cluster that runs already; tokens are signed with `PARLEY_JWT_SECRET`, or read from `PARLEY_TOKENS`
    #[arg(long, value_name = "URL")]
    target: Option<String>,
    #[command(flatten)]
    sizes: Sizes,
    /// How many gateway pods the own cluster has
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    gateways: u16,
    /// Without a Prometheus beside the own cluster, and a picture of what the dashboards show
    #[arg(long)]
    no_panels: bool,
    /// A setting for every pod of the own cluster
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
}

/// How large a run is; each scenario has sizes of its own.
#[derive(Clone, Debug, Default, clap::Args)]
struct Sizes {
    /// How many people, instead of the scenario's number
    #[arg(long, value_name = "NUMBER")]
    users: Option<u32>,
    /// How many people share a group chat
    #[arg(long, value_name = "NUMBER")]
    group: Option<u32>,
    /// How long, without the ramp
    #[arg(long, value_name = "NUMBER")]
    seconds: Option<u32>,
    /// Mean pause between two actions of a person
    #[arg(long, value_name = "SECONDS")]
    idle: Option<u32>,
    /// New connections a second while the load comes up
    #[arg(long, value_name = "NUMBER")]
    ramp: Option<u32>,
}

/// Runs one scenario; false when a threshold was missed.
pub fn load(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    install(home, Group::Load, interrupt)?;
    let folder = home.root().join("load");
    make_folder(&folder)?;
    let scenario = arguments.scenario;
    let output = folder.join(scenario.name());
    let k6 = K6 { home, scenario, sizes: arguments.sizes.clone(), output };
    let good = match &arguments.target {
        Some(url) => k6.run(url, None, interrupt)?,
        None => on_own_cluster(&k6, arguments, &home.beside(folder), interrupt)?,
    };
    say::line(format_args!("summary: {0}.json, {0}.svg, {0}.html", shown(&k6.output)));
    Ok(good)
}

/// The shortest scenario against a cluster of the tests; false when a threshold was missed. And whether every panel of the
/// dashboards had something to show.
pub(super) fn smoke(
    home: &Home,
    folder: &Path,
    cluster: &Description,
    interrupt: &Interrupt,
) -> Result<[bool; 2]> {
    install(home, Group::Load, interrupt)?;
    // Busy people: a panel without a send would be empty.
    let sizes = Sizes { seconds: Some(15), idle: Some(1), ..Sizes::default() };
    let k6 = K6 { home, scenario: Scenario::Smoke, sizes, output: folder.join("smoke") };
    let beside = home.beside(folder.join("smoke-prometheus"));
    let recording = Recording::begin(&beside, cluster, interrupt)?;
    let good = k6.run(&cluster.url, Some(&cluster.jwt.secret), interrupt)?;
    Ok([good, recording.end("smoke", &k6.output)?])
}

fn on_own_cluster(
    k6: &K6<'_>,
    arguments: &Arguments,
    home: &Home,
    interrupt: &Interrupt,
) -> Result<bool> {
    let (gateways, settings) = (arguments.gateways, arguments.settings.clone());
    let durability = Durability::Durable;
    let options = Options { gateways, couriers: 1, durability, settings, ..Options::for_tests() };
    let mut cluster = Cluster::start(home, &options, interrupt)?;
    if arguments.no_panels {
        return play(k6, &mut cluster, interrupt);
    }
    let beside = home.beside(home.file("prometheus"));
    let recording = Recording::begin(&beside, cluster.description(), interrupt)?;
    let good = play(k6, &mut cluster, interrupt)?;
    Ok(recording.end(&k6.scenario.name(), &k6.output)? && good)
}

/// The scenario, and what happens to the cluster meanwhile.
fn play(k6: &K6<'_>, cluster: &mut Cluster, interrupt: &Interrupt) -> Result<bool> {
    let (url, secret) =
        (cluster.description().url.clone(), cluster.description().jwt.secret.clone());
    if k6.scenario != Scenario::Rolling {
        return k6.run(&url, Some(&secret), interrupt);
    }
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let rolling = scope.spawn(|| restart_all(cluster, &over));
        let good = k6.run(&url, Some(&secret), interrupt);
        over.store(true, Ordering::Relaxed);
        let rolled = rolling.join().map_err(|_| anyhow::anyhow!("the restarts broke"))?;
        rolled.context("restart the pods")?;
        good
    })
}

/// Stops and starts one pod after the other, as an orchestrator does; gateways first, because they take longer.
fn restart_all(cluster: &mut Cluster, over: &AtomicBool) -> Result<()> {
    let pods = cluster.description().clone();
    let wait = |what: &str, limit: Duration, done: &dyn Fn() -> bool| -> Result<()> {
        let begun = std::time::Instant::now();
        while !done() {
            if begun.elapsed() > limit {
                bail!("{what} took longer than {} s", limit.as_secs());
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    let begun = std::time::Instant::now();
    wait("the ramp", 2 * BEFORE_ROLLING, &|| begun.elapsed() > BEFORE_ROLLING)?;
    for pod in pods.gateway.iter().chain(&pods.api) {
        if over.load(Ordering::Relaxed) {
            bail!("the load ended before {} was restarted: give it more --seconds", pod.name);
        }
        say::note(format_args!("restarting {}", pod.name));
        cluster.terminate(&pod.name)?;
        let old = cluster.process(&pod.name)?.clone();
        wait(&format!("the end of {}", pod.name), ENDING, &|| !old.is_alive())?;
        cluster.restart(&pod.name)?;
        let ready = format!("{}/readyz", pod.admin);
        wait(&format!("the start of {}", pod.name), ENDING, &|| crate::rest::is_ok(&ready))?;
    }
    Ok(())
}

struct K6<'a> {
    home: &'a Home,
    scenario: Scenario,
    sizes: Sizes,
    /// The summary's path without its ending.
    output: PathBuf,
}

impl K6<'_> {
    fn run(&self, url: &str, secret: Option<&str>, interrupt: &Interrupt) -> Result<bool> {
        let script = workspace().join("loadtest/k6").join(format!("{}.js", self.scenario.name()));
        let mut command = Command::new(venv_program(self.home, "k6"));
        command.args(["run", "--quiet"]).arg(script);
        command.env("K6_NO_USAGE_REPORT", "true");
        // Its own report has what a summary lacks, the course of things; without the server that it would bring along.
        command.env("K6_WEB_DASHBOARD", "true").env("K6_WEB_DASHBOARD_PORT", "-1");
        command.env("K6_WEB_DASHBOARD_EXPORT", self.output.with_extension("html"));
        command.env("PARLEY_URL", url).env("PARLEY_OUTPUT", &self.output);
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        command.env("PARLEY_RUN", format!("load-{}", now.as_secs()));
        if let Some(secret) = secret {
            command.env("PARLEY_JWT_SECRET", secret).env_remove("PARLEY_TOKENS");
        }
        let Sizes { users, group, seconds, idle, ramp } = self.sizes;
        let numbers = [
            ("PARLEY_USERS", users),
            ("PARLEY_GROUP", group),
            ("PARLEY_SECONDS", seconds),
            ("PARLEY_IDLE", idle),
            ("PARLEY_RAMP", ramp),
        ];
        for (name, number) in numbers {
            if let Some(number) = number {
                command.env(name, number.to_string());
            }
        }
        let status = run(&mut command, interrupt)?;
        match status.code() {
            Some(0) => Ok(true),
            Some(THRESHOLDS_MISSED) => Ok(false),
            _ => bail!("k6 broke: {status}"),
        }
    }
}
