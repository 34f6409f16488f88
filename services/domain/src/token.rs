//! Who is calling: the host application's tokens, verified.

mod keys;
mod settings;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::ids::UserId;
use crate::user::{Avatar, Name, Profile, Role};

use self::keys::KeyRing;
pub use self::keys::{KeySetError, MAX_KEYS};
use self::settings::validation;
pub use self::settings::{TokenSettings, TokenSettingsError};

/// Shortest secret that is accepted, in bytes: less than the hash's own 256 bits invites guessing.
pub const MIN_SECRET: usize = 32;
/// Longest token that is looked at, in bytes.
pub const MAX_TOKEN: usize = 8 * 1024;

/// What a valid token says about its bearer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The bearer.
    pub id: UserId,
    /// The bearer's display name, if the token carries a usable one.
    pub name: Option<Name>,
    /// The bearer's picture, if the token carries a usable one.
    pub avatar: Option<Avatar>,
    /// What the bearer may be.
    pub role: Role,
    /// When the token was issued, if it says so.
    pub issued_at: Option<DateTime<Utc>>,
    /// When the token ends.
    pub expires_at: DateTime<Utc>,
}

impl Caller {
    /// What the directory learns from this token.
    pub fn profile(&self) -> Profile {
        Profile { id: self.id.clone(), name: self.name.clone(), avatar: self.avatar.clone() }
    }
}

/// Why a token does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// There is none.
    #[error("a bearer token is required")]
    Missing,
    /// Not a token of ours: form, algorithm, signature, issuer, audience or claims.
    #[error("the token is not valid")]
    Invalid,
    /// It names a key that is not known.
    #[error("the token is signed with an unknown key")]
    UnknownKey,
    /// It has ended.
    #[error("the token has expired")]
    Expired,
    /// It has not begun.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Its bearer's tokens were revoked after it was issued.
    #[error("the token was revoked")]
    Revoked,
}

impl TokenError {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Missing,
        Self::Invalid,
        Self::UnknownKey,
        Self::Expired,
        Self::NotYetValid,
        Self::Revoked,
    ];

    /// The stable word that clients see.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "missing_token",
            Self::Invalid => "invalid_token",
            Self::UnknownKey => "unknown_key",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::Revoked => "token_revoked",
        }
    }
}

/// Tokens of a user that were issued up to a moment count no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revocation {
    /// Whose tokens.
    pub user_id: UserId,
    /// A token must have been issued after this moment to count.
    pub valid_after: DateTime<Utc>,
}

/// Whether a token issued then is revoked by tokens having to be issued after `valid_after`. One that does not say when
/// it was issued counts as older than any revocation.
pub fn is_revoked(issued_at: Option<DateTime<Utc>>, valid_after: Option<DateTime<Utc>>) -> bool {
    valid_after.is_some_and(|valid_after| issued_at.is_none_or(|issued| issued <= valid_after))
}

/// Verifies tokens. Every key is for one algorithm; what a token says about it is only compared.
pub struct Verifier {
    secret: Option<DecodingKey>,
    /// Whether there is a JWKS at all.
    has_key_set: bool,
    keys: RwLock<Arc<KeyRing>>,
    keys_lost: AtomicU64,
    overlap: TimeDelta,
    validation: Validation,
    id_claims: Vec<String>,
    leeway: TimeDelta,
}

impl Verifier {
    /// A verifier by these settings. The keys of a JWKS are unknown until the first [`Verifier::renew_keys`].
    pub fn new(settings: &TokenSettings) -> Result<Self, TokenSettingsError> {
        let has_key_set = settings.has_key_set()?;
        let secret = settings.jwt_secret.as_ref().map(|secret| secret.expose_secret().as_bytes());
        if secret.is_some_and(|secret| secret.len() < MIN_SECRET) {
            return Err(TokenSettingsError::WeakSecret);
        }
        if secret.is_none() && !has_key_set {
            return Err(TokenSettingsError::NothingTrusted);
        }
        Ok(Self {
            secret: secret.map(DecodingKey::from_secret),
            has_key_set,
            keys: RwLock::default(),
            keys_lost: AtomicU64::new(0),
            overlap: TimeDelta::seconds(settings.jwks_overlap_seconds.into()),
            validation: validation(settings),
            id_claims: settings.jwt_id_claims.clone(),
            leeway: TimeDelta::seconds(settings.jwt_leeway_seconds.into()),
        })
    }

    /// Takes over the keys of a JWKS that was read just now; one that cannot be used changes nothing.
    pub fn renew_keys(&self, document: &[u8], now: DateTime<Utc>) -> Result<(), KeySetError> {
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        let mut renewed = KeyRing::clone(&keys);
        if renewed.renew(document, now, self.overlap)? {
            self.keys_lost.fetch_add(1, Ordering::Relaxed);
        }
        *keys = Arc::new(renewed);
        Ok(())
    }

    /// How often keys have stopped to count: what they signed is not to be remembered beyond such a moment.
    pub fn keys_lost(&self) -> u64 {
        self.keys_lost.load(Ordering::Relaxed)
    }

    /// The bearer of `token` at the time `now`.
    pub fn verify(&self, token: &str, now: DateTime<Utc>) -> Result<Caller, TokenError> {
        if token.is_empty() {
            return Err(TokenError::Missing);
        }
        if token.len() > MAX_TOKEN {
            return Err(TokenError::Invalid);
        }
        let claims = self.claims(token, now)?;
        let expires_at = moment(claims.get("exp")).ok_or(TokenError::Invalid)?;
        if self.has_ended(expires_at, now) {
            return Err(TokenError::Expired);
        }
        if let Some(not_before) = claims.get("nbf") {
            let not_before = moment(Some(not_before)).ok_or(TokenError::Invalid)?;
            if now + self.leeway < not_before {
                return Err(TokenError::NotYetValid);
            }
        }
        let text = |claim: &str| claims.get(claim).and_then(Value::as_str);
        Ok(Caller {
            id: self.user_id(&claims).ok_or(TokenError::Invalid)?,
            name: text("name").and_then(|name| Name::parse(name).ok()),
            avatar: text("picture").and_then(|url| Avatar::parse(url).ok()),
            role: Role::from_claim(text("role")),
            issued_at: moment(claims.get("iat")),
            expires_at,
        })
    }

    /// What a token says, once its signature, issuer and audience are proved.
    fn claims(&self, token: &str, now: DateTime<Utc>) -> Result<Map<String, Value>, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Invalid)?;
        // An extension that has to be understood, and is not.
        if header.crit.is_some() {
            return Err(TokenError::Invalid);
        }
        if header.alg == Algorithm::HS256 {
            let secret = self.secret.as_ref().ok_or(TokenError::Invalid)?;
            return self.decode(token, secret, Algorithm::HS256).ok_or(TokenError::Invalid);
        }
        if !self.has_key_set {
            return Err(TokenError::Invalid);
        }
        let ring = self.keys.read().unwrap_or_else(PoisonError::into_inner).clone();
        let keys = ring.find(header.kid.as_deref(), now);
        if keys.is_empty() && (header.kid.is_some() || ring.is_empty()) {
            return Err(TokenError::UnknownKey);
        }
        let by = |key: &&keys::Key| self.decode(token, &key.decoding, key.algorithm);
        keys.iter().find_map(by).ok_or(TokenError::Invalid)
    }

    fn decode(
        &self,
        token: &str,
        key: &DecodingKey,
        algorithm: Algorithm,
    ) -> Option<Map<String, Value>> {
        let mut validation = self.validation.clone();
        validation.algorithms = vec![algorithm];
        jsonwebtoken::decode(token, key, &validation).ok().map(|decoded| decoded.claims)
    }

    /// Whether the token by which this caller was verified has ended since.
    pub fn is_over(&self, caller: &Caller, now: DateTime<Utc>) -> bool {
        self.has_ended(caller.expires_at, now)
    }

    /// From when on the token by which this caller was verified counts no more.
    pub fn ends_at(&self, caller: &Caller) -> DateTime<Utc> {
        caller.expires_at + self.leeway
    }

    fn has_ended(&self, expires_at: DateTime<Utc>, now: DateTime<Utc>) -> bool {
        now >= expires_at + self.leeway
    }

    fn user_id(&self, claims: &Map<String, Value>) -> Option<UserId> {
        match self.id_claims.iter().find_map(|claim| claims.get(claim))? {
            Value::String(id) => UserId::parse(id).ok(),
            Value::Number(id) if id.is_u64() => UserId::parse(&id.to_string()).ok(),
            _ => None,
        }
    }
}

/// A `NumericDate` of RFC 7519: seconds, possibly with a fraction.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the range is checked first; fractions of a second are cut"
)]
fn moment(claim: Option<&Value>) -> Option<DateTime<Utc>> {
    let claim = claim?;
    let seconds = claim.as_i64().or_else(|| {
        claim.as_f64().filter(|s| s.is_finite() && s.abs() < 1e12).map(|s| s.floor() as i64)
    })?;
    // Beyond the year 9999 an addition of the leeway could leave the calendar.
    (seconds.abs() < 253_402_300_800).then(|| DateTime::from_timestamp(seconds, 0)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn settings(secret: &str, more: &[&str]) -> TokenSettings {
        #[derive(clap::Parser)]
        struct Settings {
            #[command(flatten)]
            tokens: TokenSettings,
        }
        let arguments = [&["test", "--jwt-secret", secret], more].concat();
        <Settings as clap::Parser>::parse_from(arguments).tokens
    }

    fn verifier() -> Verifier {
        Verifier::new(&settings(SECRET, &[])).unwrap()
    }

    fn sign(claims: &Value, algorithm: Algorithm, secret: &str) -> String {
        let key = EncodingKey::from_secret(secret.as_bytes());
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    }

    fn verify(claims: &Value) -> Result<Caller, TokenError> {
        verifier().verify(&sign(claims, Algorithm::HS256, SECRET), now())
    }

    fn with(extra: &Value) -> Value {
        let mut claims = json!({ "sub": "alice", "exp": now().timestamp() + 60 });
        claims.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        claims
    }

    #[test]
    fn a_good_token_names_its_bearer() {
        let caller = verify(&with(&json!({ "name": "Alice", "role": "admin" }))).unwrap();
        assert_eq!(caller.id.as_str(), "alice");
        assert_eq!(caller.name.unwrap().as_str(), "Alice");
        assert_eq!(caller.role, Role::Admin);
    }

    #[test]
    fn the_first_id_claim_counts_and_numbers_are_ids() {
        let later = now().timestamp() + 60;
        let id = |claims: Value| verify(&claims).map(|caller| caller.id.to_string());
        assert_eq!(id(json!({ "id": "a", "userId": "b", "exp": later })).as_deref(), Ok("a"));
        assert_eq!(id(json!({ "userId": 17, "exp": later })).as_deref(), Ok("17"));
        assert_eq!(id(json!({ "exp": later })), Err(TokenError::Invalid));
        assert_eq!(id(json!({ "sub": "", "id": "a", "exp": later })), Err(TokenError::Invalid));
    }

    #[test]
    fn times_are_judged_by_the_given_clock_with_leeway() {
        let at = |seconds: i64| now().timestamp() + seconds;
        assert!(verify(&with(&json!({ "exp": at(-4) }))).is_ok());
        assert_eq!(verify(&with(&json!({ "exp": at(-5) }))), Err(TokenError::Expired));
        assert!(verify(&with(&json!({ "nbf": at(5) }))).is_ok());
        assert_eq!(verify(&with(&json!({ "nbf": at(6) }))), Err(TokenError::NotYetValid));
        assert_eq!(verify(&json!({ "sub": "alice" })), Err(TokenError::Invalid), "exp is required");
        for nonsense in
            [json!("soon"), json!("1800000060"), json!(1e300), json!(i64::MAX), json!(null)]
        {
            assert_eq!(verify(&with(&json!({ "exp": nonsense }))), Err(TokenError::Invalid));
            assert_eq!(verify(&with(&json!({ "nbf": nonsense }))), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn only_the_pinned_algorithm_and_key_count() {
        let verifier = verifier();
        let claims = with(&json!({}));
        let other_key = sign(&claims, Algorithm::HS256, "another-secret-of-32-bytes-......");
        let other_algorithm = sign(&claims, Algorithm::HS512, SECRET);
        let body = other_key.split('.').nth(1).unwrap();
        let none = format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{body}.");
        for bad in [&other_key, &other_algorithm, &none, "garbage", "a.b.c", &"x".repeat(9000)] {
            assert_eq!(verifier.verify(bad, now()), Err(TokenError::Invalid), "{bad}");
        }
        assert_eq!(verifier.verify("", now()), Err(TokenError::Missing));
    }

    #[test]
    fn a_token_that_is_too_long_is_not_looked_at() {
        let of = |length| verify(&with(&json!({ "pad": "x".repeat(length) })));
        let shortest = sign(&with(&json!({ "pad": "" })), Algorithm::HS256, SECRET).len();
        // Three bytes are four characters in base64.
        let fits = (MAX_TOKEN - shortest) * 3 / 4 - 3;
        assert!(of(fits).is_ok());
        assert_eq!(of(fits + 9), Err(TokenError::Invalid));
    }

    #[test]
    fn issuer_and_audience_are_demanded_where_set() {
        let demanding = settings(SECRET, &["--jwt-issuer", "host", "--jwt-audience", "chat"]);
        let verifier = Verifier::new(&demanding).unwrap();
        let check = |extra| verifier.verify(&sign(&with(&extra), Algorithm::HS256, SECRET), now());
        assert!(check(json!({ "iss": "host", "aud": "chat" })).is_ok());
        assert!(check(json!({ "iss": "host", "aud": ["x", "chat"] })).is_ok());
        for bad in [
            json!({}),
            json!({ "iss": "host" }),
            json!({ "aud": "chat" }),
            json!({ "iss": "x", "aud": "chat" }),
        ] {
            assert_eq!(check(bad), Err(TokenError::Invalid));
        }
    }

    #[test]
    fn a_revocation_bites_what_was_issued_up_to_it() {
        let at = |seconds: i64| DateTime::from_timestamp(1_800_000_000 + seconds, 0);
        assert!(!is_revoked(at(0), None) && !is_revoked(None, None));
        assert!(is_revoked(at(-1), at(0)) && is_revoked(at(0), at(0)));
        assert!(!is_revoked(at(1), at(0)));
        assert!(is_revoked(None, at(0)), "an undated token is older than any revocation");
    }

    #[test]
    fn a_weak_secret_is_refused() {
        assert!(Verifier::new(&settings(&SECRET[1..], &[])).is_err());
        assert!(
            !format!("{:?}", settings(SECRET, &[])).contains(SECRET),
            "nor is one ever printed"
        );
    }
}
