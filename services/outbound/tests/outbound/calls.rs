//! What a call sends, and the bounds of what it takes.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderValue, StatusCode};
use parley_outbound::{MOST_ANSWER, MOST_HEADERS, OutboundError, Stage, Target};

use crate::receiver::{Does, OK, Receiver};
use crate::{PATIENCE, call, client, local};

#[tokio::test]
async fn a_call_posts_its_body_and_headers_and_names_the_host_itself() {
    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    let client = client(local());
    let url = format!("http://{}/hook/a%20b?c=d&e", receiver.address);
    let target = Target::parse(&url, client.policy()).unwrap();
    let mut headers = HeaderMap::new();
    headers.insert("content-type", HeaderValue::from_static("application/json"));
    headers.insert("webhook-id", HeaderValue::from_static("msg_1"));
    for (name, value) in [("host", "inside"), ("content-length", "9"), ("connection", "upgrade")] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let answer = client.post(&target, headers, "{}".into(), PATIENCE).await.unwrap();
    assert_eq!(
        (answer.status, &answer.body[..], answer.truncated),
        (StatusCode::OK, &b"ok"[..], false)
    );
    let requests = receiver.requests();
    let mut lines: Vec<_> = requests[0].trim_end_matches("\r\n\r\n{}").split("\r\n").collect();
    assert_eq!(lines.remove(0), "POST /hook/a%20b?c=d&e HTTP/1.1");
    lines.sort_unstable();
    let host = format!("host: {}", receiver.address);
    let expected =
        ["content-length: 2", "content-type: application/json", &host, "webhook-id: msg_1"];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn class_19_i9_of_an_answer_64_kib_are_kept_and_the_connection_is_closed() {
    for (size, truncated) in [(MOST_ANSWER, false), (MOST_ANSWER + 1, true), (10 << 20, true)] {
        let body = "a".repeat(size);
        let whole = format!("HTTP/1.1 200 OK\r\ncontent-length: {size}\r\n\r\n{body}");
        let chunk = format!(
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{size:x}\r\n{body}\r\n0\r\n\r\n"
        );
        for answer in [whole, chunk] {
            let receiver = Receiver::new(Does::Answers(answer)).await;
            let client = client(local());
            for _ in 0..2 {
                let answer = call(&client, &receiver.url()).await.unwrap();
                assert_eq!((answer.body.len(), answer.truncated), (MOST_ANSWER, truncated));
            }
            assert_eq!(receiver.connections(), if truncated { 2 } else { 1 });
            assert_eq!(client.idle(), usize::from(!truncated));
        }
    }
}

#[tokio::test]
async fn i9_an_answer_without_end_is_cut_at_its_bound() {
    let endless = format!("HTTP/1.1 200 OK\r\n\r\n{}", "a".repeat(MOST_ANSWER + 1));
    let receiver = Receiver::new(Does::Stalls(endless)).await;
    let answer = call(&client(local()), &receiver.url()).await.unwrap();
    assert!(answer.truncated);
}

#[tokio::test]
async fn i9_headers_are_bounded_in_number_and_size() {
    let of = |headers: &str| format!("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n{headers}\r\n");
    let many = "a: b\r\n".repeat(MOST_HEADERS + 1);
    let long = format!("a: {}\r\n", "b".repeat(64 * 1024));
    for headers in [many, long] {
        let receiver = Receiver::new(Does::Answers(of(&headers))).await;
        let refused = call(&client(local()), &receiver.url()).await.unwrap_err();
        assert_eq!(refused, OutboundError::HeadersTooLarge);
    }
    let few = "a: b\r\n".repeat(MOST_HEADERS - 1);
    let receiver = Receiver::new(Does::Answers(of(&few))).await;
    call(&client(local()), &receiver.url()).await.unwrap();
}

#[tokio::test]
async fn what_is_no_http_is_said_to_be_none() {
    for garbage in ["220 mail.example ESMTP\r\n", "-ERR unknown command\r\n", "\0\0\0\0\r\n\r\n"] {
        let receiver = Receiver::new(Does::Closes(garbage.to_owned())).await;
        let refused = call(&client(local()), &receiver.url()).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Protocol(_)), "{garbage:?}: {refused}");
    }
    for cut in ["", "HTTP/1.1 200", "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok"] {
        let receiver = Receiver::new(Does::Closes(cut.to_owned())).await;
        let refused = call(&client(local()), &receiver.url()).await.unwrap_err();
        assert!(matches!(refused, OutboundError::Connection(_)), "{cut:?}: {refused}");
    }
}

#[tokio::test]
async fn i9_a_deadline_is_for_everything() {
    let short = Duration::from_millis(200);
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nok";
    for (answer, stage) in
        [("", Stage::Asking), ("HTTP/1.1 2", Stage::Asking), (begun, Stage::Reading)]
    {
        let receiver = Receiver::new(Does::Stalls(answer.to_owned())).await;
        let client = client(local());
        let target = Target::parse(&receiver.url(), client.policy()).unwrap();
        let begin = Instant::now();
        let late = client.post(&target, HeaderMap::new(), "{}".into(), short).await.unwrap_err();
        assert_eq!(late, OutboundError::TimedOut(stage));
        assert!(begin.elapsed() >= short && begin.elapsed() < PATIENCE / 2);
        assert_eq!(client.idle(), 0);
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_meanwhile_is_made_anew() {
    // It says nothing of closing, and closes.
    let receiver = Receiver::new(Does::Closes(OK.to_owned())).await;
    let client = client(local());
    for calls in 1..=5 {
        call(&client, &receiver.url()).await.unwrap();
        assert_eq!((receiver.connections(), receiver.requests().len()), (calls, calls));
        let closed = async {
            while client.idle() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, closed).await.unwrap();
    }
}

#[tokio::test]
async fn i9_the_connections_that_wait_are_bounded() {
    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    let client = client(local());
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..64 {
        let (client, url) = (client.clone(), receiver.url());
        calls.spawn(async move { call(&client, &url).await.unwrap() });
    }
    calls.join_all().await;
    assert!((1..=8).contains(&client.idle()), "{}", client.idle());
}

#[tokio::test]
async fn nobody_there_is_a_failed_connection_and_the_next_address_is_tried() {
    let gone = Receiver::new(Does::Answers(OK.to_owned())).await;
    let url = gone.url();
    drop(gone);
    let refused = call(&client(local()), &url).await.unwrap_err();
    assert!(matches!(refused, OutboundError::Connection(_)), "{refused}");

    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    let script = crate::Script::of("plain.example", &[&["127.0.0.3", "127.0.0.1"]]);
    let policy = parley_outbound::Policy::allowing(["plain.example"]).unwrap();
    let roots = parley_outbound::Roots::public();
    let client = parley_outbound::Client::resolving(policy, roots, script).unwrap();
    let url = format!("http://plain.example:{}/", receiver.address.port());
    call(&client, &url).await.unwrap();
    let unknown = call(&client, "https://unknown.example/").await.unwrap_err();
    assert!(matches!(unknown, OutboundError::Unresolved(_)), "{unknown}");
}

#[tokio::test]
async fn the_system_resolves_names() {
    let receiver = Receiver::new(Does::Answers(OK.to_owned())).await;
    let policy = parley_outbound::Policy::allowing(["localhost"]).unwrap();
    let url = format!("http://localhost:{}/", receiver.address.port());
    assert_eq!(call(&client(policy), &url).await.unwrap().status, StatusCode::OK);
    assert!(receiver.requests()[0].contains("host: localhost:"));
}
