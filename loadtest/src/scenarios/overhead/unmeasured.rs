//! The same services without their metrics: built from the same sources, with a `prometheus` whose counters do not count.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use parley_local::{Home, Interrupt, profile, say, workspace};
use serde_json::Value;

use crate::database::capture;

/// In which file of the crate an operation stands, how it begins, and how it then does nothing.
const EMPTIED: &[(&str, &str, &str)] = &[
    ("src/counter.rs", "pub fn inc_by(&self, v: P::T) {", "if true { let _ = &v; return; }"),
    ("src/counter.rs", "pub fn inc(&self) {", "if true { return; }"),
    ("src/gauge.rs", "pub fn set(&self, v: P::T) {", "if true { let _ = &v; return; }"),
    ("src/gauge.rs", "pub fn inc(&self) {", "if true { return; }"),
    ("src/gauge.rs", "pub fn dec(&self) {", "if true { return; }"),
    ("src/gauge.rs", "pub fn add(&self, v: P::T) {", "if true { let _ = &v; return; }"),
    ("src/gauge.rs", "pub fn sub(&self, v: P::T) {", "if true { let _ = &v; return; }"),
    ("src/histogram.rs", "pub fn observe(&self, v: f64) {", "if true { let _ = v; return; }"),
];

/// Builds them, and says in which folder they are.
pub(super) fn build(home: &Home, interrupt: &Interrupt) -> Result<PathBuf> {
    let folder = home.root().join("unmeasured");
    let (source, target) = (folder.join("source"), folder.join("target"));
    copy_sources(&source)?;
    let emptied = folder.join("prometheus");
    empty(&packaged()?, &emptied)?;
    say::note("building the services without metrics: several minutes at first");
    let patch = format!("patch.crates-io.prometheus.path={:?}", emptied.display().to_string());
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // All that the launcher builds together: with other packages, others of the libraries' features would be on.
    // In the same profile, too: what it does for speed is no part of what metrics cost.
    let profile = profile()?;
    cargo.args(["build", "--profile", &profile, "-p", "parley-api", "-p", "parley-gateway"]);
    cargo.args(["-p", "parley-courier"]);
    cargo.args(["--config", &patch]).current_dir(&source).env("CARGO_TARGET_DIR", &target);
    if interrupt.asked() || !cargo.status().context("cannot run cargo")?.success() {
        bail!("the services without metrics could not be built");
    }
    Ok(target.join(profile))
}

/// What is committed, and what has been changed since.
fn copy_sources(to: &Path) -> Result<()> {
    let files = capture(Command::new("git").arg("ls-files").current_dir(workspace()))?;
    for file in files.lines() {
        let (from, to) = (workspace().join(file), to.join(file));
        let Ok(new) = fs::read(&from) else { continue };
        place(&to, &new)?;
    }
    Ok(())
}

/// A file that is as it was keeps its time, and nothing is built again because of it.
fn place(to: &Path, new: &[u8]) -> Result<()> {
    if fs::read(to).is_ok_and(|old| old == new) {
        return Ok(());
    }
    fs::create_dir_all(to.parent().context("a file without a folder")?)?;
    fs::write(to, new).with_context(|| format!("cannot write {}", to.display()))
}

/// Where cargo has the crate's sources.
fn packaged() -> Result<PathBuf> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1"]).current_dir(workspace());
    let metadata: Value = serde_json::from_str(&capture(&mut cargo)?)?;
    let packages = metadata["packages"].as_array().context("cargo names no packages")?;
    let found = packages.iter().find(|package| package["name"] == "prometheus");
    let manifest = found.and_then(|package| package["manifest_path"].as_str());
    let manifest = Path::new(manifest.context("there is no crate prometheus")?);
    Ok(manifest.parent().context("a manifest without a folder")?.to_owned())
}

/// Copies the crate and empties its operations.
fn empty(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            empty(&from, &to)?;
            continue;
        }
        let operations: Vec<_> = EMPTIED.iter().filter(|it| from.ends_with(it.0)).collect();
        let mut text = fs::read(&from)?;
        for (file, begin, nothing) in operations {
            let whole = String::from_utf8(text).with_context(|| format!("{file} is no text"))?;
            if !whole.contains(begin) {
                bail!("{file} of prometheus has no `{begin}` any more");
            }
            text = whole.replace(begin, &format!("{begin} {nothing}")).into_bytes();
        }
        place(&to, &text)?;
    }
    Ok(())
}
