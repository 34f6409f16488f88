//! `parley-api`: an api pod, or one run of the migrations.

use std::process::ExitCode;

use anyhow::Context;
use parley_api::{App, Command, Settings};
use parley_runtime::lifecycle::{Ending, Lifecycle};
use parley_runtime::process;

/// glibc's allocator took a seventh of a send's time.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    process::run(|settings: Settings| async move {
        if let Some(Command::Migrate) = settings.command {
            parley_store::migrate(&settings.database).await.context("migrate")?;
            return Ok(Ending::Clean);
        }
        let lifecycle = Lifecycle::default();
        let shutdown = settings.process.shutdown();
        App::start(settings, &lifecycle).await?;
        lifecycle.run(shutdown).await
    })
}
