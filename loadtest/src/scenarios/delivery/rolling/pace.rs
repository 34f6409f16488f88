//! How fast connections were sent away, and came back, out of a history.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::Result;

use crate::history::{self, Line, Record};

/// How a gateway says that it is going away.
const GOING_AWAY: &str = "closed with 1001";

/// The end of one gateway; times in microseconds.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Drain {
    /// When a connection was sent away.
    pub(super) closed: Vec<u64>,
    /// When a client that was sent away had another connection.
    pub(super) back: Vec<u64>,
    /// What else ended meanwhile, anywhere, and how.
    pub(super) otherwise: BTreeMap<String, u64>,
}

/// The drains of a history; each is a fault that has the gateway's name as its last word.
pub(super) fn drains(path: &Path) -> Result<Vec<Drain>> {
    let mut reading = Reading::default();
    for line in history::read(path)? {
        reading.read(line?);
    }
    Ok(reading.drains)
}

#[derive(Debug, Default)]
struct Reading {
    drains: Vec<Drain>,
    /// The gateway that is going, if one is.
    going: Option<String>,
    /// The client and the gateway of each connection.
    connections: HashMap<u32, (u32, String)>,
    /// Who has been sent away and is not back.
    away: HashSet<u32>,
}

impl Reading {
    fn read(&mut self, (at, record): Line) {
        match record {
            Record::FaultBegins { what, .. } => {
                self.going = what.split(' ').next_back().map(str::to_owned);
                self.drains.push(Drain::default());
            }
            Record::FaultEnds { .. } => self.going = None,
            Record::Open { client, connection, gateway } => {
                self.connections.insert(connection, (client, gateway));
                if self.away.remove(&client)
                    && let Some(drain) = self.drains.last_mut()
                {
                    drain.back.push(at);
                }
            }
            Record::Closed { connection, why } => {
                let (Some(going), Some(drain)) = (&self.going, self.drains.last_mut()) else {
                    return;
                };
                let Some((client, gateway)) = self.connections.get(&connection) else { return };
                if gateway == going && why == GOING_AWAY {
                    drain.closed.push(at);
                    self.away.insert(*client);
                } else {
                    *drain.otherwise.entry(why).or_default() += 1;
                }
            }
            _ => {}
        }
    }
}

/// So many a second, by the middle eight tenths: what waits a little at either end does not count. `None` for too few.
#[expect(clippy::cast_precision_loss, reason = "there are not that many connections")]
pub(super) fn rate(times: &[u64]) -> Option<f64> {
    let (from, to) = (times.len() / 10, times.len() * 9 / 10);
    if times.len() < 10 {
        return None;
    }
    let took = times[to].checked_sub(times[from]).filter(|took| *took > 0)?;
    Some((to - from) as f64 * 1e6 / took as f64)
}

/// The most within any second.
pub(super) fn most_in_a_second(times: &[u64]) -> usize {
    let counts = times
        .iter()
        .enumerate()
        .map(|(place, from)| times[place..].partition_point(|at| at - from < 1_000_000));
    counts.max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_pace_has_a_rate() {
        let steady: Vec<u64> = (0..100).map(|number| 7_000_000 + number * 20_000).collect();
        assert!((rate(&steady).unwrap() - 50.0).abs() < 1e-9);
        assert_eq!(most_in_a_second(&steady), 50);
        // A burst in the middle, and a few stragglers.
        let mut burst = steady.clone();
        burst[50..70].fill(8_000_000);
        burst.sort_unstable();
        assert!(most_in_a_second(&burst) > 60);
        let mut late = steady;
        late[99] += 60_000_000;
        assert!((rate(&late).unwrap() - 50.0).abs() < 1e-9);
        assert_eq!((rate(&[1, 2, 3]), rate(&[5; 50]), most_in_a_second(&[])), (None, None, 0));
    }

    #[test]
    fn a_drain_is_what_its_gateway_sends_away() {
        let open = |client, connection, gateway: &str| Record::Open {
            client,
            connection,
            gateway: gateway.to_owned(),
        };
        let closed = |connection, why: &str| Record::Closed { connection, why: why.to_owned() };
        let begins =
            |gateway: &str| Record::FaultBegins { fault: 1, what: format!("restart {gateway}") };
        let lines = [
            (0, open(1, 1, "gateway-1")),
            (0, open(2, 2, "gateway-1")),
            (0, open(3, 3, "gateway-2")),
            (1, closed(3, GOING_AWAY)),
            (2, open(3, 4, "gateway-2")),
            (10, begins("gateway-1")),
            (11, closed(1, GOING_AWAY)),
            (12, closed(4, GOING_AWAY)),
            (13, open(1, 5, "gateway-2")),
            (14, closed(2, "broken")),
            (20, Record::FaultEnds { fault: 1 }),
            (21, closed(5, "broken")),
        ];
        let mut reading = Reading::default();
        for line in lines {
            reading.read(line);
        }
        let otherwise = [("broken".to_owned(), 1), (GOING_AWAY.to_owned(), 1)];
        let wanted = Drain { closed: vec![11], back: vec![13], otherwise: otherwise.into() };
        assert_eq!(reading.drains, [wanted]);
    }
}
