//! The windows of the users that this pod remembers.

use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use lru::LruCache;
use parking_lot::Mutex;

use super::member::UserKey;
use super::window::{Memory, Window};

/// Windows by user. Where more users are active than fit, the one that was silent longest is forgotten: should Redis be gone
/// then, that user begins anew on this pod.
pub(crate) struct Users(Mutex<LruCache<UserKey, Window>>);

impl Users {
    pub(crate) fn new(most: NonZeroUsize) -> Self {
        // Not `new`, which takes the memory of all of them at once.
        let mut windows = LruCache::unbounded();
        windows.resize(most);
        Self(Mutex::new(windows))
    }

    /// Does something with a user's window; `length` is how long it is.
    pub(crate) fn with<T>(
        &self,
        user: &UserKey,
        length: Duration,
        work: impl FnOnce(&mut Window, Instant) -> T,
    ) -> T {
        let mut windows = self.0.lock();
        // Read under the lock, so that entries come by time.
        let now = Instant::now();
        let window = windows.get_or_insert_mut_ref(user, Window::default);
        window.touch(now, length);
        let done = work(window, now);
        // Two for each that may have come: what is silent goes sooner than it came.
        for _ in 0..2 {
            if windows.peek_lru().is_some_and(|(_, window)| window.is_stale(now)) {
                windows.pop_lru();
            }
        }
        done
    }

    /// Does something with a user's window if there is one.
    pub(crate) fn with_known<T>(
        &self,
        user: &UserKey,
        work: impl FnOnce(&mut Window) -> T,
    ) -> Option<T> {
        self.0.lock().peek_mut(user).map(work)
    }

    /// Before a question to Redis: what it has to bring along. Until the guard is gone, the question counts as a grant.
    pub(crate) fn ask<'a>(&'a self, user: &'a UserKey, length: Duration) -> (Memory, InFlight<'a>) {
        let memory = self.with(user, length, |window, now| window.ask(now, length));
        (memory, InFlight { users: self, user })
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.lock().len()
    }
}

/// A question to Redis that may have been granted. A caller may go away in the middle of it.
pub(crate) struct InFlight<'a> {
    users: &'a Users,
    user: &'a UserKey,
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.users.with_known(self.user, Window::answered);
    }
}

#[cfg(test)]
mod tests {
    use parley_domain::ids::UserId;

    use super::super::Member;
    use super::*;

    fn user(number: u32) -> UserKey {
        UserKey::of(&UserId::parse(&number.to_string()).unwrap())
    }

    fn note(users: &Users, number: u32, length: Duration) {
        users.with(&user(number), length, |window, now| window.note(now, Member::unique(), None));
    }

    #[test]
    fn no_more_users_are_remembered_than_there_is_room_for() {
        let users = Users::new(NonZeroUsize::new(10).unwrap());
        for number in 0..100 {
            note(&users, number, Duration::from_mins(1));
        }
        assert_eq!(users.len(), 10);
        assert!(users.with_known(&user(89), |_| ()).is_none());
        assert!(users.with_known(&user(90), |_| ()).is_some());
    }

    #[test]
    fn silent_users_are_forgotten() {
        let users = Users::new(NonZeroUsize::new(1_000).unwrap());
        for number in 0..100 {
            note(&users, number, Duration::ZERO);
        }
        assert!(users.len() <= 1, "{}", users.len());
        for number in 0..100 {
            note(&users, number, Duration::from_mins(1));
        }
        assert_eq!(users.len(), 100);
    }

    #[test]
    fn a_question_that_is_given_up_is_not_in_flight_for_ever() {
        let users = Users::new(NonZeroUsize::MIN);
        let user = user(1);
        let (_, asking) = users.ask(&user, Duration::ZERO);
        let stale = || users.with_known(&user, |window| window.is_stale(Instant::now()));
        assert_eq!(stale(), Some(false));
        drop(asking);
        assert_eq!(stale(), Some(true));
    }
}
