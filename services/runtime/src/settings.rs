//! Settings: environment variables `PARLEY_*`, each also a flag, all printed by `--help`.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser};
use tokio::net::TcpListener;

use crate::lifecycle::Shutdown;

mod table;

pub use table::documented;

use crate::trace::TraceSettings;

/// What every process needs.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Process")]
pub struct ProcessSettings {
    /// This pod's name, as it appears in logs, metrics and answers
    #[arg(long, env = "PARLEY_POD", default_value_t = host_name())]
    pub pod: String,

    /// Where `/livez`, `/readyz`, `/metrics`, `/log` and `/drain` are served
    #[arg(
        long,
        env = "PARLEY_ADMIN_LISTEN",
        default_value = "0.0.0.0:9080",
        value_name = "ADDRESS"
    )]
    pub admin_listen: SocketAddr,

    /// What is logged, as directives of tracing's `EnvFilter`
    #[arg(
        long,
        env = "PARLEY_LOG",
        default_value = "info,async_nats=warn,sqlx=warn",
        value_name = "FILTER"
    )]
    pub log: String,

    /// How it is logged; `auto` is text in a terminal and JSON elsewhere
    #[arg(long, env = "PARLEY_LOG_FORMAT", default_value = "auto", value_name = "FORMAT")]
    pub log_format: LogFormat,

    /// Threads that do the pod's work; 0 is one for each core that it may use
    #[arg(long, env = "PARLEY_WORKERS", default_value_t = 0, value_parser = clap::value_parser!(u16).range(0..=1024), value_name = "NUMBER")]
    pub workers: u16,

    /// Seconds from SIGTERM until what has not ended is dropped
    #[arg(long, env = "PARLEY_SHUTDOWN_SECONDS", default_value_t = 25, value_name = "SECONDS")]
    pub shutdown_seconds: u64,

    /// Seconds after SIGTERM in which the pod, though not ready any more, serves on: until every balancer has noticed
    #[arg(long, env = "PARLEY_LINGER_SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=300), value_name = "SECONDS")]
    pub linger_seconds: u64,

    /// What is traced, and for whom.
    #[command(flatten)]
    pub trace: TraceSettings,

    /// Test the settings and exit
    #[arg(long)]
    pub check: bool,
}

impl ProcessSettings {
    /// How a shutdown goes.
    pub const fn shutdown(&self) -> Shutdown {
        Shutdown {
            linger: Duration::from_secs(self.linger_seconds),
            grace: Duration::from_secs(self.shutdown_seconds),
        }
    }

    pub(crate) fn check(&self) -> anyhow::Result<()> {
        anyhow::ensure!(
            self.linger_seconds < self.shutdown_seconds,
            "PARLEY_LINGER_SECONDS must be less than PARLEY_SHUTDOWN_SECONDS"
        );
        Ok(())
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text in a terminal, JSON elsewhere.
    Auto,
    /// For eyes.
    Text,
    /// For machines.
    Json,
}

/// Listens where a setting says; the error names the setting.
pub async fn listen(setting: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("{setting}: cannot listen on {address}"))
}

/// Why settings were not read: what to print, to which end.
#[derive(Debug)]
pub enum NotRead {
    /// Help or version was asked for; this is it.
    Asked(String),
    /// A setting is wrong; this is the one line that says so.
    Wrong(String),
}

/// Reads the process's arguments and environment.
pub fn read<S: Parser>() -> Result<S, NotRead> {
    read_from(std::env::args_os())
}

fn read_from<S: Parser>(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
) -> Result<S, NotRead> {
    S::try_parse_from(arguments).map_err(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => NotRead::Asked(error.to_string()),
        _ => NotRead::Wrong(one_line::<S>(&error)),
    })
}

/// Variables of ours by their prefix that are no setting of this process: most likely misspelt. Kubernetes puts the
/// addresses of services into the environment (`PARLEY_API_PORT_8081_TCP_ADDR=…`); those are left out.
pub(crate) fn unknown<S: CommandFactory>(names: impl Iterator<Item = String>) -> Vec<String> {
    let command = S::command();
    let known: Vec<String> = command
        .get_arguments()
        .filter_map(|argument| argument.get_env())
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let of_kubernetes = |name: &str| {
        ["_SERVICE_HOST", "_PORT"].iter().any(|end| name.ends_with(end))
            || ["_SERVICE_PORT", "_TCP", "_UDP"].iter().any(|part| name.contains(part))
    };
    names
        .filter(|name| name.starts_with("PARLEY_") && !known.contains(name) && !of_kubernetes(name))
        .collect()
}

/// clap's account of a wrong setting, in one line, under the name of the environment variable that most likely
/// holds it; the value is shown unless it is a secret.
fn one_line<S: CommandFactory>(error: &clap::Error) -> String {
    let command = S::command();
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    let named = text(ContextKind::InvalidArg).unwrap_or_default();
    // clap names an argument as it is typed, `--jwt-secret <SECRET>`.
    let argument = command.get_arguments().find(|argument| {
        argument.get_long().is_some_and(|long| {
            named.strip_prefix("--").and_then(|rest| rest.split([' ', '=', ',']).next())
                == Some(long)
        })
    });
    let name = argument
        .and_then(|argument| argument.get_env())
        .map_or_else(|| named.clone(), |variable| variable.to_string_lossy().into_owned());
    match error.kind() {
        ErrorKind::MissingRequiredArgument => format!("{name} is not set"),
        ErrorKind::InvalidValue | ErrorKind::ValueValidation => {
            let secret = argument.is_some_and(clap::Arg::is_hide_env_values_set);
            let value = text(ContextKind::InvalidValue).filter(|_| !secret);
            let shown = value.map_or_else(String::new, |value| format!(" cannot be \"{value}\""));
            let why = std::error::Error::source(error).map(ToString::to_string);
            let allowed = text(ContextKind::ValidValue).map(|values| format!("one of {values}"));
            let why = why.or(allowed).map_or_else(String::new, |why| format!(": {why}"));
            format!("{name}{shown}{why}")
        }
        _ => {
            let text = error.to_string();
            let line = text.lines().next().unwrap_or("the arguments are wrong");
            line.strip_prefix("error: ").unwrap_or(line).to_owned()
        }
    }
}

/// The machine's name; in Kubernetes, the pod's.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "parley".to_owned() } else { name.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Parser)]
    struct Settings {
        #[command(flatten)]
        process: ProcessSettings,
        #[arg(long, env = "PARLEY_TEST_SECRET", hide_env_values = true)]
        secret: String,
        #[arg(long, env = "PARLEY_TEST_NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=300))]
        number: u32,
        #[arg(long, env = "PARLEY_TEST_KEY", hide_env_values = true, default_value_t = 1)]
        key: u32,
    }

    fn wrong(arguments: &[&str]) -> String {
        let arguments = std::iter::once("test").chain(arguments.iter().copied()).map(Into::into);
        match read_from::<Settings>(arguments) {
            Err(NotRead::Wrong(line)) => line,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_wrong_setting_is_one_line_under_its_variable() {
        let secret = ["--secret", "x"];
        for (arguments, expected) in [
            (&[][..], "PARLEY_TEST_SECRET is not set"),
            (
                &[&secret[..], &["--admin-listen", "nowhere"]].concat(),
                "PARLEY_ADMIN_LISTEN cannot be \"nowhere\": invalid socket address syntax",
            ),
            (
                &[&secret[..], &["--log-format", "xml"]].concat(),
                "PARLEY_LOG_FORMAT cannot be \"xml\": one of auto, text, json",
            ),
            (
                &[&secret[..], &["--number", "301"]].concat(),
                "PARLEY_TEST_NUMBER cannot be \"301\": 301 is not in 0..=300",
            ),
            (
                &[&secret[..], &["--key", "hush"]].concat(),
                "PARLEY_TEST_KEY: invalid digit found in string",
            ),
            (&["--nonsense"], "unexpected argument '--nonsense' found"),
        ] {
            assert_eq!(wrong(arguments), expected);
        }
    }

    #[test]
    fn nobody_lingers_longer_than_a_shutdown_takes() {
        let check = |linger: &str| {
            let arguments = ["test", "--secret", "x", "--linger-seconds", linger];
            read_from::<Settings>(arguments.map(Into::into)).unwrap().process.check()
        };
        assert!(check("24").is_ok());
        assert!(check("25").unwrap_err().to_string().starts_with("PARLEY_LINGER_SECONDS"));
    }

    #[test]
    fn a_misspelt_variable_is_noticed_and_kubernetes_own_are_not() {
        let names = [
            "PARLEY_LOG",
            "PARLEY_LGO",
            "PARLEY_API_SERVICE_HOST",
            "PARLEY_API_PORT_80_TCP_ADDR",
            "PATH",
        ];
        assert_eq!(unknown::<Settings>(names.map(String::from).into_iter()), ["PARLEY_LGO"]);
    }

    #[test]
    fn help_is_no_error_and_names_the_variables() {
        let asked = read_from::<Settings>(["test", "--help"].map(Into::into)).unwrap_err();
        assert!(matches!(asked, NotRead::Asked(help) if help.contains("PARLEY_TEST_SECRET")));
    }
}
