//! Logs of the process itself.

use std::io::IsTerminal;

use anyhow::Context;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{LogFormat, ProcessSettings};

/// Starts logging to standard error.
pub fn start_logging(settings: &ProcessSettings) -> anyhow::Result<()> {
    let filter = filter(settings)?;
    let json = match settings.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let layer = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let registry = tracing_subscriber::registry().with(filter);
    if json {
        let json = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
        registry.with(json).try_init().context("start logging")
    } else {
        registry
            .with(layer.with_ansi(std::io::stderr().is_terminal()))
            .try_init()
            .context("start logging")
    }
}

/// Tests the filter without starting anything.
pub fn check(settings: &ProcessSettings) -> anyhow::Result<()> {
    filter(settings).map(drop)
}

fn filter(settings: &ProcessSettings) -> anyhow::Result<EnvFilter> {
    EnvFilter::builder()
        .parse(&settings.log)
        .with_context(|| format!("PARLEY_LOG cannot be \"{}\"", settings.log))
}
