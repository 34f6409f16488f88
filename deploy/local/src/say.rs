//! The only place that writes to the terminal.

use std::fmt::Display;
use std::io::Write;

/// Writes a line of result to standard output.
pub fn line(text: impl Display) {
    // A reader that went away (`| head`) is no reason to stop a cluster half-way.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// Writes a line about progress to standard error.
pub fn note(text: impl Display) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Writes an error and its causes as one line to standard error.
pub fn error(error: &anyhow::Error) {
    note(format_args!("error: {}", one_line(error)));
}

/// An error and its causes in one line, whatever line breaks the causes bring along.
pub(crate) fn one_line(error: &anyhow::Error) -> String {
    format!("{error:#}").lines().map(str::trim).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_error_of_many_lines_becomes_one() {
        let error = anyhow::anyhow!("first\n  second").context("outer");
        assert_eq!(super::one_line(&error), "outer: first; second");
    }
}
