//! `.sqlx`: what the queries' compile-time checks need where no database is at hand.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::cluster::Bare;
use crate::home::{Home, make_folder, remove_folder, shown, workspace};
use crate::interrupt::Interrupt;
use crate::postgres::sql;
use crate::process::{capture, run};
use crate::say;
use crate::services::cargo;

/// Writes `.sqlx` anew against a fresh, migrated database, or compares it with one.
pub fn sqlx(home: &Home, check: bool, interrupt: &Interrupt) -> Result<bool> {
    let own = home.beside(home.file("sqlx"));
    remove_folder(own.root())?;
    let bare = Bare::start(&own, interrupt)?;
    let done = if check {
        is_fresh(&own, &bare, interrupt)
    } else {
        describe(&own, &bare, interrupt).and_then(|fresh| replace(&fresh)).map(|()| true)
    };
    drop(bare);
    remove_folder(own.root())?;
    done
}

/// Whether the committed descriptions are those of the sources and migrations.
pub(crate) fn is_fresh(home: &Home, bare: &Bare, interrupt: &Interrupt) -> Result<bool> {
    let fresh = read(&describe(home, bare, interrupt)?)?;
    let kept = read(&committed())?;
    for name in fresh.keys().chain(kept.keys().filter(|name| !fresh.contains_key(*name))) {
        let problem = match (kept.get(name), fresh.get(name)) {
            (Some(kept), Some(fresh)) if kept == fresh => continue,
            (Some(_), Some(_)) => "is stale",
            (None, _) => "is missing",
            (_, None) => "is of no query any more",
        };
        say::line(format_args!("{name} {problem}"));
    }
    if fresh != kept {
        say::line("run `cargo parley sqlx` and commit services/store/.sqlx");
    }
    Ok(fresh == kept)
}

fn committed() -> PathBuf {
    workspace().join("services/store/.sqlx")
}

/// Lets the compiler describe every query of the store against a database made by the migrations.
fn describe(home: &Home, bare: &Bare, interrupt: &Interrupt) -> Result<PathBuf> {
    let name = format!("sqlx_{:08x}", rand::random::<u32>());
    sql(&bare.psql, &bare.database_url, &format!("CREATE DATABASE {name}"))?;
    let (server, _) = bare.database_url.rsplit_once('/').context("no database in the URL")?;
    let url = format!("{server}/{name}");
    apply_migrations(&bare.psql, &url)?;
    let folder = home.root().join("sqlx-descriptions");
    remove_folder(&folder)?;
    make_folder(&folder)?;
    // Queries are described while the crate compiles, so it has to compile again.
    capture(cargo().args(["clean", "--package", "parley-store"]).current_dir(workspace()))?;
    let mut check = cargo();
    check.args(["check", "--package", "parley-store", "--all-targets"]).current_dir(workspace());
    check.env("DATABASE_URL", url).env("SQLX_OFFLINE_DIR", &folder).env("SQLX_OFFLINE", "false");
    if !run(&mut check, interrupt)?.success() {
        bail!(
            "parley-store does not compile against a fresh database: see the compiler's words above"
        );
    }
    Ok(folder)
}

/// The plain files, in order: the services' own migrator may not compile before this is done.
fn apply_migrations(psql: &Path, url: &str) -> Result<()> {
    let folder = workspace().join("migrations");
    let entries = fs::read_dir(&folder).with_context(|| format!("no {}", shown(&folder)))?;
    let mut files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
    files.sort();
    for file in files {
        let mut command = Command::new(psql);
        command.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(&file).arg(url);
        capture(&mut command).with_context(|| format!("migration {}", shown(&file)))?;
    }
    Ok(())
}

fn read(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
        Err(error) => return Err(error).with_context(|| format!("cannot read {}", shown(folder))),
    };
    let mut files = BTreeMap::new();
    for entry in entries {
        let entry = entry?;
        files.insert(entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?);
    }
    Ok(files)
}

fn replace(fresh: &Path) -> Result<()> {
    let files = read(fresh)?;
    let folder = committed();
    remove_folder(&folder)?;
    if !files.is_empty() {
        make_folder(&folder)?;
    }
    for (name, content) in &files {
        fs::write(folder.join(name), content)?;
    }
    say::line(format_args!("wrote {} descriptions into {}", files.len(), shown(&folder)));
    Ok(())
}
