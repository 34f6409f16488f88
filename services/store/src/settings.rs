//! How the database is reached.

use std::str::FromStr;
use std::time::Duration;

use clap::{Args, ValueEnum};
use secrecy::{ExposeSecret, SecretString};
use sqlx::postgres::PgConnectOptions;

use crate::StoreError;

/// Postgres.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Postgres")]
pub struct DatabaseSettings {
    /// The primary, `postgres://user:password@host:port/database`; for TLS with
    /// `?sslmode=verify-full&sslrootcert=FILE`. Not a pooler
    #[arg(long, env = "PARLEY_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: SecretString,

    /// The user's password, if the URL does not hold it
    #[arg(long, env = "PARLEY_DATABASE_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub database_password: Option<SecretString>,

    /// Most connections of this pod
    #[arg(long, env = "PARLEY_DATABASE_CONNECTIONS", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "NUMBER")]
    pub database_connections: u32,

    /// Milliseconds that a request waits for a free connection before it is refused with 503
    #[arg(long, env = "PARLEY_DATABASE_WAIT_MS", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=60_000), value_name = "MS")]
    pub database_wait_ms: u64,

    /// Milliseconds after which the database gives a statement up
    #[arg(long, env = "PARLEY_DATABASE_STATEMENT_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(1..=60_000), value_name = "MS")]
    pub database_statement_ms: u64,
}

impl DatabaseSettings {
    /// Tests what can be tested without connecting.
    pub fn check(&self) -> Result<(), StoreError> {
        self.connect_options().map(drop)
    }

    pub(crate) const fn acquire_timeout(&self) -> Duration {
        Duration::from_millis(self.database_wait_ms)
    }

    pub(crate) fn connect_options(&self) -> Result<PgConnectOptions, StoreError> {
        let url = self.database_url.expose_secret();
        let mut options = PgConnectOptions::from_str(url).map_err(|_| StoreError::Url)?;
        if let Some(password) = &self.database_password {
            options = options.password(password.expose_secret());
        }
        Ok(options.application_name("parley-api").options([
            ("statement_timeout", format!("{}ms", self.database_statement_ms)),
            // A pod that hangs in the middle of a transaction must not hold a chat's lock.
            ("idle_in_transaction_session_timeout", format!("{}ms", self.database_statement_ms)),
            ("timezone", "UTC".to_owned()),
            // Up to Postgres 17, a plan without a choice (see `pool_for_sends`) looks so dear that it is compiled, which takes seconds.
            ("jit", "off".to_owned()),
        ]))
    }
}

/// Who may be in a chat.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Participants")]
pub struct ParticipantSettings {
    /// Most participants of a group
    #[arg(long, env = "PARLEY_GROUP_PARTICIPANTS", default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000), value_name = "NUMBER")]
    pub group_participants: u32,

    /// What becomes of a named participant whom the directory does not know
    #[arg(long, env = "PARLEY_UNKNOWN_USERS", value_enum, default_value_t = UnknownUsers::Refuse, value_name = "WHAT")]
    pub unknown_users: UnknownUsers,

    /// What brings back a chat that somebody has put away, besides that person; counts for what is put away from then on
    #[arg(long, env = "PARLEY_UNARCHIVE", value_enum, default_value_t = ComesBack::Never, value_name = "WHAT")]
    pub unarchive: ComesBack,
}

/// What brings back a chat that somebody has put away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ComesBack {
    /// Nothing but their own wish.
    Never,
    /// The next message in it.
    #[value(name = "message")]
    WithMessage,
}

/// What becomes of a named participant whom the directory does not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum UnknownUsers {
    /// The request is refused: only the host application and tokens bring users.
    Refuse,
    /// The user is made, without a name; a token or the host application may tell it later.
    Create,
}
