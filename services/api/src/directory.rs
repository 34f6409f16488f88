//! First sight of a user: what its token says is in the directory before the request is answered.

use std::num::NonZeroUsize;

use lru::LruCache;
use parking_lot::Mutex;
use parley_domain::ids::UserId;
use parley_domain::token::Caller;
use parley_domain::user::{Avatar, Name};
use parley_store::{Store, StoreError};

/// Which users this pod has written lately, so that most requests write nothing. Forgetting one costs one write.
pub(crate) struct Directory(Mutex<LruCache<UserId, Known>>);

type Known = (Option<Name>, Option<Avatar>);

impl Directory {
    pub(crate) fn new(capacity: u32) -> Self {
        let capacity = NonZeroUsize::new(capacity as usize).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::new(capacity)))
    }

    /// Makes sure that the directory knows the caller.
    pub(crate) async fn note(&self, caller: &Caller, store: &Store) -> Result<(), StoreError> {
        let says = (caller.name.clone(), caller.avatar.clone());
        if self.0.lock().get(&caller.id) == Some(&says) {
            return Ok(());
        }
        store.note_user(&caller.profile(), caller.issued_at).await?;
        self.0.lock().put(caller.id.clone(), says);
        Ok(())
    }

    /// The next token of this user is written anew.
    pub(crate) fn forget(&self, user: &UserId) {
        self.0.lock().pop(user);
    }
}
