//! Someone with a terminal: the launcher as a command, in a folder of its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use parley_local::{Description, Home, testing};

pub(crate) struct Operator {
    pub(crate) home: Home,
}

impl Operator {
    pub(crate) fn new(name: &str) -> Self {
        Self { home: testing::home(name).unwrap() }
    }

    /// `cargo parley …`, split at spaces.
    pub(crate) fn command(&self, line: &str) -> Command {
        let mut command = testing::launcher(env!("CARGO_BIN_EXE_parley-local"), &self.home);
        command.args(line.split(' '));
        command
    }

    pub(crate) fn does(&self, line: &str) -> Output {
        self.command(line).stdin(Stdio::null()).output().unwrap()
    }

    /// Does something that must work, and returns what it says.
    pub(crate) fn says(&self, line: &str) -> String {
        let output = self.does(line);
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(crate) fn up(&self, more: &str) -> Description {
        self.says(format!("up --detach --no-demo --port 0 {more}").trim_end());
        self.cluster()
    }

    pub(crate) fn cluster(&self) -> Description {
        Description::read(&self.home.cluster_file()).unwrap()
    }

    /// Does something that must fail with exactly one line on standard error, and nothing left.
    pub(crate) fn fails(&self, command: &mut Command) -> String {
        let output = command.stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{:?}", output.status.signal());
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with("error: "), "{error}");
        assert!(!self.home.root().join("run.json").exists(), "something was left: {error}");
        error
    }

    /// Starts a cluster and stays to watch it, with what is said in a file.
    pub(crate) fn watches(&self, more: &str) -> Watching {
        let said = self.home.root().with_extension("said");
        std::fs::create_dir_all(said.parent().unwrap()).unwrap();
        let file = std::fs::File::create(&said).unwrap();
        let mut command = self.command(format!("up --no-demo --port 0 {more}").trim_end());
        let copy = file.try_clone().unwrap();
        let child = command.stdin(Stdio::null()).stdout(file).stderr(copy).spawn().unwrap();
        let watching = Watching { child, said };
        watching.until_said("Ctrl-C stops it.");
        watching
    }
}

impl Drop for Operator {
    fn drop(&mut self) {
        // A failed test leaves its folder for a look; its processes never.
        let stopped = self.does("down");
        if !std::thread::panicking() {
            assert!(stopped.status.success(), "down");
            let _ = std::fs::remove_dir_all(self.home.root());
            let _ = std::fs::remove_file(self.home.root().with_extension("said"));
        }
    }
}

/// A launcher that watches its cluster.
pub(crate) struct Watching {
    child: Child,
    said: std::path::PathBuf,
}

impl Watching {
    pub(crate) fn until_said(&self, text: &str) {
        let said = || std::fs::read_to_string(&self.said).unwrap_or_default();
        eventually(&format!("`{text}`"), || said().contains(text));
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn ends(&mut self) -> std::process::ExitStatus {
        let mut status = None;
        eventually("the launcher's end", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Waits for something that is bound to happen.
pub(crate) fn eventually(what: &str, mut happened: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_mins(1);
    while !happened() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
