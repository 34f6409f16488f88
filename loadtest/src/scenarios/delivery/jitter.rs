//! `bench jitter`: clients whose connections are cut all the time and who come back to any gateway with their position.

use std::time::Duration;

use anyhow::Result;
use parley_local::{Home, Interrupt};

use super::{end, jittering};
use crate::stage::Stage;

/// What `bench jitter` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// How long the load runs
    #[arg(long, default_value_t = 120, value_parser = clap::value_parser!(u64).range(5..=3600))]
    seconds: u64,
    /// How many rooms there are, of 20 clients and 4 messages a second each
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=200))]
    chats: u16,
}

/// Runs it; true when the verdict is clean.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let Arguments { seconds, chats } = *arguments;
    let command = format!("cargo parley bench jitter --seconds {seconds} --chats {chats}");
    let stage = Stage::open(home, &jittering("jitter", command, chats), interrupt)?;
    stage.crowd.send();
    stage.pass(Duration::from_secs(seconds))?;
    Ok(end(stage.judge()?, &[]))
}
