//! What a chat's history says about who has read what, by walking over all of it. Nothing here is shared with the
//! product: a list of what happened, and the rules.

use std::collections::{BTreeMap, BTreeSet};

/// Something that happened in a chat. People are numbers, messages are their seqs.
#[derive(Debug, Clone)]
pub(super) enum Event {
    Sent { seq: u64, by: usize },
    Edited,
    Deleted { seq: u64 },
    Joined { who: usize },
    Left { who: usize },
    ReadAll { who: usize },
    Read { who: usize, seqs: Vec<u64> },
    UnreadFrom { who: usize, seq: u64 },
}

#[derive(Debug, Clone, Default)]
pub(super) struct History(pub(super) Vec<Event>);

impl History {
    /// Who is in the chat.
    pub(super) fn people(&self) -> BTreeSet<usize> {
        let mut people = BTreeSet::new();
        for event in &self.0 {
            match event {
                Event::Joined { who } => {
                    people.insert(*who);
                }
                Event::Left { who } => {
                    people.remove(who);
                }
                _ => {}
            }
        }
        people
    }

    /// Each message's author.
    pub(super) fn authors(&self) -> BTreeMap<u64, usize> {
        let sent = self.0.iter().filter_map(|event| match event {
            Event::Sent { seq, by } => Some((*seq, *by)),
            _ => None,
        });
        sent.collect()
    }

    pub(super) fn deleted(&self) -> BTreeSet<u64> {
        let deleted = self.0.iter().filter_map(|event| match event {
            Event::Deleted { seq } => Some(*seq),
            _ => None,
        });
        deleted.collect()
    }

    /// The messages that `who` has not read; none for somebody who is not in the chat.
    pub(super) fn unread(&self, who: usize) -> BTreeSet<u64> {
        let authors = self.authors();
        let (mut inside, mut joined_after, mut last) = (false, 0, 0);
        let (mut unread, mut deleted) = (BTreeSet::new(), BTreeSet::new());
        for event in &self.0 {
            match event {
                Event::Sent { seq, by } => {
                    last = *seq;
                    if inside && *by != who {
                        unread.insert(*seq);
                    }
                }
                Event::Deleted { seq } => {
                    deleted.insert(*seq);
                    unread.remove(seq);
                }
                Event::Joined { who: joined } if *joined == who => {
                    (inside, joined_after) = (true, last);
                    unread.clear();
                }
                Event::Left { who: left } if *left == who => {
                    inside = false;
                    unread.clear();
                }
                Event::ReadAll { who: reader } if *reader == who => unread.clear(),
                Event::Read { who: reader, seqs } if *reader == who => {
                    unread.retain(|seq| !seqs.contains(seq));
                }
                Event::UnreadFrom { who: reader, seq } if *reader == who => {
                    for again in (*seq).max(joined_after + 1)..=last {
                        if authors[&again] != who && !deleted.contains(&again) {
                            unread.insert(again);
                        }
                    }
                }
                _ => {}
            }
        }
        unread
    }

    /// Changes that took a version.
    pub(super) fn versions(&self, heirs: u64, made_with: u64) -> u64 {
        let taken = self.0.iter().filter(|event| {
            !matches!(event, Event::ReadAll { .. } | Event::Read { .. } | Event::UnreadFrom { .. })
        });
        taken.count() as u64 + heirs - made_with
    }
}

#[test]
fn the_oracle_follows_the_rules() {
    use Event::{Deleted, Joined, Left, Read, ReadAll, Sent, UnreadFrom};
    let mut history = History(vec![Joined { who: 0 }, Sent { seq: 1, by: 0 }, Joined { who: 1 }]);
    let mut then = |event, expected: [&[u64]; 2]| {
        history.0.push(event);
        for (who, expected) in expected.into_iter().enumerate() {
            assert_eq!(history.unread(who), expected.iter().copied().collect(), "{history:?}");
        }
    };
    then(Sent { seq: 2, by: 0 }, [&[], &[2]]);
    then(Sent { seq: 3, by: 1 }, [&[3], &[2]]);
    then(Sent { seq: 4, by: 0 }, [&[3], &[2, 4]]);
    then(Read { who: 1, seqs: vec![1, 3, 4, 9] }, [&[3], &[2]]);
    then(UnreadFrom { who: 1, seq: 1 }, [&[3], &[2, 4]]);
    then(Deleted { seq: 2 }, [&[3], &[4]]);
    then(ReadAll { who: 1 }, [&[3], &[]]);
    then(UnreadFrom { who: 1, seq: 1 }, [&[3], &[4]]);
    then(Left { who: 1 }, [&[3], &[]]);
    then(Sent { seq: 5, by: 0 }, [&[3], &[]]);
    then(Joined { who: 1 }, [&[3], &[]]);
    then(UnreadFrom { who: 1, seq: 1 }, [&[3], &[]]);
    then(Sent { seq: 6, by: 0 }, [&[3], &[6]]);
}
