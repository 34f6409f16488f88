use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::pods;
use crate::say;
use crate::services;
use crate::state::Description;

/// Brings the running cluster's database to the schema of the sources.
pub fn migrate(home: &Home, interrupt: &Interrupt) -> Result<bool> {
    let running = Description::read(&home.cluster_file())?;
    let binaries = services::binaries(interrupt)?;
    pods::migrate(&binaries, &running.postgres.url)?;
    say::line("migrated");
    Ok(true)
}
