//! Who has read what, and how much remains: all messages are looked at, one by one.

use std::collections::{HashMap, HashSet};
use std::ops::RangeInclusive;

use super::chat::Row;

/// What the members of a chat have read.
#[derive(Debug, Default)]
pub(super) struct Readings {
    by_client: HashMap<u32, Reading>,
    /// How many messages each is told in the end not to have read.
    pub(super) told: HashMap<u32, u64>,
}

/// What one of them has read, by seq.
#[derive(Debug, Default)]
pub(super) struct Reading {
    pub(super) surely: HashSet<u64>,
    /// What was asked for, answered or not.
    pub(super) perhaps: HashSet<u64>,
}

impl Readings {
    pub(super) fn of(&mut self, client: u32) -> &mut Reading {
        self.by_client.entry(client).or_default()
    }

    /// From, if all was read that may have been, and to. One's own messages, and those that are deleted, are never unread.
    pub(super) fn unread(&self, client: u32, user: &str, rows: &[Row]) -> RangeInclusive<u64> {
        let reading = self.by_client.get(&client);
        let (mut least, mut most) = (0, 0);
        for row in rows.iter().filter(|row| row.author != user && !row.deleted) {
            let has = |of: fn(&Reading) -> &HashSet<u64>| {
                reading.is_some_and(|reading| of(reading).contains(&row.seq))
            };
            most += u64::from(!has(|it| &it.surely));
            least += u64::from(!has(|it| &it.surely) && !has(|it| &it.perhaps));
        }
        least..=most
    }
}
