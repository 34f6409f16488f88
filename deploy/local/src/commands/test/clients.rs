//! The tests that are written in the languages of Parley's clients.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::bench::Bench;
use super::counting::{self, Tally};
use super::errands::Errands;
use crate::cluster::Cluster;
use crate::home::{remove_folder, workspace};
use crate::npm::{self, client_packages};
use crate::services;
use crate::tools::{Group, install, venv_program};
use crate::typescript;

const BROWSER: &str = "browser.test.mjs";

/// A copy of the tests beside their packages: Node looks for packages above the file itself, and
/// none may lie in the sources.
pub(super) fn prepare(bench: &Bench<'_>) -> Result<PathBuf> {
    let installed = npm::install(bench.home, &client_packages(), "clients", bench.interrupt)?;
    let folder = bench.folder.join("clients");
    remove_folder(&folder)?;
    npm::copy(&client_packages(), &folder)?;
    symlink(installed.join("node_modules"), folder.join("node_modules"))?;
    Ok(folder)
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

/// The TypeScript package, built as an app would get it.
pub(super) fn build_package(bench: &Bench<'_>) -> Result<PathBuf> {
    let folder = bench.folder.join("client");
    typescript::build(bench.home, &folder, bench.interrupt)?;
    Ok(folder)
}

/// Its tests without a cluster; the types and the events are those of this source tree.
pub(super) fn package(bench: &Bench<'_>, folder: &Path) -> Result<Tally> {
    let mut command = package_tests(folder, "unit")?;
    command.env("PARLEY_DOCUMENTS", workspace().join("services/api"));
    command.env("PARLEY_GOLDEN", workspace().join("services/domain/tests/golden"));
    bench.tests(&mut command, counting::node)
}

/// Its tests on a cluster.
pub(super) fn package_on_cluster(bench: &Bench<'_>, folder: &Path, file: &Path) -> Result<Tally> {
    let mut command = package_tests(folder, "cluster")?;
    bench.tests(command.env("PARLEY_CLUSTER", file), counting::node)
}

/// Its test in which pods die.
pub(super) fn package_over_restarts(
    bench: &Bench<'_>,
    folder: &Path,
    file: &Path,
    cluster: &mut Cluster,
) -> Result<Tally> {
    let errands = Errands::new(folder.join("errands"))?;
    let mut command = package_tests(folder, "restarts")?;
    command.env("PARLEY_CLUSTER", file).env("PARLEY_ERRANDS", errands.folder());
    errands.run(cluster, || bench.tests(&mut command, counting::node))
}

fn package_tests(folder: &Path, part: &str) -> Result<Command> {
    let tests = Path::new("tests").join(part);
    let entries = fs::read_dir(folder.join(&tests))?.flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut names: Vec<_> = names.filter(|name| name.ends_with(".test.mjs")).collect();
    names.sort();
    let mut command = Command::new(npm::node()?);
    command.args(["--test", "--test-reporter=spec"]).current_dir(folder);
    command.args(names.iter().map(|name| tests.join(name)));
    Ok(command)
}

/// Random scripts against npm socket.io and Parley's crate: their transcripts are the same.
pub(super) fn differential(bench: &Bench<'_>, scripts: &str) -> Result<Tally> {
    let crate_folder = workspace().join("services/socketio");
    let source = crate_folder.join("tests/differential");
    let installed = npm::install(bench.home, &source, "differential", bench.interrupt)?;
    let folder = bench.folder.join("differential");
    remove_folder(&folder)?;
    npm::copy(&source, &folder)?;
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
    command.args(["-B", "-u"]).arg(client_packages().join("test_python_client.py"));
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
