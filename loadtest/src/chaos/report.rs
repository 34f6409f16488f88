//! What is demanded of a run on a whole cluster, and what is told of it.

use std::collections::HashMap;
use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;
use parley_local::Cluster;

use super::Arguments;
use super::kinds::{Kind, Kinds};
use crate::checker::{Recovery, Verdict, Violated};
use crate::results::{self, provenance};
use crate::scenarios::delivery::end;

/// After each fault's end, everybody is to be whole this soon.
const WHOLE_WITHIN: Duration = Duration::from_secs(5);
/// Of the messages that are wanted in each second so many are to be acknowledged over the whole run, faults and all.
const ACKNOWLEDGED: f64 = 0.7;

/// What is not in the history.
pub(crate) struct Run {
    /// Of each fault that the history has, in order: its kind, or none if nobody wanted it.
    pub(crate) kinds: Vec<Option<Kind>>,
    /// How many there were just before each fault.
    pub(crate) connections: Vec<usize>,
    /// From the first message to the last.
    pub(crate) took: Duration,
    wanted: Kinds,
    rate: f64,
    members: usize,
}

/// How a kind of fault was survived: whole after so many microseconds; none for what never was.
type Course = Vec<Option<u64>>;

impl Run {
    pub(crate) fn new(arguments: &Arguments) -> Self {
        Self {
            kinds: Vec::new(),
            connections: Vec::new(),
            took: Duration::ZERO,
            wanted: arguments.faults.clone(),
            rate: arguments.rate().into(),
            members: usize::from(arguments.chats()) * 20 + usize::from(arguments.hall),
        }
    }

    /// Tells everything, and says whether it was good.
    pub(crate) fn end(
        &self,
        (verdict, cluster): (Verdict, Cluster),
        arguments: &Arguments,
    ) -> Result<bool> {
        let table = self.table(&verdict);
        let demands = self.demands(&verdict);
        parley_local::say::line(format_args!("\n{table}\nagain: {}", arguments.command()));
        if arguments.write {
            let text = section(&arguments.command(), &table, &verdict, &demands);
            results::write_part("chaos", &format!("Seed {}", arguments.seed), &text)?;
        }
        Ok(end((verdict, cluster), &demands))
    }

    fn courses(&self, recoveries: &[Recovery]) -> HashMap<Kind, Course> {
        let mut courses: HashMap<Kind, Course> = HashMap::new();
        for (kind, recovery) in self.kinds.iter().zip(recoveries) {
            if let Some(kind) = kind {
                courses.entry(*kind).or_default().push(recovery.took);
            }
        }
        courses
    }

    /// One line for each kind.
    fn table(&self, verdict: &Verdict) -> String {
        let courses = self.courses(&verdict.recoveries);
        let mut text =
            "| fault | times | whole after, s: middle | at most |\n| --- | --- | --- | --- |\n"
                .to_owned();
        for kind in &self.wanted.0 {
            let mut course = courses.get(kind).cloned().unwrap_or_default();
            // What never was whole again is the worst.
            course.sort_unstable_by_key(|took| took.unwrap_or(u64::MAX));
            let shown = |took: Option<&Option<u64>>| match took {
                None => "–".to_owned(),
                Some(None) => "never".to_owned(),
                Some(Some(took)) => format!("{:.2}", Duration::from_micros(*took).as_secs_f64()),
            };
            let (middle, most) = (shown(course.get(course.len() / 2)), shown(course.last()));
            let _ = writeln!(text, "| {kind} | {} | {middle} | {most} |", course.len());
        }
        text
    }

    fn demands(&self, verdict: &Verdict) -> Vec<(bool, String)> {
        let courses = self.courses(&verdict.recoveries);
        let missing: Vec<_> =
            self.wanted.0.iter().filter(|kind| !courses.contains_key(kind)).collect();
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        let none = if missing.is_empty() { "none".to_owned() } else { missing.join(", ") };
        let unwanted = self.kinds.iter().filter(|kind| kind.is_none()).count();
        let most = self.connections.iter().max().copied().unwrap_or(0);
        let least = self.connections.iter().min().copied().unwrap_or(0);
        let members = self.members;
        let mut demands = vec![
            (
                // Of some kinds only, a short run may well have fewer.
                missing.is_empty() || !self.wanted.are_all(),
                format!("{} faults; kinds of faults that never happened: {none}", self.kinds.len()),
            ),
            self.soon(&verdict.recoveries),
            self.acknowledged(verdict),
            (
                most >= members,
                format!(
                    "{members} members; from {least} to {most} connections were open before a fault"
                ),
            ),
            (unwanted == 0, format!("{unwanted} processes ended by themselves")),
        ];
        let wrong = verdict.counts.answers.get(&500).copied().unwrap_or(0);
        demands.push((
            wrong == 0,
            format!("{wrong} answers were 500, which is nobody's fault but Parley's"),
        ));
        demands.push(Self::mixed(verdict));
        demands
    }

    /// Nobody waits for long.
    fn soon(&self, recoveries: &[Recovery]) -> (bool, String) {
        let late =
            |it: &&Recovery| it.took.is_none_or(|took| Duration::from_micros(took) > WHOLE_WITHIN);
        let late: Vec<_> = recoveries.iter().filter(late).map(|it| it.what.as_str()).collect();
        let worst = recoveries.iter().filter_map(|it| it.took).max().unwrap_or(0);
        let said = format!(
            "everybody whole {:.2} s after a fault's end at the latest; later than {} s after {} of {} faults",
            Duration::from_micros(worst).as_secs_f64(),
            WHOLE_WITHIN.as_secs(),
            late.len(),
            recoveries.len(),
        );
        let names = if late.is_empty() { String::new() } else { format!(": {}", late.join("; ")) };
        (late.is_empty() && recoveries.len() == self.kinds.len(), said + &names)
    }

    fn acknowledged(&self, verdict: &Verdict) -> (bool, String) {
        #[expect(clippy::cast_precision_loss, reason = "there are not that many messages")]
        let rate = verdict.counts.rows as f64 / self.took.as_secs_f64();
        let text = format!(
            "{rate:.0} messages/s were committed over {:.0} s, faults and all, of {} that were wanted",
            self.took.as_secs_f64(),
            self.rate
        );
        (rate >= ACKNOWLEDGED * self.rate && verdict.counts.given_up == 0, text)
    }

    /// What goes on beside the faults.
    fn mixed(verdict: &Verdict) -> (bool, String) {
        let counts = &verdict.counts;
        let all = [
            (counts.removals, "removed"),
            (counts.revocations, "with revoked tokens"),
            (counts.expiries, "connections with tokens that expire"),
            (counts.refused, "outsiders and others refused"),
            (counts.files, "files"),
            (counts.reads, "readings"),
            (counts.unread, "counts of what is unread"),
        ];
        let said: Vec<_> = all.iter().map(|(count, what)| format!("{count} {what}")).collect();
        (all.iter().all(|(count, _)| *count > 0), format!("in the mix: {}", said.join(", ")))
    }
}

/// What `RESULTS.md` has of a seed.
fn section(command: &str, table: &str, verdict: &Verdict, demands: &[(bool, String)]) -> String {
    let mut text = format!("`{command}`\n\n{}\n\n", provenance());
    for (met, demand) in demands {
        let _ = writeln!(text, "- {}: {demand}", if *met { "met" } else { "NOT MET" });
    }
    let counts = &verdict.counts;
    let _ = writeln!(
        text,
        "- {}: {} messages, {} deliveries, {} connections; lost {}, twice {}, out of order {}, leaked {}, wrong counts of \
        what is unread {}\n\n{table}",
        verdict.line(),
        counts.rows,
        counts.deliveries,
        counts.connections,
        verdict.of(Violated::Lost),
        verdict.of(Violated::Twice),
        verdict.of(Violated::OutOfOrder),
        verdict.of(Violated::Leaked) + verdict.of(Violated::Outlived),
        verdict.of(Violated::Unread),
    );
    let _ = writeln!(
        text,
        "<details><summary>The schedule, and how long until all were whole</summary>\n\n```"
    );
    for Recovery { what, begun, took, .. } in &verdict.recoveries {
        let [begun, took] = [Some(*begun), *took]
            .map(|micros| micros.map(|it| Duration::from_micros(it).as_secs_f64()));
        let took = took.map_or_else(|| "never".to_owned(), |took| format!("{took:.2} s"));
        let _ = writeln!(text, "{:7.1} s  {what}: {took}", begun.unwrap_or_default());
    }
    text + "```\n\n</details>\n"
}
