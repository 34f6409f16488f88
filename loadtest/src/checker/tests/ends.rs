//! Tokens that end, and what is heard afterwards.

use super::*;

/// The good history, with client 1's connection going on: what it hears when, in seconds, after something has happened.
fn after(what: Vec<(u64, Record)>, heard_at: u64) -> Verdict {
    let mut court = Court::default();
    let mut good = good();
    let end =
        good.split_off(good.iter().position(|it| matches!(it, Record::Settled { .. })).unwrap());
    let mut hear = |at: u64, record: Record| court.hear((at * 1_000_000, record)).unwrap();
    for record in good {
        hear(1, record);
    }
    for (at, record) in what {
        hear(at, record);
    }
    for record in sent(6).into_iter().chain([heard(1, 6), heard(3, 6)]) {
        hear(heard_at, record);
    }
    for record in end {
        let record = match record {
            Record::Head { .. } => Record::Head { chat: 0, version: 6, seq: 6 },
            other => other,
        };
        if record == Record::Ended {
            hear(90, row(6, 6));
        }
        hear(90, record);
    }
    court.decide().unwrap()
}

fn fault(fault: u32, from: u64, to: u64) -> [(u64, Record); 2] {
    let begins = Record::FaultBegins { fault, what: "a fault".to_owned() };
    [(from, begins), (to, Record::FaultEnds { fault })]
}

#[test]
fn i6_who_was_revoked_hears_nothing_soon_after_that() {
    let revoked = || vec![(10, Record::Revoked { client: 1 })];
    assert!(after(revoked(), 12).is_clean());
    let late = after(revoked(), 13);
    assert_eq!((late.of(Violated::Outlived), late.violations()), (1, 1), "{}", late.report());
    assert_eq!(late.counts.revocations, 1);
    assert!(late.report().contains("client 1, whose token was revoked at 10.000 s"));
}

#[test]
fn i6_in_a_fault_nobody_may_have_been_told() {
    let in_a_fault = || {
        let [begins, ends] = fault(1, 9, 20);
        vec![begins, (10, Record::Revoked { client: 1 }), ends]
    };
    assert!(after(in_a_fault(), 25).is_clean());
    assert_eq!(after(in_a_fault(), 26).of(Violated::Outlived), 1);
}

#[test]
fn i6_whose_token_has_expired_hears_nothing_soon_after_that() {
    let expires = || vec![(2, Record::Expires { connection: 1, at: 10_000_000 })];
    assert!(after(expires(), 12).is_clean());
    let late = after(expires(), 13);
    assert_eq!((late.of(Violated::Outlived), late.violations()), (1, 1), "{}", late.report());
    // The other connections have tokens of their own.
    let of_another = vec![(2, Record::Expires { connection: 0, at: 10_000_000 })];
    assert!(after(of_another, 13).is_clean());
}

#[test]
fn i6_who_was_revoked_is_not_let_in_again() {
    let mut what = vec![(10, Record::Revoked { client: 1 })];
    what.push((11, Record::Closed { connection: 1, why: "closed with 1008".to_owned() }));
    what.extend(enter(1, 9, 5).map(|record| (30, record)));
    what.push((31, Record::Closed { connection: 9, why: "over".to_owned() }));
    what.push((31, Record::Gone { client: 1 }));
    let mut court = Court::default();
    for record in good().into_iter().filter(|it| *it != Record::Ended) {
        court.hear((1_000_000, record)).unwrap();
    }
    for (at, record) in what {
        court.hear((at * 1_000_000, record)).unwrap();
    }
    court.hear((90_000_000, Record::Ended)).unwrap();
    let verdict = court.decide().unwrap();
    assert_eq!(
        (verdict.of(Violated::Outlived), verdict.violations()),
        (1, 1),
        "{}",
        verdict.report()
    );
}

#[test]
fn i4_a_member_who_is_turned_away_or_may_not_send() {
    let turned_away = Record::TurnedAway { client: 0, why: "refused: 44".to_owned() };
    only(&with(|record| *record == heard(1, 1), vec![turned_away]), &[(Violated::Refused, 1)]);
    let refused = vec![
        Record::Send { key: "s-9".to_owned(), chat: 0, attempt: 1, pod: "api-1".to_owned() },
        Record::Answered {
            key: "s-9".to_owned(),
            chat: 0,
            status: 401,
            message: String::new(),
            version: 0,
        },
    ];
    only(&with(|record| *record == heard(1, 1), refused), &[(Violated::Refused, 1)]);
}
