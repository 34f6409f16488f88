use std::path::Path;

use anyhow::{Result, bail};

use crate::home::{Home, remove_folder, shown};
use crate::postgres::remove_outside;
use crate::process::stop_noted;
use crate::prometheus::stop_beside;
use crate::say;
use crate::state::Run;

/// Removes data, logs, tools and secrets of a cluster that is down.
pub fn clean(home: &Home) -> Result<bool> {
    if Run::of(home)?.is_some_and(|run| run.something_lives()) {
        bail!("a cluster is up: `cargo parley down` first");
    }
    if !is_ours(home.root()) {
        bail!(
            "{} does not look like the launcher's folder: nothing is removed",
            shown(home.root())
        );
    }
    stop_beside(home)?;
    stop_noted(home)?;
    remove_outside(home)?;
    remove_folder(home.root())?;
    say::line(format_args!("removed {}", shown(home.root())));
    Ok(true)
}

/// `PARLEY_HOME` may name any folder: remove one only if it is empty or carries our marks.
fn is_ours(root: &Path) -> bool {
    let marks = ["secrets.json", "ports.json", "tools", "lock", "test"];
    let empty = std::fs::read_dir(root).map_or(true, |mut entries| entries.next().is_none());
    empty || marks.iter().any(|mark| root.join(mark).exists())
}
