//! What Postgres was asked, by its own log: independent of what the services say of themselves.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::database::Database;

/// Every statement from here on stands in the log.
pub(super) struct Statements {
    log: PathBuf,
    from: usize,
}

/// How many statements there were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Asked {
    /// That answer joins.
    pub(super) joins: u64,
    /// That say whether tokens count.
    pub(super) tokens: u64,
    /// Of sends, of sweeps, and whatever else.
    pub(super) others: u64,
}

impl Statements {
    pub(super) fn log(database: &Database, log: PathBuf) -> Result<Self> {
        database.ask("alter system set log_min_duration_statement = 0")?;
        database.ask("select pg_reload_conf()")?;
        Ok(Self { log, from: 0 })
    }

    /// Counts from here.
    pub(super) fn begin(&mut self) -> Result<()> {
        self.from = usize::try_from(fs::metadata(&self.log)?.len())?;
        Ok(())
    }

    /// Since the beginning.
    pub(super) fn asked(&self) -> Result<Asked> {
        let log = fs::read(&self.log).context("no log of Postgres")?;
        Ok(Asked::read(&String::from_utf8_lossy(log.get(self.from..).unwrap_or_default())))
    }
}

impl Asked {
    fn read(log: &str) -> Self {
        let mut asked = Self::default();
        for entry in log.split("duration: ").skip(1) {
            // A statement is parsed once, bound to its parameters and executed; each has an entry.
            let Some((_, said)) = entry.split_once(" ms  ") else { continue };
            if said.starts_with("parse ") || said.starts_with("bind ") {
                continue;
            }
            if said.contains("with ordinality as asked") {
                asked.joins += 1;
            } else if said.contains("membership_version, tokens_valid_after from users") {
                asked.tokens += 1;
            } else {
                asked.others += 1;
            }
        }
        asked
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_counted_once_and_told_apart() {
        let log = "\
2026-11-25 08:00:00 UTC [1] LOG:  duration: 0.111 ms  parse sqlx_s_1: select id, membership_version, tokens_valid_after from users
2026-11-25 08:00:00 UTC [1] LOG:  duration: 0.222 ms  bind sqlx_s_1: select id, membership_version, tokens_valid_after from users
2026-11-25 08:00:00 UTC [1] LOG:  duration: 0.333 ms  execute sqlx_s_1: select id, membership_version, tokens_valid_after from users
\twhere id = any($1)
2026-11-25 08:00:00 UTC [1] LOG:  duration: 0.333 ms  execute sqlx_s_2: 
            with asked as (
                from unnest($1) with ordinality as asked (chat_id)
2026-11-25 08:00:00 UTC [1] LOG:  duration: 0.333 ms  statement: COMMIT
2026-11-25 08:00:00 UTC [1] LOG:  checkpoint starting: time
";
        assert_eq!(Asked::read(log), Asked { joins: 1, tokens: 1, others: 1 });
    }
}
