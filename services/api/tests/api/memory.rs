//! How much memory a file takes on its way through a pod: a real process, as the kernel sees it.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};

use parley_local::testing;
use serde_json::{Value, json};

use crate::actor::{SECRET, sign};
use crate::uploads::PNG;

const FILE: usize = 25 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// An api pod of its own.
struct Pod {
    process: Child,
    address: SocketAddr,
    token: String,
    _folder: tempfile::TempDir,
}

impl Pod {
    fn start(storage: &[(&str, &str)]) -> Self {
        let folder = tempfile::TempDir::new().unwrap();
        let database = testing::fresh_database(&testing::database_url());
        let command = || {
            let mut command = Command::new(env!("CARGO_BIN_EXE_parley-api"));
            command.env_clear().env("PARLEY_DATABASE_URL", &database);
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
            .env("PARLEY_FILES_FOLDER", folder.path())
            .envs(storage.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| {
                let line: Value = serde_json::from_str(&line).ok()?;
                line["address"].as_str()?.parse().ok()
            })
            .expect("the pod says where it is");
        let id = format!("user-{}", uuid::Uuid::new_v4());
        let token = sign(&json!({ "sub": id, "role": "user", "exp": u32::MAX }));
        Self { process, address, token, _folder: folder }
    }

    /// A line of the process's status, in bytes.
    fn status(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()));
        let status = status.unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        let kib: u64 = line.trim_matches([':', ' ', '\t', 'k', 'B']).parse().unwrap();
        kib * 1024
    }

    /// By how much resident memory was more than `before` at its height, meanwhile.
    fn growth<T>(&self, before: u64, work: impl FnOnce() -> T) -> (u64, T) {
        // "5" makes the height begin anew.
        std::fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").unwrap();
        let done = work();
        (self.status("VmHWM").saturating_sub(before), done)
    }

    /// One request on one connection, its answer read piece by piece: head, and length of the body.
    fn call(&self, head: &str, body: &[&[u8]]) -> (String, Vec<u8>, usize) {
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

    fn chat(&self) -> String {
        // A support chat needs nobody else.
        let (_, body, _) = self.call("POST /api/chat/support", &[b"{}"]);
        let body: Value = serde_json::from_slice(&body).unwrap();
        body["data"]["chat"]["_id"].as_str().unwrap().to_owned()
    }

    fn upload(&self, chat: &str, size: usize) -> (String, Value) {
        let head =
            "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.png\"\r\n\r\n";
        let content = [PNG, &vec![7; size - PNG.len()]].concat();
        let body = [head.as_bytes(), &content, b"\r\n--b--\r\n"];
        let (head, body, _) = self.call(&format!("POST /api/chat/{chat}/messages/file"), &body);
        (head, serde_json::from_slice(&body).unwrap())
    }
}

impl Drop for Pod {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How much more memory it takes, up and down.
fn a_large_file_passes_through(storage: &[(&str, &str)]) -> (u64, u64) {
    let pod = Pod::start(storage);
    let chat = pod.chat();
    let url_of = |answer: &Value| {
        answer["data"]["message"]["attachments"][0]["url"].as_str().unwrap().to_owned()
    };
    // What the process does for the first time takes memory that no file is to blame for: code, and connections.
    let (_, small) = pod.upload(&chat, 1024);
    pod.call(&format!("GET {}", url_of(&small)), &[b""]);

    let before = pod.status("VmRSS");
    let (up, (head, answer)) = pod.growth(before, || pod.upload(&chat, FILE));
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let (down, (head, _, length)) =
        pod.growth(before, || pod.call(&format!("GET {}", url_of(&answer)), &[b""]));
    assert!(head.starts_with("HTTP/1.1 200") && length == FILE, "{head}");

    let (head, answer) = pod.upload(&chat, FILE + 1);
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(answer["error"]["code"], "payload_too_large");
    (up, down)
}

#[test]
fn i9_25_mib_through_a_pod_take_less_than_4_with_a_folder() {
    let (up, down) = a_large_file_passes_through(&[]);
    println!("folder: 25 MiB take {} KiB up, {} KiB down", up / 1024, down / 1024);
    assert!(up < 4 * MIB && down < 4 * MIB, "{up} up, {down} down");
}

#[test]
fn i9_25_mib_through_a_pod_take_less_than_16_with_a_bucket() {
    let bucket = testing::bucket();
    let storage = [
        ("PARLEY_S3_BUCKET", bucket.name.as_str()),
        ("PARLEY_S3_ENDPOINT", &bucket.endpoint),
        ("PARLEY_S3_ACCESS_KEY", &bucket.access_key),
        ("PARLEY_S3_SECRET_KEY", &bucket.secret_key),
        ("PARLEY_S3_ALLOW_HTTP", "true"),
    ];
    let (up, down) = a_large_file_passes_through(&storage);
    println!("bucket: 25 MiB take {} KiB up, {} KiB down", up / 1024, down / 1024);
    assert!(up < 16 * MIB && down < 16 * MIB, "{up} up, {down} down");
}
