use anyhow::Result;

use crate::home::Home;
use crate::process::stop_noted;
use crate::say;

/// Stops the cluster of this folder.
pub fn down(home: &Home) -> Result<bool> {
    let text = if stop_noted(home)? { "stopped" } else { "no cluster is up" };
    say::line(text);
    Ok(true)
}
