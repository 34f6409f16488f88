//! `loadtest/RESULTS.md`: each scenario has a section of its own between two marks.

use std::fs;
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use chrono::{DateTime, Utc};
use parley_local::workspace;

use crate::database::capture;
use crate::proc::processor;

/// Puts this text into the scenario's section and leaves everything else as it is.
pub(crate) fn write(scenario: &str, text: &str) -> Result<()> {
    let path = workspace().join("loadtest/RESULTS.md");
    let old = fs::read_to_string(&path).context("cannot read loadtest/RESULTS.md")?;
    fs::write(&path, replaced(&old, scenario, text)?).context("cannot write loadtest/RESULTS.md")
}

/// Puts a plot into the folder beside it.
pub(crate) fn write_plot(name: &str, svg: &str) -> Result<()> {
    let folder = workspace().join("loadtest/plots");
    fs::create_dir_all(&folder).context("cannot make loadtest/plots")?;
    fs::write(folder.join(format!("{name}.svg")), svg)
        .with_context(|| format!("cannot write loadtest/plots/{name}.svg"))
}

/// Puts this text into a part of the scenario's section that has a heading of its own; the other parts stay, in the order of
/// their headings.
pub(crate) fn write_part(scenario: &str, heading: &str, text: &str) -> Result<()> {
    let path = workspace().join("loadtest/RESULTS.md");
    let old = fs::read_to_string(&path).context("cannot read loadtest/RESULTS.md")?;
    let section = with_part(section(&old, scenario).unwrap_or_default(), heading, text);
    write(scenario, &section)
}

/// A scenario's section, if there is one.
fn section<'a>(all: &'a str, scenario: &str) -> Option<&'a str> {
    let (_, rest) = all.split_once(&format!("<!-- bench {scenario} -->"))?;
    let (section, _) = rest.split_once(&format!("<!-- /bench {scenario} -->"))?;
    Some(section)
}

/// What stands before the first heading is there until there is one.
fn with_part(section: &str, heading: &str, text: &str) -> String {
    let parts = section.split("\n### ").skip(1).filter_map(|part| part.split_once('\n'));
    let mut parts: Vec<_> = parts.filter(|(name, _)| *name != heading).collect();
    parts.push((heading, text));
    // As numbers, where they are some.
    parts.sort_by_key(|(name, _)| (name.len(), *name));
    let parts = parts.iter().map(|(name, text)| format!("\n### {name}\n\n{}\n", text.trim()));
    parts.collect::<String>().trim_start().to_owned()
}

fn replaced(old: &str, scenario: &str, text: &str) -> Result<String> {
    let (open, close) =
        (format!("<!-- bench {scenario} -->"), format!("<!-- /bench {scenario} -->"));
    let parts = old.split_once(&open).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&close)?;
        Some((before, after))
    });
    let Some((before, after)) = parts else {
        bail!("loadtest/RESULTS.md has no section {open} … {close}");
    };
    Ok(format!("{before}{open}\n{}\n{close}{after}", text.trim_end()))
}

/// When, of which sources, on what: without it a number means nothing.
pub(crate) fn provenance() -> String {
    let date = DateTime::<Utc>::from(SystemTime::now()).format("%Y-%m-%d %H:%M UTC");
    let (cores, model) = processor();
    format!("{date}, commit {}, {cores} cores of {model}", commit())
}

fn commit() -> String {
    let git =
        |arguments: &[&str]| capture(Command::new("git").args(arguments).current_dir(workspace()));
    let Ok(commit) = git(&["rev-parse", "--short", "HEAD"]) else { return "unknown".to_owned() };
    // A table or a plot that is written anew does not change what was measured.
    let ours = [":!loadtest/RESULTS.md", ":!loadtest/plots"];
    let changed = git(&["status", "--porcelain", "--", ".", ours[0], ours[1]]);
    if changed.is_ok_and(|files| files.is_empty()) {
        commit
    } else {
        format!("{commit} and changes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = "# R\n<!-- bench a -->\nold a\n<!-- /bench a -->\nmid\n<!-- bench ab -->\nold ab\n<!-- /bench ab -->\nend\n";

    #[test]
    fn only_its_own_section_changes() {
        let new = replaced(OLD, "a", "new\n").unwrap();
        assert_eq!(new, OLD.replace("old a\n<!-- /bench a -->", "new\n<!-- /bench a -->"));
        assert_eq!(replaced(&new, "a", "new").unwrap(), new);
        let new = replaced(OLD, "ab", "new").unwrap();
        assert_eq!(new, OLD.replace("old ab", "new"));
    }

    #[test]
    fn without_a_section_nothing_is_written() {
        assert!(replaced(OLD, "b", "new").is_err());
        assert!(replaced("<!-- bench b -->", "b", "new").is_err());
        assert!(replaced("<!-- /bench b --> <!-- bench b -->", "b", "new").is_err());
    }

    #[test]
    fn only_its_own_part_of_a_section_changes() {
        let first = with_part("\nNot run yet.\n", "Seed 7", "seven\n");
        assert_eq!(first, "### Seed 7\n\nseven\n");
        let both = with_part(&format!("\n{first}"), "Seed 11", "eleven");
        assert_eq!(both, "### Seed 7\n\nseven\n\n### Seed 11\n\neleven\n");
        let again = with_part(&format!("\n{both}"), "Seed 7", "other");
        assert_eq!(again, "### Seed 7\n\nother\n\n### Seed 11\n\neleven\n");
        assert_eq!(section(OLD, "a"), Some("\nold a\n"));
        assert_eq!(section(OLD, "b"), None);
    }

    #[test]
    fn provenance_names_the_day_and_the_machine() {
        let said = provenance();
        assert!(said.contains(" UTC, commit ") && said.contains(" cores of "), "{said}");
    }
}
