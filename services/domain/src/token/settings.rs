//! Which tokens count, as whoever operates the pods says it.

use std::path::PathBuf;

use clap::Args;
use jsonwebtoken::{Algorithm, Validation};
use secrecy::SecretString;

use super::MIN_SECRET;

/// Which tokens count; the host application signs them with a secret, with keys of a JWKS, or with both.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Tokens")]
pub struct TokenSettings {
    /// The secret of HS256 that the host signs with, at least 32 bytes
    #[arg(long, env = "PARLEY_JWT_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub jwt_secret: Option<SecretString>,

    /// A file with the host's public keys, a JWKS, for RS256, ES256 and `EdDSA`
    #[arg(long, env = "PARLEY_JWKS_FILE", value_name = "FILE")]
    pub jwks_file: Option<PathBuf>,

    /// An http(s) URL of the same, instead of a file
    #[arg(long, env = "PARLEY_JWKS_URL", value_name = "URL")]
    pub jwks_url: Option<String>,

    /// Seconds after which the keys are read again
    #[arg(long, env = "PARLEY_JWKS_REFRESH_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "SECONDS")]
    pub jwks_refresh_seconds: u32,

    /// Seconds for which a key counts after it has gone from the JWKS
    #[arg(long, env = "PARLEY_JWKS_OVERLAP_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(0..=604_800), value_name = "SECONDS")]
    pub jwks_overlap_seconds: u32,

    /// The issuer that tokens must name; none is demanded by default
    #[arg(long, env = "PARLEY_JWT_ISSUER", value_name = "ISSUER")]
    pub jwt_issuer: Option<String>,

    /// The audience that tokens must name; none is demanded by default
    #[arg(long, env = "PARLEY_JWT_AUDIENCE", value_name = "AUDIENCE")]
    pub jwt_audience: Option<String>,

    /// The claims that may hold the user's id; the first one present counts
    #[arg(
        long,
        env = "PARLEY_JWT_ID_CLAIMS",
        value_delimiter = ',',
        default_value = "sub,id,userId",
        value_name = "CLAIMS"
    )]
    pub jwt_id_claims: Vec<String>,

    /// Seconds by which the host's clock and ours may differ
    #[arg(long, env = "PARLEY_JWT_LEEWAY_SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=300), value_name = "SECONDS")]
    pub jwt_leeway_seconds: u32,
}

/// The settings cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenSettingsError {
    /// The secret can be guessed.
    #[error("PARLEY_JWT_SECRET must have at least {MIN_SECRET} bytes")]
    WeakSecret,
    /// No token would count.
    #[error("PARLEY_JWT_SECRET is not set, nor PARLEY_JWKS_FILE or PARLEY_JWKS_URL")]
    NothingTrusted,
    /// Two places for the same.
    #[error("PARLEY_JWKS_FILE and PARLEY_JWKS_URL cannot both be set")]
    TwoKeySets,
    /// It is no URL of a web server.
    #[error("PARLEY_JWKS_URL must begin with https:// or http://")]
    Url,
}

impl TokenSettings {
    /// Whether there is a JWKS.
    pub(super) fn has_key_set(&self) -> Result<bool, TokenSettingsError> {
        match (&self.jwks_file, &self.jwks_url) {
            (None, None) => Ok(false),
            (Some(_), None) => Ok(true),
            (Some(_), Some(_)) => Err(TokenSettingsError::TwoKeySets),
            (None, Some(url)) if url.starts_with("https://") || url.starts_with("http://") => {
                Ok(true)
            }
            (None, Some(_)) => Err(TokenSettingsError::Url),
        }
    }
}

/// What every token has to say. Times are compared by [`super::Verifier::verify`], against its caller's clock; the algorithm is
/// each key's own.
pub(super) fn validation(settings: &TokenSettings) -> Validation {
    let mut validation = Validation::new(Algorithm::HS256);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.validate_aud = settings.jwt_audience.is_some();
    let mut required = vec!["exp"];
    if let Some(audience) = &settings.jwt_audience {
        validation.set_audience(&[audience]);
        required.push("aud");
    }
    if let Some(issuer) = &settings.jwt_issuer {
        validation.set_issuer(&[issuer]);
        required.push("iss");
    }
    validation.set_required_spec_claims(&required);
    validation
}
