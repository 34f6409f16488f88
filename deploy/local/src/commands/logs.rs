use std::process::Command;

use anyhow::{Result, bail};

use crate::home::{Home, shown};
use crate::interrupt::Interrupt;
use crate::process::run;

/// Shows the last lines of one log, or of all; with `follow`, what comes too.
pub fn logs(home: &Home, pod: Option<&str>, follow: bool, interrupt: &Interrupt) -> Result<bool> {
    let names = names(home);
    if names.is_empty() {
        bail!("there are no logs in {}", shown(&home.logs()));
    }
    if let Some(pod) = pod
        && !names.iter().any(|name| name == pod)
    {
        bail!("there is no log of {pod}: there are {}", names.join(", "));
    }
    let wanted = names.iter().filter(|name| pod.is_none_or(|pod| pod == name.as_str()));
    let mut tail = Command::new("tail");
    tail.args(["-n", if pod.is_some() { "100" } else { "10" }]);
    if follow {
        tail.arg("-f");
    }
    tail.args(wanted.map(|name| home.log(name)));
    let ended = run(&mut tail, interrupt);
    // Ctrl-C is how following ends.
    if interrupt.asked() { Ok(true) } else { Ok(ended?.success()) }
}

fn names(home: &Home) -> Vec<String> {
    let entries = std::fs::read_dir(home.logs()).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".log").map(str::to_owned))
        .collect();
    names.sort();
    names
}
