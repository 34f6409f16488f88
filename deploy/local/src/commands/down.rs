use anyhow::Result;

use crate::home::Home;
use crate::process::stop_noted;
use crate::prometheus::stop_beside;
use crate::say;

/// Stops the cluster of this folder.
pub fn down(home: &Home) -> Result<bool> {
    let watched = stop_beside(home)?;
    let text = if stop_noted(home)? || watched { "stopped" } else { "no cluster is up" };
    say::line(text);
    Ok(true)
}
