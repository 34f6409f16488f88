use std::sync::Arc;
use std::time::Duration;

use parley_domain::bus::Origin;
use parley_domain::version::Epoch;
use proptest::prelude::*;

use super::order::{HOLD, LIMITS};
use super::*;

const EPOCH: Epoch = Epoch(1);
const NONE: [u64; 0] = [];

fn place(version: u64) -> Standing {
    Standing { version: Version(version), epoch: EPOCH }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn event(version: u64) -> Event<u64> {
    let (removed, only, hidden_from) = (Arc::default(), Arc::default(), Arc::default());
    Event {
        version: Some(Version(version)),
        epoch: EPOCH,
        removed,
        only,
        hidden_from,
        came: Came::Live(Origin::default()),
        frame: version,
    }
}

fn removal(version: u64, name: &str) -> Event<u64> {
    Event { removed: [user(name)].into(), ..event(version) }
}

/// A room at a version, with alice in it as connection 1.
fn at(version: u64, now: Instant) -> Room<u64, u64> {
    let mut room = Room::new();
    let (entered, heard) = room.enter((1, 1, user("alice")), place(version), now);
    assert_eq!((entered, heard), (Entered::Member(vec![]), vec![]));
    room
}

fn feed(room: &mut Room<u64, u64>, versions: &[u64], now: Instant) -> Vec<u64> {
    let heard = versions.iter().flat_map(|version| room.order.on_event(event(*version), now));
    frames(heard.collect())
}

fn frames(heard: Vec<Heard<u64>>) -> Vec<u64> {
    heard
        .into_iter()
        .map(|heard| match heard {
            Heard::Event(event) => event.frame,
            Heard::Close(why) => panic!("closed: {why:?}"),
        })
        .collect()
}

fn page(versions: &[u64], up_to: u64, head: u64) -> Answer<u64> {
    let events = versions.iter().map(|version| event(*version)).collect();
    Answer::Page { events, up_to: Version(up_to), head: place(head) }
}

/// Lets the hold pass; what is asked for then: from where, and why.
fn asks(room: &mut Room<u64, u64>, now: Instant) -> Option<(u64, Option<Cause>)> {
    room.order.on_deadline(now);
    room.order.ask().map(|ask| (ask.position.since.0, ask.cause))
}

/// Every promotion of a database is another history, and pods recover from it one by one.
#[test]
fn i4_a_doubt_stands_until_it_is_answered() {
    let now = Instant::now();
    let mut room = at(5, now);
    let other = Event { epoch: Epoch(2), ..event(6) };
    assert!(room.order.on_event(other, now).is_empty());
    assert_eq!(asks(&mut room, now), Some((5, Some(Cause::History))));
    room.order.on_no_answer(now);
    let later = room.order.deadline().unwrap();
    assert_eq!(asks(&mut room, later), Some((5, None)), "a further try");
    room.order.on_interruption();
    assert_eq!(asks(&mut room, later), Some((5, None)));
    let head = Standing { version: Version(6), epoch: Epoch(2) };
    let heard = room.order.on_answer(Answer::Reload(head), later);
    assert!(matches!(heard.as_slice(), [Heard::Close(Lost::History)]), "{heard:?}");

    let mut room = at(5, now);
    room.order.on_head(place(3), Some(now + HOLD), now + HOLD);
    assert_eq!(asks(&mut room, now + HOLD), Some((5, Some(Cause::Head))));
    room.order.on_no_answer(now + HOLD);
    let later = room.order.deadline().unwrap();
    assert_eq!(asks(&mut room, later), Some((5, None)));
    room.order.on_answer(page(&[], 5, 5), later);
    assert_eq!((asks(&mut room, later), room.order.deadline()), (None, None), "it is answered");
}

#[test]
fn i3_the_next_passes_and_what_was_passed_is_dropped() {
    let now = Instant::now();
    let mut room = at(5, now);
    assert_eq!(feed(&mut room, &[5, 6, 6, 4, 7], now), [6, 7]);
}

#[test]
fn i3_reordering_is_undone_without_a_catch_up() {
    let now = Instant::now();
    let mut room = at(0, now);
    assert_eq!(feed(&mut room, &[2, 4, 1, 3], now), [1, 2, 3, 4]);
    assert_eq!(room.order.deadline(), None);
    assert_eq!(asks(&mut room, now + HOLD), None);
}

#[test]
fn i3_a_room_that_goes_on_never_waits_for_too_long() {
    let (mut room, mut now) = (at(0, Instant::now()), Instant::now());
    // Something is always ahead, and nothing is ever lost.
    for version in (1..400).step_by(2) {
        now += HOLD / 2;
        assert_eq!(asks(&mut room, now), None);
        feed(&mut room, &[version + 1], now);
        now += HOLD / 2;
        assert_eq!(asks(&mut room, now), None);
        assert_eq!(feed(&mut room, &[version], now), [version, version + 1]);
    }
}

#[test]
fn i4_a_gap_is_asked_about_after_the_hold_and_not_before_and_once() {
    let now = Instant::now();
    let mut room = at(0, now);
    assert_eq!(feed(&mut room, &[3, 5], now), NONE);
    assert_eq!(room.order.deadline(), Some(now + HOLD));
    assert_eq!(asks(&mut room, now), None, "too early");
    assert_eq!(asks(&mut room, now + HOLD), Some((0, Some(Cause::Gap))));
    assert_eq!(feed(&mut room, &[6], now), NONE);
    assert_eq!(asks(&mut room, now + HOLD * 2), None, "one is under way");
    // What passes meanwhile is not told again.
    assert_eq!(feed(&mut room, &[1], now), [1]);
    let heard = room.order.on_answer(page(&[1, 2, 3, 4, 5], 5, 5), now);
    assert_eq!(frames(heard), [2, 3, 4, 5, 6]);
    assert_eq!(feed(&mut room, &[2, 4], now), NONE);
    assert_eq!(room.order.deadline(), None);
}

#[test]
fn i4_pages_follow_each_other_and_may_leave_versions_out() {
    let now = Instant::now();
    let mut room = at(0, now);
    feed(&mut room, &[9], now);
    assert_eq!(asks(&mut room, now + HOLD), Some((0, Some(Cause::Gap))));
    assert_eq!(frames(room.order.on_answer(page(&[1, 4], 4, 9), now)), [1, 4]);
    assert_eq!(asks(&mut room, now), Some((4, None)), "at once, and no new cause");
    assert_eq!(frames(room.order.on_answer(page(&[5], 8, 9), now)), [5, 9]);
    assert_eq!(room.order.at(), Some(place(9)));
    assert_eq!(asks(&mut room, now + HOLD * 9), None);
}

#[test]
fn i4_what_nobody_can_answer_is_asked_again_less_and_less_often() {
    let mut now = Instant::now();
    let mut room = at(0, now);
    room.order.on_head(place(1), None, now);
    now += HOLD;
    assert_eq!(asks(&mut room, now), Some((0, Some(Cause::Head))));
    for pause in [250, 500, 1_000, 2_000, 4_000, 4_000] {
        room.order.on_no_answer(now);
        now += Duration::from_millis(pause - 1);
        assert_eq!(asks(&mut room, now), None);
        now += Duration::from_millis(1);
        assert_eq!(asks(&mut room, now), Some((0, None)));
    }
    // After the bus was away, at once; but nothing is asked twice.
    room.order.on_interruption();
    assert_eq!(asks(&mut room, now), Some((0, None)));
    // And not at all any more, when it comes by itself.
    room.order.on_no_answer(now);
    assert_eq!(feed(&mut room, &[1], now), [1]);
    assert_eq!(room.order.deadline(), None);
}

#[test]
fn i9_a_page_that_leads_nowhere_is_no_loop() {
    let now = Instant::now();
    let mut room = at(0, now);
    feed(&mut room, &[2], now);
    assert!(asks(&mut room, now + HOLD).is_some());
    assert_eq!(frames(room.order.on_answer(page(&[], 0, 2), now)), NONE);
    assert_eq!(asks(&mut room, now), None);
    assert!(room.order.deadline().is_some());
}

#[test]
fn i9_what_is_held_is_bounded_and_nothing_of_it_is_missed() {
    let now = Instant::now();
    let mut room = at(0, now);
    let ahead: Vec<u64> = (2..=LIMITS.held as u64 + 3).collect();
    assert_eq!(feed(&mut room, &ahead, now), NONE);
    assert_eq!(room.order.take_overflowed(), 2);
    assert_eq!(asks(&mut room, now), Some((0, Some(Cause::Gap))), "without waiting");
    let head = LIMITS.held as u64 + 3;
    let heard = frames(room.order.on_answer(page(&[1], 1, head), now));
    assert_eq!(heard, (1..=LIMITS.held as u64 + 1).collect::<Vec<_>>());
    assert_eq!(asks(&mut room, now), Some((LIMITS.held as u64 + 1, None)));
}

#[test]
fn i4_what_cannot_be_told_closes_the_room() {
    let other = Standing { version: Version(9), epoch: Epoch(2) };
    let answers = [
        (page(&[], 4, 4), Lost::Fell),
        (Answer::Reload(place(3)), Lost::Fell),
        (Answer::Reload(place(9_000)), Lost::TooFar),
        (Answer::Reload(other), Lost::History),
        (Answer::Gone, Lost::Gone),
    ];
    for (answer, why) in answers {
        let now = Instant::now();
        let mut room = at(4, now);
        room.order.on_head(place(5), None, now);
        assert!(asks(&mut room, now + HOLD).is_some());
        assert_eq!(room.order.on_answer(answer, now), [Heard::Close(why)]);
        assert_eq!(room.clear().collect::<Vec<_>>(), [1]);
    }
}

#[test]
fn i4_only_a_head_that_was_read_after_the_last_event_shows_a_fall() {
    let now = Instant::now();
    let later = now + Duration::from_secs(1);
    let mut room = at(4, now);
    feed(&mut room, &[5], later);
    room.order.on_head(place(4), None, later);
    room.order.on_head(place(4), Some(now), later);
    assert_eq!(asks(&mut room, later + HOLD), None, "old news");
    room.order.on_head(place(4), Some(later + HOLD), later + HOLD);
    assert_eq!(asks(&mut room, later + HOLD), Some((5, Some(Cause::Head))));
}

#[test]
fn i6_an_event_of_another_history_does_not_pass() {
    let now = Instant::now();
    let mut room = at(4, now);
    let stranger = Event { epoch: Epoch(2), ..event(5) };
    assert!(room.order.on_event(stranger, now).is_empty());
    assert_eq!(asks(&mut room, now), Some((4, Some(Cause::History))));
}

#[test]
fn i4_a_joiner_hears_what_passed_after_its_place() {
    let now = Instant::now();
    let mut room = at(1, now);
    room.order.expect_joins(true);
    feed(&mut room, &[2, 3, 4], now);
    let (entered, _) = room.enter((2, 2, user("bob")), place(2), now);
    assert_eq!(entered, Entered::Member(vec![event(3), event(4)]));
    // One whose place is ahead waits for the room.
    let (entered, _) = room.enter((3, 3, user("carol")), place(6), now);
    assert_eq!(entered, Entered::Member(vec![]));
    for (version, hearers) in [(5, vec![1, 2]), (6, vec![1, 2]), (7, vec![1, 2, 3])] {
        let event = event(version);
        let mut keys: Vec<u64> = room.hearers(&[event]).map(|(key, ..)| key).collect();
        keys.sort_unstable();
        assert_eq!(keys, hearers, "{version}");
    }
    // Told together, each hears what is news to it.
    let events = [5, 6, 7, 8].map(event);
    let mut known: Vec<_> = room.hearers(&events).map(|(key, _, known)| (key, known)).collect();
    known.sort_unstable();
    assert_eq!(known, [(1, 0), (2, 0), (3, 2)]);
}

#[test]
fn i4_events_before_the_first_snapshot_are_judged_by_it() {
    let now = Instant::now();
    let mut room = Room::new();
    room.order.expect_joins(true);
    assert_eq!(feed(&mut room, &[6, 7, 8], now), NONE);
    let (entered, _) = room.enter((1, 1, user("alice")), place(7), now);
    assert_eq!(entered, Entered::Member(vec![event(8)]));
    let (entered, _) = room.enter((2, 2, user("bob")), place(5), now);
    assert_eq!(entered, Entered::Behind, "6 and 7 were never passed");
}

#[test]
fn i9_a_ring_that_overran_is_asked_about() {
    let now = Instant::now();
    let mut room = at(0, now);
    room.order.expect_joins(true);
    let versions: Vec<u64> = (1..=LIMITS.ring as u64 + 2).collect();
    feed(&mut room, &versions, now);
    assert_eq!(room.enter((2, 2, user("bob")), place(1), now).0, Entered::Behind);
    let (entered, _) = room.enter((2, 2, user("bob")), place(2), now);
    assert!(matches!(entered, Entered::Member(later) if later.len() == LIMITS.ring));
}

#[test]
fn i6_a_removal_acts_at_its_version_on_whoever_had_not_heard_it() {
    let now = Instant::now();
    let mut room = at(0, now);
    room.enter((2, 2, user("bob")), place(0), now);
    // Let in again.
    room.enter((3, 3, user("bob")), place(1), now);
    let removal = removal(1, "bob");
    let mut keys: Vec<u64> =
        room.hearers(std::slice::from_ref(&removal)).map(|(key, ..)| key).collect();
    keys.sort_unstable();
    assert_eq!(keys, [1, 2]);
    assert_eq!(room.passed(&removal).removed, 1);
    assert_eq!(room.heard_by(2), None);
    assert!(room.heard_by(3).is_some());
}

#[test]
fn i6_a_receipt_does_not_slip_past_what_is_missing() {
    let now = Instant::now();
    let mut room = at(0, now);
    let receipt = |frame| Event { version: None, frame, ..event(0) };
    let passes = |frame| vec![Heard::Event(receipt(frame))];
    assert_eq!(room.order.on_event(receipt(100), now), passes(100));
    feed(&mut room, &[2], now);
    for frame in 101..=101 + LIMITS.held as u64 {
        assert_eq!(room.order.on_event(receipt(frame), now), []);
    }
    assert_eq!(room.order.take_overflowed(), 1);
    assert!(asks(&mut room, now + HOLD).is_some());
    let removed = removal(1, "bob");
    let answer = Answer::Page { events: vec![removed], up_to: Version(2), head: place(2) };
    let heard = frames(room.order.on_answer(answer, now));
    assert_eq!(heard[..2], [1, 101], "the second version stands in the page");
    assert_eq!(heard.len(), 1 + LIMITS.held);
    assert_eq!(room.order.on_event(receipt(999), now), passes(999));
    // Or the missing one comes by itself.
    feed(&mut room, &[4], now);
    assert_eq!(room.order.on_event(receipt(1_000), now), []);
    assert_eq!(feed(&mut room, &[3], now), [3, 4, 1_000]);
}

#[test]
fn i6_who_was_removed_does_not_hear_what_shows_a_later_change() {
    let now = Instant::now();
    let mut room = at(0, now);
    room.enter((2, 2, user("bob")), place(0), now);
    let edited = Event { hidden_from: [user("bob")].into(), ..event(1) };
    let keys: Vec<u64> = room.hearers(std::slice::from_ref(&edited)).map(|(key, ..)| key).collect();
    assert_eq!(keys, [1]);
    assert_eq!(room.passed(&edited).closed, [2], "it comes back, and is looked up");
    assert_eq!((room.heard_by(1), room.heard_by(2)), (Some(Version(0)), None));
    room.order.expect_joins(true);
    room.order.on_event(edited.clone(), now);
    room.order.on_event(removal(2, "bob"), now);
    let (entered, _) = room.enter((3, 3, user("bob")), place(0), now);
    assert_eq!(entered, Entered::Behind);
    let (entered, _) = room.enter((4, 4, user("carol")), place(0), now);
    assert_eq!(entered, Entered::Member(vec![edited, removal(2, "bob")]));
}

#[test]
fn i6_a_removal_during_a_join_is_the_last_that_is_heard() {
    let now = Instant::now();
    let mut room = at(0, now);
    room.order.expect_joins(true);
    room.order.on_event(removal(1, "bob"), now);
    feed(&mut room, &[2], now);
    let (entered, _) = room.enter((2, 2, user("bob")), place(0), now);
    assert_eq!(entered, Entered::Removed(vec![removal(1, "bob")]));
    assert_eq!(room.heard_by(2), None);
}

#[test]
fn i4_a_replay_goes_page_by_page_and_tells_nothing_twice() {
    let snapshot = |missed, head| Snapshot { head: place(head), missed: Some(missed) };
    let since = Some(Version(2));
    let (mut replay, step) = Replay::begin(user("bob"), since, snapshot(page(&[2, 3, 4], 4, 9), 9));
    assert_eq!(step.events, [event(3), event(4)]);
    assert_eq!((step.resync, step.then), (false, Then::Ask(place(4))));
    let step = replay.on_snapshot(snapshot(page(&[7], 9, 9), 9));
    assert_eq!((step.events, step.then), (vec![event(7)], Then::Enter(place(9))));
    let step = replay.on_snapshot(snapshot(Answer::Reload(place(9_999)), 9_999));
    assert_eq!((step.resync, step.then), (true, Then::Enter(place(9_999))));
}

#[test]
fn i4_a_place_that_nobody_has_judged_is_reloaded_unless_it_is_the_end() {
    // As api pods of an earlier release answer.
    for (since, resync) in [(None, false), (Some(4), false), (Some(3), true), (Some(5), true)] {
        let snapshot: Snapshot<u64> = Snapshot { head: place(4), missed: None };
        let (_, step) = Replay::begin(user("bob"), since.map(Version), snapshot);
        assert_eq!((step.resync, step.then), (resync, Then::Enter(place(4))), "{since:?}");
    }
}

proptest! {
    /// Whatever is lost, doubled and reordered: what passes has no gap.
    #[test]
    fn i3_any_history(arrivals in prop::collection::vec(1u64..40, 0..120)) {
        let mut now = Instant::now();
        let mut room = at(0, now);
        let mut last = 0;
        for version in arrivals {
            now += Duration::from_millis(7);
            for frame in feed(&mut room, &[version], now) {
                prop_assert_eq!(frame, last + 1);
                last = frame;
            }
        }
    }
}
