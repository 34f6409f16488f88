//! What breaks, and stays broken until it is dropped.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use parley_local::{Home, Interrupt, Pod, postgres_programs};

use super::crowd::{BOUNDARY, Crowd, form};
use super::watched::Watched;
use crate::operator::eventually;

/// A session that holds something in Postgres which others want.
pub(super) struct Locked(Child);

impl Locked {
    /// Keeps everybody from the tables, as a migration by hand may.
    pub(super) fn tables(watched: &Watched) -> Self {
        Self::by(watched, "LOCK TABLE chats, messages, participants")
    }

    /// Keeps couriers from making deliveries of the outbox, as one that hangs in it would.
    pub(super) fn outbox(watched: &Watched) -> Self {
        Self::by(watched, "SELECT pg_advisory_xact_lock(x'7061726c'::int, 1)")
    }

    fn by(watched: &Watched, statement: &str) -> Self {
        let home = Home::from_env().unwrap();
        let psql = postgres_programs(&home, &Interrupt::default()).unwrap().join("psql");
        let mut command = Command::new(psql);
        command.arg(&watched.cluster().description().postgres.url);
        command.args(["-X", "-q"]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut session = command.spawn().unwrap();
        let lock = format!("BEGIN; {statement};\n");
        session.stdin.as_mut().unwrap().write_all(lock.as_bytes()).unwrap();
        Self(session)
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        // Without input it leaves, and its transaction is rolled back.
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A folder that is a file for a while.
pub(super) struct Folder {
    real: PathBuf,
    aside: PathBuf,
}

impl Folder {
    pub(super) fn broken(real: &Path) -> Self {
        let aside = real.with_extension("aside");
        fs::rename(real, &aside).unwrap();
        fs::write(real, "not a folder").unwrap();
        Self { real: real.to_owned(), aside }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_file(&self.real).unwrap();
        fs::rename(&self.aside, &self.real).unwrap();
    }
}

/// A transfer that does not go on.
pub(super) struct Transfer {
    _stream: TcpStream,
}

impl Transfer {
    /// An upload whose client has stopped in the middle.
    pub(super) fn of_half_a_file(url: &str, crowd: &Crowd) -> Self {
        let body = form(&[b'a'; 1024]);
        let mut stream = connect(url);
        let head = format!(
            "POST {} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n\
             Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {}\r\n\r\n",
            crowd.file_path(),
            crowd.token(),
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(&body[..body.len() / 2]).unwrap();
        Self { _stream: stream }
    }

    /// A download whose client reads its head and no more.
    pub(super) fn of_what_nobody_reads(url: &str, crowd: &Crowd, path: &str) -> Self {
        let mut stream = connect(url);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n\r\n",
            crowd.token()
        );
        stream.write_all(head.as_bytes()).unwrap();
        let mut line = String::new();
        BufReader::with_capacity(64, &stream).read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 200"), "{line}");
        Self { _stream: stream }
    }
}

/// What nobody of Parley would say.
pub(super) fn publish_nonsense(watched: &Watched, chat: &str) {
    let mut stream = connect(&watched.cluster().description().nats[0].url);
    let said =
        format!("CONNECT {{\"verbose\":false}}\r\nPUB chat.{chat} 8\r\nnonsense\r\nPING\r\n");
    stream.write_all(said.as_bytes()).unwrap();
    let lines = BufReader::new(stream).lines();
    let answered = lines.map_while(Result::ok).any(|line| line == "PONG");
    assert!(answered, "the bus has not taken it");
}

/// A pod that may hardly open more files than it has open.
pub(super) struct DescriptorLimit {
    pid: String,
    before: String,
}

impl DescriptorLimit {
    pub(super) fn near(watched: &Watched, pod: &Pod) -> Self {
        let (open, most) = ("process_open_fds", "process_max_fds");
        let before = format!("{}:", watched.metric(pod, most));
        let limit =
            Self { pid: watched.cluster().process(&pod.name).unwrap().pid.to_string(), before };
        // Room for who is about to connect, and no more.
        let few = (watched.metric(pod, open) * 1.1).ceil() + 12.0;
        limit.set(&format!("{few}:"));
        eventually("the new limit", || watched.metric(pod, most) <= few);
        limit
    }

    fn set(&self, limits: &str) {
        let mut command = Command::new("prlimit");
        let status = command.args(["--pid", &self.pid, &format!("--nofile={limits}")]).status();
        assert!(status.unwrap().success());
    }
}

impl Drop for DescriptorLimit {
    fn drop(&mut self) {
        self.set(&self.before);
    }
}

fn connect(url: &str) -> TcpStream {
    let address = url.rsplit_once("://").unwrap().1;
    let address = address.rsplit_once('@').map_or(address, |(_, address)| address);
    TcpStream::connect(address).unwrap()
}
