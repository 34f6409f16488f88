//! `cargo parley bench`, `chaos` and `check`: builds what measures, breaks and judges, and hands over.

use std::ffi::OsString;
use std::process::Command;

use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::process::run;
use crate::services;

/// Runs the load generator, which builds the services and starts a cluster of its own. Prints
/// nothing after it: its last line may be for a program.
pub fn bench(
    home: &Home,
    command: &str,
    arguments: &[OsString],
    interrupt: &Interrupt,
) -> Result<bool> {
    let mut program = Command::new(services::build_loadtest(interrupt)?);
    program.arg(command).args(arguments);
    program.env("PARLEY_HOME", home.root()).env("PARLEY_TOOLS", home.tools());
    if command == "bench" && std::env::var_os(services::PROFILE).is_none() {
        program.env(services::PROFILE, services::DIST);
    }
    Ok(run(&mut program, interrupt)?.success())
}
