//! Processes: started in groups of their own, known by pid and start time, stopped in order.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal};
use serde::{Deserialize, Serialize};

use crate::home::{Home, make_folder, remove_folder, shown};
use crate::interrupt::Interrupt;
use crate::ports::Ports;
use crate::state::Run;

/// How long a process may take to stop after it was asked to: longer than a pod gives itself.
const STOP_WITHIN: Duration = Duration::from_secs(35);
const POLL: Duration = Duration::from_millis(20);

/// What a process is. Those below are stopped first: what uses goes before what is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The database.
    Postgres,
    /// A NATS server.
    Nats,
    /// The Redis server.
    Redis,
    /// The store of files, for tests.
    Storage,
    /// An api pod.
    Api,
    /// A gateway pod.
    Gateway,
    /// A courier pod.
    Courier,
    /// The load balancer.
    Balancer,
    /// What watches the others.
    Observer,
}

/// A process that the launcher started.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    /// `postgres`, `api-1`, `balancer` …
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Its process id, and that of its group.
    pub pid: u32,
    /// When it was started: with the pid, it tells this process from a later one of the same pid.
    pub started: String,
    /// What it serves.
    pub url: String,
    /// Its admin port, for a Parley pod.
    pub admin: Option<String>,
    /// Where its output goes.
    pub log: PathBuf,
}

impl Process {
    /// Whether it still runs. A zombie and a stranger with the same pid do not count.
    pub fn is_alive(&self) -> bool {
        start_time(self.pid).is_some_and(|started| started == self.started)
    }

    /// Sends a signal to the process itself.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        if !self.is_alive() {
            bail!("{} does not run", self.name);
        }
        let sent = rustix::process::kill_process(pid(self.pid)?, signal);
        sent.with_context(|| format!("cannot signal {}", self.name))
    }

    /// The signal that ends it soon and cleanly.
    pub(crate) fn polite(&self) -> Signal {
        match self.kind {
            // Postgres' fast shutdown: SIGTERM would wait for every client to leave.
            Kind::Postgres => Signal::INT,
            _ => Signal::TERM,
        }
    }

    /// Ends it for good, with whatever it left in its group.
    fn kill_group(&self) {
        if let Ok(group) = pid(self.pid) {
            // The only error that can come is that nothing is left to kill.
            let _ = rustix::process::kill_process_group(group, Signal::KILL);
        }
    }
}

pub(crate) fn pid(raw: u32) -> Result<Pid> {
    i32::try_from(raw).ok().and_then(Pid::from_raw).context("not a process id")
}

/// When the process with this pid started, in whatever unit the system keeps; `None` if it ended.
fn start_time(pid: u32) -> Option<String> {
    if cfg!(target_os = "linux") { start_time_by_proc(pid) } else { start_time_by_ps(pid) }
}

fn start_time_by_proc(pid: u32) -> Option<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The command stands in brackets and may hold anything; fields count from behind it.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    (!matches!(state, "Z" | "X")).then(|| fields.nth(18).map(str::to_owned))?
}

fn start_time_by_ps(pid: u32) -> Option<String> {
    let output =
        Command::new("ps").args(["-o", "stat=,lstart=", "-p", &pid.to_string()]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (state, started) = text.trim().split_once(char::is_whitespace)?;
    (!state.starts_with('Z')).then(|| started.trim().to_owned())
}

/// Stops processes, those of one kind together: the balancer first, Postgres last.
fn stop_in_order(processes: &[Process]) {
    let mut processes = processes.to_vec();
    processes.sort_by_key(|process| process.kind);
    for kind in processes.chunk_by(|one, next| one.kind == next.kind).rev() {
        let running: Vec<_> = kind.iter().filter(|process| process.is_alive()).collect();
        for process in &running {
            // One that ended in this moment needs no signal.
            let _ = process.signal(process.polite());
        }
        let deadline = Instant::now() + STOP_WITHIN;
        while Instant::now() < deadline && running.iter().any(|process| process.is_alive()) {
            std::thread::sleep(POLL);
        }
        for process in running {
            process.kill_group();
        }
    }
}

/// Where the files of messages are kept.
pub(crate) fn files(home: &Home, ephemeral: bool) -> PathBuf {
    home.file(if ephemeral { "ephemeral-files" } else { "files" })
}

/// Stops everything that the notes of this folder name. Says whether there was anything.
pub(crate) fn stop_noted(home: &Home) -> Result<bool> {
    let Some(mut run) = Run::of(home)? else { return Ok(false) };
    let lived = run.something_lives();
    run.stopping = true;
    run.save(home)?;
    stop_in_order(&run.processes);
    if let Some(folder) = &run.ephemeral {
        remove_folder(folder)?;
        remove_folder(&files(home, true))?;
    }
    Run::forget(home);
    Ok(lived)
}

/// Keeps the processes of a cluster; stops them all when dropped, unless let go.
pub(crate) struct Keeper {
    home: Home,
    run: Run,
    /// One for each process of the notes.
    children: Vec<Child>,
    /// What each was started with.
    commands: Vec<Command>,
    interrupt: Interrupt,
    kept: bool,
    /// Nobody else chooses them while a process may be started again.
    _ports: Ports,
}

/// What to start.
pub(crate) struct Start {
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) admin: Option<String>,
    pub(crate) command: Command,
}

impl Keeper {
    pub(crate) fn new(home: &Home, ports: Ports, interrupt: &Interrupt) -> Result<Self> {
        make_folder(&home.logs())?;
        let keeper = Self {
            home: home.clone(),
            run: Run::default(),
            children: Vec::new(),
            commands: Vec::new(),
            interrupt: interrupt.clone(),
            kept: true,
            _ports: ports,
        };
        keeper.run.save(home)?;
        Ok(keeper)
    }

    pub(crate) fn home(&self) -> &Home {
        &self.home
    }

    pub(crate) fn interrupt(&self) -> &Interrupt {
        &self.interrupt
    }

    pub(crate) fn processes(&self) -> &[Process] {
        &self.run.processes
    }

    /// Notes a data folder that is to go with the cluster.
    pub(crate) fn note_ephemeral(&mut self, folder: PathBuf) -> Result<()> {
        self.run.ephemeral = Some(folder);
        self.run.save(&self.home)
    }

    /// Starts a process in a group of its own, so that Ctrl-C in the terminal reaches only the
    /// launcher, and notes it at once, so that `down` finds it whatever becomes of the launcher.
    pub(crate) fn start(&mut self, mut start: Start) -> Result<()> {
        self.interrupt.check()?;
        let log = self.home.log(&start.name);
        let out =
            fs::File::create(&log).with_context(|| format!("cannot write {}", shown(&log)))?;
        let err = out.try_clone()?;
        start.command.stdin(Stdio::null()).stdout(out).stderr(err).process_group(0);
        let child = spawn(&mut start.command)?;
        let pid = child.id();
        self.children.push(child);
        self.commands.push(start.command);
        self.run.processes.push(Process {
            name: start.name,
            kind: start.kind,
            pid,
            started: start_time(pid).unwrap_or_default(),
            url: start.url,
            admin: start.admin,
            log,
        });
        self.run.save(&self.home)
    }

    /// Starts a process that has ended, or is about to, as it was started before; its log goes on.
    pub(crate) fn restart(&mut self, name: &str) -> Result<Process> {
        let all = self.run.processes.iter_mut().zip(&mut self.children).zip(&mut self.commands);
        let mut found = all.filter(|((process, _), _)| process.name == name);
        let ((process, child), command) =
            found.next().with_context(|| format!("there is no {name}"))?;
        let deadline = Instant::now() + STOP_WITHIN;
        while child.try_wait()?.is_none() {
            if Instant::now() > deadline {
                bail!("{name} still runs");
            }
            std::thread::sleep(POLL);
        }
        *child = spawn(command)?;
        process.pid = child.id();
        process.started = start_time(process.pid).unwrap_or_default();
        let process = process.clone();
        self.run.save(&self.home)?;
        Ok(process)
    }

    /// Changes the environment that a process is started with the next time.
    pub(crate) fn set(&mut self, name: &str, variable: &str, value: &str) -> Result<()> {
        let mut all = self.run.processes.iter().zip(&mut self.commands);
        let (_, command) = all
            .find(|(process, _)| process.name == name)
            .with_context(|| format!("there is no {name}"))?;
        command.env(variable, value);
        Ok(())
    }

    /// Waits until the probe succeeds; fails when the process ends, time is up, or on Ctrl-C.
    pub(crate) fn wait_ready(
        &mut self,
        name: &str,
        within: Duration,
        mut ready: impl FnMut() -> bool,
    ) -> Result<()> {
        let deadline = Instant::now() + within;
        loop {
            self.interrupt.check()?;
            if let Some((process, end)) = self.ended().into_iter().find(|(p, _)| p.name == name) {
                bail!(
                    "{name} {end} while starting{}: see {}",
                    said(&process.log),
                    shown(&process.log)
                );
            }
            if ready() {
                return Ok(());
            }
            if Instant::now() > deadline {
                let log = self.home.log(name);
                bail!("{name} was not ready after {} s: see {}", within.as_secs(), shown(&log));
            }
            std::thread::sleep(POLL);
        }
    }

    /// The processes that have ended, and how.
    pub(crate) fn ended(&mut self) -> Vec<(Process, String)> {
        let pairs = self.run.processes.iter().zip(&mut self.children);
        pairs
            .filter_map(|(process, child)| {
                let status = child.try_wait().ok()??;
                Some((process.clone(), how(status)))
            })
            .collect()
    }

    /// Lets the processes live on after the launcher has ended.
    pub(crate) fn let_go(mut self) {
        self.kept = false;
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        if !self.kept {
            return;
        }
        if let Err(error) = stop_noted(&self.home) {
            crate::say::error(&error);
        }
        for child in &mut self.children {
            // Reaped, so that a test that starts many clusters leaves no zombies.
            let _ = child.try_wait();
        }
    }
}

/// The line of a log that most likely says why, as a hint beside the log's path.
fn said(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines = || text.lines().rev().filter(|line| !line.trim().is_empty());
    let line = lines().find(|line| line.contains("FATAL")).or_else(|| lines().next());
    line.map(|line| format!(" ({})", sentence(line))).unwrap_or_default()
}

/// A pod logs JSON; its message is for people.
fn sentence(line: &str) -> String {
    let json: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let message = json["message"].as_str().or_else(|| json["fields"]["message"].as_str());
    message.unwrap_or(line).trim().chars().take(300).collect()
}

fn spawn(command: &mut Command) -> Result<Child> {
    let program = command.get_program().to_owned();
    command.spawn().with_context(|| format!("cannot start {}", program.display()))
}

fn how(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exited with status {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "ended".to_owned(),
    }
}

/// Runs a command to its end; on Ctrl-C the command is stopped too.
pub(crate) fn run(command: &mut Command, interrupt: &Interrupt) -> Result<ExitStatus> {
    let program = command.get_program().to_owned();
    let spawned = command.process_group(0).spawn();
    let mut child = spawned.with_context(|| format!("cannot start {}", program.display()))?;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if interrupt.asked() {
            stop_child_group(&mut child);
            bail!("interrupted");
        }
        std::thread::sleep(POLL);
    }
}

/// Asks a command and its children to stop, then makes them.
pub(crate) fn stop_child_group(child: &mut Child) {
    let Ok(group) = pid(child.id()) else { return };
    let _ = rustix::process::kill_process_group(group, Signal::TERM);
    let deadline = Instant::now() + STOP_WITHIN;
    while Instant::now() < deadline && matches!(child.try_wait(), Ok(None)) {
        std::thread::sleep(POLL);
    }
    let _ = rustix::process::kill_process_group(group, Signal::KILL);
    let _ = child.wait();
}

/// Runs a quiet command; its failure is an error with what it said.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_owned();
    let output = command.stdin(Stdio::null()).output();
    let output = output.with_context(|| format!("cannot start {}", program.display()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        let tail = lines[lines.len().saturating_sub(3)..].join("; ");
        bail!("{} {}: {tail}", program.display(), how(output.status));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The full path of a program on PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let folders = std::env::var_os("PATH")?;
    std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|file| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(pid: u32, started: &str) -> Process {
        Process {
            name: "one".to_owned(),
            kind: Kind::Api,
            pid,
            started: started.to_owned(),
            url: String::new(),
            admin: None,
            log: PathBuf::new(),
        }
    }

    #[test]
    fn a_pid_with_another_start_time_is_a_stranger() {
        let own = std::process::id();
        let started = start_time(own).unwrap();
        assert!(process(own, &started).is_alive());
        assert!(!process(own, "1").is_alive());
        assert!(process(own, "1").signal(Signal::TERM).is_err());
    }

    #[test]
    fn a_zombie_does_not_live() {
        let mut child = Command::new("true").spawn().unwrap();
        let deadline = Instant::now() + Duration::from_secs(5);
        while start_time(child.id()).is_some() && Instant::now() < deadline {
            std::thread::sleep(POLL);
        }
        assert_eq!(start_time(child.id()), None);
        child.wait().unwrap();
    }
}
