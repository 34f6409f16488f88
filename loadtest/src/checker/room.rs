//! One connection in one chat.

use std::collections::HashSet;

use super::chat::Chat;
use super::verdict::Fault;

/// What a connection has lived through in a chat.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// From where the client has asked to be told.
    since: Option<u64>,
    /// When it was let in.
    pub(super) joined_at: Option<u64>,
    /// Every time that it was let in, and where the chat stood then.
    entered: Vec<(u64, u64)>,
    /// What came, when.
    heard: Vec<(u64, u64)>,
    versions: HashSet<u64>,
    last: u64,
    /// Stretches within which nothing may be missing; the last one goes on.
    stretches: Vec<Stretch>,
    /// It was told to reload, and nothing has come since: where it stands is not known.
    is_told: bool,
}

/// Everything above `from`, up to `to`, was to come.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    from: u64,
    to: u64,
    /// When it ended.
    at: u64,
}

impl Room {
    pub(super) fn asks(&mut self, since: Option<u64>) {
        self.since = since;
    }

    /// From here on, everything is to come.
    pub(super) fn joined(&mut self, at: u64, version: u64, resync: bool) {
        let from = if resync { version } else { self.since.unwrap_or(version) };
        self.joined_at = Some(at);
        self.entered.push((at, version));
        self.last = self.last.max(from);
        self.is_told = false;
        self.stretches.push(Stretch { from, to: from, at });
    }

    /// Says what is wrong about it.
    pub(super) fn hears(&mut self, at: u64, version: u64) -> Option<Fault> {
        self.heard.push((at, version));
        let is_new = self.versions.insert(version);
        if self.joined_at.is_none() {
            return Some(Fault::Unjoined);
        }
        if !is_new {
            return Some(Fault::Twice);
        }
        if version <= self.last {
            // Below the position of the join, the client has it already.
            let from = self.stretches.first().map_or(0, |stretch| stretch.from);
            return Some(if version <= from { Fault::Twice } else { Fault::OutOfOrder });
        }
        self.last = version;
        if self.is_told {
            self.is_told = false;
            self.stretches.push(Stretch { from: version, to: version, at });
        } else if let Some(stretch) = self.stretches.last_mut() {
            (stretch.to, stretch.at) = (version, at);
        }
        None
    }

    /// It was told to reload: what is missing up to the next event is made good by that.
    pub(super) fn is_told(&mut self, _at: u64) {
        self.is_told = true;
    }

    /// What should have come and did not, and by when. A connection that stayed to the end should have heard everything,
    /// up to the removal of its user.
    pub(super) fn missing(
        &self,
        chat: &Chat,
        open_until: Option<u64>,
        left: Option<u64>,
    ) -> Vec<(u64, u64)> {
        let mut missing = Vec::new();
        let mut stretches = self.stretches.clone();
        if let (Some(until), false, Some(last)) = (open_until, self.is_told, stretches.last_mut()) {
            (last.to, last.at) = (left.unwrap_or(u64::MAX), until);
        }
        for Stretch { from, to, at } in stretches {
            let wanted = chat.after(from).take_while(|version| *version <= to);
            missing.extend(wanted.filter(|it| !self.versions.contains(it)).map(|it| (it, at)));
        }
        missing
    }

    /// What a connection was given whose user was out from version `left` on: when, and what.
    pub(super) fn beyond(&self, left: u64) -> impl Iterator<Item = (u64, String)> {
        // The removal itself is told to the removed; a snapshot that holds it already is none of theirs.
        let entered = self.entered.iter().filter(move |(_, version)| *version >= left);
        let heard = self.heard.iter().filter(move |(_, version)| *version > left);
        entered
            .map(|(at, version)| (*at, format!("was let in at version {version}")))
            .chain(heard.map(|(at, version)| (*at, format!("heard version {version}"))))
    }

    /// What a connection was given later than this: when, and what.
    pub(super) fn later(&self, until: u64) -> impl Iterator<Item = (u64, String)> {
        let entered = self.entered.iter().filter(move |(at, _)| *at > until);
        let heard = self.heard.iter().filter(move |(at, _)| *at > until);
        entered
            .map(|(at, version)| (*at, format!("was let in at version {version}")))
            .chain(heard.map(|(at, version)| (*at, format!("heard version {version}"))))
    }

    /// What came, when.
    pub(super) fn heard(&self) -> impl Iterator<Item = (u64, u64)> {
        self.heard.iter().copied()
    }
}
