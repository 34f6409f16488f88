//! Who is calling: a token is verified once, and its bearer is in the directory before the first request is answered.

use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use parley_domain::token::{Caller, TokenError, Verifier};
use parley_store::Store;

use crate::directory::Directory;
use crate::error::ApiError;

/// Longer tokens are verified each time.
const LONGEST: usize = 2 * 1024;

/// Bearers of tokens. Verified ones are remembered until they expire; forgetting one costs another look at it.
pub(crate) struct Callers {
    verifier: Verifier,
    directory: Directory,
    known: Mutex<LruCache<Box<str>, Caller>>,
}

impl Callers {
    pub(crate) fn new(verifier: Verifier, directory: Directory, most: u32) -> Self {
        let most = NonZeroUsize::new(most as usize).unwrap_or(NonZeroUsize::MIN);
        let mut known = LruCache::unbounded();
        known.resize(most);
        Self { verifier, directory, known: Mutex::new(known) }
    }

    /// The bearer of a token, known to the directory.
    pub(crate) async fn identify(
        &self,
        token: &str,
        now: DateTime<Utc>,
        store: &Store,
    ) -> Result<Caller, ApiError> {
        if let Some(caller) = self.known.lock().get(token) {
            if self.verifier.is_over(caller, now) {
                return Err(ApiError::Unauthorized(TokenError::Expired));
            }
            return Ok(caller.clone());
        }
        let caller = self.verifier.verify(token, now).map_err(ApiError::Unauthorized)?;
        self.directory.note(&caller, store).await?;
        if token.len() <= LONGEST {
            self.known.lock().put(token.into(), caller.clone());
        }
        Ok(caller)
    }
}
