//! What every `main` does: settings, logs, work, exit status.

use std::future::Future;
use std::io::{self, Write};
use std::num::NonZero;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use tokio::runtime::{Builder, Runtime};

use crate::lifecycle::Ending;
use crate::settings::{self, NotRead, ProcessSettings};
use crate::{telemetry, trace};

/// Exit status of a process whose settings are wrong.
pub const EXIT_SETTINGS: u8 = 2;
/// Exit status of a process that could not start, or broke.
pub const EXIT_FAILED: u8 = 1;

/// How long the end of the process waits for the last spans to be sent.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// A service's settings: it holds the common section and can be tested without starting anything.
pub trait Settings: Parser {
    /// The common section.
    fn process(&self) -> &ProcessSettings;

    /// What the types of the fields cannot say. The error's text begins with the setting's name.
    fn check(&self) -> anyhow::Result<()>;
}

/// Reads the settings, then runs `work` to its end. Whatever goes wrong before or in it is one line on standard
/// error and an exit status, never a backtrace.
pub fn run<S, F, Fut>(work: F) -> ExitCode
where
    S: Settings,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = anyhow::Result<Ending>>,
{
    let service = S::command().get_name().to_owned();
    let settings = match settings::read::<S>() {
        Ok(settings) => settings,
        Err(NotRead::Asked(text)) => {
            let _ = write!(std::io::stdout(), "{text}");
            return ExitCode::SUCCESS;
        }
        Err(NotRead::Wrong(line)) => return fail(&service, &line, EXIT_SETTINGS),
    };
    let process = settings.process();
    let checked = telemetry::check(process).and_then(|()| process.check());
    if let Err(error) = checked.and_then(|()| settings.check()) {
        return fail(&service, &format!("{error:#}"), EXIT_SETTINGS);
    }
    if settings.process().check {
        let _ = writeln!(std::io::stdout(), "{service}: the settings are good");
        return ExitCode::SUCCESS;
    }
    match start(service.clone(), settings, work) {
        Ok(Ending::Clean) => ExitCode::SUCCESS,
        Ok(Ending::Forced) => ExitCode::from(EXIT_FAILED),
        Err(error) => fail(&service, &format!("{error:#}"), EXIT_FAILED),
    }
}

fn start<S, F, Fut>(service: String, settings: S, work: F) -> anyhow::Result<Ending>
where
    S: Settings,
    F: FnOnce(S) -> Fut,
    Fut: Future<Output = anyhow::Result<Ending>>,
{
    telemetry::start(service, settings.process())?;
    let variables = std::env::vars_os().map(|(name, _)| name.to_string_lossy().into_owned());
    for name in settings::unknown::<S>(variables) {
        tracing::warn!(name, "there is no such setting; --help lists them");
    }
    // Several of our libraries use TLS and would otherwise each have to be told which implementation.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let runtime = runtime(settings.process().workers).context("start the async runtime")?;
    let ending = runtime.block_on(work(settings));
    // What a hard stop left running must not hold the process.
    runtime.shutdown_background();
    trace::stop(LAST_SPANS);
    ending
}

/// With so many workers; 0: one for each core. One alone needs nothing of what several share, and a wake-up costs it less.
fn runtime(workers: u16) -> io::Result<Runtime> {
    let workers = match workers {
        0 => thread::available_parallelism().map_or(1, NonZero::get),
        workers => usize::from(workers),
    };
    let mut builder =
        if workers == 1 { Builder::new_current_thread() } else { Builder::new_multi_thread() };
    if workers > 1 {
        builder.worker_threads(workers);
    }
    builder.enable_all().build()
}

fn fail(service: &str, line: &str, status: u8) -> ExitCode {
    let line = line.replace('\n', " ");
    let _ = writeln!(std::io::stderr(), "{service}: {line}");
    ExitCode::from(status)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_workers_as_were_asked_for() {
        for wanted in [1, 2, 3] {
            let runtime = runtime(wanted).unwrap();
            assert_eq!(runtime.metrics().num_workers(), usize::from(wanted));
            // With timers and sockets, whichever kind it is.
            runtime.block_on(async {
                tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            });
        }
        let cores = thread::available_parallelism().unwrap().get();
        assert_eq!(runtime(0).unwrap().metrics().num_workers(), cores);
    }
}
