//! `cargo parley up`.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;

use super::status::without_password;
use crate::alerts::{shipped_alertmanager, shipped_rules};
use crate::cluster::{Cluster, Durability, Options, Place};
use crate::demo::Seeded;
use crate::home::{Home, shown};
use crate::interrupt::Interrupt;
use crate::pods::setting;
use crate::prometheus::{self, Prometheus, Watch};
use crate::say;
use crate::state::Run;

/// What `up` can be told.
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
#[derive(Debug, clap::Args)]
pub struct Arguments {
    /// How many api pods
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    api: u16,
    /// How many gateway pods
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=100))]
    gateways: u16,
    /// How many courier pods
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(0..=100))]
    couriers: u16,
    /// How many NATS servers, which make one cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=9))]
    nats: u16,
    /// Postgres, NATS and Redis with TLS and with users of their own rights: Debian's Postgres and Redis
    #[arg(long, conflicts_with = "system")]
    secure: bool,
    /// The balancer's port; pods sit right above it. 0: free ports for everything
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Return once the cluster is ready; stop it with `down`
    #[arg(long)]
    detach: bool,
    /// Use a fresh, empty data folder that goes with the cluster; kept data stay as they are
    #[arg(long)]
    ephemeral: bool,
    /// A setting for every pod, with or without PARLEY_ in front
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(String, String)>,
    /// Take Postgres, NATS, Redis and nginx from PATH instead of fetching them
    #[arg(long)]
    system: bool,
    /// Leave out the demo page and its data
    #[arg(long)]
    no_demo: bool,
    /// Run Prometheus and alertmanager beside the cluster, with the alerts of `deploy/prometheus`
    #[arg(long)]
    metrics: bool,
}

impl Arguments {
    fn options(&self) -> Options {
        Options {
            api: self.api,
            gateways: self.gateways,
            couriers: self.couriers,
            nats: self.nats,
            secure: self.secure,
            place: if self.port == 0 { Place::Anywhere } else { Place::At(self.port) },
            ephemeral: self.ephemeral,
            durability: Durability::Durable,
            settings: self.settings.clone(),
            binaries: None,
            system: self.system,
            demo: !self.no_demo,
        }
    }
}

/// Starts a cluster; without `--detach`, watches it until Ctrl-C.
pub fn up(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let cluster = Cluster::start(home, &arguments.options(), interrupt)?;
    let watching = arguments.metrics.then(|| observe(home, &cluster, interrupt)).transpose()?;
    tell(home, &cluster, watching.as_ref());
    if arguments.detach {
        say::line("\nStop it with `cargo parley down`.");
        cluster.let_go();
        if let Some(watching) = watching {
            watching.let_go();
        }
    } else {
        say::line("\nCtrl-C stops it.");
        watch(home, cluster, interrupt)?;
    }
    Ok(true)
}

fn observe(home: &Home, cluster: &Cluster, interrupt: &Interrupt) -> Result<Prometheus> {
    let every = Duration::from_secs(5);
    let (rules, alertmanager) = (shipped_rules()?, Some(shipped_alertmanager()?));
    let watch = Watch { scrape: every, evaluate: every, rules, alertmanager };
    Prometheus::start(&prometheus::folder(home), cluster.description(), &watch, interrupt)
}

/// Reports each process that ends by itself, until Ctrl-C or `down`. Nothing is restarted: what a
/// crash does to the rest is what one wants to see here.
fn watch(home: &Home, mut cluster: Cluster, interrupt: &Interrupt) -> Result<()> {
    let mut told = BTreeSet::new();
    while !interrupt.asked() {
        std::thread::sleep(Duration::from_millis(200));
        if Run::of(home)?.is_none_or(|run| run.stopping) {
            say::line("stopped by `cargo parley down`");
            return Ok(());
        }
        for (process, end) in cluster.ended() {
            if told.insert(process.name.clone()) {
                let (name, log) = (&process.name, shown(&process.log));
                say::note(format_args!("{name} {end}; the others stay up: see {log}"));
            }
        }
    }
    drop(cluster);
    say::line("stopped");
    Ok(())
}

/// Says where everything is and what to try.
fn tell(home: &Home, cluster: &Cluster, watching: Option<&Prometheus>) {
    let running = cluster.description();
    say::line(format_args!("\nParley is up: {}\n", running.url));
    for pod in running.pods() {
        say::line(format_args!("  {:<12}{}   admin {}", pod.name, pod.url, pod.admin));
    }
    for process in cluster.processes().iter().filter(|process| process.admin.is_none()) {
        say::line(format_args!("  {:<12}{}", process.name, without_password(&process.url)));
    }
    if let Some(watching) = watching {
        say::line(format_args!("  {:<12}{}", "prometheus", watching.url()));
        if let Some(url) = watching.alertmanager_url() {
            say::line(format_args!("  {:<12}{url}", "alertmanager"));
        }
    }
    say::line(format_args!("  {:<12}{}", "logs", shown(&home.logs())));
    say::line(format_args!("  {:<12}{} (passwords, pids)", "details", shown(&home.cluster_file())));
    if let Some(seeded) = cluster.seeded() {
        tell_next(home, &running.url, seeded);
    }
}

fn tell_next(home: &Home, url: &str, seeded: &Seeded) {
    say::line("\nTwo users, good for 24 hours, and their chat (paste these lines):\n");
    for person in seeded.people.iter().take(2) {
        say::line(format_args!("export {}={}", person.id.to_uppercase(), person.token));
    }
    say::line(format_args!("export CHAT={}", seeded.chat));
    let modules = shown(&home.tools().join("demo/node_modules"));
    say::line(format_args!(
        r#"
Next:

1. Open the demo, two users side by side: {url}/

2. Listen as bob with the stock client (Ctrl-C ends it):

NODE_PATH={modules} node -e '
const socket = require("socket.io-client")("{url}", {{ transports: ["websocket"], auth: {{ token: process.env.BOB }} }});
socket.on("connect", () => socket.emit("join-chat-room", process.env.CHAT, console.log));
socket.on("new-message", (event) => console.log("new-message", event));'

3. In another terminal, with the same exports, post as alice:

curl -s -H "Authorization: Bearer $ALICE" -H "Content-Type: application/json" -d '{{"content":"Hello from curl"}}' {url}/api/chat/$CHAT/messages"#
    ));
}
