//! The hook before a message, asked of a real receiver over HTTP.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use parking_lot::Mutex;
use parley_outbound::webhook::{self, Key, MessageId};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

use crate::actor::{Actor, Answer, World, failure};
use crate::uploads::{Form, PNG, until_files_are};

const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OLD_SECRET: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX";

/// What a receiver does with a question.
#[derive(Clone)]
enum Does {
    Answers(u16, String),
    Never,
}

/// An application that is asked.
#[derive(Clone)]
struct App {
    does: Arc<Mutex<Does>>,
    asked: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    url: String,
    _serving: Arc<AbortOnDropHandle<()>>,
}

impl App {
    async fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/before", listener.local_addr().unwrap());
        let does = Arc::new(Mutex::new(Does::Answers(204, String::new())));
        let asked = Arc::default();
        let router = Router::new()
            .route("/before", post(answer))
            .with_state((Arc::clone(&does), Arc::clone(&asked)));
        let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { does, asked, url, _serving: Arc::new(AbortOnDropHandle::new(serving)) }
    }

    fn answers(&self, verdict: &Value) {
        self.says(200, &verdict.to_string());
    }

    fn says(&self, status: u16, body: &str) {
        *self.does.lock() = Does::Answers(status, body.to_owned());
    }

    fn asked(&self) -> usize {
        self.asked.lock().len()
    }

    fn question(&self) -> Value {
        serde_json::from_slice(&self.asked.lock().last().unwrap().1).unwrap()
    }

    /// A pod that asks it.
    async fn world(&self, arguments: &[&str]) -> World {
        let secrets = format!("{SECRET},{OLD_SECRET}");
        let mut all = vec!["--before-message-url", &self.url, "--before-message-secret", &secrets];
        all.extend(["--outbound-allow", "127.0.0.1"]);
        // Only tests of deadlines are to meet one, however busy the machine is.
        if !arguments.contains(&"--before-message-ms") {
            all.extend(["--before-message-ms", "5000"]);
        }
        all.extend(arguments);
        World::with(&all).await
    }
}

type Asked = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

async fn answer(
    State((does, asked)): State<(Arc<Mutex<Does>>, Asked)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    asked.lock().push((headers, body));
    let does = does.lock().clone();
    match does {
        Does::Answers(status, body) => {
            (StatusCode::from_u16(status).unwrap(), body).into_response()
        }
        Does::Never => std::future::pending().await,
    }
}

async fn send(who: &Actor<'_>, chat: &str, body: Value) -> Answer {
    who.post(&format!("/api/chat/{chat}/messages"), body).await
}

async fn contents(who: &Actor<'_>, chat: &str) -> Vec<String> {
    let list = who.get(&format!("/api/chat/{chat}/messages?order=asc")).await.data();
    let messages = list["messages"].as_array().unwrap().clone();
    messages.iter().map(|one| one["content"].as_str().unwrap().to_owned()).collect()
}

async fn counted(world: &World, outcome: &str) -> u64 {
    let (_, text) = world.admin_port("/metrics").await;
    let wanted = format!("parley_before_message_total{{outcome=\"{outcome}\"}} ");
    let line = text.lines().find_map(|line| line.strip_prefix(&wanted));
    line.unwrap_or_else(|| panic!("no {outcome} in {text}")).parse().unwrap()
}

#[tokio::test]
async fn an_app_is_asked_and_allows() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for (status, body) in [(204, ""), (200, ""), (200, r#"{"action":"allow"}"#)] {
        app.says(status, body);
        assert_eq!(send(&alice, &chat, json!({ "content": "hi" })).await.status, 201);
    }
    assert_eq!((app.asked(), counted(&world, "allowed").await), (3, 3));
    let body = json!({ "content": "yes", "metadata": { "a": 1 }, "clientMessageId": "c-1" });
    send(&alice, &chat, body).await.data();
    let question = app.question();
    assert_eq!(question["type"], "message.before");
    assert_eq!(
        question["data"],
        json!({
            "chatId": chat, "senderId": alice.id, "senderRole": "user",
            "message": {
                "type": "text", "content": "yes", "metadata": { "a": 1 }, "replyToMessageId": null,
                "clientMessageId": "c-1", "attachments": [],
            }
        })
    );
}

#[tokio::test]
async fn a_question_is_signed_like_a_webhook_with_both_secrets() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    alice.says(&chat, "hi").await;
    alice.says(&chat, "hi").await;
    let asked = app.asked.lock().clone();
    let header = |headers: &HeaderMap, name: &str| headers[name].to_str().unwrap().to_owned();
    for (headers, body) in &asked {
        let id = MessageId::parse(&header(headers, "webhook-id")).unwrap();
        let timestamp = header(headers, "webhook-timestamp").parse().unwrap();
        let keys = [SECRET, OLD_SECRET].map(|secret| Key::parse(&secret.into()).unwrap());
        let expected = webhook::sign(&keys, &id, timestamp, body);
        assert_eq!(header(headers, "webhook-signature"), expected);
        assert_eq!(header(headers, "content-type"), "application/json");
    }
    assert_ne!(header(&asked[0].0, "webhook-id"), header(&asked[1].0, "webhook-id"));
}

#[tokio::test]
async fn a_refusal_reaches_the_sender_with_its_reason_and_nobody_else() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let long = "ä".repeat(600);
    for (reason, told) in [
        (json!("No phone numbers."), json!("No phone numbers.")),
        (json!(long), json!("ä".repeat(500))),
        (json!(" "), Value::Null),
        (Value::Null, Value::Null),
    ] {
        app.answers(&json!({ "action": "refuse", "reason": reason }));
        let refused = send(&alice, &chat, json!({ "content": "+49 30 123456" })).await;
        assert_eq!(refused.failure(), failure(403, "message_refused"));
        assert_eq!(refused.json()["error"]["details"]["reason"], told);
    }
    assert!(contents(&bob, &chat).await.is_empty());
    assert_eq!(counted(&world, "refused").await, 4);
    // What was refused is free: the same client message id may be used for what is not.
    app.says(204, "");
    send(&alice, &chat, json!({ "content": "hello", "clientMessageId": "c" })).await.data();
    assert_eq!(contents(&bob, &chat).await, ["hello"]);
}

#[tokio::test]
async fn refused_messages_are_not_charged() {
    let app = App::new().await;
    let world = app.world(&["--message-limits", "user=2/60"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    app.answers(&json!({ "action": "refuse" }));
    for n in 0..5 {
        let body = json!({ "content": "hi", "clientMessageId": format!("c-{n}") });
        assert_eq!(send(&alice, &chat, body).await.failure(), failure(403, "message_refused"));
    }
    app.says(204, "");
    for expected in [201, 201, 429] {
        assert_eq!(send(&alice, &chat, json!({ "content": "hi" })).await.status, expected);
    }
    assert_eq!(app.asked(), 7, "whoever is limited is not asked about");
}

#[tokio::test]
async fn a_rewritten_message_is_what_everybody_sees() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let asked = json!({ "content": "damn", "metadata": { "a": 1 } });
    for (change, content, metadata) in [
        (json!({ "content": "d***" }), "d***", json!({ "a": 1 })),
        (json!({ "metadata": { "b": [2] } }), "damn", json!({ "b": [2] })),
        (json!({ "metadata": null }), "damn", Value::Null),
        (json!({ "content": "x", "metadata": {} }), "x", json!({})),
        (json!({}), "damn", json!({ "a": 1 })),
    ] {
        let mut verdict = change;
        verdict["action"] = json!("rewrite");
        app.answers(&verdict);
        let sent = send(&alice, &chat, asked.clone()).await.data()["message"].clone();
        assert_eq!((&sent["content"], &sent["metadata"]), (&json!(content), &metadata));
        let list = bob.get(&format!("/api/chat/{chat}/messages?limit=1")).await.data();
        assert_eq!(list["messages"][0], sent);
    }
    assert_eq!(counted(&world, "rewritten").await, 5);
}

#[tokio::test]
async fn i2_a_repetition_is_the_message_that_is_there_whatever_the_app_would_say_now() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let body = json!({ "content": "damn", "clientMessageId": "c-1" });
    app.answers(&json!({ "action": "rewrite", "content": "d***" }));
    let first = send(&alice, &chat, body.clone()).await;
    assert_eq!((first.status, app.asked()), (StatusCode::CREATED, 1));
    let first = first.data();
    for verdict in [json!({ "action": "refuse" }), json!({ "action": "rewrite", "content": "x" })] {
        app.answers(&verdict);
        let again = send(&alice, &chat, body.clone()).await;
        assert_eq!((again.status, again.data()), (StatusCode::OK, first.clone()));
    }
    // What the app made of it is not what alice has asked for.
    for other in ["d***", "damned"] {
        let other = json!({ "content": other, "clientMessageId": "c-1" });
        let refused = send(&alice, &chat, other).await;
        assert_eq!(refused.failure(), failure(422, "idempotency_conflict"));
    }
    assert_eq!(app.asked(), 1, "an app is not asked about what is there");
    assert_eq!(contents(&bob, &chat).await, ["d***"]);
}

#[tokio::test]
async fn i2_tries_at_a_time_make_one_message() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    app.answers(&json!({ "action": "rewrite", "content": "one" }));
    let body = json!({ "content": "hi", "clientMessageId": "c-1" });
    let tries = (0..8).map(|_| send(&alice, &chat, body.clone()));
    let answers = futures_util::future::join_all(tries).await;
    let made = answers.iter().filter(|answer| answer.status == 201).count();
    assert_eq!(made, 1);
    for answer in &answers {
        assert_eq!(answer.data(), answers[0].data());
    }
    assert_eq!(contents(&bob, &chat).await, ["one"]);
}

#[tokio::test]
async fn i9_an_app_that_is_late_holds_nobody_up_for_longer_and_open_is_open() {
    let app = App::new().await;
    let world = app.world(&["--before-message-ms", "200"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    *app.does.lock() = Does::Never;
    let begin = Instant::now();
    assert_eq!(send(&alice, &chat, json!({ "content": "hi" })).await.status, 201);
    assert!(begin.elapsed() >= Duration::from_millis(200));
    assert_eq!((contents(&bob, &chat).await.len(), counted(&world, "late").await), (1, 1));
}

#[tokio::test]
async fn i9_closed_is_closed_when_an_app_is_late_gone_or_talks_garbage() {
    let app = App::new().await;
    let settings = ["--before-message-ms", "200", "--before-message-failure", "closed"];
    let world = app.world(&settings).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let refused = async || {
        let refused = send(&alice, &chat, json!({ "content": "hi" })).await;
        assert_eq!(refused.failure(), failure(503, "unavailable"));
        assert_eq!(refused.header("retry-after"), "1");
    };
    *app.does.lock() = Does::Never;
    refused().await;
    for (status, body) in garbage() {
        app.says(status, &body);
        refused().await;
    }
    assert!(contents(&bob, &chat).await.is_empty());
    assert_eq!(counted(&world, "late").await, 1);
    assert_eq!(counted(&world, "failed").await, garbage().len() as u64);
}

#[tokio::test]
async fn garbage_is_no_verdict_and_what_it_asks_for_is_not_done() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for (status, body) in garbage() {
        app.says(status, &body);
        let sent = send(&alice, &chat, json!({ "content": "hi", "metadata": { "a": 1 } })).await;
        let sent = sent.data()["message"].clone();
        assert_eq!((&sent["content"], &sent["metadata"]), (&json!("hi"), &json!({ "a": 1 })));
    }
    assert_eq!(counted(&world, "failed").await, garbage().len() as u64);
    drop(app);
}

/// Answers that are none; what is valid in a half of them is not done either.
fn garbage() -> Vec<(u16, String)> {
    let rewrite = |field: &str, value: Value| {
        let mut verdict = json!({ "action": "rewrite", "content": "x" });
        verdict[field] = value;
        (200, verdict.to_string())
    };
    let deep = (0..20).fold(json!({}), |inner, _| json!({ "a": inner }));
    vec![
        (500, String::new()),
        (404, r#"{"action":"allow"}"#.to_owned()),
        (302, r#"{"action":"allow"}"#.to_owned()),
        (200, "ok".to_owned()),
        (200, "{}".to_owned()),
        (200, r#"{"action":"explode"}"#.to_owned()),
        (200, " ".repeat(65 * 1024)),
        rewrite("content", json!("")),
        rewrite("content", json!("x".repeat(5001))),
        rewrite("content", json!("a\u{0}b")),
        rewrite("content", json!(7)),
        rewrite("metadata", deep),
        rewrite("metadata", json!({ "a": "b".repeat(16 * 1024) })),
        rewrite("metadata", json!([1])),
    ]
}

#[tokio::test]
async fn i9_calls_above_the_bound_wait_for_half_the_deadline() {
    let app = App::new().await;
    let settings = ["--before-message-ms", "1000", "--before-message-calls", "1"];
    let world = app.world(&settings).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    *app.does.lock() = Does::Never;
    let sends = (0..4).map(|_| send(&alice, &chat, json!({ "content": "hi" })));
    for answer in futures_util::future::join_all(sends).await {
        assert_eq!(answer.status, 201);
    }
    let (late, full) = (counted(&world, "late").await, counted(&world, "full").await);
    assert_eq!((late + full, app.asked() as u64), (4, late));
    assert!(late >= 1 && full >= 1, "{late} late, {full} full");
    let (_, metrics) = world.admin_port("/metrics").await;
    for line in ["parley_before_message_calls 0", "parley_before_message_calls_limit 1"] {
        assert!(metrics.lines().any(|one| one == line), "{line}");
    }
}

#[tokio::test]
async fn a_file_is_asked_about_too_and_a_refused_one_is_not_kept() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    app.answers(&json!({ "action": "rewrite", "content": "" }));
    let sent = alice.sends_file(&chat, "a.png", PNG).await;
    assert_eq!(sent["content"], "", "beside a file there may be no text");
    let message = app.question()["data"]["message"].clone();
    let file = json!({ "filename": "a.png", "mimeType": "image/png", "size": PNG.len() });
    assert_eq!(message["attachments"], json!([file]));
    assert_eq!(app.asked(), 1);
    app.answers(&json!({ "action": "refuse", "reason": "no pictures" }));
    let path = format!("/api/chat/{chat}/messages/file");
    let refused = alice.send_form(&path, Form::file("b.png", PNG)).await;
    assert_eq!(refused.failure(), failure(403, "message_refused"));
    until_files_are(&world, 1).await;
    assert_eq!(contents(&bob, &chat).await.len(), 1);
}

#[tokio::test]
async fn nobody_is_asked_about_what_is_refused_anyway_or_said_by_the_app_itself() {
    let app = App::new().await;
    let world = app.world(&[]).await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let refused = send(&carol, &chat, json!({ "content": "hi" })).await;
    assert_eq!(refused.failure(), failure(403, "not_participant"));
    let nowhere = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
    let refused = send(&alice, nowhere, json!({ "content": "hi" })).await;
    assert_eq!(refused.failure(), failure(404, "chat_not_found"));
    let refused = send(&alice, &chat, json!({ "content": "" })).await;
    assert_eq!(refused.failure(), failure(400, "invalid_request"));
    let host = world.actor("host", "service");
    send(&host, &chat, json!({ "content": "Paid.", "type": "system" })).await.data();
    assert_eq!(app.asked(), 0);
    // One of the support pool enters by what it says, and is asked about once.
    let help = alice.post("/api/chat/support", json!({})).await.data()["chat"]["_id"].clone();
    send(&world.actor("agent", "support"), help.as_str().unwrap(), json!({ "content": "hi" }))
        .await
        .data();
    assert_eq!((app.asked(), &app.question()["data"]["senderRole"]), (1, &json!("support")));
}

/// Answers one request on each connection, and closes it when the next one has come.
async fn impatient(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        if question(&mut stream).await.is_some() {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
            question(&mut stream).await;
        }
    }
}

/// A whole request: its JSON ends three objects at once.
async fn question(stream: &mut TcpStream) -> Option<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"}}}") {
        request.push(stream.read_u8().await.ok()?);
    }
    Some(())
}

#[tokio::test]
async fn an_app_that_closes_a_kept_connection_just_then_is_asked_on_another() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let _serving = AbortOnDropHandle::new(tokio::spawn(impatient(listener)));
    let world = World::with(&[
        "--before-message-url",
        &url,
        "--before-message-secret",
        SECRET,
        "--before-message-ms",
        "5000",
        "--before-message-failure",
        "closed",
        "--outbound-allow",
        "127.0.0.0/8",
    ])
    .await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    for _ in 0..4 {
        assert_eq!(send(&alice, &chat, json!({ "content": "hi" })).await.status, 201);
    }
    assert_eq!((counted(&world, "allowed").await, counted(&world, "failed").await), (4, 0));
}
