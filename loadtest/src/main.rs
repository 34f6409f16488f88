//! The program behind `cargo parley bench`.

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use parley_loadtest::scenarios::{lists, send};
use parley_local::{Home, Interrupt, say};

#[derive(Parser)]
#[command(name = "cargo parley bench", bin_name = "cargo parley bench", about, version)]
struct Bench {
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Subcommand)]
enum Scenario {
    /// Sends through REST into many chats and into one, beside pgbench
    Send(send::Arguments),
    /// Pages of a very long history and of very many chats, as the database sees them
    Lists(lists::Arguments),
}

fn main() -> ExitCode {
    match bench(&Bench::parse().scenario) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say::error(&error);
            ExitCode::FAILURE
        }
    }
}

fn bench(scenario: &Scenario) -> Result<bool> {
    // What we write must be readable to the user that Postgres runs as; secrets are 0600 anyway.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let interrupt = Interrupt::on_signals()?;
    let home = Home::from_env()?;
    match scenario {
        Scenario::Send(arguments) => send::run(&home, arguments, &interrupt),
        Scenario::Lists(arguments) => lists::run(&home, arguments, &interrupt),
    }
}
