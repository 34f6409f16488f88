use anyhow::Result;

use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::say;
use crate::services;
use crate::state::Description;

/// Brings the running cluster's database to the schema of the sources.
pub fn migrate(home: &Home, interrupt: &Interrupt) -> Result<bool> {
    let running = Description::read(&home.cluster_file())?;
    services::migrate(&running.postgres.url, interrupt)?;
    say::line("migrated");
    Ok(true)
}
