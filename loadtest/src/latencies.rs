//! How long events took to reach the clients, out of a history.

use std::collections::HashMap;
use std::path::Path;

use anyhow::Result;

use crate::history::{self, Line, Record};

/// A stretch of the run, and how long everything took that was sent in it: microseconds from the first try of a send to each
/// client that heard it, the shortest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Phase {
    pub(crate) name: String,
    pub(crate) latencies: Vec<u32>,
}

/// The phases of a history, in their order, as those clients lived through them that are meant.
pub(crate) fn by_phase(path: &Path, is_meant: impl Fn(u32) -> bool) -> Result<Vec<Phase>> {
    let mut reading = Reading::default();
    for line in history::read(path)? {
        reading.read(line?, &is_meant);
    }
    Ok(reading.phases())
}

/// Somebody has heard a version of a chat.
#[derive(Debug)]
struct Delivery {
    chat: u32,
    version: u64,
    at: u64,
}

#[derive(Debug, Default)]
struct Reading {
    /// The names of the phases.
    names: Vec<String>,
    /// When a key was sent first, and in which phase.
    sent: HashMap<String, (u64, usize)>,
    /// Which key has become which version of a chat.
    keys: HashMap<(u32, u64), String>,
    /// Connections of those who are meant.
    meant: HashMap<u32, bool>,
    heard: Vec<Delivery>,
}

impl Reading {
    fn read(&mut self, (at, record): Line, is_meant: impl Fn(u32) -> bool) {
        match record {
            Record::Phase { name } => self.names.push(name),
            Record::Open { client, connection, .. } => {
                self.meant.insert(connection, is_meant(client));
            }
            Record::Send { key, attempt: 1, .. } if !self.names.is_empty() => {
                self.sent.insert(key, (at, self.names.len() - 1));
            }
            Record::Answered { key, chat, status: 200..300, version, .. } => {
                self.keys.insert((chat, version), key);
            }
            Record::Heard { connection, chat, version, event, .. }
                if event == "new-message" && self.meant.get(&connection) == Some(&true) =>
            {
                self.heard.push(Delivery { chat, version, at });
            }
            _ => {}
        }
    }

    fn phases(self) -> Vec<Phase> {
        let Self { names, sent, keys, heard, .. } = self;
        let phase = |name| Phase { name, latencies: Vec::new() };
        let mut phases: Vec<_> = names.into_iter().map(phase).collect();
        for Delivery { chat, version, at } in heard {
            // Events come before the answer that says which message they are of.
            let key = keys.get(&(chat, version));
            let Some((since, phase)) = key.and_then(|key| sent.get(key)) else { continue };
            let took = u32::try_from(at.saturating_sub(*since)).unwrap_or(u32::MAX);
            phases[*phase].latencies.push(took);
        }
        for phase in &mut phases {
            phase.latencies.sort_unstable();
        }
        phases
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delivery_counts_in_the_phase_in_which_it_was_sent() {
        let open =
            |connection| Record::Open { client: connection, connection, gateway: String::new() };
        let phase = |name: &str| Record::Phase { name: name.to_owned() };
        let send = |key: &str, attempt| Record::Send {
            key: key.to_owned(),
            chat: 0,
            attempt,
            pod: String::new(),
        };
        let answered = |key: &str, version| Record::Answered {
            key: key.to_owned(),
            chat: 0,
            status: 201,
            message: String::new(),
            version,
        };
        let heard = |connection, version| Record::Heard {
            connection,
            chat: 0,
            version,
            event: "new-message".to_owned(),
            message: String::new(),
        };
        let lines = [
            (0, open(1)),
            (0, open(2)),
            (1, send("before", 1)),
            (2, answered("before", 1)),
            (10, phase("with")),
            (10, heard(1, 1)),
            (20, send("a", 1)),
            (30, heard(1, 2)),
            (35, send("a", 2)),
            (40, phase("without")),
            (50, answered("a", 2)),
            // Not meant, and late.
            (60, heard(2, 2)),
            (65, heard(1, 2)),
            (70, send("b", 1)),
            (71, answered("b", 3)),
            (90, heard(1, 3)),
        ];
        let mut reading = Reading::default();
        for line in lines {
            reading.read(line, |client| client == 1);
        }
        let phases = reading.phases();
        let phase = |name: &str, latencies: &[u32]| Phase {
            name: name.to_owned(),
            latencies: latencies.to_vec(),
        };
        assert_eq!(phases, [phase("with", &[10, 45]), phase("without", &[20])]);
    }
}
