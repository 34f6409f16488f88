//! The tests of what ships Parley: they are Python, beside the chart.

use std::process::Command;

use anyhow::Result;

use super::bench::Bench;
use super::counting::{self, Tally};
use crate::home::workspace;
use crate::tools::{Group, install, venv_program};

/// A part of them, by its name in `helm/tests/run.py`.
pub(super) fn run(bench: &Bench<'_>, part: &str) -> Result<Tally> {
    install(bench.home, Group::Test, bench.interrupt)?;
    install(bench.home, Group::Chart, bench.interrupt)?;
    let mut command = Command::new(venv_program(bench.home, "python"));
    command.args(["-B", "-u"]).arg(workspace().join("helm/tests/run.py"));
    bench.tests(command.arg(part), counting::python)
}
