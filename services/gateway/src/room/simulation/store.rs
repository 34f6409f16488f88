//! A chat in a database, as its log.

use std::collections::HashMap;
use std::sync::Arc;

use parley_domain::ids::UserId;
use parley_domain::version::{Epoch, Version};

use crate::room::{Answer, Came, Event, Standing};

/// Smaller than in life, so that they are reached.
const PAGE: usize = 4;
const MAX_MISSED: u64 = 60;
pub(super) const USERS: usize = 3;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Sent,
    /// The message that was sent at this version.
    Edited(u64),
    Added(usize),
    Removed(usize),
}

/// What a client is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) version: u64,
    pub(super) epoch: u64,
    pub(super) change: Change,
    /// The last change that it shows: a message is told as it is when it is read.
    pub(super) shows: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Store {
    pub(super) epoch: u64,
    /// The change of version 1, 2, 3 …
    pub(super) log: Vec<Change>,
    /// What became of earlier histories.
    pub(super) past: HashMap<u64, Vec<Change>>,
}

impl Store {
    pub(super) fn head(&self) -> Standing {
        Standing { version: Version(self.log.len() as u64), epoch: Epoch(self.epoch) }
    }

    /// Everybody is in at first.
    pub(super) fn is_in(&self, user: usize) -> bool {
        is_in(&self.log, user)
    }

    pub(super) fn history(&self, epoch: u64) -> &[Change] {
        if epoch == self.epoch { &self.log } else { &self.past[&epoch] }
    }

    pub(super) fn commit(&mut self, number: u32) -> Event<Told> {
        let choice = (number >> 8) as usize;
        let sent: Vec<u64> =
            (1..).zip(&self.log).filter(|(_, it)| **it == Change::Sent).map(|(v, _)| v).collect();
        let user = choice % USERS;
        let change = match number % 16 {
            0..4 if !sent.is_empty() => Change::Edited(sent[choice % sent.len()]),
            4..6 if self.is_in(user) => Change::Removed(user),
            4..8 if !self.is_in(user) => Change::Added(user),
            _ => Change::Sent,
        };
        self.log.push(change);
        self.event(self.log.len() as u64)
    }

    fn event(&self, version: u64) -> Event<Told> {
        let change = self.log[index(version) - 1];
        let removed = match change {
            Change::Removed(user) => Arc::from([user_id(user)]),
            _ => Arc::default(),
        };
        let shows = self.last_edit(version).unwrap_or(version);
        // Who was removed in between, and is not in now.
        let hidden_from = (0..USERS)
            .filter(|user| !self.is_in(*user))
            .filter(|user| self.log[index(version)..index(shows)].contains(&Change::Removed(*user)))
            .map(user_id)
            .collect();
        let (epoch, only) = (Epoch(self.epoch), Arc::default());
        let frame = Told { version, epoch: self.epoch, change, shows };
        let (version, came) = (Some(Version(version)), Came::CaughtUp);
        Event { version, epoch, removed, only, hidden_from, came, frame }
    }

    /// The last change of the message that was sent at this version.
    fn last_edit(&self, version: u64) -> Option<u64> {
        let of_it = |change: &Change| *change == Change::Edited(version);
        self.log.iter().rposition(of_it).map(|before| before as u64 + 1)
    }

    /// Forgets what came last, and goes on under another name.
    pub(super) fn restore(&mut self, number: u32) {
        self.past.insert(self.epoch, self.log.clone());
        let lost = (number as usize % 8).min(self.log.len());
        self.log.truncate(self.log.len() - lost);
        self.epoch += 1;
    }

    pub(super) fn missed(&self, since: u64, epoch: Option<Epoch>) -> Answer<Told> {
        let head = self.head();
        let other = epoch.is_some_and(|epoch| epoch != head.epoch);
        let behind = head.version.0.checked_sub(since).filter(|behind| *behind <= MAX_MISSED);
        if other || behind.is_none() {
            return Answer::Reload(head);
        }
        let versions = since + 1..=head.version.0;
        let mut told = versions.filter(|version| !self.is_overtaken(*version));
        let events: Vec<_> = told.by_ref().take(PAGE).map(|version| self.event(version)).collect();
        let full = events.len() == PAGE;
        let up_to = events.last().filter(|_| full).and_then(|event| event.version);
        Answer::Page { events, up_to: up_to.unwrap_or(head.version), head }
    }

    /// Whether a later change stands for this one.
    fn is_overtaken(&self, version: u64) -> bool {
        let (past, later) = self.log.split_at(index(version));
        stand_for(past[index(version) - 1], later)
    }
}

/// How many changes there are up to a version.
pub(super) fn index(version: u64) -> usize {
    usize::try_from(version).expect("a short log")
}

/// Whether one of `later` stands for `change`.
pub(super) fn stand_for(change: Change, later: &[Change]) -> bool {
    later.iter().any(|later| match (change, *later) {
        (Change::Edited(one), Change::Edited(other)) => one == other,
        (
            Change::Added(one) | Change::Removed(one),
            Change::Added(other) | Change::Removed(other),
        ) => one == other,
        _ => false,
    })
}

pub(super) fn is_in(log: &[Change], user: usize) -> bool {
    let last = log
        .iter()
        .rev()
        .find(|change| matches!(change, Change::Added(one) | Change::Removed(one) if *one == user));
    last.is_none_or(|change| matches!(change, Change::Added(_)))
}

pub(super) fn user_id(user: usize) -> UserId {
    UserId::parse(["alice", "bob", "carol"][user]).expect("a name")
}
