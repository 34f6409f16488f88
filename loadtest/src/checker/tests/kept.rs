//! What is kept besides messages: what everybody has read, and files.

use super::*;

/// The good history, in which all is said by user `a`, with these before its end.
fn and(more: Vec<Record>) -> Vec<Record> {
    with(|record| *record == heard(3, 5), more)
}

fn told(client: u32, count: u64) -> Record {
    Record::Unread { client, chat: 0, count }
}

#[test]
fn i7_unread_is_what_a_count_of_all_messages_gives() {
    let has_read = || {
        vec![
            Record::Reads { client: 1, chat: 0, seqs: vec![1, 2, 4] },
            Record::HasRead { client: 1, chat: 0, seqs: vec![1, 2, 4] },
        ]
    };
    let verdict = |count| {
        let mut more = has_read();
        // One's own are never unread.
        more.extend([told(1, count), told(0, 0)]);
        and(more)
    };
    only(&verdict(2), &[]);
    for wrong in [1, 3] {
        only(&verdict(wrong), &[(Violated::Unread, 1)]);
    }
    only(&and(vec![told(1, 5), told(0, 1)]), &[(Violated::Unread, 1)]);
}

#[test]
fn i7_what_was_asked_for_without_an_answer_may_be_read_or_not() {
    let asked =
        |count| and(vec![Record::Reads { client: 1, chat: 0, seqs: vec![1, 2] }, told(1, count)]);
    for right in 3..=5 {
        only(&asked(right), &[]);
    }
    for wrong in [2, 6] {
        only(&asked(wrong), &[(Violated::Unread, 1)]);
    }
}

#[test]
fn i7_a_deleted_message_is_not_unread() {
    let with_deleted = |count| {
        let mut history = and(vec![told(1, count)]);
        for record in &mut history {
            if let Record::Row { seq: 5, deleted, .. } = record {
                *deleted = true;
            }
        }
        history
    };
    only(&with_deleted(4), &[]);
    only(&with_deleted(5), &[(Violated::Unread, 1)]);
}

#[test]
fn i1_a_file_is_what_was_sent_as_long_as_its_message_is_there() {
    let uploads = || Record::Uploads { key: "s-5".to_owned(), chat: 0, sum: 7 };
    let given = |sum| Record::File { chat: 0, message: "m5".to_owned(), sum };
    only(&and(vec![uploads(), given(7)]), &[]);
    only(&and(vec![uploads(), given(8)]), &[(Violated::Damaged, 1)]);
    only(&and(vec![uploads()]), &[(Violated::Damaged, 1)]);
    only(&and(vec![given(7)]), &[(Violated::Damaged, 1)]);
    let mut deleted = and(vec![uploads()]);
    for record in &mut deleted {
        if let Record::Row { seq: 5, deleted, .. } = record {
            *deleted = true;
        }
    }
    only(&deleted, &[]);
}
