//! Tokens, as an app's own backend would make them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

/// What a token lets its bearer do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// A person who chats.
    User,
    /// An agent of the support team.
    Support,
    /// May moderate.
    Admin,
    /// The app's own backend.
    Service,
}

/// What a token says.
#[derive(Clone, Debug)]
pub struct Token {
    /// The user's id.
    pub user: String,
    /// The name that others see.
    pub name: Option<String>,
    /// What the bearer may do.
    pub role: Role,
    /// How long it is good for.
    pub ttl: Duration,
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    role: Role,
    iat: u64,
    exp: u64,
}

impl Token {
    /// A user's token for an hour.
    pub fn user(id: &str) -> Self {
        Self { user: id.to_owned(), name: None, role: Role::User, ttl: Duration::from_hours(1) }
    }

    /// The signed token.
    pub fn sign(&self, secret: &str) -> Result<String> {
        self.sign_at(SystemTime::now(), secret)
    }

    /// The same, by a clock that may be wrong.
    pub fn sign_at(&self, now: SystemTime, secret: &str) -> Result<String> {
        let iat = now.duration_since(UNIX_EPOCH)?.as_secs();
        let claims = Claims {
            sub: &self.user,
            name: self.name.as_deref(),
            role: self.role,
            iat,
            exp: iat.saturating_add(self.ttl.as_secs()),
        };
        let key = EncodingKey::from_secret(secret.as_bytes());
        let header = Header::new(Algorithm::HS256);
        jsonwebtoken::encode(&header, &claims, &key).context("cannot sign the token")
    }
}

/// Reads `90`, `30s`, `15m`, `1h` or `7d`.
pub(crate) fn duration(text: &str) -> Result<Duration> {
    let digits = text.trim_end_matches(|last: char| last.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        other => bail!("unknown unit `{other}`: write 30s, 15m, 1h or 7d"),
    };
    let count: u64 = digits.parse().context("write 30s, 15m, 1h or 7d")?;
    Ok(Duration::from_secs(count.checked_mul(unit).context("too long")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("90").unwrap(), Duration::from_secs(90));
        assert_eq!(duration("15m").unwrap(), Duration::from_mins(15));
        assert_eq!(duration("1h").unwrap(), Duration::from_hours(1));
        assert_eq!(duration("7d").unwrap(), Duration::from_hours(7 * 24));
        for wrong in ["", "h", "1y", "-1h", "1.5h", "99999999999999999999d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_token_carries_its_claims() {
        let token = Token { name: Some("Alice".to_owned()), ..Token::user("alice") };
        let signed = token.sign("secret").unwrap();
        let key = jsonwebtoken::DecodingKey::from_secret(b"secret");
        let rules = jsonwebtoken::Validation::new(Algorithm::HS256);
        let claims =
            jsonwebtoken::decode::<serde_json::Value>(&signed, &key, &rules).unwrap().claims;
        assert_eq!(claims["sub"], "alice");
        assert_eq!(claims["name"], "Alice");
        assert_eq!(claims["role"], "user");
        assert_eq!(claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap(), 3600);
        let other = jsonwebtoken::DecodingKey::from_secret(b"other");
        assert!(jsonwebtoken::decode::<serde_json::Value>(&signed, &other, &rules).is_err());
    }

    #[test]
    fn a_wrong_clock_makes_other_times() {
        let slow = UNIX_EPOCH + Duration::from_secs(1000);
        let signed = Token::user("alice").sign_at(slow, "secret").unwrap();
        let key = jsonwebtoken::DecodingKey::from_secret(b"secret");
        let mut rules = jsonwebtoken::Validation::new(Algorithm::HS256);
        rules.validate_exp = false;
        let claims =
            jsonwebtoken::decode::<serde_json::Value>(&signed, &key, &rules).unwrap().claims;
        assert_eq!((claims["iat"].as_u64(), claims["exp"].as_u64()), (Some(1000), Some(4600)));
    }
}
