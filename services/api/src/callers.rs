//! Who is calling: a token is verified once, and its bearer is in the directory before the first request is answered.

use std::num::NonZeroUsize;

use chrono::{DateTime, Utc};
use lru::LruCache;
use parking_lot::Mutex;
use parley_domain::ids::UserId;
use parley_domain::token::{Caller, Revocation, TokenError, is_revoked};
use parley_relay::Bus;
use parley_store::{Store, StoreError};

use crate::directory::Directory;
use crate::error::ApiError;
use crate::tokens::Tokens;

/// Longer tokens are verified each time.
const LONGEST: usize = 2 * 1024;
/// Users whose revocation is remembered. One more, and every token is looked at anew.
const MOST_REVOKED: usize = 50_000;

/// Bearers of tokens. Verified ones are remembered until they expire; forgetting one costs another look at it.
pub(crate) struct Callers {
    tokens: Tokens,
    directory: Directory,
    store: Store,
    bus: Bus,
    known: Mutex<Known>,
}

/// Tokens that counted when they were first seen, and what was revoked since.
struct Known {
    tokens: LruCache<Box<str>, Caller>,
    revoked: LruCache<UserId, DateTime<Utc>>,
    /// How often keys had stopped to count when these tokens were verified.
    keys_lost: u64,
    /// How often everything was forgotten: what was asked before such a moment must not be kept after it.
    forgotten: u64,
}

impl Known {
    fn new(most: NonZeroUsize) -> Self {
        let mut tokens = LruCache::unbounded();
        tokens.resize(most);
        Self { tokens, revoked: LruCache::unbounded(), keys_lost: 0, forgotten: 0 }
    }

    /// Says whether this was news.
    fn revoke(&mut self, revocation: &Revocation) -> bool {
        let Revocation { user_id, valid_after } = revocation;
        if self.revoked.get(user_id).is_some_and(|known| known >= valid_after) {
            return false;
        }
        if self.revoked.len() >= MOST_REVOKED {
            // A token that is seen for the first time is asked about, so what was revoked before needs no memory.
            self.revoked.clear();
            self.forget();
        }
        self.revoked.put(user_id.clone(), *valid_after);
        true
    }

    /// What a key has proved holds no longer than the key.
    fn note_keys(&mut self, lost: u64) {
        if self.keys_lost != lost {
            self.keys_lost = lost;
            self.forget();
        }
    }

    fn forget(&mut self) {
        self.tokens.clear();
        self.forgotten += 1;
    }

    fn is_revoked(&self, caller: &Caller) -> bool {
        is_revoked(caller.issued_at, self.revoked.peek(&caller.id).copied())
    }
}

impl Callers {
    pub(crate) fn new(
        tokens: Tokens,
        directory: Directory,
        store: Store,
        bus: Bus,
        most: u32,
    ) -> Self {
        let most = NonZeroUsize::new(most as usize).unwrap_or(NonZeroUsize::MIN);
        Self { tokens, directory, store, bus, known: Mutex::new(Known::new(most)) }
    }

    /// The bearer of a token, known to the directory.
    pub(crate) async fn identify(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Caller, ApiError> {
        match self.recall(token, now).map_err(ApiError::Unauthorized)? {
            Ok(caller) => Ok(caller),
            // In a box: a future is as large as its largest branch, and this one is rare.
            Err(forgotten) => Box::pin(self.meet(token, now, forgotten)).await,
        }
    }

    /// The bearer of a token that is not remembered.
    async fn meet(
        &self,
        token: &str,
        now: DateTime<Utc>,
        forgotten: u64,
    ) -> Result<Caller, ApiError> {
        let caller = self.tokens.verify(token, now).await.map_err(ApiError::Unauthorized)?;
        let valid_after = self.store.tokens_valid_after(&caller.id).await?;
        if is_revoked(caller.issued_at, valid_after) {
            return Err(ApiError::Unauthorized(TokenError::Revoked));
        }
        self.directory.note(&caller, &self.store).await?;
        let mut known = self.known.lock();
        if token.len() <= LONGEST && known.forgotten == forgotten {
            known.tokens.put(token.into(), caller.clone());
        }
        // It may have been revoked since the database was asked.
        if known.is_revoked(&caller) {
            return Err(ApiError::Unauthorized(TokenError::Revoked));
        }
        Ok(caller)
    }

    /// The bearer of a token that was seen before; or else how often everything was forgotten until now.
    fn recall(&self, token: &str, now: DateTime<Utc>) -> Result<Result<Caller, u64>, TokenError> {
        let mut known = self.known.lock();
        known.note_keys(self.tokens.verifier.keys_lost());
        let Some(caller) = known.tokens.get(token).cloned() else {
            return Ok(Err(known.forgotten));
        };
        if self.tokens.verifier.is_over(&caller, now) {
            return Err(TokenError::Expired);
        }
        if known.is_revoked(&caller) {
            return Err(TokenError::Revoked);
        }
        Ok(Ok(caller))
    }

    /// Tells every pod of a revocation that is committed, this one first.
    pub(crate) async fn revoke(&self, revocation: &Revocation) {
        self.hear(revocation);
        if !self.bus.announce_revocation(revocation).await {
            tracing::warn!("a revocation was not announced; other pods find it in the database");
        }
    }

    /// From now on this pod refuses what is revoked.
    pub(crate) fn hear(&self, revocation: &Revocation) {
        if self.known.lock().revoke(revocation) {
            // Whoever was anonymised with it, and comes back with a new token, has to be written anew.
            self.directory.forget(&revocation.user_id);
        }
    }

    /// Whether a token of this user that was issued then is revoked, by the database.
    pub(crate) async fn ask_revoked(
        &self,
        user: &UserId,
        issued_at: Option<DateTime<Utc>>,
    ) -> Result<bool, StoreError> {
        let valid_after = self.store.tokens_valid_after(user).await?;
        Ok(is_revoked(issued_at, valid_after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000 + seconds, 0).unwrap()
    }

    fn caller(user: &str, issued: i64) -> Caller {
        Caller {
            id: UserId::parse(user).unwrap(),
            name: None,
            avatar: None,
            role: parley_domain::user::Role::User,
            issued_at: Some(at(issued)),
            expires_at: at(1_000),
        }
    }

    fn revocation(user: &str, seconds: i64) -> Revocation {
        Revocation { user_id: UserId::parse(user).unwrap(), valid_after: at(seconds) }
    }

    #[test]
    fn an_older_revocation_does_not_lift_a_newer_one() {
        let mut known = Known::new(NonZeroUsize::MIN);
        assert!(known.revoke(&revocation("alice", 10)));
        assert!(!known.revoke(&revocation("alice", 5)));
        assert!(known.is_revoked(&caller("alice", 10)));
        assert!(!known.is_revoked(&caller("alice", 11)) && !known.is_revoked(&caller("bob", 1)));
    }

    #[test]
    fn i9_revocations_are_bounded_and_none_is_lost_with_its_tokens_kept() {
        let mut known = Known::new(NonZeroUsize::MIN);
        known.tokens.put("token".into(), caller("user-0", 1));
        for number in 0..=MOST_REVOKED {
            known.revoke(&revocation(&format!("user-{number}"), 2));
        }
        assert_eq!((known.revoked.len(), known.tokens.len(), known.forgotten), (1, 0, 1));
    }
}
