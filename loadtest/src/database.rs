//! Statements through `psql`: few, and never while something is measured.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// One database.
#[derive(Clone, Debug)]
pub(crate) struct Database {
    /// The folder with `psql` and `pgbench`.
    pub(crate) programs: PathBuf,
    pub(crate) url: String,
}

impl Database {
    /// Another one on the same server.
    pub(crate) fn beside(&self, name: &str) -> Result<Self> {
        let (server, _) = self.url.rsplit_once('/').context("no database in the URL")?;
        Ok(Self { programs: self.programs.clone(), url: format!("{server}/{name}") })
    }

    /// Runs statements and returns the bare values, columns parted by `|`.
    pub(crate) fn ask(&self, sql: &str) -> Result<String> {
        let mut psql = Command::new(self.programs.join("psql"));
        psql.args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url]);
        capture(&mut psql)
    }

    /// Cleans up behind a round now, so that no autovacuum does it in the next one, of whichever side.
    pub(crate) fn tidy(&self) -> Result<()> {
        self.ask("vacuum analyze").map(drop)
    }

    /// Writes everything to the disk now, so that it is not written in the middle of a round.
    pub(crate) fn settle(&self) -> Result<()> {
        self.ask("checkpoint").map(drop)
    }

    /// Where the write-ahead log and the messages stand.
    pub(crate) fn stand(&self) -> Result<Stand> {
        let said = self.ask(
            "select pg_current_wal_lsn() - '0/0'::pg_lsn, coalesce(sum(last_seq), 0) from chats",
        )?;
        let (wal, messages) = said.split_once('|').context("psql said too little")?;
        Ok(Stand { wal: wal.parse()?, messages: messages.parse()? })
    }
}

/// Where a database stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stand {
    /// Bytes of write-ahead log that were ever written.
    pub(crate) wal: u64,
    /// Messages that were ever sent.
    pub(crate) messages: u64,
}

/// Runs a quiet command; its failure is an error with what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let program = Path::new(command.get_program()).display().to_string();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {program}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{program} failed: {}", said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
