//! `parley-courier`: a courier pod.

use std::process::ExitCode;

use parley_courier::{App, Settings};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::process;

/// As in an api pod, which does the same kind of work.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    process::run(|settings: Settings| async move {
        let lifecycle = Lifecycle::default();
        let shutdown = settings.process.shutdown();
        App::start(settings, &lifecycle).await?;
        lifecycle.run(shutdown).await
    })
}
