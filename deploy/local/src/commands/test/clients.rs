//! The tests that are written in the languages of Parley's clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::bench::Bench;
use super::counting::{self, Tally};
use crate::home::{make_folder, remove_folder, workspace};
use crate::npm;
use crate::services;
use crate::tools::{Group, install, venv_program};

const BROWSER: &str = "browser.test.mjs";

fn sources() -> PathBuf {
    workspace().join("deploy/local/tests/clients")
}

/// A copy of the tests beside their packages: Node looks for packages above the file itself, and
/// none may lie in the sources.
pub(super) fn prepare(bench: &Bench<'_>) -> Result<PathBuf> {
    let installed = npm::install(bench.home, &sources(), "clients", bench.interrupt)?;
    let folder = bench.folder.join("clients");
    remove_folder(&folder)?;
    copy(&sources(), &folder)?;
    symlink(installed.join("node_modules"), folder.join("node_modules"))?;
    Ok(folder)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}", from.display()))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(source, target)?;
        }
    }
    Ok(())
}

/// `node --test` over all but the browser's test.
pub(super) fn javascript(bench: &Bench<'_>, folder: &Path, cluster: &Path) -> Result<Tally> {
    let entries = fs::read_dir(folder)?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> =
        names.filter(|name| name.ends_with(".test.mjs") && name != BROWSER).collect();
    names.sort();
    let mut command = node(folder, cluster)?;
    bench.tests(command.args(names), counting::node)
}

/// The demo in a real browser.
pub(super) fn browser(
    bench: &Bench<'_>,
    folder: &Path,
    cluster: &Path,
    chromium: &Path,
) -> Result<Tally> {
    let mut command = node(folder, cluster)?;
    command.env("CHROMIUM", chromium).env("PARLEY_SCREENSHOT", bench.home.file("demo.png"));
    bench.tests(command.arg(BROWSER), counting::node)
}

fn node(folder: &Path, cluster: &Path) -> Result<Command> {
    let mut command = Command::new(npm::node()?);
    command.args(["--test", "--test-reporter=spec"]).current_dir(folder);
    command.env("PARLEY_CLUSTER", cluster);
    Ok(command)
}

/// Random scripts against npm socket.io and Parley's crate: their transcripts are the same.
pub(super) fn differential(bench: &Bench<'_>, scripts: &str) -> Result<Tally> {
    let crate_folder = workspace().join("services/socketio");
    let source = crate_folder.join("tests/differential");
    let installed = npm::install(bench.home, &source, "differential", bench.interrupt)?;
    let folder = bench.folder.join("differential");
    remove_folder(&folder)?;
    copy(&source, &folder)?;
    symlink(installed.join("node_modules"), folder.join("node_modules"))?;
    let mut command = Command::new(npm::node()?);
    command.args(["main.mjs", "--scripts", scripts]).current_dir(&folder);
    command.arg("--parley").arg(services::build_differential(bench.interrupt)?);
    command.arg("--readme").arg(crate_folder.join("README.md"));
    bench.tests(&mut command, counting::python)
}

/// The stock Python client.
pub(super) fn python(bench: &Bench<'_>, cluster: &Path) -> Result<Tally> {
    install(bench.home, Group::Test, bench.interrupt)?;
    let mut command = Command::new(venv_program(bench.home, "python"));
    command.args(["-B", "-u"]).arg(sources().join("test_python_client.py"));
    bench.tests(command.env("PARLEY_CLUSTER", cluster), counting::python)
}

/// Calls that Schemathesis makes up from the pods' own document: a short run, always the same one.
pub(super) fn schemathesis(bench: &Bench<'_>, cluster: &Path) -> Result<Tally> {
    install(bench.home, Group::Test, bench.interrupt)?;
    let mut command = Command::new(venv_program(bench.home, "python"));
    command.args(["-B", "-u"]).arg(workspace().join("deploy/local/tests/fuzz/run.py"));
    command.args(["--seed", "1", "--max-examples", "15", "--no-color"]);
    bench.tests(command.env("PARLEY_CLUSTER", cluster), counting::python)
}
