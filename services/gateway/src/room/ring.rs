//! What a room has passed lately, for joins under way: they were looked up a moment ago, and enter where that ended.

use std::collections::VecDeque;

use parley_domain::version::Version;

use super::order::Event;

/// What a joiner who stands somewhere has to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Later<F> {
    /// What passed after that, in order.
    Events(Vec<Event<F>>),
    /// Not everything is at hand; the joiner has to ask.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Ring<F> {
    most: usize,
    passed: VecDeque<(Version, Event<F>)>,
    /// Everything that was passed after this is here.
    from: Version,
    /// Whether joins are under way.
    joins: bool,
}

impl<F: Clone> Ring<F> {
    pub(super) fn new(most: usize, joins: bool) -> Self {
        Self { most, passed: VecDeque::new(), from: Version::default(), joins }
    }

    pub(super) const fn joins(&self) -> bool {
        self.joins
    }

    /// Whether joins are under way, in a room that stands at a version.
    pub(super) fn expect_joins(&mut self, joins: bool, at: Version) {
        self.joins = joins;
        if !joins {
            self.begin_at(at);
        }
    }

    /// What came up to there was not passed, or is needed by nobody.
    pub(super) fn begin_at(&mut self, at: Version) {
        self.passed.clear();
        self.from = at;
    }

    pub(super) fn pass(&mut self, version: Version, event: &Event<F>) {
        if !self.joins {
            self.from = version;
            return;
        }
        if self.passed.len() >= self.most
            && let Some((lost, _)) = self.passed.pop_front()
        {
            self.from = self.from.max(lost);
        }
        self.passed.push_back((version, event.clone()));
    }

    /// What passed after a version.
    pub(super) fn later_than(&self, version: Version) -> Later<F> {
        if version < self.from {
            return Later::Unknown;
        }
        let later = self.passed.iter().filter(|(passed, _)| *passed > version);
        Later::Events(later.map(|(_, event)| event.clone()).collect())
    }
}
