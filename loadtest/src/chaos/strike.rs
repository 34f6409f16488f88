//! How a fault is done. One that cannot be is an error.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::disk::Disk;
use super::kinds::{Action, Kind, Part};
use super::schedule::Fault;
use super::ways::Ways;
use crate::stage::Stage;

/// Cut connections come back within a while; by then those of clients with other tokens are there.
const COME_BACK: Duration = Duration::from_secs(5);

/// What a whole cluster has for faults that a small one does not.
pub(crate) struct Ground {
    pub(crate) ways: Ways,
    /// If it is to be full at times.
    pub(crate) disk: Option<Disk>,
}

/// Does it, and lets it pass.
pub(crate) fn strike(stage: &mut Stage, ground: Option<&Ground>, fault: &Fault) -> Result<()> {
    let number = stage.fault_begins(&fault.to_string());
    match fault.kind {
        Kind::Cut => stage.crowd.cut(fault.percent),
        Kind::To(action, part) => to(stage, ground, fault, (action, part))?,
        Kind::Flush => flush(&stage.cluster.description().redis.url)?,
        Kind::Skew => skew(stage, fault)?,
        Kind::Fill => {
            let disk =
                ground.and_then(|ground| ground.disk.as_ref()).context("there is no disk")?;
            disk.fill()?;
            let passed = stage.pass(fault.lasts);
            disk.empty()?;
            passed?;
        }
        Kind::Pause => pause(stage, fault.lasts)?,
    }
    stage.fault_ends(number);
    Ok(())
}

fn to(
    stage: &mut Stage,
    ground: Option<&Ground>,
    fault: &Fault,
    (action, part): (Action, Part),
) -> Result<()> {
    let name = fault.process().context("a part without a process")?;
    match action {
        Action::Kill => {
            stage.cluster.kill(&name)?;
            stage.pass(fault.lasts)?;
            stage.restart(&name)
        }
        Action::Restart => {
            stage.cluster.terminate(&name)?;
            stage.restart(&name)
        }
        Action::Hang => {
            let frozen = stage.cluster.freeze(&name)?;
            let passed = stage.pass(fault.lasts);
            drop(frozen);
            passed?;
            stage.wait_ready(&name)
        }
        Action::Outage => {
            let all = all(stage, part)?;
            for name in &all {
                stage.cluster.kill(name)?;
            }
            stage.pass(fault.lasts)?;
            all.iter().try_for_each(|name| stage.restart(name))
        }
        Action::Roll => all(stage, part)?.iter().try_for_each(|name| {
            stage.cluster.terminate(name)?;
            stage.restart(name)
        }),
        Action::Delay | Action::Silence => {
            let ways = &ground.context("there are no wires")?.ways;
            on_the_way(stage, ways, fault, (action, part))
        }
    }
}

/// The processes of a part, of which there are several.
fn all(stage: &Stage, part: Part) -> Result<Vec<String>> {
    let prefix = format!("{part}-");
    let names = stage.cluster.processes().iter().map(|process| process.name.clone());
    let names: Vec<_> = names.filter(|name| name.starts_with(&prefix)).collect();
    ensure!(names.len() > 1, "there are not several of {part}");
    Ok(names)
}

fn on_the_way(
    stage: &Stage,
    ways: &Ways,
    fault: &Fault,
    (action, part): (Action, Part),
) -> Result<()> {
    let wires = ways.to(part, fault.pod)?;
    let open: usize = wires.iter().map(|wire| wire.open()).sum();
    ensure!(open > 0, "there is no connection on the way to {part}");
    let delay = Duration::from_millis(fault.millis.unsigned_abs());
    for wire in &wires {
        if action == Action::Delay {
            wire.delay(delay);
        } else {
            wire.fall_silent();
        }
    }
    let passed = stage.pass(fault.lasts);
    for wire in &wires {
        wire.delay(Duration::ZERO);
        wire.break_silence();
    }
    passed
}

fn flush(redis: &str) -> Result<()> {
    let address = redis.trim_start_matches("redis://");
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(b"FLUSHALL\r\n")?;
    let mut answer = [0; 3];
    stream.read_exact(&mut answer).context("redis does not flush")?;
    ensure!(&answer == b"+OK", "redis does not flush: {}", String::from_utf8_lossy(&answer));
    Ok(())
}

/// Some clients come with tokens of a clock that is wrong by less than the leeway, and members ask with such ones.
fn skew(stage: &Stage, fault: &Fault) -> Result<()> {
    let before = stage.crowd.skewed();
    stage.crowd.skew(fault.millis);
    stage.crowd.cut(fault.percent);
    let passed = stage.pass(fault.lasts.max(COME_BACK));
    stage.crowd.skew(0);
    passed?;
    ensure!(stage.crowd.skewed() > before, "nobody came with a token of another clock");
    Ok(())
}

fn pause(stage: &Stage, lasts: Duration) -> Result<()> {
    stage.crowd.pause(true);
    let some = stage.wait(lasts, || Ok(stage.crowd.paused() > 0));
    let passed = stage.pass(lasts);
    stage.crowd.pause(false);
    passed?;
    if !some? {
        bail!("there is no client that stops reading");
    }
    Ok(())
}
