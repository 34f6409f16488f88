//! pgbench, Postgres' own load generator, as the peer that has nothing but the database.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::database::Database;
use crate::window::Done;

/// What to run.
pub(crate) struct Plan<'a> {
    pub(crate) database: &'a Database,
    /// A file with the transaction.
    pub(crate) script: &'a Path,
    /// An empty folder for its logs.
    pub(crate) folder: &'a Path,
    pub(crate) clients: u16,
    pub(crate) time: Duration,
    /// Transactions a second, in the mean, each begun when it is due; without, as many as there can be.
    pub(crate) rate: Option<u32>,
    /// Variables of the script.
    pub(crate) variables: &'a [(&'a str, String)],
}

/// A pgbench that runs; it is killed when this is dropped before its end.
pub(crate) struct Pgbench {
    child: Child,
    folder: PathBuf,
}

/// What it has done.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) done: Vec<Done>,
    /// What it counted itself.
    pub(crate) transactions: u64,
}

impl Pgbench {
    pub(crate) fn start(plan: &Plan<'_>) -> Result<Self> {
        let mut command = Command::new(plan.database.programs.join("pgbench"));
        command.args(["--no-vacuum", "--protocol=prepared", "--jobs=2", "--log"]);
        command.arg(format!("--log-prefix={}", plan.folder.join("log").display()));
        command.arg(format!("--client={}", plan.clients));
        command.arg(format!("--time={}", plan.time.as_secs()));
        command.arg(format!("--file={}", plan.script.display()));
        if let Some(rate) = plan.rate {
            command.arg(format!("--rate={rate}"));
        }
        for (name, value) in plan.variables {
            command.arg(format!("--define={name}={value}"));
        }
        command.arg(&plan.database.url);
        // Into files: a pipe that nobody reads would stop it.
        let file = |name: &str| fs::File::create(plan.folder.join(name));
        command.stdin(Stdio::null()).stdout(file("stdout")?).stderr(file("stderr")?);
        let child = command.spawn().context("cannot start pgbench")?;
        Ok(Self { child, folder: plan.folder.to_owned() })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for its end and reads its logs.
    pub(crate) fn finish(mut self) -> Result<Outcome> {
        let status = self.child.wait()?;
        let read = |name: &str| fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let said = read("stdout");
        if !status.success() {
            bail!("pgbench failed: {}", read("stderr").trim());
        }
        let mut done = Vec::new();
        for entry in fs::read_dir(&self.folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with("log.") {
                read_log(&fs::read_to_string(entry.path())?, &mut done)?;
            }
        }
        Ok(Outcome { done, transactions: transactions(&said)? })
    }
}

impl Outcome {
    /// A statement that found nothing to do is a success to pgbench; it must not be one here.
    pub(crate) fn must_have_made(&self, messages: u64) -> Result<()> {
        if messages != self.transactions {
            bail!("pgbench: {} transactions have made {messages} messages", self.transactions);
        }
        Ok(())
    }
}

impl Drop for Pgbench {
    fn drop(&mut self) {
        // One that has ended already needs neither.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How many transactions it says it has made; any that failed is an error.
fn transactions(said: &str) -> Result<u64> {
    let number = |label: &str| -> Option<u64> {
        let rest = said.lines().find_map(|line| line.strip_prefix(label))?;
        rest.split_whitespace().next()?.parse().ok()
    };
    let made = number("number of transactions actually processed:");
    let made = made.with_context(|| format!("pgbench said: {}", said.trim()))?;
    match number("number of failed transactions:") {
        None | Some(0) => Ok(made),
        Some(failed) => bail!("{failed} transactions of pgbench have failed"),
    }
}

/// One line for each transaction: client, number, microseconds that it took, script, the time of its end in seconds and
/// microseconds, and with a rate by how much it began too late, which is in what it took.
fn read_log(log: &str, done: &mut Vec<Done>) -> Result<()> {
    for line in log.lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
        let read = || {
            let at = number(4)? * 1_000_000 + number(5)?;
            let took = number(2)?.saturating_sub(number(6).unwrap_or_default());
            Some(Done { at, took: u32::try_from(took).unwrap_or(u32::MAX) })
        };
        done.push(read().with_context(|| format!("pgbench logged `{line}`"))?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_own_count_is_read() {
        let said = "pgbench (18.6)\nnumber of clients: 64\n\
            number of transactions actually processed: 4711\n\
            number of failed transactions: 0 (0.000%)\nlatency average = 1.0 ms\n";
        assert_eq!(transactions(said).unwrap(), 4711);
        let failed = said.replace("transactions: 0", "transactions: 3");
        assert!(transactions(&failed).unwrap_err().to_string().starts_with("3 "));
        assert!(transactions("pgbench: error").is_err());
    }

    #[test]
    fn its_log_is_read() {
        let mut done = Vec::new();
        read_log("0 199 2241 0 1175850568 995598\n3 1 17 0 1175850569 8\n", &mut done).unwrap();
        let first = Done { at: 1_175_850_568_995_598, took: 2241 };
        let second = Done { at: 1_175_850_569_000_008, took: 17 };
        assert_eq!(done, [first, second]);
        read_log("0 199 2241 0 1175850568 995598 241", &mut done).unwrap();
        assert_eq!(done[2], Done { took: 2000, ..first });
        assert!(read_log("0 199 failed 0 1175850568 995598", &mut done).is_err());
        assert!(read_log("0 199", &mut done).is_err());
    }
}
