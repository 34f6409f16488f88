use anyhow::Result;

use crate::home::{Home, shown};
use crate::process::Process;
use crate::prometheus;
use crate::rest;
use crate::say;
use crate::state::Run;

/// Says what runs; false when something that should run does not.
pub fn status(home: &Home) -> Result<bool> {
    let Some(run) = Run::of(home)? else {
        say::line("no cluster is up");
        return Ok(false);
    };
    let watching = Run::of(&prometheus::folder(home))?.unwrap_or_default();
    let mut all_well = true;
    for process in run.processes.iter().chain(&watching.processes) {
        let state = state(process);
        all_well &= state == "ready";
        let (name, pid) = (&process.name, process.pid);
        say::line(format_args!(
            "{name:<12}{state:<11}pid {pid:<9}{}",
            without_password(&process.url)
        ));
        if state != "ready" {
            say::line(format_args!("{:12}see {}", "", shown(&process.log)));
        }
    }
    Ok(all_well && !run.processes.is_empty())
}

fn state(process: &Process) -> &'static str {
    match &process.admin {
        _ if !process.is_alive() => "down",
        Some(admin) if !rest::is_ok(&format!("{admin}/readyz")) => "not ready",
        _ => "ready",
    }
}

/// A URL as it may be shown on a screen that others see.
pub(crate) fn without_password(url: &str) -> String {
    match (url.split_once("://"), url.rsplit_once('@')) {
        (Some((scheme, _)), Some((_, rest))) => format!("{scheme}://{rest}"),
        _ => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn passwords_are_not_shown() {
        let shown = super::without_password("postgres://parley:secret@127.0.0.1:1/parley");
        assert_eq!(shown, "postgres://127.0.0.1:1/parley");
        assert_eq!(super::without_password("nats://127.0.0.1:2"), "nats://127.0.0.1:2");
    }
}
