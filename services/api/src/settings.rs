//! The settings of an api pod.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use parley_domain::file::TypePattern;
use parley_domain::link::{LinkKey, MIN_LINK_SECRET};
use parley_domain::token::{TokenSettings, TokenSettingsError, Verifier};
use parley_files::StorageSettings;
use parley_outbound::OutboundSettings;
use parley_relay::{LimitSettings, NatsSettings, RedisSettings};
use parley_runtime::process;
use parley_runtime::settings::ProcessSettings;
use parley_store::{AppenderSettings, DatabaseSettings, ParticipantSettings};
use secrecy::SecretString;

use crate::cors::Origin;
use crate::hook::HookSettings;

/// Seconds that the end of an upload and the send of its message take at most, with a margin: the slowest bucket may take
/// five minutes for an answer, and is asked some four times.
const AFTER_UPLOAD: u64 = 1_500;

/// Parley's api pod. Every setting is an environment variable, or the flag beside it.
#[derive(Debug, Clone, Parser)]
#[command(name = "parley-api", version, subcommand_negates_reqs = true)]
pub struct Settings {
    /// What every process needs.
    #[command(flatten)]
    pub process: ProcessSettings,
    /// The HTTP server.
    #[command(flatten)]
    pub http: HttpSettings,
    /// Postgres.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Sends.
    #[command(flatten)]
    pub appender: AppenderSettings,
    /// Limits.
    #[command(flatten)]
    pub limits: LimitSettings,
    /// Participants.
    #[command(flatten)]
    pub participants: ParticipantSettings,
    /// Files of messages.
    #[command(flatten)]
    pub files: FileSettings,
    /// Where their bytes are kept.
    #[command(flatten)]
    pub storage: StorageSettings,
    /// The hook before a message.
    #[command(flatten)]
    pub hook: HookSettings,
    /// Calls outside.
    #[command(flatten)]
    pub outbound: OutboundSettings,
    /// NATS; not needed to migrate.
    #[command(flatten)]
    pub nats: Option<NatsSettings>,
    /// Redis; not needed to migrate.
    #[command(flatten)]
    pub redis: Option<RedisSettings>,
    /// Which tokens count; not needed to migrate.
    #[command(flatten)]
    pub tokens: Option<TokenSettings>,
    /// What else to do instead of serving.
    #[command(subcommand)]
    pub command: Option<Command>,
}

/// What `parley-api` does besides serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Bring the database to this release's schema, and exit
    Migrate,
}

/// The HTTP server.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "HTTP")]
pub struct HttpSettings {
    /// Where REST is served
    #[arg(long, env = "PARLEY_LISTEN", default_value = "0.0.0.0:8081", value_name = "ADDRESS")]
    pub listen: SocketAddr,

    /// Most bytes of a request's body
    #[arg(long, env = "PARLEY_MAX_BODY_BYTES", default_value_t = 256 * 1024, value_parser = clap::value_parser!(u64).range(1024..=64 * 1024 * 1024), value_name = "BYTES")]
    pub max_body_bytes: u64,

    /// Milliseconds after which a request is answered with 503
    #[arg(long, env = "PARLEY_REQUEST_MS", default_value_t = 8000, value_parser = clap::value_parser!(u64).range(100..=120_000), value_name = "MS")]
    pub request_ms: u64,

    /// Requests under way at a time; more are refused with 503
    #[arg(long, env = "PARLEY_MAX_REQUESTS", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub max_requests: u32,

    /// Connections at a time; more wait to be accepted
    #[arg(long, env = "PARLEY_MAX_HTTP_CONNECTIONS", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub max_connections: u32,

    /// Seconds in which the head of the next request has to come whole; longer than a balancer keeps idle connections
    #[arg(long, env = "PARLEY_IDLE_SECONDS", default_value_t = 75, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub idle_seconds: u64,

    /// Seconds in which a client has to take some of an answer that waits for it
    #[arg(long, env = "PARLEY_WRITE_SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=3600), value_name = "SECONDS")]
    pub write_seconds: u64,

    /// Origins whose pages may call, `https://app.example` or `*`, separated by commas; none by default
    #[arg(long, env = "PARLEY_CORS_ORIGINS", value_delimiter = ',', value_name = "ORIGINS")]
    pub cors_origins: Vec<Origin>,

    /// Users whose directory entry this pod remembers to have written
    #[arg(long, env = "PARLEY_DIRECTORY_CACHE", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub directory_cache: u32,

    /// Tokens that this pod remembers to have verified
    #[arg(long, env = "PARLEY_TOKEN_CACHE", default_value_t = 20_000, value_parser = clap::value_parser!(u32).range(1..=10_000_000), value_name = "NUMBER")]
    pub token_cache: u32,
}

impl HttpSettings {
    pub(crate) const fn request_deadline(&self) -> Duration {
        Duration::from_millis(self.request_ms)
    }

    pub(crate) const fn write_patience(&self) -> Duration {
        Duration::from_secs(self.write_seconds)
    }

    pub(crate) const fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }
}

/// Files of messages.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Files")]
pub struct FileSettings {
    /// Most bytes of a file
    #[arg(long, env = "PARLEY_MAX_FILE_BYTES", default_value_t = 25 * 1024 * 1024, value_parser = clap::value_parser!(u64).range(1..=5 * 1024 * 1024 * 1024), value_name = "BYTES")]
    pub max_file_bytes: u64,

    /// Types that may be uploaded, by their content: `image/png`, or `image/*`, which never stands for what a browser or a system runs
    #[arg(
        long,
        env = "PARLEY_FILE_TYPES",
        value_delimiter = ',',
        default_value = "image/*,video/*,audio/*,text/plain,application/pdf,application/zip,application/gzip,application/rtf,application/msword,application/vnd.ms-excel,application/vnd.ms-powerpoint,application/vnd.openxmlformats-officedocument.*,application/vnd.oasis.opendocument.*",
        value_name = "TYPES"
    )]
    pub file_types: Vec<TypePattern>,

    /// Seconds without a byte after which an upload is cut off
    #[arg(long, env = "PARLEY_UPLOAD_IDLE_SECONDS", default_value_t = 15, value_parser = clap::value_parser!(u64).range(1..=300), value_name = "SECONDS")]
    pub upload_idle_seconds: u64,

    /// Seconds after which an upload is cut off, however it goes on
    #[arg(long, env = "PARLEY_UPLOAD_SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u64).range(1..=86_400), value_name = "SECONDS")]
    pub upload_seconds: u64,

    /// Uploads under way at a time; more are refused with 503
    #[arg(long, env = "PARLEY_MAX_UPLOADS", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub max_uploads: u32,

    /// The same for one user
    #[arg(long, env = "PARLEY_MAX_UPLOADS_PER_USER", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub max_uploads_per_user: u32,

    /// Downloads of files under way at a time; more are refused with 503
    #[arg(long, env = "PARLEY_MAX_DOWNLOADS", default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub max_downloads: u32,

    /// The same for one user
    #[arg(long, env = "PARLEY_MAX_DOWNLOADS_PER_USER", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub max_downloads_per_user: u32,

    /// What links to files are signed with, at least 32 bytes, the same for all api pods; without it there are no links
    #[arg(long, env = "PARLEY_LINK_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub link_secret: Option<SecretString>,

    /// Seconds for which a link to a file counts
    #[arg(long, env = "PARLEY_LINK_SECONDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=86_400), value_name = "SECONDS")]
    pub link_seconds: u32,
}

impl FileSettings {
    pub(crate) const fn upload_idle(&self) -> Duration {
        Duration::from_secs(self.upload_idle_seconds)
    }

    pub(crate) const fn upload_deadline(&self) -> Duration {
        Duration::from_secs(self.upload_seconds)
    }

    /// How long an object may belong to nothing: longer than its upload and its send can take.
    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_secs(self.upload_seconds + AFTER_UPLOAD)
    }

    pub(crate) const fn link_lifetime(&self) -> Duration {
        Duration::from_secs(self.link_seconds as u64)
    }

    pub(crate) fn link_key(&self) -> anyhow::Result<Option<LinkKey>> {
        let Some(secret) = &self.link_secret else { return Ok(None) };
        let key = LinkKey::new(secret);
        key.map(Some)
            .with_context(|| format!("PARLEY_LINK_SECRET is shorter than {MIN_LINK_SECRET} bytes"))
    }
}

impl process::Settings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn check(&self) -> anyhow::Result<()> {
        self.database.check()?;
        if self.command == Some(Command::Migrate) {
            return Ok(());
        }
        self.nats()?.check()?;
        self.redis()?.check()?;
        self.limits.check()?;
        self.appender.check(&self.database)?;
        self.storage.check()?;
        self.files.link_key()?;
        self.outbound.client()?;
        self.hook.target(&self.outbound.policy()?)?;
        Verifier::new(self.tokens()?)?;
        Ok(())
    }
}

impl Settings {
    pub(crate) fn nats(&self) -> anyhow::Result<&NatsSettings> {
        self.nats.as_ref().context("PARLEY_NATS_URL is not set")
    }

    pub(crate) fn redis(&self) -> anyhow::Result<&RedisSettings> {
        self.redis.as_ref().context("PARLEY_REDIS_URL is not set")
    }

    pub(crate) fn tokens(&self) -> anyhow::Result<&TokenSettings> {
        Ok(self.tokens.as_ref().ok_or(TokenSettingsError::NothingTrusted)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PARLEY_WRITE_SETTINGS=1 cargo test -p parley-api --lib documented` writes the table anew.
    #[test]
    fn the_settings_are_documented() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../deploy/CONFIGURATION.md");
        let text = std::fs::read_to_string(path).unwrap();
        let fresh = parley_runtime::settings::documented::<Settings>(&text).unwrap();
        if std::env::var_os("PARLEY_WRITE_SETTINGS").is_some() {
            std::fs::write(path, &fresh).unwrap();
        } else {
            assert!(
                text == fresh,
                "deploy/CONFIGURATION.md is not what --help says: see this test"
            );
        }
    }
}
