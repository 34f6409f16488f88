//! Who is writing in a room: what its own members tell all gateways ([`Writers`]), and what is heard of everybody and
//! passed on to its members ([`Typists`]).
//!
//! Nothing of it lasts: whoever writes says so again and again, and who is not heard of any more has stopped. What is heard
//! names the version at which its writer's room stood, and waits for that, so that nobody who was removed hears it.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parley_domain::ids::UserId;
use parley_domain::typing::{TypingSignal, Typist};
use parley_domain::version::Version;

use super::Standing;

/// How long somebody writes after the last `typing-start`.
const LIFE: Duration = Duration::from_secs(6);
/// How often it is told again that somebody goes on writing.
const AGAIN: Duration = Duration::from_secs(2);
/// How long it is not told that somebody begins anew.
const PAUSE: Duration = Duration::from_secs(1);
/// How long somebody is taken to write of whom nothing more is heard: their pod has said so before, unless it died.
const UNHEARD: Duration = Duration::from_millis(8_500);
/// Most people in a room of whom it is told at a time.
const MOST: usize = 20;
/// Signals that wait for the room, and removals that are remembered.
const WAITING: usize = 256;
const REMOVALS: usize = 64;

/// The room's own members who write.
#[derive(Debug, Default)]
pub(crate) struct Writers(HashMap<UserId, Writer>);

#[derive(Debug)]
struct Writer {
    name: Option<String>,
    /// Their connections that write, each until when.
    connections: HashMap<u64, Instant>,
    /// When it was last told that they write.
    told: Instant,
}

impl Writers {
    /// A member writes, or goes on. Whether to tell, for everybody's rooms.
    pub(crate) fn start(
        &mut self,
        (key, user): (u64, &UserId),
        name: Option<&str>,
        now: Instant,
    ) -> Option<Typist> {
        let until = now + LIFE;
        let is_full = self.0.len() >= MOST;
        let tell = match self.0.get_mut(user) {
            None if is_full => return None,
            None => {
                let connections = HashMap::from([(key, until)]);
                let writer = Writer { name: name.map(str::to_owned), connections, told: now };
                self.0.insert(user.clone(), writer);
                true
            }
            Some(writer) => {
                let pause = if writer.connections.is_empty() { PAUSE } else { AGAIN };
                let due = now.duration_since(writer.told) >= pause;
                if due || !writer.connections.is_empty() {
                    writer.connections.insert(key, until);
                }
                if due {
                    writer.told = now;
                }
                due
            }
        };
        tell.then(|| Typist { user_id: user.clone(), name: name.map(str::to_owned) })
    }

    /// Whether any of a user's connections here writes.
    pub(crate) fn has(&self, user: &UserId) -> bool {
        self.0.get(user).is_some_and(|writer| !writer.connections.is_empty())
    }

    /// A connection writes no more, or is gone. Whether to tell.
    pub(crate) fn stop(&mut self, key: u64) -> Option<Typist> {
        let ended = |writer: &mut Writer| {
            writer.connections.remove(&key).is_some() && writer.connections.is_empty()
        };
        let (user, writer) = self
            .0
            .iter_mut()
            .find_map(|(user, writer)| ended(writer).then_some((user, &*writer)))?;
        Some(Typist { user_id: user.clone(), name: writer.name.clone() })
    }

    /// Somebody has said what they wrote, or is not in the chat any more. Whether to tell.
    pub(crate) fn end(&mut self, user: &UserId) -> Option<Typist> {
        let writer = self.0.remove(user).filter(|writer| !writer.connections.is_empty())?;
        Some(Typist { user_id: user.clone(), name: writer.name })
    }

    /// Whose time is over; each is to be told.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Typist> {
        let mut over = Vec::new();
        self.0.retain(|user, writer| {
            let before = writer.connections.len();
            writer.connections.retain(|_, until| *until > now);
            if before > 0 && writer.connections.is_empty() {
                over.push(Typist { user_id: user.clone(), name: writer.name.clone() });
            }
            // Known for a while, so that whoever begins and stops without end is not told of each time.
            !writer.connections.is_empty() || now < writer.told + PAUSE
        });
        over
    }

    fn deadline(&self) -> Option<Instant> {
        let of = |writer: &Writer| {
            let first = writer.connections.values().min().copied();
            first.unwrap_or(writer.told + PAUSE)
        };
        self.0.values().map(of).min()
    }
}

/// What the room's members are to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    pub(crate) typist: Typist,
    pub(crate) is_typing: bool,
}

/// Everybody who writes, as the room's members know it.
#[derive(Debug)]
pub(crate) struct Typists {
    known: HashMap<UserId, (Option<String>, Instant)>,
    /// What the room is not far enough for.
    waiting: VecDeque<(Version, Waiting)>,
    /// Who was removed, and at which version: what they wrote before is not told after it.
    removed: VecDeque<(UserId, Version)>,
    /// Who has stopped since the room is there; `None` once it was found out who wrote before that.
    stopped: Option<Vec<UserId>>,
    overflowed: u64,
}

impl Default for Typists {
    fn default() -> Self {
        let (known, waiting, removed) = Default::default();
        Self { known, waiting, removed, stopped: Some(Vec::new()), overflowed: 0 }
    }
}

#[derive(Debug)]
enum Waiting {
    Signal(TypingSignal),
    /// They have said what they wrote.
    End(UserId),
}

impl Typists {
    /// A signal came from the bus, while the room stands somewhere; it is heard at the next [`Typists::release`].
    pub(crate) fn hear(&mut self, signal: TypingSignal, at: Option<Standing>) {
        if !signal.is_typing {
            self.note_stop(&signal.typist.user_id);
        }
        // Before the room stands anywhere, nobody is in it; and other histories say nothing about this one.
        if at.is_some_and(|at| at.epoch == signal.epoch) {
            self.wait(signal.version, Waiting::Signal(signal));
        }
    }

    /// A message came from the bus: with it, its author has stopped.
    pub(crate) fn message(&mut self, author: &UserId, version: Version, at: Option<Standing>) {
        self.note_stop(author);
        // An old one that is told again ends nothing.
        if at.is_some_and(|at| version > at.version) {
            self.wait(version, Waiting::End(author.clone()));
        }
    }

    fn wait(&mut self, version: Version, what: Waiting) {
        if self.waiting.len() < WAITING {
            self.waiting.push_back((version, what));
        } else {
            self.overflowed += 1;
        }
    }

    /// What is read about earlier says nothing of this user any more.
    fn note_stop(&mut self, user: &UserId) {
        if let Some(stopped) = &mut self.stopped
            && !stopped.contains(user)
        {
            // Not for long: what is read comes within a deadline.
            stopped.push(user.clone());
        }
    }

    /// Who wrote already when the room began, each until when; to be said once.
    pub(crate) fn wrote_before(&mut self, typists: Vec<(Typist, Instant)>) -> Vec<Remark> {
        let stopped = self.stopped.take().unwrap_or_default();
        let typists = typists.into_iter().filter(|(typist, _)| !stopped.contains(&typist.user_id));
        let typists: Vec<_> = typists.collect();
        typists.into_iter().filter_map(|(typist, until)| self.begin(typist, until)).collect()
    }

    /// Signals dropped since the last call because too many waited.
    pub(crate) fn take_overflowed(&mut self) -> u64 {
        std::mem::take(&mut self.overflowed)
    }

    /// The furthest version that somebody's room has spoken of.
    pub(crate) fn furthest(&self) -> Option<Version> {
        self.waiting.iter().map(|(version, _)| *version).max()
    }

    /// What there is to hear now that the room stands here.
    pub(crate) fn release(&mut self, at: Standing, now: Instant) -> Vec<Remark> {
        if self.waiting.is_empty() {
            return Vec::new();
        }
        let (due, later) = self.waiting.drain(..).partition(|(version, _)| *version <= at.version);
        self.waiting = later;
        let due: VecDeque<_> = due;
        due.into_iter().filter_map(|(_, what)| self.take(what, now)).collect()
    }

    fn take(&mut self, what: Waiting, now: Instant) -> Option<Remark> {
        match what {
            Waiting::End(user) => self.end(&user),
            Waiting::Signal(signal) => {
                let user = &signal.typist.user_id;
                let is_out =
                    |(removed, at): &(UserId, Version)| removed == user && *at > signal.version;
                if self.removed.iter().any(is_out) {
                    return None;
                }
                if signal.is_typing {
                    self.begin(signal.typist, now + UNHEARD)
                } else {
                    self.end(user)
                }
            }
        }
    }

    /// Somebody writes, as far as is known until then.
    fn begin(&mut self, typist: Typist, until: Instant) -> Option<Remark> {
        if let Some((_, known)) = self.known.get_mut(&typist.user_id) {
            *known = until.max(*known);
            return None;
        }
        if self.known.len() >= MOST {
            return None;
        }
        self.known.insert(typist.user_id.clone(), (typist.name.clone(), until));
        Some(Remark { typist, is_typing: true })
    }

    fn end(&mut self, user: &UserId) -> Option<Remark> {
        let (name, _) = self.known.remove(user)?;
        Some(Remark { typist: Typist { user_id: user.clone(), name }, is_typing: false })
    }

    /// Somebody is not in the chat from this version on.
    pub(crate) fn remove(&mut self, user: &UserId, version: Version) -> Option<Remark> {
        if self.removed.len() >= REMOVALS {
            self.removed.pop_front();
        }
        self.removed.push_back((user.clone(), version));
        self.note_stop(user);
        self.end(user)
    }

    /// Of whom nothing was heard for too long.
    pub(crate) fn overdue(&mut self, now: Instant) -> Vec<Remark> {
        let over = self.known.extract_if(|_, (_, until)| *until <= now);
        let remark =
            |(user_id, (name, _))| Remark { typist: Typist { user_id, name }, is_typing: false };
        over.map(remark).collect()
    }

    /// Somebody, if they write.
    pub(crate) fn find(&self, user: &UserId) -> Option<Typist> {
        let (name, _) = self.known.get(user)?;
        Some(Typist { user_id: user.clone(), name: name.clone() })
    }

    /// Who writes now.
    pub(crate) fn now(&self) -> Vec<Typist> {
        let typist = |(user, (name, _)): (&UserId, &(Option<String>, Instant))| Typist {
            user_id: user.clone(),
            name: name.clone(),
        };
        self.known.iter().map(typist).collect()
    }

    /// What somebody is to hear who was told that these write.
    pub(crate) fn since(&self, told: &[Typist]) -> Vec<Remark> {
        let remark = |typist: Typist, is_typing| Remark { typist, is_typing };
        let ended = told.iter().filter(|typist| !self.known.contains_key(&typist.user_id));
        let begun = self.now();
        let begun = begun.into_iter().filter(|now| told.iter().all(|it| it.user_id != now.user_id));
        let ended = ended.cloned().map(|typist| remark(typist, false));
        ended.chain(begun.map(|typist| remark(typist, true))).collect()
    }

    fn deadline(&self) -> Option<Instant> {
        self.known.values().map(|(_, until)| *until).min()
    }
}

/// When something of it is over.
pub(crate) fn deadline(writers: &Writers, typists: &Typists) -> Option<Instant> {
    let (one, other) = (writers.deadline(), typists.deadline());
    one.into_iter().chain(other).min()
}

#[cfg(test)]
mod tests {
    use parley_domain::ids::ChatId;
    use parley_domain::version::Epoch;

    use super::*;

    const EPOCH: Epoch = Epoch(1);

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn typist(id: &str) -> Typist {
        Typist { user_id: user(id), name: Some(id.to_uppercase()) }
    }

    fn at(version: u64) -> Standing {
        Standing { version: Version(version), epoch: EPOCH }
    }

    fn signal(id: &str, is_typing: bool, version: u64) -> TypingSignal {
        let chat_id = ChatId::parse("0192f0a4-7c3b-7d2e-8a1b-0123456789ab").unwrap();
        TypingSignal {
            chat_id,
            typist: typist(id),
            is_typing,
            version: Version(version),
            epoch: EPOCH,
        }
    }

    fn remark(id: &str, is_typing: bool) -> Remark {
        Remark { typist: typist(id), is_typing }
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn whoever_writes_on_is_told_of_now_and_then() {
        let (mut writers, begun) = (Writers::default(), Instant::now());
        let alice = user("alice");
        let mut start =
            |after| writers.start((1, &alice), Some("ALICE"), begun + ms(after)).is_some();
        assert!(start(0));
        assert!(!start(100) && !start(1_999));
        assert!(start(2_000), "or other pods take it to be over");
        assert!(!start(2_001));
        assert_eq!(writers.overdue(begun + ms(8_000)), []);
        assert_eq!(writers.overdue(begun + ms(8_001)), [typist("alice")], "6 s after the last one");
        assert_eq!(writers.overdue(begun + ms(20_000)), []);
        assert!(writers.0.is_empty());
    }

    #[test]
    fn whoever_begins_and_stops_without_end_is_told_of_once_a_second() {
        let (mut writers, begun) = (Writers::default(), Instant::now());
        let alice = user("alice");
        let mut told = 0;
        for tenth in 0..100 {
            let now = begun + ms(100 * tenth);
            told += u32::from(writers.start((1, &alice), None, now).is_some());
            writers.stop(1);
            writers.overdue(now);
        }
        assert_eq!(told, 10);
    }

    #[test]
    fn a_user_has_stopped_when_none_of_their_connections_writes() {
        let (mut writers, now) = (Writers::default(), Instant::now());
        let alice = user("alice");
        assert!(writers.start((1, &alice), Some("ALICE"), now).is_some());
        assert!(writers.start((2, &alice), Some("ALICE"), now + ms(500)).is_none());
        assert_eq!(writers.stop(1), None);
        assert_eq!(writers.stop(1), None, "gone already");
        assert_eq!(writers.stop(2), Some(typist("alice")));
        assert_eq!(writers.end(&alice), None, "told already");
        assert!(
            writers.start((2, &alice), Some("ALICE"), now + ms(600)).is_some(),
            "what they wrote is said"
        );
        assert_eq!(writers.end(&alice), Some(typist("alice")));
    }

    #[test]
    fn i9_not_more_than_so_many_are_told_of() {
        let (mut writers, mut typists, now) =
            (Writers::default(), Typists::default(), Instant::now());
        let ids: Vec<String> = (0..100).map(|number| format!("u{number}")).collect();
        let told = ids
            .iter()
            .zip(0..)
            .filter(|(id, key)| writers.start((*key, &user(id)), None, now).is_some());
        assert_eq!(told.count(), MOST);
        for id in &ids {
            typists.hear(signal(id, true, 5), Some(at(5)));
        }
        assert_eq!(typists.release(at(5), now).len(), MOST);
        for _ in 0..1_000 {
            typists.hear(signal("alice", true, 6), Some(at(5)));
        }
        assert_eq!(
            (typists.waiting.len(), typists.take_overflowed()),
            (WAITING, 1_000 - WAITING as u64)
        );
    }

    #[test]
    fn members_hear_when_it_begins_and_when_it_ends() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        let mut hear = |is_typing, after| {
            typists.hear(signal("alice", is_typing, 5), Some(at(5)));
            typists.release(at(5), now + ms(after))
        };
        assert_eq!(hear(true, 0), [remark("alice", true)]);
        assert_eq!(hear(true, 2_000), [], "goes on");
        assert_eq!(hear(false, 3_000), [remark("alice", false)]);
        assert_eq!(hear(false, 3_000), [], "told again");
        assert_eq!(hear(true, 4_000), [remark("alice", true)]);
        assert_eq!(typists.overdue(now + ms(12_499)), []);
        assert_eq!(typists.overdue(now + ms(12_500)), [remark("alice", false)], "their pod died");
    }

    #[test]
    fn i6_a_signal_waits_for_the_removals_that_its_writer_knew() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        typists.hear(signal("alice", true, 7), Some(at(5)));
        assert_eq!(typists.furthest(), Some(Version(7)), "the room is behind");
        assert_eq!(typists.release(at(6), now), []);
        assert_eq!(typists.release(at(7), now), [remark("alice", true)]);
        // And who was removed is not heard of after it, however late their pod knows.
        assert_eq!(typists.remove(&user("alice"), Version(8)), Some(remark("alice", false)));
        typists.hear(signal("alice", true, 7), Some(at(8)));
        assert_eq!(typists.release(at(8), now), []);
        typists.hear(signal("alice", true, 9), Some(at(9)));
        assert_eq!(typists.release(at(9), now), [remark("alice", true)], "let in again");
        let other = TypingSignal { epoch: Epoch(2), ..signal("bob", true, 1) };
        typists.hear(other, Some(at(9)));
        assert_eq!(typists.release(at(9), now), [], "of another history");
    }

    #[test]
    fn a_message_ends_its_authors_typing_but_not_before_it_is_heard() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        typists.hear(signal("alice", true, 5), Some(at(5)));
        typists.release(at(5), now);
        typists.message(&user("alice"), Version(7), Some(at(5)));
        assert_eq!(typists.release(at(5), now), []);
        assert_eq!(typists.release(at(7), now), [remark("alice", false)]);
        typists.hear(signal("alice", true, 7), Some(at(7)));
        typists.message(&user("alice"), Version(7), Some(at(7)));
        assert_eq!(typists.release(at(7), now), [remark("alice", true)], "the message came again");
    }

    #[test]
    fn what_is_read_of_earlier_does_not_undo_what_was_heard_since() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        typists.hear(signal("alice", false, 5), None);
        typists.message(&user("bob"), Version(6), None);
        typists.remove(&user("carol"), Version(7));
        let until = now + ms(9_000);
        let before = ["alice", "bob", "carol", "dave"].map(|id| (typist(id), until)).to_vec();
        assert_eq!(typists.wrote_before(before), [remark("dave", true)]);
        typists.hear(signal("alice", true, 8), Some(at(8)));
        assert_eq!(typists.release(at(8), now), [remark("alice", true)]);
    }

    #[test]
    fn a_joiner_hears_what_has_changed_since_its_ack() {
        let (mut typists, now) = (Typists::default(), Instant::now());
        typists.begin(typist("alice"), now + ms(1_000));
        typists.begin(typist("bob"), now + ms(1_000));
        let told = typists.now();
        typists.end(&user("alice"));
        typists.begin(typist("carol"), now + ms(1_000));
        assert_eq!(typists.since(&told), [remark("alice", false), remark("carol", true)]);
    }
}
