//! In which order a room passes events on, and what it asks for when some are missing.
//!
//! The bus may lose, double and reorder; versions show it. An event passes when it is the next version, is dropped when
//! it was passed before, and is held for a moment when it is ahead, because two api pods may well publish v + 1 before
//! v. What is still missing then is asked for: one catch-up at a time, page after page. A catch-up leaves versions out
//! (a later change stands for the earlier ones), so the room stands where the page says, not at its last event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parley_domain::ask::Position;
use parley_domain::bus::Origin;
use parley_domain::ids::UserId;
use parley_domain::version::{Epoch, Version};
use serde::{Deserialize, Serialize};

use super::ring::{Later, Ring};

/// How long an event from the future waits for the ones before it.
pub(crate) const HOLD: Duration = Duration::from_millis(150);
/// What a room keeps. With the page before them, held events fit into half an outbox; so do those for a joiner.
pub(super) const LIMITS: Limits = Limits { held: 256, ring: 512 };
/// The pause after the first catch-up in vain, and the longest; each is twice the one before.
const FIRST_REST: Duration = Duration::from_millis(250);
const LONGEST_REST: Duration = Duration::from_secs(4);

#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Events that wait for the ones before them; what is beyond comes with the catch-up.
    pub(super) held: usize,
    /// Passed events kept for joins under way.
    pub(super) ring: usize,
}

/// A place in a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    pub(crate) version: Version,
    pub(crate) epoch: Epoch,
}

/// How an event came to this pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Came {
    /// Over the bus.
    Live(Origin),
    /// With what the room, or a joiner, had missed.
    CaughtUp,
}

/// What passes through a room. `F` is a finished frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Event<F> {
    /// `None` for what is not durable.
    pub(crate) version: Option<Version>,
    pub(crate) epoch: Epoch,
    /// Who is not in the chat from here on.
    pub(crate) removed: Arc<[UserId]>,
    /// Whom alone it is for; empty: everybody.
    pub(crate) only: Arc<[UserId]>,
    /// Who may not hear it, because it shows what came after their removal.
    pub(crate) hidden_from: Arc<[UserId]>,
    pub(crate) came: Came,
    pub(crate) frame: F,
}

impl<F> Event<F> {
    /// One that is not durable, for everybody who is there.
    pub(crate) fn passing(epoch: Epoch, frame: F) -> Self {
        let (removed, only, hidden_from) = Default::default();
        let came = Came::Live(Origin::default());
        Self { version: None, epoch, removed, only, hidden_from, came, frame }
    }

    /// Whether it is a durable one that every member hears, and after which all are members as before.
    pub(crate) fn is_durable_and_for_all(&self) -> bool {
        let nobody = |users: &[UserId]| users.is_empty();
        self.version.is_some()
            && nobody(&self.removed)
            && nobody(&self.only)
            && nobody(&self.hidden_from)
    }

    /// Whether this user may hear it.
    pub(crate) fn is_for(&self, user: &UserId) -> bool {
        !self.hidden_from.contains(user) && (self.only.is_empty() || self.only.contains(user))
    }
}

/// What the room's members are to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Heard<F> {
    Event(Event<F>),
    /// What came after what they know is not told, and may have been their own removal: they have to come back, and say
    /// where they are.
    Close(Lost),
}

/// Why a room cannot go on from where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// More was missed than is told one by one.
    TooFar,
    /// The chat has another history now.
    History,
    /// The chat is not as far any more as it was.
    Fell,
    /// There is no such chat any more.
    Gone,
}

impl Lost {
    /// Each of them.
    pub(crate) const ALL: [Self; 4] = [Self::TooFar, Self::History, Self::Fell, Self::Gone];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::TooFar => "too_far",
            Self::History => "history",
            Self::Fell => "fell",
            Self::Gone => "gone",
        }
    }
}

/// What a catch-up brings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer<F> {
    /// In rising version; the position after them, and where the chat stands.
    Page { events: Vec<Event<F>>, up_to: Version, head: Standing },
    /// Too far back, in the future or in another history.
    Reload(Standing),
    /// There is no such chat.
    Gone,
}

/// Why a room catches up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// A later event came, and the ones before it did not.
    Gap,
    /// Somebody said that the chat is further than the room.
    Head,
    /// The chat seems to have another history.
    History,
}

impl Cause {
    /// Each of them.
    pub(crate) const ALL: [Self; 3] = [Self::Gap, Self::Head, Self::History];

    /// The word in metrics.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Gap => "gap",
            Self::Head => "head",
            Self::History => "history",
        }
    }
}

/// A catch-up to be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CatchUp {
    pub(crate) position: Position,
    /// `None` for a further page, and for a further try.
    pub(crate) cause: Option<Cause>,
}

/// Where a room stands.
#[derive(Debug)]
pub(crate) struct Order<F> {
    limits: Limits,
    /// The last version passed on; `None` before the first snapshot: events are held until it says what they are worth.
    at: Option<Standing>,
    /// The furthest place that anybody has spoken of.
    known: Option<Standing>,
    /// When the room last went on.
    advanced: Option<Instant>,
    held: BTreeMap<Version, Event<F>>,
    /// What is not durable, and came while something was missing: it must not slip past a removal.
    aside: VecDeque<Event<F>>,
    /// Events that had to wait for others.
    kept_waiting: u64,
    /// Events that were too many to be held.
    overflowed: u64,
    /// What is known may be wrong: to be asked about even though nothing is missing.
    doubt: Option<Cause>,
    /// The doubt that is being asked about; without an answer it stands.
    in_question: Option<Cause>,
    repair: Repair,
    rest: Duration,
    ring: Ring<F>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Repair {
    Quiet,
    /// This version is missing, and may still come by itself.
    Waiting {
        missing: Version,
        until: Instant,
    },
    /// To be asked for.
    Due {
        again: bool,
    },
    /// Asked for; what was known then.
    Asked {
        since: Version,
        known: Version,
    },
    /// Nobody could answer.
    Resting {
        until: Instant,
    },
}

impl<F: Clone> Order<F> {
    pub(super) fn new(limits: Limits) -> Self {
        Self::anew(limits, false)
    }

    fn anew(limits: Limits, joins: bool) -> Self {
        Self {
            limits,
            at: None,
            known: None,
            advanced: None,
            held: BTreeMap::new(),
            aside: VecDeque::new(),
            kept_waiting: 0,
            overflowed: 0,
            doubt: None,
            in_question: None,
            repair: Repair::Quiet,
            rest: FIRST_REST,
            ring: Ring::new(limits.ring, joins),
        }
    }

    pub(crate) const fn at(&self) -> Option<Standing> {
        self.at
    }

    /// Events held since the last call because ones before them were missing.
    pub(crate) fn take_kept_waiting(&mut self) -> u64 {
        std::mem::take(&mut self.kept_waiting)
    }

    /// Events dropped since the last call because too many were held.
    pub(crate) fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// Whether joins are under way. As long as they are, what passes is kept for them.
    pub(crate) fn expect_joins(&mut self, joins: bool) {
        self.ring.expect_joins(joins, self.at.map_or(Version::default(), |at| at.version));
    }

    /// An event arrived.
    pub(crate) fn on_event(&mut self, event: Event<F>, now: Instant) -> Vec<Heard<F>> {
        let Some(version) = event.version else { return self.on_passing_remark(event) };
        let mut heard = Vec::new();
        match self.at {
            // Of another history: whether this one still counts has to be found out. What is asked then is asked after
            // the event, so the event itself is not needed.
            Some(at) if at.epoch != event.epoch => self.doubt = Some(Cause::History),
            Some(at) if version <= at.version => {}
            Some(at) if version == at.version.next() => {
                self.pass(version, event, now, &mut heard);
                self.pass_held(now, &mut heard);
            }
            _ => self.hold(version, event),
        }
        self.review(now);
        self.release(&mut heard);
        heard
    }

    /// One that is not durable, and of which nobody can be told again.
    fn on_passing_remark(&mut self, event: Event<F>) -> Vec<Heard<F>> {
        if !self.is_behind() {
            return vec![Heard::Event(event)];
        }
        if self.aside.len() < self.limits.held {
            self.aside.push_back(event);
        } else {
            self.overflowed += 1;
        }
        Vec::new()
    }

    /// Nothing is missing any more.
    fn release(&mut self, heard: &mut Vec<Heard<F>>) {
        if !self.aside.is_empty() && !self.is_behind() {
            heard.extend(self.aside.drain(..).map(Heard::Event));
        }
    }

    /// Somebody says where the chat stands. `read_after`: when it was asked, if it was; without that, it may be old.
    pub(crate) fn on_head(&mut self, head: Standing, read_after: Option<Instant>, now: Instant) {
        self.note(head);
        if let Some(at) = self.at {
            let stood_still =
                read_after.is_some_and(|asked| self.advanced.is_none_or(|then| then < asked));
            if head.epoch != at.epoch {
                self.doubt = Some(Cause::History);
            } else if head.version < at.version && stood_still {
                self.doubt = Some(Cause::Head);
            }
        }
        self.review(now);
    }

    /// Nothing that was asked is answered any more; it may be asked again at once.
    pub(crate) fn on_interruption(&mut self) {
        self.rest = FIRST_REST;
        self.doubt = self.doubt.or(self.in_question.take());
        if matches!(self.repair, Repair::Asked { .. } | Repair::Resting { .. }) {
            self.repair = Repair::Due { again: true };
        }
    }

    /// When [`Order::on_deadline`] is to be called; `None` while nothing waits.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.repair {
            Repair::Waiting { until, .. } | Repair::Resting { until } => Some(until),
            Repair::Quiet | Repair::Due { .. } | Repair::Asked { .. } => None,
        }
    }

    /// The wait for missing events, or for the next try, is over.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        match self.repair {
            Repair::Waiting { until, .. } if until <= now => {
                self.repair = Repair::Due { again: false };
            }
            Repair::Resting { until } if until <= now => self.repair = Repair::Due { again: true },
            _ => {}
        }
    }

    /// Whether there is something to ask for.
    pub(crate) const fn is_due(&self) -> bool {
        matches!(self.repair, Repair::Due { .. })
    }

    /// What has to be asked for now. Every ask has its [`Order::on_answer`], [`Order::on_no_answer`] or
    /// [`Order::on_interruption`].
    pub(crate) fn ask(&mut self) -> Option<CatchUp> {
        let Repair::Due { again } = self.repair else { return None };
        let (Some(at), true) = (self.at, self.is_behind() || self.doubt.is_some()) else {
            self.repair = Repair::Quiet;
            return None;
        };
        self.in_question = self.doubt.take();
        let cause = match self.in_question {
            Some(doubt) => doubt,
            None if self.held.is_empty() => Cause::Head,
            None => Cause::Gap,
        };
        let known = self.known.filter(|known| known.epoch == at.epoch);
        let known = known.map_or(at.version, |known| known.version.max(at.version));
        self.repair = Repair::Asked { since: at.version, known };
        let position = Position { since: at.version, epoch: Some(at.epoch) };
        Some(CatchUp { position, cause: (!again).then_some(cause) })
    }

    /// The catch-up that was asked for.
    pub(crate) fn on_answer(&mut self, answer: Answer<F>, now: Instant) -> Vec<Heard<F>> {
        let (Repair::Asked { since, known }, Some(at)) = (self.repair, self.at) else {
            return Vec::new();
        };
        self.repair = Repair::Quiet;
        self.in_question = None;
        self.rest = FIRST_REST;
        let mut heard = Vec::new();
        match answer {
            // Everything known was committed; where it is not any more, a database was put back.
            Answer::Page { head, .. } if head.epoch == at.epoch && head.version < known => {
                self.lose(Lost::Fell, &mut heard);
            }
            Answer::Page { events, up_to, head } if head.epoch == at.epoch => {
                self.pass_page(events, up_to, now, &mut heard);
                self.note(head);
                if up_to < head.version && self.is_behind() {
                    self.repair = Repair::Due { again: true };
                    if up_to <= since {
                        // A page that leads nowhere: not again at once.
                        self.rest(now);
                    }
                }
            }
            Answer::Reload(head) if head.epoch == at.epoch => {
                let fell = head.version < since;
                self.lose(if fell { Lost::Fell } else { Lost::TooFar }, &mut heard);
            }
            Answer::Page { .. } | Answer::Reload(_) => self.lose(Lost::History, &mut heard),
            Answer::Gone => self.lose(Lost::Gone, &mut heard),
        }
        self.review(now);
        self.release(&mut heard);
        heard
    }

    /// Nobody could answer; it is asked again after a while.
    pub(crate) fn on_no_answer(&mut self, now: Instant) {
        if matches!(self.repair, Repair::Asked { .. }) {
            self.doubt = self.doubt.or(self.in_question.take());
            self.rest(now);
        }
    }

    /// Somebody who knows everything up to `place` wants to hear the rest. It was read after the join had begun.
    pub(crate) fn on_joiner(&mut self, place: Standing, now: Instant) -> (Later<F>, Vec<Heard<F>>) {
        let mut heard = Vec::new();
        let later = match self.at {
            None => {
                self.settle(place, now, &mut heard);
                self.ring.later_than(place.version)
            }
            Some(at) if at.epoch != place.epoch => {
                self.doubt = Some(Cause::History);
                Later::Unknown
            }
            Some(_) => {
                self.note(place);
                self.ring.later_than(place.version)
            }
        };
        self.review(now);
        (later, heard)
    }

    /// From here on the position is known; what was held is judged by it.
    fn settle(&mut self, head: Standing, now: Instant, heard: &mut Vec<Heard<F>>) {
        self.at = Some(head);
        self.advanced = Some(now);
        self.held.retain(|version, event| *version > head.version && event.epoch == head.epoch);
        self.ring.begin_at(head.version);
        self.note(head);
        if let Some((&version, _)) = self.held.last_key_value() {
            self.note(Standing { version, epoch: head.epoch });
        }
        self.pass_held(now, heard);
    }

    /// Begins anew, with nobody in it. Whoever comes next may still come from what was lost.
    fn lose(&mut self, why: Lost, heard: &mut Vec<Heard<F>>) {
        heard.push(Heard::Close(why));
        let (kept_waiting, overflowed) = (self.kept_waiting, self.overflowed);
        let anew = Self::anew(self.limits, self.ring.joins());
        *self = Self { doubt: Some(Cause::History), kept_waiting, overflowed, ..anew };
    }

    fn pass_page(
        &mut self,
        events: Vec<Event<F>>,
        up_to: Version,
        now: Instant,
        heard: &mut Vec<Heard<F>>,
    ) {
        for event in events {
            if let (Some(version), Some(at)) = (event.version, self.at)
                && version > at.version
            {
                self.pass(version, event, now, heard);
            }
        }
        if let Some(at) = &mut self.at {
            at.version = at.version.max(up_to);
            let at = at.version;
            self.held = self.held.split_off(&at.next());
        }
        self.pass_held(now, heard);
    }

    fn hold(&mut self, version: Version, event: Event<F>) {
        self.note(Standing { version, epoch: event.epoch });
        // Before the first snapshot nobody knows whether anything is missing.
        self.kept_waiting += u64::from(self.at.is_some());
        self.held.insert(version, event);
        if self.held.len() > self.limits.held {
            // What is nearest is of most use; the rest is known to be there, and is asked for.
            self.held.pop_last();
            self.overflowed += 1;
            if matches!(self.repair, Repair::Quiet | Repair::Waiting { .. }) && self.at.is_some() {
                self.repair = Repair::Due { again: false };
            }
        }
    }

    fn note(&mut self, place: Standing) {
        if self.at.is_some_and(|at| at.epoch != place.epoch) {
            return;
        }
        match self.known {
            Some(known) if known.epoch != place.epoch => {
                // Two histories are spoken of; one of them is over.
                self.doubt = Some(Cause::History);
                self.known = Some(place);
            }
            Some(known) if known.version >= place.version => {}
            _ => self.known = Some(place),
        }
    }

    /// Whether something is missing that is known to be there.
    pub(crate) fn is_behind(&self) -> bool {
        let (Some(at), Some(known)) = (self.at, self.known) else { return false };
        known.epoch == at.epoch && known.version > at.version
    }

    /// Draws the conclusions from what has changed.
    fn review(&mut self, now: Instant) {
        let missing = self.at.filter(|_| self.is_behind()).map(|at| at.version.next());
        self.repair = match (self.repair, missing) {
            (Repair::Quiet | Repair::Waiting { .. }, _) if self.doubt.is_some() => {
                Repair::Due { again: false }
            }
            (Repair::Waiting { missing: same, until }, Some(missing)) if same == missing => {
                Repair::Waiting { missing, until }
            }
            // Whenever the room goes on, what is missing next has its time too: in a busy room, something always is.
            (Repair::Quiet | Repair::Waiting { .. }, Some(missing)) => {
                Repair::Waiting { missing, until: now + HOLD }
            }
            (Repair::Waiting { .. }, None) => Repair::Quiet,
            (Repair::Resting { .. }, None) if self.doubt.is_none() => Repair::Quiet,
            (repair, _) => repair,
        };
    }

    fn rest(&mut self, now: Instant) {
        self.repair = Repair::Resting { until: now + self.rest };
        self.rest = (self.rest * 2).min(LONGEST_REST);
    }

    fn pass_held(&mut self, now: Instant, heard: &mut Vec<Heard<F>>) {
        while let Some(at) = self.at
            && let Some(event) = self.held.remove(&at.version.next())
        {
            self.pass(at.version.next(), event, now, heard);
        }
    }

    fn pass(&mut self, version: Version, event: Event<F>, now: Instant, heard: &mut Vec<Heard<F>>) {
        self.at = Some(Standing { version, epoch: event.epoch });
        self.advanced = Some(now);
        self.ring.pass(version, &event);
        heard.push(Heard::Event(event));
    }
}
