//! One chat: what its senders were answered, what Postgres has, and who has reloaded it.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::RangeInclusive;

use super::unread::Readings;
use super::verdict::{Fault, Verdict};

/// A chat.
#[derive(Debug, Default)]
pub(super) struct Chat {
    id: String,
    /// What the answers to each key said: the message, its version, when.
    answers: HashMap<String, Vec<(String, u64, u64)>>,
    /// When good answers came, and the highest version that any had brought by then.
    answered: Vec<(u64, u64)>,
    /// Tries of each key.
    tries: HashMap<String, u64>,
    /// How many were to be added.
    adding: u64,
    version: u64,
    seq: u64,
    rows: Vec<Row>,
    /// Versions that Postgres has: each of them must be heard.
    durable: BTreeSet<u64>,
    /// Versions that somebody was told of.
    known: BTreeSet<u64>,
    /// Who is no participant any more, and from which version on.
    removed: HashMap<String, u64>,
    /// The file that goes with each key, by its sum.
    uploads: HashMap<String, u64>,
    /// The file of each message, as it is given out.
    files: HashMap<String, u64>,
    /// What members have read.
    readings: Readings,
    /// What each client has reloaded, when.
    reloads: HashMap<u32, Vec<(u64, u64)>>,
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) seq: u64,
    pub(super) version: u64,
    pub(super) changed: Option<u64>,
    pub(super) id: String,
    pub(super) key: String,
    pub(super) author: String,
    pub(super) deleted: bool,
}

impl Chat {
    pub(super) fn new(id: String) -> Self {
        Self { id, ..Self::default() }
    }

    pub(super) fn asked(&mut self, key: &str) {
        *self.tries.entry(key.to_owned()).or_default() += 1;
    }

    pub(super) fn adding(&mut self) {
        self.adding += 1;
    }

    /// A good answer; says so when it contradicts an earlier one.
    pub(super) fn answered(
        &mut self,
        at: u64,
        key: &str,
        message: String,
        version: u64,
    ) -> Option<String> {
        let highest = self.answered.last().map_or(0, |(_, version)| *version);
        self.answered.push((at, highest.max(version)));
        let answers = self.answers.entry(key.to_owned()).or_default();
        let other = answers.iter().find(|(other, ..)| *other != message);
        let wrong = other.map(|(other, ..)| format!("{key} is {other} and {message}"));
        answers.push((message, version, at));
        wrong
    }

    pub(super) fn is_known(&mut self, version: u64) {
        self.known.insert(version);
    }

    pub(super) fn reloaded(&mut self, client: u32, at: u64, version: u64) {
        self.reloads.entry(client).or_default().push((at, version));
    }

    pub(super) fn head(&mut self, version: u64, seq: u64) {
        (self.version, self.seq) = (version, seq);
    }

    pub(super) fn row(&mut self, row: Row) {
        self.durable.extend([Some(row.version), row.changed].into_iter().flatten());
        self.rows.push(row);
    }

    pub(super) fn uploads(&mut self, key: String, sum: u64) {
        self.uploads.insert(key, sum);
    }

    pub(super) fn file(&mut self, message: String, sum: u64) {
        self.files.insert(message, sum);
    }

    pub(super) fn may_have_read(&mut self, client: u32, seqs: Vec<u64>) {
        self.readings.of(client).perhaps.extend(seqs);
    }

    pub(super) fn has_read(&mut self, client: u32, seqs: Vec<u64>) {
        self.readings.of(client).surely.extend(seqs);
    }

    pub(super) fn is_told_unread(&mut self, client: u32, count: u64) {
        self.readings.told.insert(client, count);
    }

    /// How many messages who is told to have unread.
    pub(super) fn told_unread(&self) -> impl Iterator<Item = (&u32, &u64)> {
        self.readings.told.iter()
    }

    /// How many this client has unread: from, if all was read that it may have read, and to.
    pub(super) fn unread(&self, client: u32, user: &str) -> RangeInclusive<u64> {
        self.readings.unread(client, user, &self.rows)
    }

    pub(super) fn change(&mut self, version: u64) {
        self.durable.insert(version);
    }

    pub(super) fn removed(&mut self, user: String, version: u64) {
        self.removed.insert(user, version);
    }

    /// The version from which on this user is no participant any more.
    pub(super) fn left_at(&self, user: &str) -> Option<u64> {
        self.removed.get(user).copied()
    }

    /// What must be heard by whoever was here.
    pub(super) fn after(&self, version: u64) -> impl Iterator<Item = u64> {
        self.durable.range(version.saturating_add(1)..).copied()
    }

    /// The highest version that had been answered by then.
    pub(super) fn answered_by(&self, at: u64) -> u64 {
        let count = self.answered.partition_point(|(answered, _)| *answered <= at);
        count.checked_sub(1).map_or(0, |last| self.answered[last].1)
    }

    /// Up to where a client has reloaded; `None` if it never has.
    pub(super) fn reloaded_to(&self, client: u32) -> Option<u64> {
        self.reloads.get(&client)?.iter().map(|(_, version)| *version).max()
    }

    pub(super) fn reloads_of(&self, client: u32) -> &[(u64, u64)] {
        self.reloads.get(&client).map(Vec::as_slice).unwrap_or_default()
    }

    /// I1, I2 and I5, which need nobody but the chat itself.
    pub(super) fn decide(&self, number: u32, settled: u64, verdict: &mut Verdict) {
        self.durable_and_once(number, settled, verdict);
        self.intact(number, settled, verdict);
        self.dense(number, settled, verdict);
    }

    fn durable_and_once(&self, number: u32, settled: u64, verdict: &mut Verdict) {
        let mut by_key: HashMap<&str, Vec<&Row>> = HashMap::new();
        for row in &self.rows {
            by_key.entry(&row.key).or_default().push(row);
        }
        for (key, rows) in &by_key {
            if rows.len() > 1 {
                let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
                let text =
                    format!("chat {number}: {key} made {} messages: {}", ids.len(), ids.join(", "));
                verdict.add(Fault::TwoMessages, settled, text);
            }
            if !self.tries.contains_key(*key) {
                let text = format!("chat {number}: {key} was never sent, and is there");
                verdict.add(Fault::Invented, settled, text);
            }
        }
        let by_id: HashMap<&str, &Row> =
            self.rows.iter().map(|row| (row.id.as_str(), row)).collect();
        for (key, answers) in &self.answers {
            for (message, version, at) in answers {
                let row = by_id.get(message.as_str());
                // A later change stands for an earlier one.
                let has = |row: &&Row| row.version == *version || row.changed >= Some(*version);
                if !row.is_some_and(has) {
                    let text = format!(
                        "chat {number} ({}): {key} was answered with message {message} at version {version}, which Postgres \
                        does not have",
                        self.id
                    );
                    verdict.add(Fault::NotDurable, *at, text);
                }
            }
        }
    }

    /// A file that is there is what was sent, and is there as long as its message.
    fn intact(&self, number: u32, settled: u64, verdict: &mut Verdict) {
        for row in self.rows.iter().filter(|row| !row.deleted) {
            let (sent, given) = (self.uploads.get(&row.key), self.files.get(&row.id));
            if sent != given {
                let what = if given.is_none() { "is not there" } else { "has other bytes" };
                let text =
                    format!("chat {number}: the file of message {}, {}, {what}", row.id, row.key);
                verdict.add(Fault::Damaged, settled, text);
            }
        }
    }

    fn dense(&self, number: u32, settled: u64, verdict: &mut Verdict) {
        let mut rows: BTreeMap<u64, &Row> = BTreeMap::new();
        for row in &self.rows {
            if rows.insert(row.seq, row).is_some() {
                verdict.add(
                    Fault::Hole,
                    settled,
                    format!("chat {number}: seq {} is there twice", row.seq),
                );
            }
        }
        let mut before = 0;
        for (wanted, (seq, row)) in (1..).zip(&rows) {
            if *seq != wanted {
                let text = format!("chat {number}: seq {wanted} is missing before {seq}");
                verdict.add(Fault::Hole, settled, text);
                break;
            }
            if row.version <= before {
                let text =
                    format!("chat {number}: seq {seq} has version {}, after {before}", row.version);
                verdict.add(Fault::Hole, settled, text);
            }
            before = row.version;
        }
        if rows.last_key_value().map_or(0, |(seq, _)| *seq) != self.seq {
            let text = format!(
                "chat {number} says that its last seq is {}; it has {} messages",
                self.seq,
                rows.len()
            );
            verdict.add(Fault::Hole, settled, text);
        }
        let answered = self.answers.values().flatten().map(|(_, version, _)| *version);
        let known: BTreeSet<u64> =
            self.durable.iter().chain(&self.known).copied().chain(answered).collect();
        let holes = (1..=self.version).filter(|version| !known.contains(version)).count();
        // An edit or a delete that was tried again may have taken a version that nobody was told of, and that the next try
        // stands for; and so does the removal of a participant for the adding.
        let edits = self.tries.iter().filter(|(key, _)| key.starts_with(['e', 'd']));
        let silent: u64 = edits.map(|(_, tries)| tries - 1).sum();
        if holes as u64 > silent + self.adding {
            let text = format!(
                "chat {number}: {holes} of {} versions were taken by nothing",
                self.version
            );
            verdict.add(Fault::Hole, settled, text);
        }
        if let Some(beyond) = known.last().filter(|last| **last > self.version) {
            let text =
                format!("chat {number} stands at {}, and has version {beyond}", self.version);
            verdict.add(Fault::Hole, settled, text);
        }
    }
}
