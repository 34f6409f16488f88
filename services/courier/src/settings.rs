//! The settings of a courier pod.

use std::time::Duration;

use clap::{Args, Parser};
use parley_outbound::OutboundSettings;
use parley_relay::NatsSettings;
use parley_runtime::process;
use parley_runtime::settings::ProcessSettings;
use parley_store::{ArmNotices, DatabaseSettings, Patience, Retention};

use crate::retry::Retry;

/// What a claim lasts longer than one attempt may take.
const CLAIM_MARGIN: Duration = Duration::from_secs(5);

/// Parley's courier pod. Every setting is an environment variable, or the flag beside it.
#[derive(Debug, Clone, Parser)]
#[command(name = "parley-courier", version)]
pub struct Settings {
    /// What every process needs.
    #[command(flatten)]
    pub process: ProcessSettings,
    /// Postgres.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// NATS.
    #[command(flatten)]
    pub nats: NatsSettings,
    /// What may be called that is not public.
    #[command(flatten)]
    pub outbound: OutboundSettings,
    /// Deliveries.
    #[command(flatten)]
    pub deliveries: DeliverySettings,
}

/// Deliveries.
#[derive(Debug, Clone, Copy, Args)]
#[command(next_help_heading = "Deliveries")]
pub struct DeliverySettings {
    /// Milliseconds between two looks for work while there is none
    #[arg(long, env = "PARLEY_COURIER_POLL_MS", default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=60_000), value_name = "MS")]
    pub courier_poll_ms: u64,

    /// Deliveries to one webhook that this pod makes at a time, each of another chat
    #[arg(long, env = "PARLEY_WEBHOOK_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000), value_name = "NUMBER")]
    pub webhook_concurrency: u32,

    /// Deliveries to one webhook that this pod begins in a second
    #[arg(long, env = "PARLEY_WEBHOOK_RATE", default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000), value_name = "NUMBER")]
    pub webhook_rate: u32,

    /// Milliseconds that a webhook has for its answer
    #[arg(long, env = "PARLEY_WEBHOOK_TIMEOUT_MS", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(100..=120_000), value_name = "MS")]
    pub webhook_timeout_ms: u64,

    /// Milliseconds until the second attempt; each further pause is twice as long, and shortened by up to a half by chance
    #[arg(long, env = "PARLEY_WEBHOOK_RETRY_MS", default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(10..=3_600_000), value_name = "MS")]
    pub webhook_retry_ms: u64,

    /// Milliseconds that such a pause has at most
    #[arg(long, env = "PARLEY_WEBHOOK_RETRY_CAP_MS", default_value_t = 900_000, value_parser = clap::value_parser!(u64).range(10..=86_400_000), value_name = "MS")]
    pub webhook_retry_cap_ms: u64,

    /// Seconds for which a delivery is tried
    #[arg(long, env = "PARLEY_WEBHOOK_RETRY_SECONDS", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(0..=2_592_000), value_name = "SECONDS")]
    pub webhook_retry_seconds: u64,

    /// Seconds without any success after which a webhook is switched off
    #[arg(long, env = "PARLEY_WEBHOOK_DISABLE_SECONDS", default_value_t = 259_200, value_parser = clap::value_parser!(u64).range(1..=31_536_000), value_name = "SECONDS")]
    pub webhook_disable_seconds: u64,

    /// Seconds for which a delivery that was made is kept in the log, and can be replayed
    #[arg(long, env = "PARLEY_WEBHOOK_KEEP_SECONDS", default_value_t = 259_200, value_parser = clap::value_parser!(u64).range(1..=31_536_000), value_name = "SECONDS")]
    pub webhook_keep_seconds: u64,

    /// Seconds for which a delivery that was given up is kept
    #[arg(long, env = "PARLEY_WEBHOOK_KEEP_DEAD_SECONDS", default_value_t = 2_592_000, value_parser = clap::value_parser!(u64).range(1..=31_536_000), value_name = "SECONDS")]
    pub webhook_keep_dead_seconds: u64,

    /// Milliseconds that a message waits for somebody who has it unread to come and read it, before `notification.due`; 0: at once
    #[arg(long, env = "PARLEY_NOTICE_DELAY_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(0..=86_400_000), value_name = "MS")]
    pub notice_delay_ms: u64,

    /// Participants of a chat beyond whom nobody is told of it by `notification.due`
    #[arg(long, env = "PARLEY_NOTICE_CROWD", default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=1_000_000), value_name = "NUMBER")]
    pub notice_crowd: u32,

    /// Whether `notification.due` may show what was said; who does not want that is not asked
    #[arg(long, env = "PARLEY_NOTICE_PREVIEWS", default_value_t = true, action = clap::ArgAction::Set, value_name = "WHETHER")]
    pub notice_previews: bool,
}

impl DeliverySettings {
    pub(crate) const fn notices(&self) -> ArmNotices {
        ArmNotices { delay: Duration::from_millis(self.notice_delay_ms), crowd: self.notice_crowd }
    }

    pub(crate) const fn poll(&self) -> Duration {
        Duration::from_millis(self.courier_poll_ms)
    }

    pub(crate) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.webhook_timeout_ms)
    }

    /// How long a claim lasts.
    pub(crate) const fn lease(&self) -> Duration {
        Duration::from_millis(self.webhook_timeout_ms).saturating_add(CLAIM_MARGIN)
    }

    pub(crate) const fn retry(&self) -> Retry {
        Retry {
            base: Duration::from_millis(self.webhook_retry_ms),
            cap: Duration::from_millis(self.webhook_retry_cap_ms),
            within: Duration::from_secs(self.webhook_retry_seconds),
        }
    }

    pub(crate) const fn patience(&self) -> Patience {
        let Retry { base, cap, .. } = self.retry();
        Patience { base, cap, give_up: Duration::from_secs(self.webhook_disable_seconds) }
    }

    pub(crate) const fn retention(&self) -> Retention {
        Retention {
            delivered: Duration::from_secs(self.webhook_keep_seconds),
            dead: Duration::from_secs(self.webhook_keep_dead_seconds),
            waiting: Duration::from_secs(self.webhook_retry_seconds),
        }
    }
}

impl process::Settings for Settings {
    fn process(&self) -> &ProcessSettings {
        &self.process
    }

    fn check(&self) -> anyhow::Result<()> {
        self.database.check()?;
        self.nats.check()?;
        self.outbound.policy()?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `PARLEY_WRITE_SETTINGS=1 cargo test -p parley-courier --lib documented` writes the table anew.
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
