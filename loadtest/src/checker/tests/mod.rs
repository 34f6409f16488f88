//! Histories by hand, each with one thing wrong.

use super::*;

mod ends;
mod kept;

/// Two members and an outsider; member 0 hears everything on two connections, member 1 on one.
fn good() -> Vec<Record> {
    let mut all = vec![
        Record::Began { format: FORMAT, command: "by hand".to_owned(), since_1970_ms: 0 },
        Record::Chat { chat: 0, id: "c".to_owned() },
        Record::Client { client: 0, user: "a".to_owned(), chats: vec![0] },
        Record::Client { client: 1, user: "b".to_owned(), chats: vec![0] },
        Record::Client { client: 2, user: "x".to_owned(), chats: vec![] },
    ];
    for client in [0, 1] {
        all.push(Record::Reloaded { client, chat: 0, version: 0 });
        all.extend(enter(client, client, 0));
    }
    all.push(Record::Open { client: 2, connection: 2, gateway: "gateway-1".to_owned() });
    all.push(Record::Join { connection: 2, chat: 0, since: None });
    all.push(Record::Refused { connection: 2, chat: 0, code: "not_participant".to_owned() });
    for version in 1..=3 {
        all.extend(sent(version));
        all.extend([0, 1].map(|connection| heard(connection, version)));
    }
    all.push(Record::Closed { connection: 0, why: "cut".to_owned() });
    all.extend(sent(4));
    all.push(heard(1, 4));
    all.extend(enter(0, 3, 3));
    all.push(heard(3, 4));
    all.extend(sent(5));
    all.extend([heard(1, 5), heard(3, 5)]);
    all.push(Record::Settled { whole: true });
    all.push(Record::Head { chat: 0, version: 5, seq: 5 });
    all.extend((1..=5).map(|version| row(version, version)));
    all.push(Record::Ended);
    all
}

fn enter(client: u32, connection: u32, since: u64) -> [Record; 3] {
    [
        Record::Open { client, connection, gateway: "gateway-1".to_owned() },
        Record::Join { connection, chat: 0, since: Some(since) },
        Record::Joined {
            connection,
            chat: 0,
            version: since,
            epoch: "e".to_owned(),
            resync: false,
            pod: "gateway-1".to_owned(),
        },
    ]
}

fn sent(version: u64) -> [Record; 2] {
    [
        Record::Send { key: format!("s-{version}"), chat: 0, attempt: 1, pod: "api-1".to_owned() },
        answered(version, &format!("m{version}")),
    ]
}

fn answered(version: u64, message: &str) -> Record {
    let (key, message) = (format!("s-{version}"), message.to_owned());
    Record::Answered { key, chat: 0, status: 201, message, version }
}

fn heard(connection: u32, version: u64) -> Record {
    let event = "new-message".to_owned();
    Record::Heard { connection, chat: 0, version, event, message: format!("m{version}") }
}

fn row(seq: u64, version: u64) -> Record {
    let (id, key, author) = (format!("m{seq}"), format!("s-{seq}"), "a".to_owned());
    Record::Row { chat: 0, seq, version, changed: None, id, key, author, deleted: false }
}

fn verdict(records: &[Record]) -> Verdict {
    let mut court = Court::default();
    for (at, record) in (0..).zip(records) {
        court.hear((at * 1000, record.clone())).unwrap();
    }
    court.decide().unwrap()
}

/// The good history without whatever is like this.
fn without(unwanted: impl Fn(&Record) -> bool) -> Vec<Record> {
    let all = good();
    let left: Vec<_> = all.iter().filter(|record| !unwanted(record)).cloned().collect();
    assert!(left.len() < all.len(), "nothing was taken away");
    left
}

/// The good history with more behind the record that is like this.
fn with(place: impl Fn(&Record) -> bool, more: Vec<Record>) -> Vec<Record> {
    let mut all = good();
    let at = all.iter().position(place).unwrap();
    all.splice(at + 1..=at, more);
    all
}

#[track_caller]
fn only(records: &[Record], wanted: &[(Violated, u64)]) -> Verdict {
    let verdict = verdict(records);
    let all: u64 = wanted.iter().map(|(_, count)| count).sum();
    for (fault, count) in wanted {
        assert_eq!(verdict.of(*fault), *count, "{fault:?}: {}", verdict.report());
    }
    assert_eq!(verdict.violations(), all, "{}", verdict.report());
    assert_eq!(verdict.is_clean(), all == 0);
    verdict
}

#[test]
fn a_good_history_is_clean() {
    let verdict = only(&good(), &[]);
    assert_eq!(verdict.line(), "verdict: clean");
    assert_eq!(verdict.counts.deliveries, 10);
    assert_eq!((verdict.counts.resumes, verdict.counts.refused), (3, 1));
}

#[test]
fn i1_an_answer_without_a_row() {
    let invented = vec![
        Record::Send { key: "s-9".to_owned(), chat: 0, attempt: 1, pod: "api-1".to_owned() },
        Record::Answered {
            key: "s-9".to_owned(),
            chat: 0,
            status: 201,
            message: "m9".to_owned(),
            version: 5,
        },
    ];
    let history = with(|record| *record == heard(3, 5), invented);
    let verdict = only(&history, &[(Violated::NotDurable, 1)]);
    assert_eq!(verdict.line(), "verdict: 1 violation");
}

#[test]
fn i2_a_key_with_two_messages() {
    let is_row_5 = |record: &Record| *record == row(5, 5);
    let mut history = without(is_row_5);
    let end = history.len() - 1;
    let twice = Record::Row {
        chat: 0,
        seq: 5,
        version: 5,
        changed: None,
        id: "m5".to_owned(),
        key: "s-4".to_owned(),
        author: "a".to_owned(),
        deleted: false,
    };
    history.insert(end, twice);
    only(&history, &[(Violated::TwoMessages, 1)]);

    let two_answers = with(|record| *record == heard(3, 5), vec![answered(5, "m4")]);
    only(&two_answers, &[(Violated::TwoMessages, 1), (Violated::NotDurable, 1)]);
}

#[test]
fn i2_a_message_that_nobody_sent() {
    let history = without(|record| matches!(record, Record::Send { key, .. } if key == "s-2"));
    only(&history, &[(Violated::Invented, 1)]);
}

#[test]
fn i3_a_version_that_comes_twice() {
    only(&with(|record| *record == heard(1, 2), vec![heard(1, 2)]), &[(Violated::Twice, 1)]);
    // What the position of the join covers comes twice to the client.
    only(&with(|record| *record == heard(3, 4), vec![heard(3, 3)]), &[(Violated::Twice, 1)]);
}

#[test]
fn i3_versions_that_change_places() {
    let mut history = without(|record| *record == heard(1, 2));
    let at = history.iter().position(|record| *record == heard(1, 3)).unwrap();
    history.insert(at + 1, heard(1, 2));
    only(&history, &[(Violated::OutOfOrder, 1)]);
}

#[test]
fn i4_a_version_that_is_missing_between_others() {
    only(&without(|record| *record == heard(1, 2)), &[(Violated::Lost, 1)]);
}

#[test]
fn i4_a_version_that_is_missing_at_the_end_of_a_connection_that_stayed() {
    only(&without(|record| *record == heard(1, 5)), &[(Violated::Lost, 1)]);
}

#[test]
fn i4_what_a_cut_connection_does_not_hear_comes_on_the_next() {
    // The next one says that it has everything up to 3.
    only(&without(|record| *record == heard(0, 3)), &[(Violated::Lost, 1)]);
    let lost_with_the_first = without(|record| *record == heard(0, 3));
    let resumed: Vec<_> = lost_with_the_first
        .into_iter()
        .flat_map(|record| match record {
            Record::Join { connection: 3, .. } => {
                vec![Record::Join { connection: 3, chat: 0, since: Some(2) }]
            }
            Record::Heard { connection: 3, version: 4, .. } => vec![heard(3, 3), heard(3, 4)],
            other => vec![other],
        })
        .collect();
    only(&resumed, &[]);
}

#[test]
fn i4_a_resync_makes_good_what_is_missing_once_the_client_has_reloaded() {
    let missing = without(|record| *record == heard(1, 2));
    let told = |more: Vec<Record>| {
        let mut history = missing.clone();
        let at = history.iter().position(|record| *record == heard(1, 3)).unwrap();
        history.splice(at..at, more);
        history
    };
    let resync = Record::Resync { connection: 1, chat: 0, reason: "gap".to_owned() };
    let reloaded = Record::Reloaded { client: 1, chat: 0, version: 2 };
    let verdict = only(&told(vec![resync.clone(), reloaded.clone()]), &[]);
    assert_eq!(verdict.counts.resyncs_told["gap"], 1);
    only(&told(vec![resync]), &[(Violated::Lost, 1)]);
    // To reload by chance does not excuse the gap.
    only(&told(vec![reloaded]), &[(Violated::Lost, 1)]);
}

#[test]
fn i4_an_edit_that_a_later_one_stands_for_may_be_left_out() {
    let edited = |seq: u64, changed: u64| Record::Row {
        chat: 0,
        seq,
        version: seq,
        changed: Some(changed),
        id: format!("m{seq}"),
        key: format!("s-{seq}"),
        author: "a".to_owned(),
        deleted: false,
    };
    let edit = |key: &str, version| {
        let (send, key) = (key.to_owned(), key.to_owned());
        vec![
            Record::Send { key: send, chat: 0, attempt: 1, pod: "api-1".to_owned() },
            Record::Answered { key, chat: 0, status: 200, message: "m1".to_owned(), version },
        ]
    };
    let mut history = good();
    let at = history.iter().position(|record| *record == heard(3, 5)).unwrap();
    // Both edits of the first message; version 6 is in Postgres no more.
    let more = [edit("e-1", 6), edit("e-2", 7), vec![heard(1, 7), heard(3, 6), heard(3, 7)]];
    history.splice(at + 1..=at, more.concat());
    for record in &mut history {
        match record {
            Record::Row { seq: 1, .. } => *record = edited(1, 7),
            Record::Head { version, .. } => *version = 7,
            _ => {}
        }
    }
    only(&history, &[]);
    history.retain(|record| *record != heard(1, 7));
    only(&history, &[(Violated::Lost, 1)]);
}

#[test]
fn i4_a_member_who_is_refused_or_never_comes() {
    let refused = Record::Refused { connection: 1, chat: 0, code: "not_participant".to_owned() };
    only(&with(|record| *record == heard(1, 1), vec![refused]), &[(Violated::Refused, 1)]);
    let absent = Record::Client { client: 9, user: "z".to_owned(), chats: vec![0] };
    let history = with(|record| matches!(record, Record::Client { client: 2, .. }), vec![absent]);
    only(&history, &[(Violated::Absent, 1)]);
    let mut history = good();
    let settled =
        history.iter().position(|record| matches!(record, Record::Settled { .. })).unwrap();
    history[settled] = Record::Settled { whole: false };
    only(&history, &[(Violated::Absent, 1)]);
}

#[test]
fn counters_are_summed_over_pods_and_absent_when_no_pod_has_them() {
    let counter = |pod: &str, cause: &str, value| Record::Counter {
        pod: pod.to_owned(),
        name: format!("catch_ups{{cause=\"{cause}\"}}"),
        value,
    };
    let more = vec![counter("a", "gap", 2), counter("b", "gap", 3), counter("a", "heads", 7)];
    let verdict = verdict(&with(|record| *record == heard(3, 5), more));
    assert_eq!(verdict.counter("catch_ups", "cause=\"gap\""), Some(5));
    assert_eq!(verdict.counter("catch_ups", "cause=\"reconnect\""), Some(0));
    assert_eq!(verdict.counter("others", "cause=\"gap\""), None);
}

#[test]
fn i5_a_seq_or_a_version_that_nothing_took() {
    let history: Vec<_> = good()
        .into_iter()
        .map(|record| match record {
            Record::Head { chat, version, seq } => Record::Head { chat, version: version + 1, seq },
            other => other,
        })
        .collect();
    only(&history, &[(Violated::Hole, 1)]);
    // Somebody who came and went: Postgres has the going.
    let mut with_a_guest = history;
    with_a_guest.insert(5, Record::Adding { client: 1, chat: 0 });
    only(&with_a_guest, &[]);
    let without_2 = without(|record| match record {
        Record::Row { seq, .. } => *seq == 2,
        Record::Send { key, .. } | Record::Answered { key, .. } => key == "s-2",
        _ => false,
    });
    only(&without_2, &[(Violated::Hole, 1)]);
}

#[test]
fn i6_an_outsider_who_hears_or_is_let_in() {
    let leaked = with(|record| *record == heard(1, 1), vec![heard(2, 1)]);
    only(&leaked, &[(Violated::Leaked, 1), (Violated::Unjoined, 1)]);
    let let_in = with(|record| *record == heard(1, 1), vec![enter(2, 2, 0)[2].clone()]);
    let found = verdict(&let_in);
    assert_eq!(found.of(Violated::Leaked), 1, "{}", found.report());
}

/// A third member, who hears the first two messages and is taken out at version 3; the others' third message is version 4.
fn with_a_removal() -> Vec<Record> {
    let mut history = good();
    let at = history.iter().position(|it| matches!(it, Record::Client { client: 2, .. })).unwrap();
    history.insert(at, Record::Client { client: 7, user: "r".to_owned(), chats: vec![0] });
    let at = history.iter().position(|record| *record == sent(1)[0]).unwrap();
    history.splice(at..at, enter(7, 70, 0));
    let heard_by = |history: &mut Vec<Record>, version| {
        let at = history.iter().position(|record| *record == heard(1, version)).unwrap();
        history.insert(at + 1, heard(70, version));
    };
    heard_by(&mut history, 1);
    heard_by(&mut history, 2);
    // The third version is the removal, not a message.
    history.retain(|record| match record {
        Record::Send { key, .. } | Record::Answered { key, .. } => key != "s-3",
        _ => true,
    });
    for record in &mut history {
        match record {
            Record::Row { seq, .. } if *seq > 3 => *seq -= 1,
            Record::Head { seq, .. } => *seq -= 1,
            _ => {}
        }
    }
    history.retain(|record| *record != row(3, 3));
    heard_by(&mut history, 3);
    let at = history.iter().position(|record| *record == heard(0, 3)).unwrap();
    history.insert(at, Record::Leaving { client: 7, chat: 0 });
    let end = history.len() - 1;
    let removed = Record::Removed { chat: 0, user: "r".to_owned(), version: 3 };
    history.splice(end..end, [Record::Change { chat: 0, version: 3 }, removed]);
    history
}

/// The same, with more behind what the others heard as version 4.
fn after_the_removal(more: &[Record]) -> Vec<Record> {
    let mut history = with_a_removal();
    let at = history.iter().position(|record| *record == heard(1, 4)).unwrap();
    history.splice(at + 1..=at, more.iter().cloned());
    history
}

#[test]
fn i6_a_removal_is_the_last_that_the_removed_hear() {
    only(&with_a_removal(), &[]);
    only(&after_the_removal(&[heard(70, 4)]), &[(Violated::Leaked, 1)]);
    // Messages that came before the removal, and late, are theirs.
    let late: Vec<_> = {
        let mut history = with_a_removal();
        history
            .retain(|record| !matches!(record, Record::Heard { connection: 70, version: 2.., .. }));
        let at = history.iter().position(|record| *record == heard(1, 4)).unwrap();
        history.splice(at + 1..=at, [heard(70, 2), heard(70, 3)]);
        history
    };
    only(&late, &[]);
}

#[test]
fn i6_who_is_removed_is_not_let_in_again() {
    let refused = Record::Refused { connection: 71, chat: 0, code: "not_participant".to_owned() };
    let [open, join, joined] = enter(7, 71, 4);
    only(&after_the_removal(&[open.clone(), join.clone(), refused.clone()]), &[]);
    only(&after_the_removal(&[open.clone(), join.clone(), joined]), &[(Violated::Leaked, 1)]);
    // A snapshot from before the removal is no leak, and what was refused before it was no leaver.
    let before = Record::Joined {
        connection: 71,
        chat: 0,
        version: 2,
        epoch: "e".to_owned(),
        resync: false,
        pod: "gateway-1".to_owned(),
    };
    let join = Record::Join { connection: 71, chat: 0, since: None };
    only(&after_the_removal(&[open, join, before, heard(71, 3)]), &[]);
    let mut early = with_a_removal();
    let at = early.iter().position(|record| *record == heard(70, 1)).unwrap();
    let too_early = Record::Refused { connection: 70, chat: 0, code: "x".to_owned() };
    early.insert(at, too_early);
    only(&early, &[(Violated::Refused, 1)]);
}

#[test]
fn i4_who_is_removed_hears_everything_up_to_it() {
    let mut history = with_a_removal();
    history.retain(|record| *record != heard(70, 3));
    only(&history, &[(Violated::Lost, 1)]);
}

#[test]
fn i4_nothing_is_owed_to_who_has_gone() {
    // Client 0 goes after its first connection, and comes back no more.
    let mut history = without(|record| matches!(record, Record::Heard { connection: 3, .. }));
    history.retain(|record| {
        !matches!(
            record,
            Record::Open { connection: 3, .. }
                | Record::Join { connection: 3, .. }
                | Record::Joined { connection: 3, .. }
        )
    });
    only(&history, &[(Violated::Lost, 2)]);
    let end = history.iter().position(|it| matches!(it, Record::Settled { .. })).unwrap();
    history.insert(end, Record::Gone { client: 0 });
    only(&history, &[]);
}

#[test]
fn a_history_that_is_cut_off_is_not_judged() {
    for cut in [1, 20] {
        let mut court = Court::default();
        let records = good();
        for record in &records[..records.len() - cut] {
            court.hear((0, record.clone())).unwrap();
        }
        assert!(court.decide().is_err());
    }
}

#[test]
fn recovery_counts_from_the_end_of_a_fault() {
    let begins = Record::FaultBegins { fault: 1, what: "cut".to_owned() };
    let mut history = with(|record| *record == heard(1, 3), vec![begins]);
    // It ends when connection 0 is gone and the fourth message is answered.
    let at = history.iter().position(|record| *record == heard(1, 4)).unwrap();
    history.insert(at, Record::FaultEnds { fault: 1 });
    let verdict = verdict(&history);
    let back = history.iter().position(|record| *record == heard(3, 4)).unwrap();
    let recovery = &verdict.recoveries[0];
    assert_eq!(recovery.took, Some((back - at) as u64 * 1000), "{recovery:?}");
    assert!(verdict.report().contains("1 of 1 faults recovered from"), "{}", verdict.report());
}
