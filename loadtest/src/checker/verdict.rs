//! What the checker says.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Violations whose evidence is kept; the others are counted.
const KEPT: usize = 20;

/// A way in which a history is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    NotDurable,
    TwoMessages,
    Invented,
    Twice,
    OutOfOrder,
    Unjoined,
    Lost,
    Refused,
    Absent,
    Hole,
    Leaked,
    Outlived,
    Damaged,
    Unread,
}

impl Fault {
    /// The invariant, and what became of it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::NotDurable => "I1 answered and not there",
            Self::TwoMessages => "I2 one key, two messages",
            Self::Invented => "I2 never sent and there",
            Self::Twice => "I3 twice",
            Self::OutOfOrder => "I3 out of order",
            Self::Unjoined => "I3 heard before the join's answer",
            Self::Lost => "I4 lost",
            Self::Refused => "I4 a member was refused",
            Self::Absent => "I4 a client never came in",
            Self::Hole => "I5 a hole",
            Self::Leaked => "I6 leaked",
            Self::Outlived => "I6 leaked after the end of a token",
            Self::Damaged => "I1 a file that is not what was sent",
            Self::Unread => "I7 a wrong count of what is unread",
        }
    }
}

/// How much there was of everything.
#[derive(Debug, Default, Clone)]
pub(crate) struct Counts {
    pub(crate) clients: u64,
    pub(crate) sends: u64,
    pub(crate) tries: u64,
    pub(crate) answers: BTreeMap<u16, u64>,
    pub(crate) unanswered: u64,
    pub(crate) given_up: u64,
    pub(crate) rows: u64,
    pub(crate) connections: u64,
    pub(crate) joins: u64,
    pub(crate) resumes: u64,
    pub(crate) joined: u64,
    pub(crate) refused: u64,
    pub(crate) deliveries: u64,
    pub(crate) resyncs_at_join: u64,
    pub(crate) resyncs_told: BTreeMap<String, u64>,
    pub(crate) reloads: u64,
    pub(crate) closed: BTreeMap<String, u64>,
    pub(crate) turned_away: u64,
    pub(crate) removals: u64,
    pub(crate) revocations: u64,
    /// Connections whose tokens were to expire.
    pub(crate) expiries: u64,
    pub(crate) reads: u64,
    pub(crate) files: u64,
    /// Counts of unread messages that were asked for.
    pub(crate) unread: u64,
}

/// A violation, with what shows it.
#[derive(Debug, Clone)]
pub(crate) struct Violation {
    pub(crate) fault: Fault,
    pub(crate) at: u64,
    pub(crate) text: String,
}

/// How a fault was survived; times in microseconds.
#[derive(Debug, Clone)]
pub(crate) struct Recovery {
    pub(crate) what: String,
    pub(crate) begun: u64,
    pub(crate) lasted: u64,
    /// From its end until every client was whole; `None` if one never was.
    pub(crate) took: Option<u64>,
}

/// The judgement of a history.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) command: String,
    pub(crate) counts: Counts,
    /// Counters of pods, by name and pod.
    pub(crate) counters: BTreeMap<(String, String), u64>,
    pub(crate) recoveries: Vec<Recovery>,
    totals: BTreeMap<Fault, u64>,
    first: Vec<Violation>,
}

impl Verdict {
    pub(super) fn add(&mut self, fault: Fault, at: u64, text: String) {
        let total = self.totals.entry(fault).or_default();
        *total += 1;
        if *total <= KEPT as u64 {
            self.first.push(Violation { fault, at, text });
        }
    }

    pub(super) fn sort(&mut self) {
        self.first.sort_by_key(|violation| violation.at);
    }

    /// How many of one kind.
    pub(crate) fn of(&self, fault: Fault) -> u64 {
        self.totals.get(&fault).copied().unwrap_or(0)
    }

    /// How many of all kinds.
    pub(crate) fn violations(&self) -> u64 {
        self.totals.values().sum()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.violations() == 0
    }

    /// A counter's value with this label, summed over the pods; `None` if no pod has the counter, with whatever label.
    pub(crate) fn counter(&self, name: &str, label: &str) -> Option<u64> {
        let mut all = self.counters.iter().filter(|((it, _), _)| it.starts_with(name)).peekable();
        all.peek()?;
        Some(all.filter(|((it, _), _)| it.contains(label)).map(|(_, value)| *value).sum())
    }

    /// Everything but the last line.
    pub(crate) fn report(&self) -> String {
        let Counts { clients, sends, tries, rows, unanswered, given_up, .. } = self.counts;
        let Counts { connections, joins, resumes, refused, deliveries, reloads, .. } = self.counts;
        let list = |map: &BTreeMap<String, u64>| {
            let items: Vec<_> = map.iter().map(|(word, count)| format!("{word} {count}")).collect();
            if items.is_empty() { "none".to_owned() } else { items.join(", ") }
        };
        let answers =
            self.counts.answers.iter().map(|(status, count)| (status.to_string(), *count));
        let mut text = format!(
            "{sends} requests in {tries} tries: answers {}, without an answer {unanswered}, given up {given_up}; \
            {rows} messages in Postgres\n\
            {clients} clients, {connections} connections, {joins} joins ({resumes} with a position, {refused} refused), \
            {deliveries} deliveries\n\
            lost {}, twice {}, out of order {}; resyncs {} at joins, told {}; {reloads} reloads\n\
            connections ended: {}\n",
            list(&answers.collect()),
            self.of(Fault::Lost),
            self.of(Fault::Twice),
            self.of(Fault::OutOfOrder),
            self.counts.resyncs_at_join,
            list(&self.counts.resyncs_told),
            list(&self.counts.closed),
        );
        self.tell_others(&mut text);
        self.tell_counters(&mut text);
        self.tell_recoveries(&mut text);
        for Violation { fault, at, text: evidence } in self.first.iter().take(KEPT) {
            let _ =
                writeln!(text, "violation at {:.3} s: {}: {evidence}", seconds(*at), fault.name());
        }
        for (fault, count) in &self.totals {
            let _ = writeln!(text, "{}: {count}", fault.name());
        }
        text
    }

    fn tell_others(&self, text: &mut String) {
        let Counts { removals, revocations, expiries, reads, files, unread, .. } = self.counts;
        if removals + revocations + expiries + reads + files + unread > 0 {
            let _ = writeln!(
                text,
                "{removals} removed, {revocations} with revoked tokens, {expiries} connections with tokens that expire; \
                {files} files, {reads} readings, {unread} counts of what is unread"
            );
        }
    }

    fn tell_counters(&self, text: &mut String) {
        let mut by_name: BTreeMap<&str, u64> = BTreeMap::new();
        for ((name, _), value) in &self.counters {
            *by_name.entry(name).or_default() += value;
        }
        for (name, value) in by_name {
            let _ = writeln!(text, "{name} {value}");
        }
    }

    fn tell_recoveries(&self, text: &mut String) {
        for Recovery { what, begun, lasted, took } in &self.recoveries {
            let took = took.map_or_else(
                || "never whole again".to_owned(),
                |took| format!("whole again {:.2} s after its end", seconds(took)),
            );
            let (begun, lasted) = (seconds(*begun), seconds(*lasted));
            let _ = writeln!(text, "fault at {begun:.1} s: {what}, {lasted:.2} s: {took}");
        }
        let mut times: Vec<u64> = self.recoveries.iter().filter_map(|it| it.took).collect();
        times.sort_unstable();
        if let (Some(middle), Some(longest)) = (times.get(times.len() / 2), times.last()) {
            let (middle, longest) = (seconds(*middle), seconds(*longest));
            let _ = writeln!(
                text,
                "{} of {} faults recovered from: in the middle {middle:.2} s, at most {longest:.2} s after their end",
                times.len(),
                self.recoveries.len()
            );
        }
    }

    /// The last line.
    pub(crate) fn line(&self) -> String {
        match self.violations() {
            0 => "verdict: clean".to_owned(),
            1 => "verdict: 1 violation".to_owned(),
            many => format!("verdict: {many} violations"),
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "a run is shorter than a century")]
pub(crate) fn seconds(micros: u64) -> f64 {
    micros as f64 / 1e6
}
