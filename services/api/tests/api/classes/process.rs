//! What only a process shows: how much memory it takes, and what it says of what it was told.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use parley_local::testing;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::actor::{LINK_SECRET, SECRET, sign};
use crate::pod::Pod;

pub(crate) const MIB: u64 = 1024 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn pod(folder: &TempDir, settings: &[(&str, &str)]) -> Pod {
    Pod::start(&testing::fresh_database(&testing::database_url()), folder.path(), settings)
}

/// Writes until the pod takes no more, and reads its answer: the status. Nothing, if the pod has hung up on somebody who was still
/// writing, whose system then forgets what it said.
pub(crate) fn ask(pod: &Pod, head: &str, body: impl Iterator<Item = Vec<u8>>) -> Option<u16> {
    let mut stream = TcpStream::connect(pod.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let head = format!("{head}\r\nHost: parley\r\nAuthorization: Bearer {}\r\n\r\n", pod.token);
    // It may have said no before it was told everything.
    if stream.write_all(head.as_bytes()).is_ok() {
        for piece in body {
            if stream.write_all(&piece).is_err() {
                break;
            }
        }
    }
    let mut answer = Vec::new();
    let mut some = [0; 4096];
    while !answer.windows(4).any(|it| it == b"\r\n\r\n") {
        match stream.read(&mut some) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&some[..length]),
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => panic!("{error}"),
        }
    }
    let answer = String::from_utf8_lossy(&answer);
    answer.get(9..12).map(|status| status.parse().unwrap())
}

/// A JSON array of so many ids, as an object's field.
fn ids(number: usize) -> Vec<u8> {
    let id = "\"0192f0a4-7c3b-7d2e-8a1b-0123456789ab\",".repeat(number);
    format!("{{\"messageIds\":[{}]}}", id.trim_end_matches(',')).into_bytes()
}

#[test]
fn class_09_no_length_of_a_list_a_body_or_a_path_takes_memory() {
    let folder = TempDir::new().unwrap();
    let mut pod = pod(&folder, &[]);
    let chat = pod.chat();
    let json = "Content-Type: application/json";
    let read = format!("PATCH /api/chat/{chat}/messages/read HTTP/1.1\r\n{json}");
    let many = ids(1_000_000);
    assert!(many.len() > 37 << 20);
    let all = |body: &[u8]| body.chunks(64 * 1024).map(<[u8]>::to_vec).collect::<Vec<_>>();
    let sized = |head: &str, body: &[u8]| {
        ask(&pod, &format!("{head}\r\nContent-Length: {}", body.len()), all(body).into_iter())
    };
    let chunked = |head: &str, body: &[u8]| {
        let pieces = all(body).into_iter().map(|piece| {
            [format!("{:x}\r\n", piece.len()).into_bytes(), piece, b"\r\n".to_vec()].concat()
        });
        let end = std::iter::once(b"0\r\n\r\n".to_vec());
        ask(&pod, &format!("{head}\r\nTransfer-Encoding: chunked"), pieces.chain(end))
    };
    // What is done for the first time takes memory that no hostile request is to blame for.
    assert_eq!(sized(&read, &ids(1_000)), Some(200));
    assert_eq!(sized(&read, &ids(1_001)), Some(400));
    assert_eq!(sized(&read, &ids(20_000)), Some(413));
    let before = pod.status("VmRSS");
    let (grown, ()) = pod.growth(before, || {
        let refused = |status: Option<u16>| status.is_none_or(|status| status == 413);
        assert!(refused(sized(&read, &many)) && refused(chunked(&read, &many)));
        let ten = vec![b'x'; 10 << 20];
        for path in ["/api/chat", "/api/chat/support", "/api/users/me/preferences"] {
            let method = if path.ends_with('s') { "PUT" } else { "POST" };
            let head = format!("{method} {path} HTTP/1.1\r\n{json}");
            assert!(refused(sized(&head, &ten)) && refused(chunked(&head, &ten)), "{path}");
        }
        for long in [
            format!("/api/chat/{}/info", "x".repeat(64 << 10)),
            format!("/api/chat/{chat}/messages?before={}", "x".repeat(64 << 10)),
            format!("/{}", "a/".repeat(32 << 10)),
        ] {
            let status = ask(&pod, &format!("GET {long} HTTP/1.1"), std::iter::empty());
            assert!(status.is_none_or(|it| [400, 404, 414, 431].contains(&it)), "{status:?}");
        }
        // What is only said is not waited for.
        let said = format!("{read}\r\nContent-Length: {}", u64::MAX / 2);
        assert_eq!(ask(&pod, &said, std::iter::empty()), Some(413));
    });
    assert!(grown < 6 * MIB, "{grown} bytes");
    assert_eq!(sized(&read, b"{}"), Some(200), "it goes on");
    assert!(pod.is_running());
}

/// Everything by which somebody could act, or that they have said.
#[test]
fn class_37_no_secret_and_nothing_that_was_said_is_logged() {
    const WORDS: &str = "marker-of-what-people-say";
    const HOOK: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    let folder = TempDir::new().unwrap();
    let settings = [
        ("PARLEY_LOG", "trace"),
        ("PARLEY_LINK_SECRET", LINK_SECRET),
        ("PARLEY_BEFORE_MESSAGE_URL", "https://hooks.example/"),
        ("PARLEY_BEFORE_MESSAGE_SECRET", HOOK),
        ("PARLEY_BEFORE_MESSAGE_FAILURE", "open"),
        ("PARLEY_BEFORE_MESSAGE_MS", "100"),
    ];
    let mut pod = pod(&folder, &settings);
    let call = |pod: &Pod, head: &str, body: &Value| {
        let (head, body, _) = pod.call(head, &[body.to_string().as_bytes()]);
        (head, serde_json::from_slice::<Value>(&body).unwrap_or_default())
    };
    let chat = pod.chat();
    let messages = format!("/api/chat/{chat}/messages");
    let body = json!({ "content": WORDS, "metadata": { WORDS: WORDS }, "clientMessageId": WORDS });
    assert!(call(&pod, &format!("POST {messages}"), &body).0.starts_with("HTTP/1.1 201"));
    let poison = json!({ "content": format!("{WORDS}\0") });
    assert!(call(&pod, &format!("POST {messages}"), &poison).0.starts_with("HTTP/1.1 400"));
    call(&pod, &format!("GET {messages}?before={WORDS}"), &Value::Null);
    let (head, sent) = pod.upload(&chat, 1024);
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let url = sent["data"]["message"]["attachments"][0]["url"].as_str().unwrap();
    let (_, link) = call(&pod, &format!("GET {url}/link"), &Value::Null);
    let link = link["data"]["url"].as_str().unwrap().to_owned();
    let user_token = pod.token.clone();
    let good = format!("GET {link} HTTP/1.1\r\nX-Ignored: 1");
    assert_eq!(ask(&pod, &good, std::iter::empty()), Some(200));
    // Its own words, by whoever may say where events go; and a token that does not count.
    let host = sign(&json!({ "sub": "host", "role": "service", "exp": u32::MAX, "name": WORDS }));
    pod.token.clone_from(&host);
    let hook = json!({ "url": format!("https://app.example/{WORDS}"), "description": WORDS });
    let (_, made) = call(&pod, "POST /api/webhooks", &hook);
    let secret = made["data"]["secret"].as_str().unwrap().to_owned();
    let bad = format!("{host}x");
    pod.token.clone_from(&bad);
    assert!(call(&pod, "GET /api/chat", &Value::Null).0.starts_with("HTTP/1.1 401"));

    // What comes last is logged last.
    let last = "GET /api/chat HTTP/1.1\r\nX-Request-Id: the-last-request";
    assert_eq!(ask(&pod, last, std::iter::empty()), Some(401));
    let begun = Instant::now();
    while !pod.log().contains("the-last-request") {
        assert!(begun.elapsed() < PATIENCE, "the last request is not logged");
        std::thread::sleep(Duration::from_millis(10));
    }
    let log = pod.log();
    assert!(log.lines().count() > 10, "nothing is logged: {log}");
    let database = testing::database_url();
    let password = database.split(':').nth(2).unwrap().split('@').next().unwrap();
    let signature = link.split("signature=").nth(1).unwrap();
    let of = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let (user, host) = (of(&user_token), of(&host));
    let secrets = [SECRET, LINK_SECRET, HOOK, &secret, signature, &user, &host, WORDS];
    for hidden in secrets.iter().chain([&password].iter().filter(|it| it.len() > 7).copied()) {
        let found = log.lines().find(|line| line.contains(*hidden));
        assert_eq!(found, None, "logged: {hidden}");
    }
    assert!(pod.is_running());
}
