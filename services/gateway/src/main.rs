//! `parley-gateway`: a gateway pod.

use std::process::ExitCode;

use parley_gateway::{App, Settings};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::process;

fn main() -> ExitCode {
    process::run(|settings: Settings| async move {
        let lifecycle = Lifecycle::default();
        let shutdown = settings.process.shutdown();
        App::start(settings, &lifecycle).await?;
        lifecycle.run(shutdown).await
    })
}
