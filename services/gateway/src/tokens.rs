//! Tokens, and the keys of a JWKS that some of them are signed with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use parley_domain::time::Clock;
use parley_domain::token::{Caller, TokenError, TokenSettings, Verifier};
use parley_runtime::document::{Document, Fetches, Source};
use parley_runtime::lifecycle::Lifecycle;
use prometheus::Registry;

/// Verifies tokens, and keeps the keys for that up to date.
pub(crate) struct Tokens {
    verifier: Arc<Verifier>,
    keys: Option<Document>,
}

impl Tokens {
    /// By these settings; without a JWKS, there is nothing to keep.
    pub(crate) fn new(
        settings: &TokenSettings,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> anyhow::Result<Self> {
        let verifier = Arc::new(Verifier::new(settings)?);
        let file = settings.jwks_file.clone().map(Source::File);
        let source = file.or_else(|| settings.jwks_url.clone().map(Source::Url));
        let every = Duration::from_secs(settings.jwks_refresh_seconds.into());
        let renewed = verifier.clone();
        let take = move |document: &[u8]| {
            renewed.renew_keys(document, clock.now()).map_err(|error| error.to_string())
        };
        let fetches = Fetches::register(registry, &["jwks"])?;
        let keys = source.map(|source| Document::new("jwks", source, every, fetches, take));
        Ok(Self { verifier, keys })
    }

    /// Reads the keys for the first time, and goes on as a task. Without them the pod serves those who need none.
    pub(crate) async fn start(&self, lifecycle: &Lifecycle) {
        let Some(keys) = self.keys.clone() else { return };
        keys.fetch().await;
        let stop = lifecycle.stop();
        lifecycle.spawn("keys", async move {
            keys.run(stop).await;
            Ok(())
        });
    }

    /// When the token of a bearer counts no more.
    pub(crate) fn ends_at(&self, caller: &Caller) -> DateTime<Utc> {
        self.verifier.ends_at(caller)
    }

    /// The bearer of a token. A key that is not known may be a new one: the keys are read again, now and then.
    pub(crate) async fn verify(
        &self,
        token: &str,
        now: DateTime<Utc>,
    ) -> Result<Caller, TokenError> {
        let verified = self.verifier.verify(token, now);
        let (Err(TokenError::UnknownKey), Some(keys)) = (&verified, &self.keys) else {
            return verified;
        };
        keys.fetch_again(Instant::now()).await;
        self.verifier.verify(token, now)
    }
}
