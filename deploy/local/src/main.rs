//! `cargo parley`: the whole cluster on one machine.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use parley_local::{Home, Interrupt, commands, say};

#[derive(Parser)]
#[command(name = "cargo parley", bin_name = "cargo parley", about, version)]
struct Launcher {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the services, start a whole cluster and say where everything is
    Up(commands::up::Arguments),
    /// Stop the cluster
    Down,
    /// Say what runs; fails when something is down
    Status,
    /// Show the last lines of a log, or of all
    Logs {
        /// api-1, gateway-2, postgres, nats-1, redis, balancer
        pod: Option<String>,
        /// Go on with what comes
        #[arg(short, long)]
        follow: bool,
    },
    /// Remove data, logs and tools
    Clean,
    /// Print a user's token
    Token(commands::TokenArguments),
    /// Say why a user did not get a message
    Why(commands::WhyArguments),
    /// Bring the running cluster's database to the newest schema
    Migrate,
    /// Run every check and test there is
    Test(commands::test::Arguments),
    /// Measure, on a cluster of its own: `cargo parley bench --help`
    // The load generator knows its own scenarios and switches.
    #[command(disable_help_flag = true)]
    Bench {
        /// A scenario and its switches
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Put people on a cluster with k6, and judge what they were served and heard
    Load(commands::load::Arguments),
    /// Break one part after the other under load and judge what clients heard: `cargo parley chaos --help`
    #[command(disable_help_flag = true)]
    Chaos {
        /// Its switches
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<std::ffi::OsString>,
    },
    /// Judge a history that `chaos` or `bench` has recorded
    Check {
        /// A history.jsonl
        file: PathBuf,
    },
    /// Write services/store/.sqlx anew, what the queries' checks need without a database
    Sqlx {
        /// Only compare
        #[arg(long)]
        check: bool,
    },
}

fn main() -> ExitCode {
    match launch(Launcher::parse().command) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn launch(command: Command) -> Result<bool> {
    // What we write must be readable to the user that Postgres runs as; secrets are 0600 anyway.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let interrupt = Interrupt::on_signals()?;
    let home = Home::from_env()?;
    match command {
        Command::Up(arguments) => commands::up::up(&home, &arguments, &interrupt),
        Command::Down => commands::down(&home),
        Command::Status => commands::status(&home),
        Command::Logs { pod, follow } => commands::logs(&home, pod.as_deref(), follow, &interrupt),
        Command::Clean => commands::clean(&home),
        Command::Token(arguments) => commands::token(&home, arguments),
        Command::Why(arguments) => commands::why(&home, &arguments),
        Command::Migrate => commands::migrate(&home, &interrupt),
        Command::Test(arguments) => commands::test::test(&home, &arguments, &interrupt),
        Command::Bench { arguments } => commands::bench(&home, "bench", &arguments, &interrupt),
        Command::Load(arguments) => commands::load::load(&home, &arguments, &interrupt),
        Command::Chaos { arguments } => commands::bench(&home, "chaos", &arguments, &interrupt),
        Command::Check { file } => {
            commands::bench(&home, "check", &[file.into_os_string()], &interrupt)
        }
        Command::Sqlx { check } => commands::sqlx(&home, check, &interrupt),
    }
}
