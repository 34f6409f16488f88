//! Settings as a table, for the people who set them.

use std::fmt::Write;

use clap::{Arg, CommandFactory};

/// The text with the section of this program written anew: what stands between `<!-- settings of NAME -->` and
/// `<!-- /settings of NAME -->`. `None` if there is no such section.
pub fn documented<S: CommandFactory>(text: &str) -> Option<String> {
    let command = S::command();
    let name = command.get_name();
    let (opening, closing) =
        (format!("<!-- settings of {name} -->\n"), format!("<!-- /settings of {name} -->"));
    let (before, rest) = text.split_once(&opening)?;
    let (_, after) = rest.split_once(&closing)?;
    Some(format!("{before}{opening}{}{closing}{after}", tables::<S>()))
}

/// One table for each heading of `--help`, in its order.
fn tables<S: CommandFactory>() -> String {
    let command = S::command();
    let mut text = String::new();
    let mut last = None;
    for argument in command.get_arguments() {
        let Some(variable) = argument.get_env() else { continue };
        let heading = argument.get_help_heading();
        if heading != last {
            let heading = heading.unwrap_or("Others");
            let _ =
                write!(text, "\n### {heading}\n\n| variable | default | |\n| --- | --- | --- |\n");
        }
        last = heading;
        let (default, help) = (default(argument), meaning(argument));
        let _ = writeln!(text, "| `{}` | {default} | {help} |", variable.display());
    }
    text.push('\n');
    text
}

fn default(argument: &Arg) -> String {
    if argument.get_id() == "pod" {
        // It is another one on each machine.
        return "the host's name".to_owned();
    }
    let defaults: Vec<String> = argument
        .get_default_values()
        .iter()
        .map(|value| format!("`{}`", value.display()))
        .collect();
    defaults.join(", ")
}

fn meaning(argument: &Arg) -> String {
    let mut meaning = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let values: Vec<String> = argument
        .get_possible_values()
        .iter()
        .filter(|_| argument.get_action().takes_values())
        .map(|value| format!("`{}`", value.get_name()))
        .collect();
    if !values.is_empty() {
        let _ = write!(meaning, ": {}", values.join(", "));
    }
    if argument.is_hide_env_values_set() {
        meaning.push_str(" (secret)");
    }
    meaning.replace('|', "\\|").replace('\n', " ")
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    #[command(name = "program")]
    struct Settings {
        #[command(flatten)]
        process: crate::settings::ProcessSettings,
        /// What opens | doors
        #[arg(long, env = "PARLEY_TEST_KEY", hide_env_values = true, help_heading = "Doors")]
        key: String,
        /// No variable sets it
        #[arg(long)]
        check_doors: bool,
    }

    #[test]
    fn a_section_is_written_anew_and_the_rest_stays() {
        let text =
            "before\n<!-- settings of program -->\nold\n<!-- /settings of program -->\nafter\n";
        let fresh = documented::<Settings>(text).unwrap();
        assert!(fresh.starts_with("before\n<!-- settings of program -->\n\n### Process\n"));
        assert!(fresh.ends_with("<!-- /settings of program -->\nafter\n"));
        assert!(fresh.contains("| `PARLEY_POD` | the host's name | This pod's name"));
        let log_format = fresh.lines().find(|line| line.contains("PARLEY_LOG_FORMAT")).unwrap();
        assert!(log_format.contains("| `auto` |") && log_format.contains("`json`"), "{log_format}");
        let doors = "### Doors\n\n| variable | default | |\n| --- | --- | --- |\n| `PARLEY_TEST_KEY` |  | What opens \\| doors (secret) |\n";
        assert!(fresh.contains(doors), "{fresh}");
        assert!(!fresh.contains("check") && !fresh.contains("old"), "{fresh}");
        assert_eq!(documented::<Settings>(&fresh), Some(fresh));
        assert_eq!(documented::<Settings>("nothing"), None);
    }
}
