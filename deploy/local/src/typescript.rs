//! The TypeScript client, built for the demo and for its tests.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::home::{Home, remove_folder, shown, workspace};
use crate::interrupt::Interrupt;
use crate::npm;
use crate::say;
use crate::tools::logged;

/// Where the package is written.
pub(crate) fn sources() -> PathBuf {
    workspace().join("services/client")
}

/// Builds the package in a folder of its own, unless exactly these sources were built there; `dist` is in it.
pub(crate) fn build(home: &Home, folder: &Path, interrupt: &Interrupt) -> Result<()> {
    let wanted = fingerprint(&sources())?;
    let stamp = folder.join("built");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == wanted) {
        return Ok(());
    }
    let installed = npm::install(home, &sources(), "client", interrupt)?;
    say::note("building the TypeScript client");
    remove_folder(folder)?;
    npm::copy(&sources(), folder)?;
    symlink(installed.join("node_modules"), folder.join("node_modules"))?;
    let mut build = Command::new(npm::node()?);
    build.arg("scripts/build.mjs").current_dir(folder);
    logged(&mut build, &folder.join("build.log"), interrupt)
        .context("the client does not build")?;
    fs::write(&stamp, wanted).with_context(|| format!("cannot write {}", shown(&stamp)))
}

/// All that a build depends on, in one text.
fn fingerprint(folder: &Path) -> Result<String> {
    let mut text = String::new();
    let mut add = |path: &Path| -> Result<()> {
        let content = fs::read_to_string(path).with_context(|| format!("no {}", shown(path)))?;
        for part in [&path.to_string_lossy(), "\n", &content, "\n"] {
            text.push_str(part);
        }
        Ok(())
    };
    for name in ["package.json", "package-lock.json", "tsconfig.json", "tsconfig.cjs.json"] {
        add(&folder.join(name))?;
    }
    for part in ["scripts", "src"] {
        let part = folder.join(part);
        let entries = fs::read_dir(&part).with_context(|| format!("no {}", shown(&part)))?;
        let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        paths.iter().try_for_each(|path| add(path))?;
    }
    Ok(text)
}
