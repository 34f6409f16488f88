//! What is to be shown of delivery, each as a scenario of its own: a crowd on two api pods and two gateways, one thing that
//! goes wrong, and the history checker's verdict.

pub mod api_death;
pub mod full_speed;
pub mod gateway_death;
pub mod jitter;
pub mod nats_cluster;
pub mod nats_outage;
pub mod planted;
pub mod removal;
pub mod rolling;
pub mod slow;
pub mod stalled;
pub mod upgrade;

use std::fmt::{self, Write};
use std::time::Duration;

use anyhow::Result;
use parley_local::{Cluster, say};

use crate::checker::{Verdict, Violated};
use crate::crowd::{Habits, Population};
use crate::results::{self, provenance};
use crate::stage::{Plan, SETTLE_WITHIN};
use crate::window::percentile;

/// The load that most of them have: 1 000 clients in 50 rooms of 20, each cut about every 15 s and away for 2 s; 200
/// messages a second in all.
fn jittering(name: &'static str, command: String, chats: u16) -> Plan {
    Plan {
        name,
        command,
        population: Population {
            chats: chats.into(),
            members: 20,
            outsiders: 10,
            visitors: 0,
            hall: 0,
        },
        habits: Habits {
            cut_every: Some(Duration::from_secs(15)),
            away: Duration::from_secs(2),
            senders: 2 * usize::from(chats),
            rate: Some(4.0 * f64::from(chats)),
            ..Habits::default()
        },
        settle_within: SETTLE_WITHIN,
    }
}

/// A load whose clients stay where they are: rooms of 20, 4 messages a second each.
fn steady(name: &'static str, chats: u16) -> Plan {
    Plan {
        name,
        command: format!("cargo parley bench {name} --chats {chats}"),
        population: Population {
            chats: chats.into(),
            members: 20,
            outsiders: 0,
            visitors: 0,
            hall: 0,
        },
        habits: Habits {
            senders: 2 * usize::from(chats),
            rate: Some(4.0 * f64::from(chats)),
            ..Habits::default()
        },
        settle_within: SETTLE_WITHIN,
    }
}

/// Stops the cluster and says how it went: the verdict in the last line. What else a scenario wants to see is its demand.
pub(crate) fn end((verdict, cluster): (Verdict, Cluster), demands: &[(bool, String)]) -> bool {
    // Before the last line is written: a cluster that stops badly says so.
    drop(cluster);
    say::line(format_args!("\n{}", verdict.report()));
    for (met, demand) in demands {
        say::line(format_args!("{}: {demand}", if *met { "met" } else { "NOT MET" }));
    }
    let unmet = demands.iter().filter(|(met, _)| !met).count();
    if unmet > 0 {
        say::line(format_args!("{}; {unmet} demands not met", verdict.line()));
    } else {
        say::line(verdict.line());
    }
    verdict.is_clean() && unmet == 0
}

/// The middle and the worst but one of a hundred, and the worst, of some times in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Times {
    middle: u32,
    most: u32,
    worst: u32,
}

impl Times {
    fn of(mut times: Vec<u32>) -> Self {
        times.sort_unstable();
        let worst = times.last().copied().unwrap_or(0);
        Self { middle: percentile(&times, 50), most: percentile(&times, 99), worst }
    }
}

impl fmt::Display for Times {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [middle, most, worst] =
            [self.middle, self.most, self.worst].map(|time| f64::from(time) / 1000.0);
        write!(f, "p50 {middle:.1} ms, p99 {most:.1} ms, at most {worst:.1} ms")
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

/// How many connections ended before the end, by whatever cause.
fn ended_early(verdict: &Verdict) -> u64 {
    let closed = verdict.counts.closed.iter().filter(|(why, _)| *why != "over");
    closed.map(|(_, count)| count).sum()
}

/// A scenario's section in `RESULTS.md`: what was run, when, its table if it has one, and what was demanded.
pub(crate) fn write_results(
    name: &str,
    command: &str,
    table: &str,
    verdict: &Verdict,
    demands: &[(bool, String)],
) -> Result<()> {
    let mut text = format!("`{command}`\n\n{}\n\n", provenance());
    if !table.is_empty() {
        let _ = writeln!(text, "{table}\n");
    }
    for (met, demand) in demands {
        let _ = writeln!(text, "- {}: {demand}", if *met { "met" } else { "NOT MET" });
    }
    let counts = &verdict.counts;
    let _ = writeln!(
        text,
        "- {}: {} messages, {} deliveries, {} connections; lost {}, twice {}, out of order {}, leaked {}",
        verdict.line(),
        counts.rows,
        counts.deliveries,
        counts.connections,
        verdict.of(Violated::Lost),
        verdict.of(Violated::Twice),
        verdict.of(Violated::OutOfOrder),
        verdict.of(Violated::Leaked),
    );
    results::write(name, &text)
}

/// A time, for a demand.
fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The longest of some times.
fn longest(times: impl IntoIterator<Item = Duration>) -> Result<Duration> {
    times.into_iter().max().ok_or_else(|| anyhow::anyhow!("nothing was measured"))
}
