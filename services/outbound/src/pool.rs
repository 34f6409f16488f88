//! Connections that wait for their next request.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use crate::connection::Connection;
use crate::target::Place;

/// How long one waits: less than the five seconds after which many a server closes what is idle, so that few requests
/// meet a connection that is just being closed.
const IDLE: Duration = Duration::from_secs(4);
/// How long one is used, so that a name that moves is followed.
const LIFE: Duration = Duration::from_mins(1);
/// Most that wait for one place.
const MOST_OF_A_PLACE: usize = 8;
/// Most that wait altogether.
const MOST: usize = 256;

/// What waits. What is above a bound is closed instead, which costs a new connection, and nothing else.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    places: HashMap<Place, Vec<(Connection, Instant)>>,
    count: usize,
}

impl Pool {
    /// The connection that was used last, if it can still be used.
    pub(crate) fn take(&self, place: &Place) -> Option<Connection> {
        let mut waiting = self.0.lock();
        let Waiting { places, count } = &mut *waiting;
        let of_place = places.get_mut(place)?;
        let now = Instant::now();
        while let Some((connection, since)) = of_place.pop() {
            *count -= 1;
            if is_usable(&connection, since, now) {
                return Some(connection);
            }
        }
        places.remove(place);
        None
    }

    /// Keeps a connection for the next request.
    pub(crate) fn keep(&self, place: &Place, connection: Connection) {
        let now = Instant::now();
        let mut waiting = self.0.lock();
        if waiting.count >= MOST {
            waiting.sweep(now);
        }
        let Waiting { places, count } = &mut *waiting;
        let of_place = places.entry(place.clone()).or_default();
        let before = of_place.len();
        of_place.retain(|(connection, since)| is_usable(connection, *since, now));
        *count -= before - of_place.len();
        if *count < MOST && of_place.len() < MOST_OF_A_PLACE && is_usable(&connection, now, now) {
            of_place.push((connection, now));
            *count += 1;
        } else if of_place.is_empty() {
            places.remove(place);
        }
    }

    /// How many wait that can still be used.
    pub(crate) fn count(&self) -> usize {
        let mut waiting = self.0.lock();
        waiting.sweep(Instant::now());
        waiting.count
    }
}

impl Waiting {
    fn sweep(&mut self, now: Instant) {
        self.places.retain(|_, of_place| {
            of_place.retain(|(connection, since)| is_usable(connection, *since, now));
            !of_place.is_empty()
        });
        self.count = self.places.values().map(Vec::len).sum();
    }
}

fn is_usable(connection: &Connection, since: Instant, now: Instant) -> bool {
    connection.is_ready()
        && now.saturating_duration_since(since) < IDLE
        && now.saturating_duration_since(connection.made) < LIFE
}
