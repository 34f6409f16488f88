//! Places for what takes long: so many at a time, and so many of one user.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use parley_domain::ids::UserId;
use prometheus::{IntCounter, IntGauge};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::ApiError;

/// The places of one kind.
pub(crate) struct Places {
    all: Arc<Semaphore>,
    of_one_user: u32,
    taken: Arc<Mutex<HashMap<UserId, u32>>>,
    under_way: IntGauge,
    refused: IntCounter,
}

/// A place that is taken until this is dropped.
pub(crate) struct Place {
    user: UserId,
    taken: Arc<Mutex<HashMap<UserId, u32>>>,
    under_way: IntGauge,
    _held: OwnedSemaphorePermit,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.under_way.dec();
        let mut taken = self.taken.lock();
        if let Some(own) = taken.get_mut(&self.user) {
            *own -= 1;
            if *own == 0 {
                taken.remove(&self.user);
            }
        }
    }
}

impl Places {
    pub(crate) fn new(
        all: u32,
        of_one_user: u32,
        under_way: IntGauge,
        refused: IntCounter,
    ) -> Self {
        let all = Arc::new(Semaphore::new(all as usize));
        Self { all, of_one_user, taken: Arc::default(), under_way, refused }
    }

    /// A place, if there is one: each takes memory for a part of a file, and a few who are slow on purpose must not take
    /// them all.
    pub(crate) fn take(&self, user: &UserId) -> Result<Place, ApiError> {
        let place = self.all.clone().try_acquire_owned().ok();
        let Some(held) = place.filter(|_| self.counts_in(user)) else {
            self.refused.inc();
            return Err(ApiError::Unavailable);
        };
        self.under_way.inc();
        let (taken, under_way) = (self.taken.clone(), self.under_way.clone());
        Ok(Place { user: user.clone(), taken, under_way, _held: held })
    }

    fn counts_in(&self, user: &UserId) -> bool {
        let mut taken = self.taken.lock();
        let own = taken.get(user).copied().unwrap_or_default();
        let fits = own < self.of_one_user;
        if fits {
            taken.insert(user.clone(), own + 1);
        }
        fits
    }
}
