//! A small disk for files, which can be full: a tmpfs, which only root can mount.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use parley_local::say;

use crate::database::capture;

/// More than the files of two hours, and no more than memory can spare.
const SIZE: &str = "size=96m";

/// It is unmounted when this is dropped.
pub(crate) struct Disk {
    folder: PathBuf,
}

impl Disk {
    pub(crate) fn mount(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let folder = folder.canonicalize()?;
        let disk = Self { folder };
        // Left by a run that was killed.
        while disk.is_mounted()? {
            disk.unmount()?;
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", SIZE, "tmpfs"]).arg(&disk.folder);
        capture(&mut mount).context("a disk that can be full needs root: leave `fill` out")?;
        fs::create_dir(disk.files())?;
        Ok(disk)
    }

    /// Where the files go.
    pub(crate) fn files(&self) -> PathBuf {
        self.folder.join("files")
    }

    /// From now on there is no room.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        let piece = vec![0; 64 * 1024];
        // What is left once a piece does not fit any more is taken byte by byte.
        for piece in [&piece[..], &piece[..1]] {
            match std::iter::repeat_with(|| ballast.write_all(piece)).find_map(Result::err) {
                Some(error) if error.kind() == ErrorKind::StorageFull => {}
                error => bail!("the disk of the files does not get full: {error:?}"),
            }
        }
        Ok(())
    }

    /// There is room again.
    pub(crate) fn empty(&self) -> Result<()> {
        fs::remove_file(self.ballast()).context("cannot make room on the disk of the files")
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn is_mounted(&self) -> Result<bool> {
        let said = Command::new("mountpoint").arg("-q").arg(&self.folder).status();
        Ok(said.context("cannot start mountpoint")?.success())
    }

    fn unmount(&self) -> Result<()> {
        // Lazily: a pod that has not ended yet may still have a file open.
        capture(Command::new("umount").arg("-l").arg(&self.folder)).map(drop)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted().unwrap_or(false)
            && let Err(error) = self.unmount()
        {
            say::error(&error);
        }
    }
}
