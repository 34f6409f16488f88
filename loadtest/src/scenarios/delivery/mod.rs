//! What is to be shown of delivery, each as a scenario of its own: a crowd on two api pods and two gateways, one thing that
//! goes wrong, and the history checker's verdict.

pub mod api_death;
pub mod full_speed;
pub mod gateway_death;
pub mod jitter;
pub mod nats_outage;
pub mod planted;

use std::time::Duration;

use anyhow::Result;
use parley_local::{Cluster, say};

use crate::checker::Verdict;
use crate::crowd::{Habits, Population};
use crate::stage::{Plan, SETTLE_WITHIN};

/// The load that most of them have: 1 000 clients in 50 rooms of 20, each cut about every 15 s and away for 2 s; 200
/// messages a second in all.
fn jittering(name: &'static str, command: String, chats: u16) -> Plan {
    Plan {
        name,
        command,
        population: Population { chats: chats.into(), members: 20, outsiders: 10 },
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

/// Stops the cluster and says how it went: the verdict in the last line. What else a scenario wants to see is its demand.
fn end((verdict, cluster): (Verdict, Cluster), demands: &[(bool, String)]) -> bool {
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

/// A time, for a demand.
fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// The longest of some times.
fn longest(times: impl IntoIterator<Item = Duration>) -> Result<Duration> {
    times.into_iter().max().ok_or_else(|| anyhow::anyhow!("nothing was measured"))
}
