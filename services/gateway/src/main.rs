//! `parley-gateway`: a gateway pod.

use std::process::ExitCode;

use parley_gateway::{App, Settings};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::process;

/// glibc's gives memory back and asks for it again with every other event.
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
