//! `parley-gateway-planted`: a gateway pod that breaks deliveries, for the history checker to find. It has a name of its
//! own so that it can never be taken for the real one.

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
