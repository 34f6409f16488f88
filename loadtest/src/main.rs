//! The program behind `cargo parley bench`, `cargo parley chaos` and `cargo parley check`.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use parley_loadtest::scenarios::delivery::{
    api_death, full_speed, gateway_death, jitter, nats_cluster, nats_outage, planted, removal,
    rolling, slow, stalled, upgrade,
};
use parley_loadtest::scenarios::{
    all, arrivals, e2e, fanout, growth, lists, overhead, send, storm, transports, webhooks,
};
use parley_loadtest::{chaos, check};
use parley_local::{Home, Interrupt, say};

#[derive(Parser)]
#[command(name = "cargo parley", bin_name = "cargo parley", about, version)]
struct Program {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure, or show one thing that goes wrong, on a cluster of its own
    Bench {
        #[command(subcommand)]
        scenario: Scenario,
    },
    /// Clients that come back and resume, on a cluster of which one part after the other breaks
    Chaos(chaos::Arguments),
    /// Judge a recorded history again
    Check {
        /// A history.jsonl
        file: PathBuf,
    },
}

#[derive(Subcommand)]
enum Scenario {
    /// Fan-out, rooms, idle, connect, send, e2e, lists and growth, one after the other
    All(all::Arguments),
    /// One room of a thousand sockets, from the bus to each of them, beside socket.io and Bun
    Fanout(fanout::Arguments),
    /// Rooms of four, likewise
    Rooms(fanout::Arguments),
    /// Connections that come, with a token and with a join, beside socket.io and Bun
    Connect(arrivals::ConnectArguments),
    /// Ten thousand connections that say nothing, likewise
    Idle(arrivals::IdleArguments),
    /// Sends through REST into many chats and into one, beside pgbench
    Send(send::Arguments),
    /// How long a message takes from its POST to a socket, beside one commit and one hop of NATS
    E2e(e2e::Arguments),
    /// What metrics and traces add to a send and a delivery
    Overhead(overhead::Arguments),
    /// Pages of a very long history and of very many chats, as the database sees them
    #[command(alias = "history")]
    Lists(lists::Arguments),
    /// What becomes dearer with more participants, messages, chats, rooms and connections
    Growth(growth::Arguments),
    /// Ten thousand connections dropped at once, and clients that come back with their position, beside socket.io
    Storm(storm::Arguments),
    /// Stock clients that poll and upgrade behind a balancer without sticky sessions
    Transports(transports::Arguments),
    /// A receiver of webhooks that is away while couriers are killed, deliveries in steady state, and what a webhook costs a send
    Webhooks(webhooks::Arguments),
    /// Connections that are cut every 15 s, and clients that come back with their position
    Jitter(jitter::Arguments),
    /// SIGKILL of one of two gateways, again and again
    GatewayDeath(gateway_death::Arguments),
    /// SIGKILL of an api pod between its commits and the bus
    ApiDeath(api_death::Arguments),
    /// NATS is away for 10 s, and hangs for 10 s
    NatsOutage(nats_outage::Arguments),
    /// Three NATS servers lose one after the other, and then all for 10 s
    NatsCluster(nats_cluster::Arguments),
    /// Sends as fast as they go, over two api pods: no catch-up by reordering
    FullSpeed(full_speed::Arguments),
    /// Participants who are removed, and tokens that are revoked or expire, in a stream of messages: who hears what
    Removal(removal::Arguments),
    /// 50 of 1 000 clients stop reading: what the others notice of it
    Slow(slow::Arguments),
    /// A thousand peers that come so far and then do nothing more: who notices, and when they are let go
    Stalled(stalled::Arguments),
    /// A rollout: both gateways are restarted, one after the other
    Rolling(rolling::Arguments),
    /// The database is migrated under load, and every pod restarted as the next release, and as this one again
    Upgrade(upgrade::Arguments),
    /// Faults that are planted in a gateway: the checker finds each
    Planted(planted::Arguments),
}

fn main() -> ExitCode {
    match run(&Program::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> Result<bool> {
    // What we write must be readable to the user that Postgres runs as; secrets are 0600 anyway.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let interrupt = Interrupt::on_signals()?;
    let home = Home::from_env()?;
    match command {
        Command::Bench { scenario } => bench(scenario, &home, &interrupt),
        Command::Chaos(arguments) => chaos::run(&home, arguments, &interrupt),
        Command::Check { file } => check(file),
    }
}

fn bench(scenario: &Scenario, home: &Home, interrupt: &Interrupt) -> Result<bool> {
    match scenario {
        Scenario::All(arguments) => all::run(home, arguments, interrupt),
        Scenario::Fanout(arguments) => fanout::run(&fanout::FANOUT, home, arguments, interrupt),
        Scenario::Rooms(arguments) => fanout::run(&fanout::ROOMS, home, arguments, interrupt),
        Scenario::Connect(arguments) => arrivals::connect(home, arguments, interrupt),
        Scenario::Idle(arguments) => arrivals::idle(home, arguments, interrupt),
        Scenario::Send(arguments) => send::run(home, arguments, interrupt),
        Scenario::E2e(arguments) => e2e::run(home, arguments, interrupt),
        Scenario::Overhead(arguments) => overhead::run(home, arguments, interrupt),
        Scenario::Lists(arguments) => lists::run(home, arguments, interrupt),
        Scenario::Growth(arguments) => growth::run(home, arguments, interrupt),
        Scenario::Storm(arguments) => storm::run(home, arguments, interrupt),
        Scenario::Transports(arguments) => transports::run(home, arguments, interrupt),
        Scenario::Webhooks(arguments) => webhooks::run(home, arguments, interrupt),
        Scenario::Jitter(arguments) => jitter::run(home, arguments, interrupt),
        Scenario::GatewayDeath(arguments) => gateway_death::run(home, arguments, interrupt),
        Scenario::ApiDeath(arguments) => api_death::run(home, arguments, interrupt),
        Scenario::NatsOutage(arguments) => nats_outage::run(home, arguments, interrupt),
        Scenario::NatsCluster(arguments) => nats_cluster::run(home, arguments, interrupt),
        Scenario::FullSpeed(arguments) => full_speed::run(home, arguments, interrupt),
        Scenario::Removal(arguments) => removal::run(home, arguments, interrupt),
        Scenario::Slow(arguments) => slow::run(home, arguments, interrupt),
        Scenario::Stalled(arguments) => stalled::run(home, arguments, interrupt),
        Scenario::Rolling(arguments) => rolling::run(home, arguments, interrupt),
        Scenario::Upgrade(arguments) => upgrade::run(home, arguments, interrupt),
        Scenario::Planted(arguments) => planted::run(home, arguments, interrupt),
    }
}
