//! Sending files: what is taken, what is refused and when, and that nothing is left behind.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::http::Request;
use clap::Parser;
use http_body_util::Full;
use parley_api::Settings;
use parley_local::testing;
use parley_store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::actor::{Actor, Answer, World, failure};
use crate::pod::Pod;

pub(crate) const PNG: &[u8] = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01";
const BOUNDARY: &str = "a-boundary";
const PATIENCE: Duration = Duration::from_secs(20);

/// A form under construction.
#[derive(Clone, Default)]
pub(crate) struct Form(Vec<u8>);

impl Form {
    pub(crate) fn file(name: &str, content: &[u8]) -> Self {
        Self::default().and_file(name, content)
    }

    /// Declared as an image, whatever it is.
    pub(crate) fn and_file(mut self, name: &str, content: &[u8]) -> Self {
        let head = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{name}\"\r\nContent-Type: image/png\r\n\r\n"
        );
        self.0.extend_from_slice(head.as_bytes());
        self.0.extend_from_slice(content);
        self.0.extend_from_slice(b"\r\n");
        self
    }

    pub(crate) fn and(mut self, name: &str, value: &str) -> Self {
        let part = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        );
        self.0.extend_from_slice(part.as_bytes());
        self
    }

    /// The body, and its type.
    pub(crate) fn end(mut self) -> (String, Vec<u8>) {
        self.0.extend_from_slice(format!("--{BOUNDARY}--\r\n").as_bytes());
        (format!("multipart/form-data; boundary={BOUNDARY}"), self.0)
    }
}

impl Actor<'_> {
    pub(crate) async fn send_form(&self, path: &str, form: Form) -> Answer {
        self.send_form_under(path, form, None).await
    }

    async fn send_form_under(&self, path: &str, form: Form, key: Option<&str>) -> Answer {
        let (content_type, body) = form.end();
        let mut request = Request::post(self.world.url(path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", content_type);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        self.world.raw(request.body(Full::from(body)).unwrap()).await
    }

    /// The message of a file that must have been sent.
    pub(crate) async fn sends_file(&self, chat: &str, name: &str, content: &[u8]) -> Value {
        let path = format!("/api/chat/{chat}/messages/file");
        let answer = self.send_form(&path, Form::file(name, content)).await;
        assert_eq!(answer.status, 201, "{}", answer.text);
        answer.data()["message"].clone()
    }
}

/// The settings of a pod that keeps its files in the bucket of the tests.
pub(crate) fn in_bucket(bucket: &testing::Bucket) -> Vec<&str> {
    vec![
        "--s3-bucket",
        &bucket.name,
        "--s3-endpoint",
        &bucket.endpoint,
        "--s3-access-key",
        &bucket.access_key,
        "--s3-secret-key",
        &bucket.secret_key,
        "--s3-allow-http",
        "true",
    ]
}

fn first_file(folder: &Path) -> Option<PathBuf> {
    let paths = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    paths.into_iter().find_map(|path| if path.is_dir() { first_file(&path) } else { Some(path) })
}

/// Files in storage, also those that are being written.
fn files(folder: &Path) -> usize {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    entries
        .flatten()
        .map(|entry| if entry.path().is_dir() { files(&entry.path()) } else { 1 })
        .sum()
}

pub(crate) async fn until_files_are(world: &World, wanted: usize) {
    until_folder_has(world.files.path(), wanted).await;
}

async fn until_folder_has(folder: &Path, wanted: usize) {
    let deadline = Instant::now() + PATIENCE;
    while files(folder) != wanted {
        assert!(Instant::now() < deadline, "{} files", files(folder));
        sleep(Duration::from_millis(20)).await;
    }
}

pub(crate) async fn until_metrics_say(world: &World, line: &str) {
    let deadline = Instant::now() + PATIENCE;
    while !world.admin_port("/metrics").await.1.contains(line) {
        assert!(Instant::now() < deadline, "never {line}");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn i1_a_file_is_shown_wherever_its_message_is() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let replied = alice.says(&chat, "look").await;
    let form = Form::default()
        .and("content", " ")
        .and("replyToMessageId", &replied)
        .and("metadata", "{\"k\":1}")
        .and("unknown", "of an old front end")
        .and_file("Fotö 1.png", PNG)
        .and("clientMessageId", "c-1");
    let sent = alice.send_form(&format!("/api/chat/{chat}/messages/file"), form).await;
    assert_eq!(sent.status, 201, "{}", sent.text);
    assert!(sent.header("ratelimit").starts_with("\"messages\";r=18;"), "charged as a message");
    let message = sent.data()["message"].clone();
    let attachment = &message["attachments"][0];
    let id = attachment["_id"].as_str().unwrap();
    assert_eq!(
        *attachment,
        json!({
            "_id": id,
            "url": format!("/api/chat/{chat}/attachments/{id}"),
            "filename": "Fotö 1.png",
            "mimeType": "image/png",
            "size": PNG.len(),
        })
    );
    assert_eq!((&message["content"], &message["metadata"]["k"]), (&json!(" "), &json!(1)));
    assert_eq!(message["replyToMessageId"], json!(replied));
    assert_eq!(message["clientMessageId"], "c-1");

    let history = bob.get(&format!("/api/chat/{chat}/messages")).await.data();
    assert_eq!(history["messages"][0], message);
    assert_eq!(history["messages"][1]["attachments"], json!([]));
    let chats = bob.get("/api/chat").await.data();
    assert_eq!(chats["chats"][0]["lastMessage"], message);
    let changes = bob.get(&format!("/api/chat/{chat}/changes?since=0")).await.data();
    assert_eq!(changes["events"][1][1]["message"], message);
    let edited = alice
        .put(
            &format!("/api/chat/{chat}/messages/{}", message["_id"].as_str().unwrap()),
            json!({ "content": "better" }),
        )
        .await;
    assert_eq!(edited.data()["message"]["attachments"], message["attachments"]);
}

#[tokio::test]
async fn a_form_at_the_wrong_address_is_a_message_with_a_file_too() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages", alice.chat_with(&bob).await);
    let form = Form::file("a.txt", b"words").and("content", "as old front ends send it");
    let sent = alice.send_form(&path, form).await;
    assert_eq!(sent.status, 201, "{}", sent.text);
    assert_eq!(sent.data()["message"]["attachments"][0]["mimeType"], "text/plain");
    assert_eq!(alice.post(&path, json!({ "content": "hi" })).await.status, 201);
    let json = alice.post(&format!("{path}/file"), json!({ "content": "hi" })).await;
    assert_eq!(json.failure(), failure(415, "unsupported_media_type"));
}

#[tokio::test]
async fn i2_a_repeated_file_is_the_same_message_and_its_second_object_goes() {
    let world = World::with(&["--message-limits", "user=2/60"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages/file", alice.chat_with(&bob).await);
    let send = async |content: &[u8], name: &str, key| {
        alice.send_form_under(&path, Form::file(name, content), Some(key)).await
    };
    let first = send(PNG, "a.png", "c-1").await;
    let again = send(PNG, "a.png", "c-1").await;
    assert_eq!((first.status.as_u16(), again.status.as_u16()), (201, 200));
    assert_eq!(first.data(), again.data());
    for (content, name) in [(&b"other words"[..], "a.png"), (PNG, "b.png")] {
        let other = send(content, name, "c-1").await;
        assert_eq!(other.failure(), failure(422, "idempotency_conflict"));
    }
    let form = Form::file("a.png", PNG).and("clientMessageId", "c-1").and("content", "new words");
    assert_eq!(alice.send_form(&path, form).await.failure(), failure(422, "idempotency_conflict"));
    until_files_are(&world, 1).await;

    assert_eq!(send(PNG, "a.png", "c-2").await.status, 201, "what came to nothing was free");
    let repeated = send(PNG, "a.png", "c-1").await;
    assert_eq!(repeated.status, 200, "a repetition is free at the limit too");
    assert_eq!(send(b"x", "a", "c-1").await.failure(), failure(422, "idempotency_conflict"));
    assert_eq!(send(PNG, "a.png", "c-3").await.failure(), failure(429, "rate_limited"));
    until_files_are(&world, 2).await;
}

#[tokio::test]
async fn i2_parallel_tries_of_a_file_make_one_message() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages/file");
    let tries = (0..4).map(|_| alice.send_form_under(&path, Form::file("a.png", PNG), Some("c")));
    let answers = futures_util::future::join_all(tries).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    assert!(answers.iter().all(|answer| answer.data() == answers[0].data()));
    let history = bob.get(&format!("/api/chat/{chat}/messages")).await.data();
    assert_eq!(history["messages"].as_array().unwrap().len(), 1);
    until_files_are(&world, 1).await;
}

#[tokio::test]
async fn what_is_no_file_message_is_refused_and_leaves_nothing() {
    let world = World::with(&["--max-file-bytes", "70000"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages/file");
    let png = || Form::file("a.png", PNG);
    let invalid = || failure(400, "invalid_request");
    let text = |length| "x".repeat(length).into_bytes();
    for (form, expected) in [
        (Form::default().and("content", "no file"), invalid()),
        (png().and_file("b.png", PNG), invalid()),
        (png().and("content", &"x".repeat(5001)), invalid()),
        (png().and("content", "a\0"), invalid()),
        (png().and("content", "a").and("content", "b"), invalid()),
        (png().and("metadata", "{"), invalid()),
        (png().and("metadata", "[]"), invalid()),
        (png().and("replyToMessageId", "x"), invalid()),
        (png().and("replyToMessageId", &chat), failure(404, "message_not_found")),
        (png().and("clientMessageId", "\u{1}"), invalid()),
        (Form::file("../../etc/passwd", PNG), invalid()),
        (Form::file("a\u{202e}gpj.exe", PNG), invalid()),
        (Form::file(&"x".repeat(300), PNG), invalid()),
        (Form::file("", PNG), invalid()),
        (Form::file("a.png", &text(70_001)), failure(413, "payload_too_large")),
        (Form::file("a.png", &text(900_000)), failure(413, "payload_too_large")),
        (png().and("content", &"x".repeat(400_000)), failure(413, "payload_too_large")),
        (
            Form::file("a.png", b"<html><script>alert(1)</script>"),
            failure(415, "file_type_not_allowed"),
        ),
        (Form::file("a.svg", b"<svg onload='alert(1)'/>"), failure(415, "file_type_not_allowed")),
        (Form::file("a.js", b"alert(1)"), failure(415, "file_type_not_allowed")),
        (Form::file("a.png", b"\x7fELF\x02\x01\x01\0\0\0"), failure(415, "file_type_not_allowed")),
        (Form::file("a.txt", b"\0\xff\xfe"), failure(415, "file_type_not_allowed")),
        (Form::file("invoice.doc", b"MZ\x90\0\x03\0\0\0"), failure(415, "file_type_not_allowed")),
    ] {
        let shown = String::from_utf8_lossy(&form.0[..form.0.len().min(200)]).into_owned();
        let answer = alice.send_form(&path, form).await;
        assert_eq!(answer.failure(), expected, "{shown}");
    }
    until_files_are(&world, 0).await;
    alice.sends_file(&chat, "just so.txt", &text(70_000)).await;
    for n in 0..18 {
        assert_eq!(alice.says(&chat, &n.to_string()).await.len(), 36, "refused ones were free");
    }
}

#[tokio::test]
async fn a_file_may_be_larger_than_any_other_body() {
    let world = World::with(&["--max-body-bytes", "1024"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.sends_file(&chat, "long.txt", &b"x".repeat(200_000)).await;
}

/// Only the head of an upload, whose body never comes.
async fn announce(pod: SocketAddr, token: &str, path: &str, length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(pod).await.unwrap();
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {token}\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer_of(mut stream: TcpStream) -> String {
    let mut some = vec![0; 4096];
    let length = timeout(PATIENCE, stream.read(&mut some)).await.expect("no answer").unwrap();
    String::from_utf8_lossy(&some[..length]).into_owned()
}

#[tokio::test]
async fn who_may_not_send_is_refused_before_the_body() {
    let world = World::with(&["--message-limits", "user=1/60"]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages/file", alice.chat_with(&bob).await);
    let nowhere = "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/messages/file";
    let form = Form::file("a.png", PNG);
    assert_eq!(bob.send_form(&path, form).await.status, 201);
    for (token, path, status, code) in [
        ("nonsense", &path[..], 401, "invalid_token"),
        (&carol.token, &path, 403, "not_participant"),
        (&carol.token, nowhere, 404, "chat_not_found"),
        (&bob.token, &path, 429, "rate_limited"),
    ] {
        let answer = answer_of(announce(world.app.address, token, path, 1_000_000).await).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{code}: {answer}");
        assert!(answer.contains(code), "{answer}");
    }
}

#[tokio::test]
async fn i9_an_upload_that_stalls_or_breaks_off_is_cut_and_leaves_nothing() {
    let world = World::with(&[
        "--upload-idle-seconds",
        "1",
        "--max-uploads",
        "1",
        "--message-limits",
        "user=1/60",
    ])
    .await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages/file");
    let begun = Form::file("a.png", &PNG.repeat(20_000)).0;
    let mut stalled = announce(world.app.address, &alice.token, &path, 1_000_000).await;
    stalled.write_all(&begun).await.unwrap();
    until_files_are(&world, 1).await;
    // The place is taken, and so the next one is refused, and counted.
    let refused = bob.send_form(&path, Form::file("b.png", PNG)).await;
    assert_eq!(refused.failure(), failure(503, "unavailable"));
    let (_, metrics) = world.admin_port("/metrics").await;
    assert!(metrics.contains("parley_uploads_refused_total 1"), "{metrics}");
    let answer = answer_of(stalled).await;
    assert!(answer.contains("upload_incomplete"), "{answer}");
    until_files_are(&world, 0).await;

    let mut broken = announce(world.app.address, &alice.token, &path, 1_000_000).await;
    broken.write_all(&begun).await.unwrap();
    until_files_are(&world, 1).await;
    drop(broken);
    until_metrics_say(&world, "parley_uploads 0\n").await;
    until_files_are(&world, 0).await;
    alice.sends_file(&chat, "charged for once.png", PNG).await;
}

/// The store behind a test's back.
async fn store_of(database_url: &str) -> Store {
    let settings = Settings::parse_from(["parley-api", "--database-url", database_url, "migrate"]);
    Store::connect(&settings.database).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_dead_pod_has_left_in_storage_is_found_and_removed() {
    let folder = TempDir::new().unwrap();
    let database = testing::fresh_database(&testing::database_url());
    let (pod, chat) = tokio::task::block_in_place(|| {
        let pod = Pod::start(&database, folder.path(), &[]);
        let chat = pod.chat();
        (pod, chat)
    });
    let path = format!("/api/chat/{chat}/messages/file");
    let mut begun = announce(pod.address, &pod.token, &path, 1_000_000).await;
    begun.write_all(&Form::file("a.png", &PNG.repeat(20_000)).0).await.unwrap();
    until_folder_has(folder.path(), 1).await;
    drop(pod);
    assert_eq!(files(folder.path()), 1, "nobody has tidied up");

    // Its time is not over: another pod may not touch what may yet become a message.
    let world =
        World::on(database.clone(), &["--files-folder", folder.path().to_str().unwrap()]).await;
    let store = store_of(&database).await;
    assert!(store.loose_objects(9).await.unwrap().is_empty());
    let object = first_file(folder.path()).unwrap();
    let key = object.parent().unwrap().strip_prefix(folder.path()).unwrap().join("file");
    // The time passes.
    store.release_object(key.to_str().unwrap()).await.unwrap();
    assert_eq!(store.loose_objects(9).await.unwrap(), [key.to_str().unwrap()]);
    until_folder_has(folder.path(), 0).await;
    until_metrics_say(&world, "parley_objects_removed_total 1\n").await;
    assert!(store.loose_objects(9).await.unwrap().is_empty(), "nor is it named any more");
}

#[tokio::test]
async fn an_upload_that_keeps_coming_has_an_end_too() {
    let world = World::with(&["--upload-seconds", "1"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages/file", alice.chat_with(&bob).await);
    let mut slow = announce(world.app.address, &alice.token, &path, 10_000_000).await;
    slow.write_all(&Form::file("a.png", PNG).0).await.unwrap();
    let (mut reading, mut writing) = slow.into_split();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"drop").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut some = vec![0; 4096];
    let length = timeout(PATIENCE, reading.read(&mut some)).await.expect("no end").unwrap();
    assert!(String::from_utf8_lossy(&some[..length]).contains("upload_incomplete"));
    dripping.abort();
    until_files_are(&world, 0).await;
}

#[tokio::test]
async fn i9_one_who_is_slow_leaves_places_for_others() {
    let world = World::with(&["--max-uploads", "3", "--max-uploads-per-user", "2"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages/file", alice.chat_with(&bob).await);
    let mut slow = Vec::new();
    for n in 1..=2 {
        slow.push(announce(world.app.address, &alice.token, &path, 1_000_000).await);
        until_metrics_say(&world, &format!("parley_uploads {n}\n")).await;
    }
    let refused = alice.send_form(&path, Form::file("a.png", PNG)).await;
    assert_eq!(refused.failure(), failure(503, "unavailable"));
    assert_eq!(bob.send_form(&path, Form::file("b.png", PNG)).await.status, 201);
    drop(slow);
    until_metrics_say(&world, "parley_uploads 0\n").await;
    assert_eq!(alice.send_form(&path, Form::file("a.png", PNG)).await.status, 201);
}

#[tokio::test]
async fn a_body_that_is_no_form_is_refused() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let path = format!("/api/chat/{}/messages/file", alice.chat_with(&bob).await);
    for (kind, body, expected) in [
        ("multipart/form-data", "x", "invalid_form"),
        ("multipart/form-data; boundary=a-boundary", "x", "invalid_form"),
        ("multipart/form-data; boundary=a-boundary", "--a-boundary\r\nx", "invalid_form"),
        ("multipart/form-data; boundary=a-boundary", "--a-boundary--\r\n", "invalid_request"),
    ] {
        let request = Request::post(world.url(&path))
            .header("authorization", format!("Bearer {}", alice.token))
            .header("content-type", kind)
            .body(Full::from(body))
            .unwrap();
        assert_eq!(world.raw(request).await.failure(), failure(400, expected), "{body:?}");
    }
    let endless = "x".repeat(2_000_000);
    let request = Request::post(world.url(&path))
        .header("authorization", format!("Bearer {}", alice.token))
        .header("content-type", "multipart/form-data; boundary=a-boundary")
        .body(Full::from(format!("--a-boundary\r\nX: {endless}")))
        .unwrap();
    assert_eq!(world.raw(request).await.failure(), failure(413, "payload_too_large"));
}
