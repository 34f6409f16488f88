//! Downloading files: for whom, how, and that they die with their message.

use std::time::Duration;

use axum::body::Bytes;
use axum::http::response::Parts;
use axum::http::{Method, Request};
use http_body_util::Full;
use parley_domain::ids::{AttachmentId, ChatId, UserId};
use parley_domain::link::{Link, LinkKey};
use parley_domain::user::Role;
use parley_local::testing;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::actor::{Actor, LINK_SECRET, World, failure};
use crate::uploads::{Form, PNG, in_bucket, until_files_are, until_metrics_say};

fn url_of(message: &Value) -> String {
    message["attachments"][0]["url"].as_str().unwrap().to_owned()
}

async fn fetch(
    world: &World,
    token: Option<&str>,
    method: Method,
    url: &str,
    fields: &[(&str, &str)],
) -> (Parts, Bytes) {
    let mut request = Request::builder().method(method).uri(world.url(url));
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    world.exchange(request.body(Full::default()).unwrap()).await
}

impl Actor<'_> {
    async fn download(&self, url: &str, fields: &[(&str, &str)]) -> (Parts, Bytes) {
        fetch(self.world, Some(&self.token), Method::GET, url, fields).await
    }
}

fn field<'a>(head: &'a Parts, name: &str) -> &'a str {
    head.headers.get(name).unwrap_or_else(|| panic!("no {name}: {head:?}")).to_str().unwrap()
}

/// More than one piece of either storage, and no two pieces alike.
fn large() -> Vec<u8> {
    let words = (0_u32..700_000).map(|n| n.wrapping_mul(2_654_435_761));
    PNG.iter().copied().chain(words.flat_map(u32::to_le_bytes)).collect()
}

async fn a_file_comes_back_as_it_was(world: &World) {
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let content = large();
    let url = url_of(&alice.sends_file(&chat, "größe.png", &content).await);
    let (head, body) = bob.download(&url, &[("accept-encoding", "gzip")]).await;
    assert_eq!((head.status.as_u16(), body[..] == content[..]), (200, true));
    let etag = field(&head, "etag").to_owned();
    for (name, expected) in [
        ("content-length", content.len().to_string().as_str()),
        ("content-type", "image/png"),
        (
            "content-disposition",
            "inline; filename=\"gr__e.png\"; filename*=UTF-8''gr%C3%B6%C3%9Fe.png",
        ),
        ("accept-ranges", "bytes"),
        ("x-content-type-options", "nosniff"),
        ("content-security-policy", "sandbox; default-src 'none'"),
        ("cache-control", "private, no-store"),
    ] {
        assert_eq!(field(&head, name), expected);
    }
    assert!(!head.headers.contains_key("content-encoding"));

    let size = content.len();
    for (range, from, to) in [
        ("bytes=0-0".to_owned(), 0, 1),
        ("bytes=1000-".to_owned(), 1000, size),
        ("bytes=-7".to_owned(), size - 7, size),
        (format!("bytes=262140-{}", size + 5), 262_140, size),
    ] {
        let (head, body) = bob.download(&url, &[("range", &range), ("if-range", &etag)]).await;
        assert_eq!((head.status.as_u16(), body[..] == content[from..to]), (206, true), "{range}");
        assert_eq!(field(&head, "content-range"), format!("bytes {from}-{}/{size}", to - 1));
        assert_eq!(field(&head, "content-length"), (to - from).to_string());
    }
    let (head, _) = bob.download(&url, &[("range", "bytes=0-1"), ("if-range", "\"other\"")]).await;
    assert_eq!(head.status, 200, "another state of the file: all of it");
    let (head, body) = bob.download(&url, &[("range", &format!("bytes={size}-"))]).await;
    assert_eq!(head.status, 416);
    assert_eq!(field(&head, "content-range"), format!("bytes */{size}"));
    assert!(String::from_utf8_lossy(&body).contains("range_not_satisfiable"));

    let part = [("range", "bytes=0-1")];
    let (head, body) = fetch(world, Some(&bob.token), Method::HEAD, &url, &part).await;
    assert_eq!((head.status.as_u16(), body.len()), (200, 0));
    assert_eq!(field(&head, "content-length"), size.to_string());
    let (empty, _) = {
        let url = url_of(&alice.sends_file(&chat, "empty.txt", b"").await);
        bob.download(&url, &[]).await
    };
    assert_eq!((empty.status.as_u16(), field(&empty, "content-length")), (200, "0"));
}

async fn a_file_dies_with_its_message(world: &World) {
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let message = alice.sends_file(&chat, "a.png", PNG).await;
    let url = url_of(&message);
    let link = bob.get(&format!("{url}/link")).await.data()["url"].as_str().unwrap().to_owned();
    assert_eq!(bob.download(&url, &[]).await.0.status, 200);
    let path = format!("/api/chat/{chat}/messages/{}", message["_id"].as_str().unwrap());
    let tombstone = alice.delete(&path).await.data()["message"].clone();
    assert_eq!((&tombstone["content"], &tombstone["attachments"]), (&json!(""), &json!([])));
    assert_eq!(bob.get(&url).await.failure(), failure(404, "attachment_not_found"));
    let (head, _) = fetch(world, None, Method::GET, &link, &[]).await;
    assert_eq!(head.status, 404, "links die with it too");
    let history = bob.get(&format!("/api/chat/{chat}/messages")).await.data();
    assert_eq!(history["messages"][0], tombstone);
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_from_a_folder() {
    a_file_comes_back_as_it_was(&World::new().await).await;
}

#[tokio::test]
async fn a_file_comes_back_as_it_was_from_a_bucket() {
    let bucket = testing::bucket();
    a_file_comes_back_as_it_was(&World::with(&in_bucket(&bucket)).await).await;
}

#[tokio::test]
async fn class_14_a_file_in_a_folder_dies_with_its_message() {
    let world = World::new().await;
    a_file_dies_with_its_message(&world).await;
    until_files_are(&world, 0).await;
}

#[tokio::test]
async fn class_14_a_file_in_a_bucket_dies_with_its_message() {
    let bucket = testing::bucket();
    let world = World::with(&in_bucket(&bucket)).await;
    a_file_dies_with_its_message(&world).await;
    until_metrics_say(&world, "parley_objects_removed_total 1\n").await;
}

#[tokio::test]
async fn a_storage_that_is_away_is_503_and_costs_nothing() {
    let bucket = testing::bucket();
    let mut arguments = in_bucket(&bucket);
    arguments[3] = "http://127.0.0.1:9";
    arguments.extend(["--s3-ms", "500", "--message-limits", "user=1/60"]);
    let world = World::with(&arguments).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages/file");
    let refused = alice.send_form(&path, Form::file("a.png", PNG)).await;
    assert_eq!(refused.failure(), failure(503, "unavailable"));
    until_metrics_say(&world, "parley_storage_failures_total{operation=\"write\"} 1\n").await;
    assert_eq!(refused.header("retry-after"), "1");
    alice.says(&chat, "still not charged").await;
}

#[tokio::test]
async fn i9_one_user_has_so_many_downloads_under_way_and_others_have_theirs() {
    let world = World::with(&["--max-downloads-per-user", "2", "--max-downloads", "3"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let content: Vec<u8> = PNG.iter().copied().chain(std::iter::repeat_n(7, 20_000_000)).collect();
    let url = url_of(&alice.sends_file(&chat, "a.png", &content).await);
    let begin = async |token: &str| {
        let mut stream = TcpStream::connect(world.app.address).await.unwrap();
        let head =
            format!("GET {url} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {token}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 12];
        stream.read_exact(&mut first).await.unwrap();
        (stream, String::from_utf8_lossy(&first[9..]).into_owned())
    };
    let held = [begin(&bob.token).await, begin(&bob.token).await];
    assert!(held.iter().all(|(_, status)| status == "200"));
    assert_eq!(begin(&bob.token).await.1, "503");
    let other = begin(&alice.token).await;
    assert_eq!(other.1, "200");
    assert_eq!(begin(&alice.token).await.1, "503", "nobody has a place left");
    drop((held, other));
    let deadline = Instant::now() + Duration::from_secs(20);
    while begin(&bob.token).await.1 != "200" {
        assert!(Instant::now() < deadline, "the places are not given back");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn i10_whoever_does_not_read_a_file_is_not_waited_for() {
    let world = World::with(&["--write-seconds", "1"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let content: Vec<u8> = PNG.iter().copied().chain(std::iter::repeat_n(7, 20_000_000)).collect();
    let url = url_of(&alice.sends_file(&chat, "a.png", &content).await);
    let connections = async || {
        let (_, metrics) = world.admin_port("/metrics").await;
        let line = metrics.lines().find_map(|it| it.strip_prefix("parley_http_connections "));
        line.unwrap().parse::<u32>().unwrap()
    };
    let before = connections().await;
    let mut stalled = TcpStream::connect(world.app.address).await.unwrap();
    let head = format!(
        "GET {url} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {}\r\n\r\n",
        bob.token
    );
    stalled.write_all(head.as_bytes()).await.unwrap();
    let mut first = [0; 16];
    stalled.read_exact(&mut first).await.unwrap();
    assert!(first.starts_with(b"HTTP/1.1 200"));
    assert!(connections().await > before);
    let deadline = Instant::now() + Duration::from_secs(20);
    while connections().await > before {
        assert!(Instant::now() < deadline, "it is waited for");
        sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn i6_a_file_is_for_readers_of_its_own_chat_only() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let (chat, own) = (alice.chat_with(&bob).await, bob.chat_with(&carol).await);
    let url = url_of(&alice.sends_file(&chat, "a.png", PNG).await);
    let id = url.rsplit_once('/').unwrap().1;
    for path in [url.clone(), format!("{url}/link")] {
        assert_eq!(carol.get(&path).await.failure(), failure(403, "not_participant"));
        let (head, _) = fetch(&world, None, Method::GET, &path, &[]).await;
        assert_eq!(head.status, 401);
    }
    // Somebody else's file through one's own chat.
    let through = format!("/api/chat/{own}/attachments/{id}");
    assert_eq!(carol.get(&through).await.failure(), failure(404, "attachment_not_found"));
    let nothing = format!("/api/chat/{chat}/attachments/{own}");
    assert_eq!(alice.get(&nothing).await.failure(), failure(404, "attachment_not_found"));
    for bad in ["x", "..%2f..%2fetc%2fpasswd"] {
        let bad = format!("/api/chat/{chat}/attachments/{bad}");
        assert_eq!(alice.get(&bad).await.failure(), failure(400, "invalid_id"));
    }
    assert_eq!(world.actor("root", "admin").download(&url, &[]).await.0.status, 200);
    assert_eq!(
        world.actor("agent", "support").get(&url).await.failure(),
        failure(403, "not_participant")
    );
}

#[tokio::test]
async fn i6_a_removed_participant_gets_no_file_any_more_by_token_or_by_link() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let body = json!({ "participantIds": [bob.id, carol.id], "type": "group" });
    let group = alice.post("/api/chat", body).await.data();
    let chat = group["chat"]["_id"].as_str().unwrap().to_owned();
    let url = url_of(&alice.sends_file(&chat, "a.png", PNG).await);
    let answer = bob.get(&format!("{url}/link")).await.data();
    let link = answer["url"].as_str().unwrap().to_owned();
    assert!(answer["expiresAt"].as_str().unwrap().ends_with("000Z"));
    let (head, body) = fetch(&world, None, Method::GET, &link, &[]).await;
    assert_eq!((head.status.as_u16(), &body[..]), (200, PNG), "without a token");

    alice.delete(&format!("/api/chat/{chat}/participants/{}", bob.id)).await.data();
    assert_eq!(bob.get(&url).await.failure(), failure(403, "not_participant"));
    let (head, _) = fetch(&world, None, Method::GET, &link, &[]).await;
    assert_eq!(head.status, 403);
}

#[tokio::test]
async fn a_link_counts_for_its_own_file_its_own_time_and_its_own_person() {
    let world = World::new().await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let url = url_of(&alice.sends_file(&chat, "a.png", PNG).await);
    let other = url_of(&alice.sends_file(&chat, "b.png", PNG).await);
    let link = bob.get(&format!("{url}/link")).await.data()["url"].as_str().unwrap().to_owned();
    let query = link.split_once('?').unwrap().1;
    for forged in [
        format!("{other}?{query}"),
        link.replace("role=user", "role=admin"),
        link.replace(&bob.id, &alice.id),
        link.replace("expires=", "expires=1"),
        format!("{link}0"),
        link.replace("issued=", "issued=x"),
        link.replace("user=", "nobody="),
    ] {
        let (head, body) = fetch(&world, None, Method::GET, &forged, &[]).await;
        assert_eq!(head.status, 403, "{forged}");
        assert!(String::from_utf8_lossy(&body).contains("link_invalid"));
    }
    let (head, _) = fetch(&world, Some(&carol.token), Method::GET, &link, &[]).await;
    assert_eq!(head.status, 403, "a token that is sent counts, not the link beside it");

    let dated = world.issued(&bob.id, 1_700_000_000);
    let link_of_dated = dated.get(&format!("{url}/link")).await.data()["url"].clone();
    let link_of_dated = link_of_dated.as_str().unwrap();
    assert!(link_of_dated.contains("issued=1700000000"), "as old as its token: {link_of_dated}");

    let (path, query) = link.split_once('?').unwrap();
    let (head, _) = fetch(&world, None, Method::GET, &format!("{path}/link?{query}"), &[]).await;
    assert_eq!(head.status, 401, "a link makes no other link");

    let key = LinkKey::new(&LINK_SECRET.to_owned().into()).unwrap();
    let id = url.rsplit_once('/').unwrap().1;
    let made = async |issued: i64, expires: i64| {
        let made = Link {
            chat: ChatId::parse(&chat).unwrap(),
            attachment: AttachmentId::parse(id).unwrap(),
            user: UserId::parse(&bob.id).unwrap(),
            role: Role::User,
            issued,
            expires,
        };
        let signature = key.sign(&made);
        let link = format!(
            "{url}?user={}&role=user&issued={issued}&expires={expires}&signature={signature}",
            bob.id
        );
        fetch(&world, None, Method::GET, &link, &[]).await.0.status.as_u16()
    };
    let now = chrono::DateTime::parse_from_rfc3339(
        bob.get(&format!("{url}/link")).await.data()["expiresAt"].as_str().unwrap(),
    )
    .unwrap()
    .timestamp();
    assert_eq!(made(now - 300, now).await, 200);
    assert_eq!(made(now - 1300, now - 1000).await, 403, "over");

    let revoked = world.actor("host", "service");
    revoked.post(&format!("/api/users/{}/revoke", bob.id), json!({})).await.data();
    let (head, _) = fetch(&world, None, Method::GET, &link, &[]).await;
    assert_eq!(head.status, 403, "revoked with its person's tokens");
}

#[tokio::test]
async fn class_15_what_a_browser_could_run_is_never_served_as_such() {
    let allowed = [
        "--file-types",
        "image/*,text/html,image/svg+xml,text/javascript,text/xml,text/plain,application/zip",
    ];
    let world = World::with(&allowed).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for (name, content, kept) in [
        ("photo.png", &b"<html><script>alert(1)</script>"[..], "text/html"),
        (
            "photo.png",
            b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
            "image/svg+xml",
        ),
        ("a.xml", b"<?xml version='1.0'?><x/>", "text/xml"),
        ("a.js", b"alert(1)", "text/javascript"),
    ] {
        let message = alice.sends_file(&chat, name, content).await;
        assert_eq!(message["attachments"][0]["mimeType"], kept);
        let (head, body) = bob.download(&url_of(&message), &[]).await;
        assert_eq!((head.status.as_u16(), &body[..]), (200, content));
        assert_eq!(field(&head, "content-type"), "application/octet-stream", "{kept}");
        assert!(field(&head, "content-disposition").starts_with("attachment;"), "{kept}");
        assert_eq!(field(&head, "x-content-type-options"), "nosniff");
    }
    for (name, content, content_type, kind) in [
        ("a.html", PNG, "image/png", "inline"),
        ("polyglot.png", b"PK\x03\x04\x14\0\0\0\x08\0<html>", "application/zip", "attachment"),
        ("a.gif", b"GIF89a=1;alert(1)", "text/plain; charset=utf-8", "inline"),
    ] {
        let message = alice.sends_file(&chat, name, content).await;
        let (head, _) = bob.download(&url_of(&message), &[]).await;
        assert_eq!(field(&head, "content-type"), content_type, "{name}");
        assert!(field(&head, "content-disposition").starts_with(kind), "{name}");
        assert_eq!(field(&head, "content-security-policy"), "sandbox; default-src 'none'");
    }
}

#[tokio::test]
async fn without_a_secret_there_are_no_links() {
    let world = World::with(&["--without-link-secret"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let url = url_of(&alice.sends_file(&chat, "a.png", PNG).await);
    assert_eq!(bob.get(&format!("{url}/link")).await.failure(), failure(404, "not_found"));
    let forged =
        format!("{url}?user={}&role=user&issued=1&expires=9999999999&signature=00", bob.id);
    let (head, _) = fetch(&world, None, Method::GET, &forged, &[]).await;
    assert_eq!(head.status, 403);
}
