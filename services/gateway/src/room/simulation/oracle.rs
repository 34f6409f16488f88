//! What clients may and must hear. It sees what they were told, and the log; of rooms it knows nothing.

use super::store::{Change, Store, Told, index, is_in, stand_for};

/// A client's view of its membership of the room.
#[derive(Debug, Default)]
pub(super) struct Witness {
    user: usize,
    /// From the ack on, until it hears that it is out or leaves.
    pub(super) session: Option<Session>,
    /// Where it would say that it was.
    pub(super) place: Option<(u64, u64)>,
}

#[derive(Debug)]
pub(super) struct Session {
    epoch: u64,
    /// The position of the join; what is at or below it is not told.
    base: u64,
    last: u64,
    /// A resync told that everything up to here is to be reloaded.
    reloaded: u64,
    told: Vec<Told>,
}

impl Witness {
    pub(super) fn new(user: usize) -> Self {
        Self { user, ..Self::default() }
    }

    /// The ack: the client has everything up to `base`, or reloads up to there.
    pub(super) fn acknowledged(&mut self, base: u64, epoch: u64) {
        self.session = Some(Session { epoch, base, last: base, reloaded: base, told: Vec::new() });
        self.place = Some((base, epoch));
    }

    pub(super) fn told_resync(&mut self, head: u64, epoch: u64) -> Result<(), String> {
        let session = self.session.as_mut().ok_or("a resync before the ack, or after the end")?;
        *session = Session { epoch, base: head, last: head, reloaded: head, told: Vec::new() };
        self.place = Some((head, epoch));
        Ok(())
    }

    pub(super) fn told(&mut self, told: Told, store: &Store) -> Result<(), String> {
        let user = self.user;
        let Some(session) = &mut self.session else {
            return Err(format!("I6: {user} hears {told:?} outside of the room"));
        };
        if told.version <= session.last {
            return Err(format!("I3: {user} hears {told:?} after {}", session.last));
        }
        if told.epoch != session.epoch {
            return Err(format!("{user} hears {told:?} in the history {}", session.epoch));
        }
        let log = store.history(told.epoch);
        let own_end = told.change == Change::Removed(user);
        let (then, after) = log.split_at(index(told.version));
        let back = after.contains(&Change::Added(user));
        let shown = &log[..index(told.shows)];
        let was_in = is_in(then, user) && is_in(shown, user);
        if !own_end && !was_in && !back {
            return Err(format!("I6: {user} hears {told:?}, and was removed"));
        }
        session.last = told.version;
        session.told.push(told);
        self.place = Some((told.version, told.epoch));
        if own_end {
            self.session = None;
        }
        Ok(())
    }

    pub(super) fn left(&mut self) {
        self.session = None;
    }

    /// At the end: it has to be whole.
    pub(super) fn is_whole(&self, store: &Store) -> Result<(), String> {
        let Some(session) = &self.session else { return Ok(()) };
        let user = self.user;
        if session.epoch != store.epoch {
            return Err(format!("{user} lives in the history {}", session.epoch));
        }
        if !store.is_in(user) {
            return Err(format!("I6: {user} was removed, and does not know"));
        }
        for version in session.base.max(session.reloaded) + 1..=store.log.len() as u64 {
            let heard = session.told.iter().any(|told| told.version == version);
            let later: Vec<Change> = session
                .told
                .iter()
                .filter(|told| told.version > version)
                .map(|told| told.change)
                .collect();
            if !heard && !stand_for(store.log[index(version) - 1], &later) {
                return Err(format!("I4: {user} never hears {version} of {:?}", store.log));
            }
        }
        Ok(())
    }
}
