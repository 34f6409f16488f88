//! Whom to ask before a message.

use std::time::Duration;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use parley_outbound::webhook::Key;
use parley_outbound::{Policy, Target};
use secrecy::SecretString;

/// The hook before a message.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Hook before a message")]
pub struct HookSettings {
    /// Who is asked before each new message, `https://…`; nobody by default. A private one has to be in
    /// `PARLEY_OUTBOUND_ALLOW`
    #[arg(long, env = "PARLEY_BEFORE_MESSAGE_URL", value_name = "URL")]
    pub before_message_url: Option<String>,

    /// What its calls are signed with, `whsec_` and the base64 of 24 to 64 bytes; while it changes the new and the old one,
    /// separated by commas
    #[arg(
        long,
        env = "PARLEY_BEFORE_MESSAGE_SECRET",
        hide_env_values = true,
        value_delimiter = ',',
        value_name = "SECRET"
    )]
    pub before_message_secret: Vec<SecretString>,

    /// Milliseconds in which it has to answer
    #[arg(long, env = "PARLEY_BEFORE_MESSAGE_MS", default_value_t = 500, value_parser = clap::value_parser!(u64).range(10..=5_000), value_name = "MS")]
    pub before_message_ms: u64,

    /// What becomes of a message about which it has not answered, or nothing that can be used
    #[arg(long, env = "PARLEY_BEFORE_MESSAGE_FAILURE", value_enum, default_value_t = OnFailure::Open, value_name = "WHAT")]
    pub before_message_failure: OnFailure,

    /// Calls under way at a time; more wait, for at most half of that time
    #[arg(long, env = "PARLEY_BEFORE_MESSAGE_CALLS", default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "NUMBER")]
    pub before_message_calls: u32,
}

/// What becomes of a message about which there is no verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailure {
    /// It is sent as it is.
    Open,
    /// It is refused with 503.
    Closed,
}

impl HookSettings {
    /// Whom to ask, and what to sign with; `None` if nobody is to be asked.
    pub(crate) fn target(&self, policy: &Policy) -> anyhow::Result<Option<(Target, Vec<Key>)>> {
        let secrets = &self.before_message_secret;
        let Some(url) = self.before_message_url.as_deref() else {
            if secrets.is_empty() {
                return Ok(None);
            }
            bail!("PARLEY_BEFORE_MESSAGE_SECRET is set without PARLEY_BEFORE_MESSAGE_URL");
        };
        let target = Target::parse(url, policy).context("PARLEY_BEFORE_MESSAGE_URL")?;
        let keys = secrets.iter().map(Key::parse).collect::<Result<Vec<_>, _>>();
        let keys = keys.context("PARLEY_BEFORE_MESSAGE_SECRET")?;
        if keys.is_empty() {
            bail!("PARLEY_BEFORE_MESSAGE_SECRET is not set: who is asked could not tell who asks");
        }
        Ok(Some((target, keys)))
    }

    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.before_message_ms)
    }
}
