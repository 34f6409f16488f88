//! `cargo parley bench`: builds what measures, and hands over.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::process::run;
use crate::services;

/// Runs the load generator, which builds the services and starts a cluster of its own. Prints
/// nothing after it: its last line may be for a program.
pub fn bench(home: &Home, arguments: &[OsString], interrupt: &Interrupt) -> Result<bool> {
    let mut command = Command::new(services::build_loadtest(interrupt)?);
    command.args(arguments);
    command.env("PARLEY_HOME", home.root()).env("PARLEY_TOOLS", home.tools());
    Ok(run(&mut command, interrupt)?.success())
}
