//! An S3-compatible store (rclone), for the tests of files: it checks signatures, as Amazon's does.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;

use crate::home::make_folder;
use crate::process::{Keeper, Kind, Start};
use crate::rest;

/// The one bucket there is.
const BUCKET: &str = "parley";
/// Shorter ones are refused.
const ACCESS_KEY: &str = "parley-test-access-key";

pub(crate) struct Storage {
    pub(crate) port: u16,
    pub(crate) secret_key: String,
}

impl Storage {
    fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that a test needs to know, as one URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{ACCESS_KEY}:{}@127.0.0.1:{}/{BUCKET}", self.secret_key, self.port)
    }

    pub(crate) fn start(&self, program: &Path, keeper: &mut Keeper) -> Result<()> {
        let folder = keeper.home().file("storage");
        make_folder(&folder.join("buckets").join(BUCKET))?;
        let mut command = Command::new(program);
        command.args(["serve", "s3", "--config", "", "--addr"]);
        command.arg(format!("127.0.0.1:{}", self.port));
        command.arg("--auth-key").arg(format!("{ACCESS_KEY},{}", self.secret_key));
        command.args(["--vfs-cache-mode", "full", "--cache-dir"]).arg(folder.join("cache"));
        command.arg(folder.join("buckets"));
        let (name, url) = ("storage".to_owned(), self.endpoint());
        keeper.start(Start { name, kind: Kind::Storage, url, admin: None, command })
    }

    pub(crate) fn wait(&self, keeper: &mut Keeper) -> Result<()> {
        let url = self.endpoint();
        // Whatever it answers: nobody has signed this.
        keeper.wait_ready("storage", Duration::from_secs(15), || rest::answers(&url))
    }
}
