//! npm packages, installed beside the tools so that no `node_modules` lands in the sources.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown, workspace};
use crate::interrupt::Interrupt;
use crate::process::{capture, on_path, run};
use crate::say;
use crate::tools::{logged, once};

/// Installs what `source/package-lock.json` pins and returns the folder that holds `node_modules`.
pub fn install(home: &Home, source: &Path, name: &str, interrupt: &Interrupt) -> Result<PathBuf> {
    let folder = home.tools().join(name);
    let lock_file = source.join("package-lock.json");
    let wanted = fs::read_to_string(&lock_file);
    let wanted = wanted.with_context(|| format!("cannot read {}", shown(&lock_file)))?;
    let stamp = home.tools().join(format!("{name}.installed"));
    once(home, &stamp, &wanted, || {
        node()?;
        let npm = on_path("npm").context("npm is missing")?;
        say::note(format_args!("installing npm packages into {}", shown(&folder)));
        make_folder(&folder)?;
        for file in ["package.json", "package-lock.json"] {
            fs::copy(source.join(file), folder.join(file)).with_context(|| format!("no {file}"))?;
        }
        let mut command = Command::new(npm);
        command.args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"]).current_dir(&folder);
        let log = home.tools().join(format!("{name}.log"));
        logged(&mut command, &log, interrupt).context("npm ci")
    })?;
    Ok(folder)
}

/// A copy of a folder of sources, for work that leaves something behind: without what npm and builds have left in it.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    make_folder(to)?;
    for entry in fs::read_dir(from).with_context(|| format!("no {}", shown(from)))? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_name() == "node_modules" || entry.file_name() == "dist" {
            continue;
        }
        if entry.file_type()?.is_dir() {
            copy(&source, &target)?;
        } else {
            fs::copy(source, target)?;
        }
    }
    Ok(())
}

/// The packages of the client tests.
pub(crate) fn client_packages() -> PathBuf {
    workspace().join("deploy/local/tests/clients")
}

/// Runs a script with Node.js and the packages of the client tests: the stock JavaScript client is one of them. What it
/// writes to standard output is returned, and kept in the folder of this launcher.
pub fn run_script(
    home: &Home,
    script: &Path,
    arguments: &[&str],
    interrupt: &Interrupt,
) -> Result<String> {
    let installed = install(home, &client_packages(), "clients", interrupt)?;
    let name = script.file_name().context("a script has a name")?;
    // Node looks for packages above the file itself, and none may lie in the sources.
    let folder = home.file("scripts");
    remove_folder(&folder)?;
    make_folder(&folder)?;
    fs::copy(script, folder.join(name)).with_context(|| format!("no {}", shown(script)))?;
    symlink(installed.join("node_modules"), folder.join("node_modules"))?;
    let output = folder.join("output");
    let mut command = Command::new(node()?);
    command.arg(folder.join(name)).args(arguments).stdout(File::create(&output)?);
    if !run(&mut command, interrupt)?.success() {
        bail!("{} has failed", shown(script));
    }
    Ok(fs::read_to_string(output)?)
}

/// Node.js, new enough.
pub fn node() -> Result<PathBuf> {
    let node = on_path("node").context("Node.js is missing (version 20 or newer)")?;
    let version = capture(Command::new(&node).arg("--version"))?;
    let major = version.trim_start_matches('v').split('.').next().and_then(|it| it.parse().ok());
    if major.is_none_or(|major: u32| major < 20) {
        bail!("Node.js {version} is too old: 20 or newer is needed");
    }
    Ok(node)
}
