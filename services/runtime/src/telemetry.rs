//! What a process tells of itself: logs and traces.

use crate::settings::ProcessSettings;
use crate::{logs, trace};

/// Starts logging, and tracing if the settings say so.
pub(crate) fn start(service: String, settings: &ProcessSettings) -> anyhow::Result<()> {
    let tracer = trace::start(&settings.trace, service, &settings.pod)?;
    logs::start(settings, tracer)
}

/// Tests the settings without starting anything.
pub fn check(settings: &ProcessSettings) -> anyhow::Result<()> {
    logs::check(settings)?;
    trace::check(&settings.trace)
}
