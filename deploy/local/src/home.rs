//! The launcher's folder, `.parley`: where state, data, logs and tools lie.

use std::fs;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// One launcher folder. Two folders are two clusters that know nothing of each other.
#[derive(Clone, Debug)]
pub struct Home {
    root: PathBuf,
    tools: PathBuf,
}

impl Home {
    /// The folder named by `PARLEY_HOME`, or `.parley` in the workspace; its tools lie in
    /// `PARLEY_TOOLS`, or inside it.
    pub fn from_env() -> Result<Self> {
        let root = match std::env::var_os("PARLEY_HOME") {
            Some(path) => std::path::absolute(path).context("PARLEY_HOME")?,
            None => workspace().join(".parley"),
        };
        let tools = match std::env::var_os("PARLEY_TOOLS") {
            Some(path) => std::path::absolute(path).context("PARLEY_TOOLS")?,
            None => root.join("tools"),
        };
        Ok(Self { root, tools })
    }

    /// Another folder with the same tools.
    #[must_use]
    pub fn beside(&self, root: PathBuf) -> Self {
        Self { root, tools: self.tools.clone() }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the tools are installed.
    pub fn tools(&self) -> &Path {
        &self.tools
    }

    /// The description of the running cluster, for people and tools.
    pub fn cluster_file(&self) -> PathBuf {
        self.root.join("cluster.json")
    }

    /// The log of one process.
    pub fn log(&self, name: &str) -> PathBuf {
        self.logs().join(format!("{name}.log"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.root.join("logs")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }
}

/// The root of the workspace that this launcher was built from.
pub fn workspace() -> PathBuf {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    crate_folder.ancestors().nth(2).unwrap_or(crate_folder).to_owned()
}

/// The path as a person standing in the workspace would write it.
pub(crate) fn shown(path: &Path) -> String {
    let base = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(base).unwrap_or(path).display().to_string()
}

/// Makes a folder and its parents.
pub(crate) fn make_folder(path: &Path) -> Result<()> {
    fs::create_dir_all(path).with_context(|| format!("cannot make the folder {}", shown(path)))
}

/// Removes a folder with everything in it; one that is not there is removed already.
pub(crate) fn remove_folder(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", shown(path)))
        }
        _ => Ok(()),
    }
}

/// Writes a file that only its owner may read, whole or not at all.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> Result<()> {
    let write = || -> std::io::Result<()> {
        let fresh = path.with_extension(format!("new-{}", std::process::id()));
        let mut options = fs::OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(content)?;
        fs::rename(fresh, path)
    };
    write().with_context(|| format!("cannot write {}", shown(path)))
}

/// Writes a value as JSON into a private file.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    write_private(path, &serde_json::to_vec_pretty(value)?)
}

/// Reads JSON; `None` when there is no such file.
pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", shown(path))),
    };
    let value = serde_json::from_slice(&bytes);
    value.map(Some).with_context(|| format!("{} is not what the launcher wrote", shown(path)))
}
