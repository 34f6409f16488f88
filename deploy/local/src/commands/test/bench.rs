//! Where steps are run, timed and counted.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::counting::{Parse, Tally};
use crate::home::Home;
use crate::interrupt::Interrupt;
use crate::process::stop_child_group;
use crate::say;

/// No step may take longer, or a test that hangs would hang everything.
const LIMIT: Duration = Duration::from_mins(25);

/// The steps so far.
pub(super) struct Bench<'a> {
    pub(super) home: &'a Home,
    /// Where clusters of this run live.
    pub(super) folder: PathBuf,
    pub(super) interrupt: &'a Interrupt,
    done: Vec<Done>,
    left_out: Vec<String>,
    started: Instant,
}

struct Done {
    name: String,
    tally: Tally,
    took: Duration,
}

impl<'a> Bench<'a> {
    pub(super) fn new(home: &'a Home, folder: &Path, interrupt: &'a Interrupt) -> Self {
        let (done, left_out) = (Vec::new(), Vec::new());
        let started = Instant::now();
        Self { home, folder: folder.to_owned(), interrupt, done, left_out, started }
    }

    /// Runs a step and goes on whatever it brings, but not after Ctrl-C.
    pub(super) fn step(&mut self, name: &str, work: impl FnOnce(&Self) -> Result<Tally>) {
        self.obtain(name, |bench| work(bench).map(|tally| ((), tally)));
    }

    /// Runs a step that yields something which later steps need.
    pub(super) fn obtain<T>(
        &mut self,
        name: &str,
        work: impl FnOnce(&Self) -> Result<(T, Tally)>,
    ) -> Option<T> {
        if self.interrupt.asked() {
            return None;
        }
        say::line(format_args!("\n=== {name}"));
        let started = Instant::now();
        let (value, tally) = match work(self) {
            Ok((value, tally)) => (Some(value), tally),
            Err(error) => {
                say::line(format_args!("error: {}", say::one_line(&error)));
                (None, Tally::FAILED)
            }
        };
        let took = started.elapsed();
        say::line(format_args!("--- {name}: {} in {:.1} s", word(tally), took.as_secs_f32()));
        self.done.push(Done { name: name.to_owned(), tally, took });
        value
    }

    /// Names something that is not run, and why.
    pub(super) fn leave_out(&mut self, what: &str, why: &str) {
        self.left_out.push(format!("{what}: {why}"));
    }

    /// A command that counts as one check.
    pub(super) fn check(&self, command: &mut Command) -> Result<Tally> {
        let (success, _) = self.watch(command, |_| None)?;
        Ok(if success { Tally::PASSED } else { Tally::FAILED })
    }

    /// A command that runs tests. Failing without a failed test, or passing without any test, is
    /// a failure too.
    pub(super) fn tests(&self, command: &mut Command, parse: Parse) -> Result<Tally> {
        let (success, mut tally) = self.watch(command, parse)?;
        if tally.failed == 0 && (!success || tally.passed == 0) {
            let why = if success { "no test was run" } else { "the runner failed" };
            say::line(format_args!("error: {why}"));
            tally.failed = 1;
        }
        Ok(tally)
    }

    /// Runs a command, passes its output on line by line and counts in it.
    fn watch(&self, command: &mut Command, parse: Parse) -> Result<(bool, Tally)> {
        let program = command.get_program().to_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child =
            command.spawn().with_context(|| format!("cannot start {}", program.display()))?;
        let out = child.stdout.take().map(|stream| pass_on(stream, parse));
        let err = child.stderr.take().map(|stream| pass_on(stream, |_| None));
        let success = self.wait(&mut child)?;
        let mut tally = Tally::default();
        for stream in [out, err].into_iter().flatten() {
            tally.add(stream.join().unwrap_or(Tally::FAILED));
        }
        Ok((success, tally))
    }

    fn wait(&self, child: &mut Child) -> Result<bool> {
        let deadline = Instant::now() + LIMIT;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status.success());
            }
            if self.interrupt.asked() || Instant::now() > deadline {
                stop_child_group(child);
                self.interrupt.check()?;
                bail!("not done after {} minutes", LIMIT.as_secs() / 60);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Prints the table and, as the last line, the counts. True when nothing has failed.
    pub(super) fn summarise(&self) -> bool {
        say::line("\n=== summary");
        let mut total = Tally::default();
        for Done { name, tally, took } in &self.done {
            total.add(*tally);
            let Tally { passed, failed } = tally;
            let took = took.as_secs_f32();
            say::line(format_args!(
                "{name:<34} {passed:>4} passed {failed:>4} failed {took:>8.1} s"
            ));
        }
        for what in &self.left_out {
            say::line(format_args!("left out: {what}"));
        }
        if self.interrupt.asked() {
            say::line("interrupted: the rest was not run");
            total.failed += 1;
        }
        say::line(format_args!("{:.0} s in all", self.started.elapsed().as_secs_f32()));
        say::line(format_args!("{} passed, {} failed", total.passed, total.failed));
        total.failed == 0
    }
}

fn word(tally: Tally) -> &'static str {
    if tally.failed == 0 { "passed" } else { "FAILED" }
}

fn pass_on(stream: impl Read + Send + 'static, parse: Parse) -> JoinHandle<Tally> {
    std::thread::spawn(move || {
        let mut tally = Tally::default();
        let mut lines = BufReader::new(stream).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            let line = String::from_utf8_lossy(&line);
            tally.add(parse(&line).unwrap_or_default());
            say::line(line);
        }
        tally
    })
}
