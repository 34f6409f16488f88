//! The pod as a process, for what only a process shows.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use parley_local::testing;
use serde_json::{Value, json};

use crate::actor::{SECRET, sign};
use crate::uploads::PNG;

/// An api pod of its own.
pub(crate) struct Pod {
    process: Child,
    pub(crate) address: SocketAddr,
    pub(crate) token: String,
    /// What it has logged since it said where it is.
    log: Arc<Mutex<String>>,
}

impl Pod {
    /// With files in this folder, unless these settings say something else.
    pub(crate) fn start(database: &str, folder: &Path, settings: &[(&str, &str)]) -> Self {
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_parley-api"));
            command.env_clear().env("PARLEY_DATABASE_URL", database);
            command
        };
        assert!(command().arg("migrate").status().unwrap().success());
        let mut process = command()
            .env("PARLEY_NATS_URL", testing::nats_url())
            .env("PARLEY_REDIS_URL", testing::redis_url())
            .env("PARLEY_JWT_SECRET", SECRET)
            .env("PARLEY_LISTEN", "127.0.0.1:0")
            .env("PARLEY_ADMIN_LISTEN", "127.0.0.1:0")
            .env("PARLEY_LOG_FORMAT", "json")
            .env("PARLEY_FILES_FOLDER", folder)
            .envs(settings.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines =
            BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                line["address"].as_str()?.parse().ok()
            })
            .expect("the pod says where it is");
        let id = format!("user-{}", uuid::Uuid::new_v4());
        let token = sign(&json!({ "sub": id, "role": "user", "exp": u32::MAX }));
        let log = Arc::<Mutex<String>>::default();
        let kept = log.clone();
        std::thread::spawn(move || lines.for_each(|line| *kept.lock() += &(line + "\n")));
        Self { process, address, token, log }
    }

    pub(crate) fn log(&self) -> String {
        self.log.lock().clone()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        self.process.try_wait().unwrap().is_none()
    }

    /// A line of the process's status, in bytes.
    pub(crate) fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
        kib * 1024
    }

    /// By how much resident memory was more than `before` at its height, meanwhile.
    pub(crate) fn growth<T>(&self, before: u64, work: impl FnOnce() -> T) -> (u64, T) {
        // "5" makes the height begin anew.
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        let done = work();
        (self.status("VmHWM").saturating_sub(before), done)
    }

    /// One request on one connection, its answer read piece by piece: head, and length of the body.
    pub(crate) fn call(&self, head: &str, body: &[&[u8]]) -> (String, Vec<u8>, usize) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let length: usize = body.iter().map(|part| part.len()).sum();
        let head = format!(
            "{head} HTTP/1.1\r\nHost: parley\r\nConnection: close\r\nAuthorization: Bearer {}\r\nContent-Length: {length}\r\n",
            self.token
        );
        let kind =
            if body.len() > 1 { "multipart/form-data; boundary=b" } else { "application/json" };
        write!(stream, "{head}Content-Type: {kind}\r\n\r\n").unwrap();
        for part in body {
            stream.write_all(part).unwrap();
        }
        let mut reading = BufReader::new(stream);
        let mut answer = String::new();
        while !answer.ends_with("\r\n\r\n") {
            assert_ne!(reading.read_line(&mut answer).unwrap(), 0, "{answer}");
        }
        let (mut kept, mut length) = (Vec::new(), 0);
        loop {
            let chunk = reading.fill_buf().unwrap();
            if chunk.is_empty() {
                return (answer, kept, length);
            }
            let read = chunk.len();
            length += read;
            kept.extend_from_slice(&chunk[..read.min(4096_usize.saturating_sub(kept.len()))]);
            reading.consume(read);
        }
    }

    /// A new chat.
    pub(crate) fn chat(&self) -> String {
        // A support chat needs nobody else.
        let (_, body, _) = self.call("POST /api/chat/support", &[b"{}"]);
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["data"]["chat"]["_id"].as_str().unwrap().to_owned()
    }

    /// Sends an image of so many bytes.
    pub(crate) fn upload(&self, chat: &str, size: usize) -> (String, Value) {
        let head =
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
        let content = [PNG, &vec![7; size - PNG.len()]].concat();
        let body = [head.as_bytes(), &content, b"\r\n--b--\r\n"];
        let (head, body, _) = self.call(&format!("POST /api/chat/{chat}/messages/file"), &body);
        (head, serde_json::from_slice(&body).unwrap())
    }
}

impl Drop for Pod {
    /// Kills it, as the kernel would.
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
