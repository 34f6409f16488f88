//! The tests of what ships Parley: they are Python, beside the chart.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use super::bench::Bench;
use super::counting::{self, Tally};
use crate::home::workspace;
use crate::tools::{Group, install, program_of, venv_program};

/// A part of them, by its name in `helm/tests/run.py`.
pub(super) fn run(bench: &Bench<'_>, part: &str) -> Result<Tally> {
    bench.tests(&mut part_of(bench, part)?, counting::python)
}

/// The services in nothing but the image's root, against the parts of a running cluster. It mounts, so it wants root.
pub(super) fn image(bench: &Bench<'_>, cluster: &Path, binaries: &Path) -> Result<Tally> {
    let mut command = part_of(bench, "image")?;
    command.env("PARLEY_CLUSTER", cluster).env("PARLEY_BIN_DIR", binaries);
    bench.tests(&mut command, counting::python)
}

/// checkov, over everything that the chart renders.
pub(super) fn audit(bench: &Bench<'_>) -> Result<Tally> {
    let mut command = part_of(bench, "audit")?;
    install(bench.home, Group::Audit, bench.interrupt)?;
    command.env("CHECKOV", program_of(bench.home, Group::Audit, "checkov"));
    bench.tests(&mut command, counting::python)
}

fn part_of(bench: &Bench<'_>, part: &str) -> Result<Command> {
    install(bench.home, Group::Test, bench.interrupt)?;
    install(bench.home, Group::Chart, bench.interrupt)?;
    let mut command = Command::new(venv_program(bench.home, "python"));
    command.args(["-B", "-u"]).arg(workspace().join("helm/tests/run.py")).arg(part);
    Ok(command)
}
