//! Programs that no wheel has: Debian's packages, fetched and unpacked into the tools, never installed; and what Debian's
//! packages have installed already.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::process::{capture, on_path};
use crate::say;
use crate::tools::{logged, once};

/// What watches a cluster, and what checks its configuration.
#[derive(Clone, Debug)]
pub struct Observers {
    /// The server that scrapes and evaluates.
    pub prometheus: PathBuf,
    /// Checks and tests rules.
    pub promtool: PathBuf,
    /// Groups, inhibits and passes on what fires.
    pub alertmanager: PathBuf,
    /// Checks its configuration.
    pub amtool: PathBuf,
    /// The unpacked packages; without, the programs are those on PATH.
    pub(crate) unpacked: Option<PathBuf>,
}

/// Prometheus and alertmanager: those of the machine, or Debian's, fetched first if need be.
pub fn observers(home: &Home, interrupt: &Interrupt) -> Result<Observers> {
    if let Some(found) = from_path() {
        return Ok(found);
    }
    let packages = ["prometheus", "prometheus-alertmanager"];
    let unpacked = unpack(home, "observers", &packages, interrupt)
        .context("prometheus, promtool, alertmanager or amtool is missing")?;
    Ok(Observers {
        prometheus: unpacked.program("prometheus"),
        promtool: unpacked.program("promtool"),
        alertmanager: unpacked.program("prometheus-alertmanager"),
        amtool: unpacked.program("amtool"),
        unpacked: Some(unpacked.0),
    })
}

fn from_path() -> Option<Observers> {
    Some(Observers {
        prometheus: on_path("prometheus")?,
        promtool: on_path("promtool")?,
        alertmanager: on_path("alertmanager").or_else(|| on_path("prometheus-alertmanager"))?,
        amtool: on_path("amtool")?,
        unpacked: None,
    })
}

/// The folder with the programs of the newest Postgres that Debian's packages have installed.
pub(crate) fn postgres() -> Result<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .map(|entry| entry.path())
        .filter(|path| path.join("bin/postgres").is_file())
        .max_by_key(|path| version(path))
        .map(|path| path.join("bin"))
        .context("Postgres with TLS is missing (Debian: apt-get install postgresql)")
}

/// A folder with the files of packages.
#[derive(Clone, Debug)]
pub(crate) struct Unpacked(PathBuf);

impl Unpacked {
    /// What somebody else has unpacked.
    pub(crate) const fn at(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// Where they are.
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    fn program(&self, name: &str) -> PathBuf {
        let [in_bin, in_sbin] =
            ["usr/bin", "usr/sbin"].map(|folder| self.0.join(folder).join(name));
        if in_sbin.exists() { in_sbin } else { in_bin }
    }

    /// A program of these packages, which finds its libraries among them.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new(self.program(program));
        let libraries = fs::read_dir(self.0.join("usr/lib")).into_iter().flatten().flatten();
        let libraries = libraries.map(|entry| entry.path());
        if let Ok(paths) = std::env::join_paths(libraries.filter(|path| path.is_dir())) {
            command.env("LD_LIBRARY_PATH", paths);
        }
        command
    }
}

/// Packages, with the libraries that they name, in a folder of this name; fetched first if need be.
///
/// Not pinned by hash, as wheels are: a mirror keeps only the newest build of a package. Apt verifies what it fetches.
pub(crate) fn unpack(
    home: &Home,
    name: &str,
    packages: &[&str],
    interrupt: &Interrupt,
) -> Result<Unpacked> {
    let root = home.tools().join("debian").join(name);
    let stamp = home.tools().join(format!("debian-{name}.unpacked"));
    once(home, &stamp, &packages.join(" "), || {
        let (Some(apt), Some(dpkg)) = (on_path("apt-get"), on_path("dpkg-deb")) else {
            bail!("{} is missing, and there is no apt-get: install it", packages.join(" or "));
        };
        say::note(format_args!("fetching {} into {}", packages.join(", "), shown(&root)));
        remove_folder(&root)?;
        let archives = root.join("archives");
        make_folder(&archives)?;
        let apt = Apt { program: apt, archives: archives.clone(), interrupt };
        let count = apt.fetch(packages)?;
        unpack_all(&dpkg, &archives, &root, count, interrupt)?;
        remove_folder(&archives)
    })?;
    Ok(Unpacked(root))
}

struct Apt<'a> {
    program: PathBuf,
    archives: PathBuf,
    interrupt: &'a Interrupt,
}

impl Apt<'_> {
    /// By the machine's lists of packages, or, where those are missing or old, by lists of our own: only root may renew the
    /// machine's. Says how many packages there are.
    fn fetch(&self, packages: &[&str]) -> Result<usize> {
        self.download(packages, &[]).or_else(|_| {
            self.interrupt.check()?;
            let state = self.archives.join("state");
            make_folder(&state.join("lists/partial"))?;
            let own_lists = [
                format!("Dir::State={}", state.display()),
                "Dir::State::status=/var/lib/dpkg/status".to_owned(),
                format!("Dir::Cache={}", self.archives.display()),
            ];
            self.run(&own_lists, &["update"])?;
            self.download(packages, &own_lists).context("apt-get cannot fetch Debian's packages")
        })
    }

    fn download(&self, packages: &[&str], options: &[String]) -> Result<usize> {
        let mut wanted: Vec<_> = packages.iter().map(ToString::to_string).collect();
        for package in packages {
            let mut depends = Command::new("apt-cache");
            depends.args(options.iter().flat_map(|option| ["-o", option]));
            let names = capture(depends.args(["depends", package]))?;
            let libraries = names.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
            wanted.extend(
                libraries.filter(|it| it.starts_with("lib") && *it != "libc6").map(String::from),
            );
        }
        wanted.sort();
        wanted.dedup();
        let arguments: Vec<_> =
            std::iter::once("download").chain(wanted.iter().map(String::as_str)).collect();
        self.run(options, &arguments)?;
        Ok(wanted.len())
    }

    fn run(&self, options: &[String], arguments: &[&str]) -> Result<()> {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.archives).args(["-q", "-o", "APT::Sandbox::User=root"]);
        command.args(options.iter().flat_map(|option| ["-o", option]));
        logged(command.args(arguments), &self.archives.join("apt.log"), self.interrupt)
    }
}

fn unpack_all(
    dpkg: &Path,
    archives: &Path,
    root: &Path,
    count: usize,
    interrupt: &Interrupt,
) -> Result<()> {
    let entries = fs::read_dir(archives)?.flatten().map(|entry| entry.path());
    let packages: Vec<_> =
        entries.filter(|path| path.extension().is_some_and(|it| it == "deb")).collect();
    if packages.len() != count {
        bail!("apt-get has fetched {} packages: see {}", packages.len(), shown(archives));
    }
    for package in packages {
        let mut command = Command::new(dpkg);
        logged(command.arg("-x").arg(package).arg(root), &archives.join("dpkg.log"), interrupt)?;
    }
    Ok(())
}
