//! The same as a user who may do nothing special.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use parley_local::{Description, Home};

use crate::people::{Person, contents, direct_chat, send};

/// `nobody`.
const USER: u32 = 65_534;

#[test]
fn an_unprivileged_user_runs_a_cluster() {
    let somebody = Somebody::new();
    somebody.does("up --detach --no-demo --port 0");
    let cluster = Description::read(&somebody.root.join("cluster.json")).unwrap();
    let pids =
        cluster.pods().map(|pod| pod.pid).chain([cluster.postgres.pid, cluster.balancer.pid]);
    for pid in pids {
        let owner =
            Command::new("ps").args(["-o", "uid=", "-p", &pid.to_string()]).output().unwrap();
        assert_eq!(String::from_utf8(owner.stdout).unwrap().trim(), USER.to_string());
    }
    let (alice, bob) = (Person::new(&cluster, "alice"), Person::new(&cluster, "bob"));
    let chat = direct_chat(&alice.at(&cluster.url), &bob);
    assert_eq!(send(&alice.at(&cluster.url), &chat, "from nobody").status, 201);
    assert_eq!(contents(&bob.at(&cluster.url), &chat), ["from nobody"]);
    somebody.does("status");
}

/// The user, and a folder of theirs with copies of what they need: where this clone lies, they may
/// not be able to go.
struct Somebody {
    root: PathBuf,
}

impl Somebody {
    fn new() -> Self {
        let home = parley_local::testing::home("unprivileged").unwrap();
        let root = if open_to_all(home.root()) { home.root().to_owned() } else { elsewhere(&home) };
        fs::create_dir_all(root.join("bin")).unwrap();
        fs::create_dir_all(root.join("tools")).unwrap();
        let somebody = Self { root };
        let binaries =
            PathBuf::from(std::env::var_os("PARLEY_BIN_DIR").expect("run `cargo parley test`"));
        for name in ["parley-api", "parley-gateway", "parley-courier"] {
            copy(&binaries.join(name), &somebody.root.join("bin"));
        }
        copy(Path::new(env!("CARGO_BIN_EXE_parley-local")), &somebody.root.join("bin"));
        for name in ["venv", "requirements.txt.installed"] {
            copy(&home.tools().join(name), &somebody.root.join("tools"));
        }
        run(Command::new("chown").arg("-R").arg(USER.to_string()).arg(&somebody.root));
        somebody
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(self.root.join("bin/parley-local"));
        command.args(line.split(' ')).uid(USER).gid(USER).current_dir(&self.root);
        command.env("HOME", &self.root).env("PARLEY_HOME", &self.root);
        command.env("PARLEY_TOOLS", self.root.join("tools"));
        command.env("PARLEY_BIN_DIR", self.root.join("bin"));
        command
    }

    fn does(&self, line: &str) {
        run(&mut self.command(line));
    }
}

impl Drop for Somebody {
    fn drop(&mut self) {
        let stopped = self.command("down").output();
        if !std::thread::panicking() {
            assert!(stopped.unwrap().status.success(), "down");
            fs::remove_dir_all(&self.root).unwrap();
        }
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn copy(from: &Path, into: &Path) {
    run(Command::new("cp").arg("-R").arg(from).arg(into));
}

fn open_to_all(folder: &Path) -> bool {
    let above = folder.ancestors().filter_map(|folder| folder.metadata().ok());
    above.into_iter().all(|meta| meta.mode() & 0o001 != 0)
}

fn elsewhere(home: &Home) -> PathBuf {
    std::env::temp_dir().join(home.root().file_name().unwrap())
}
