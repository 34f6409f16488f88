//! What is sent: under which key, how often, and what it may hold.

use std::time::{Duration, Instant};

use axum::http::{Method, Request};
use http_body_util::Full;
use parley_domain::file::{FileName, Sniffer};
use parley_domain::message::Content;
use parley_domain::user::{Avatar, Name};
use serde_json::{Value, json};

use crate::actor::{Actor, Answer, World, failure};
use crate::uploads::{Form, PNG};

async fn purchase(who: &Actor<'_>, request: &str, seller: &str) -> Answer {
    let body = json!({ "purchaseRequestId": request, "sellerId": seller });
    who.post("/api/chat/purchase-request", body).await
}

/// One installation is one tenant: what keeps two apart is that neither takes the other's tokens.
#[tokio::test]
async fn class_06_a_natural_key_that_somebody_else_has_too_leads_to_no_chat_of_theirs() {
    let (here, there) = (
        World::with(&["--jwt-audience", "here"]).await,
        World::with(&["--jwt-audience", "there"]).await,
    );
    let person = |world, id: &str, audience: &str| {
        let claims = json!({ "sub": id, "aud": audience, "exp": u32::MAX });
        Actor { world, id: id.to_owned(), token: crate::actor::sign(&claims) }
    };
    let mut chats = Vec::new();
    // The same ids of users and of the request on both.
    for (world, audience, other) in [(&here, "here", "there"), (&there, "there", "here")] {
        let buyer = person(world, "buyer", audience);
        for known in [&buyer, &person(world, "seller", audience), &person(world, "thief", audience)]
        {
            known.get("/api/chat").await.data();
        }
        let foreign = person(world, "buyer", other);
        assert_eq!(foreign.get("/api/chat").await.failure(), failure(401, "invalid_token"));
        let made = purchase(&buyer, "pr-1", "seller").await;
        assert_eq!(made.status, 201);
        let chat = made.data()["chat"]["_id"].as_str().unwrap().to_owned();
        buyer.says(&chat, "between us").await;
        // Who names somebody else's request has a chat of their own about it.
        let thief = person(world, "thief", audience);
        let own = purchase(&thief, "pr-1", "seller").await.data()["chat"].clone();
        assert_eq!((&own["buyerId"], &own["lastMessage"]), (&json!("thief"), &Value::Null));
        assert_ne!(own["_id"], chat);
        let as_seller = purchase(&thief, "pr-1", "thief").await;
        assert_eq!(as_seller.failure(), failure(404, "chat_not_found"));
        let refused = thief.get(&format!("/api/chat/{chat}/messages")).await;
        assert_eq!(refused.failure(), failure(403, "not_participant"));
        chats.push((buyer.token.clone(), chat));
    }
    let (token, chat) = &chats[0];
    let elsewhere = Actor { world: &there, id: String::new(), token: token.clone() };
    let refused = elsewhere.get(&format!("/api/chat/{chat}/messages")).await;
    assert_eq!(refused.failure(), failure(401, "invalid_token"));
}

#[tokio::test]
async fn class_25_two_pairs_share_no_direct_chat_however_their_ids_are_spelled() {
    let world = World::with(&["--unknown-users", "create"]).await;
    let direct = async |one: &str, other: &str| {
        let body = json!({ "participantIds": [other] });
        world.actor(one, "user").post("/api/chat", body).await.data()["chat"]["_id"].clone()
    };
    let pairs = [
        ("a", "b"),
        ("a", "B"),
        ("A", "b"),
        ("a|b", "c"),
        ("a", "b|c"),
        ("a:b", "c"),
        ("a", "b:c"),
        ("a,b", "c"),
        ("a", "b,c"),
        ("ab", "c"),
        ("a", "bc"),
        ("1:a", "1:b"),
        ("1:a1", ":b"),
        ("a\"", "b"),
        ("a", "\"b"),
        ("a/b", "c"),
        ("a", "b/c"),
        ("\u{e9}", "e\u{301}"),
        ("a", "\u{430}"),
    ];
    let mut found: Vec<Value> = Vec::new();
    for (one, other) in pairs {
        let chat = direct(one, other).await;
        assert_eq!(direct(other, one).await, chat, "{one} {other}: whoever asks");
        assert!(!found.contains(&chat), "{one} {other} share a chat with another pair");
        found.push(chat);
    }
    for nobody in ["a", " a", "a ", ""] {
        let alone = json!({ "participantIds": [nobody] });
        let refused = world.actor("a", "user").post("/api/chat", alone).await;
        assert_eq!(refused.failure(), failure(400, "invalid_request"), "{nobody:?}");
    }
}

/// What has broken out of statements elsewhere.
const INJECTIONS: [&str; 10] = [
    "' or '1'='1",
    "'; drop table messages; --",
    "1; select pg_sleep(10)",
    "\\'; delete from chats; --",
    "$1",
    "$$; truncate users; $$",
    "a' union select secret from webhooks --",
    "{\"$gt\":\"\"}",
    "chat.>",
    "*\r\nPUB chat.x 0\r\n",
];

#[tokio::test]
async fn class_27_what_is_sent_is_a_value_and_never_a_statement() {
    let world = World::with(&["--message-limits", "user=none", "--unknown-users", "create"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let messages = format!("/api/chat/{chat}/messages");
    for (n, text) in INJECTIONS.iter().enumerate() {
        let sent = json!({
            "content": text, "metadata": { *text: text }, "clientMessageId": format!("c-{n}"),
        });
        let message = alice.post(&messages, sent).await.data()["message"].clone();
        assert_eq!(
            (&message["content"], &message["metadata"][*text]),
            (&json!(text), &json!(text))
        );
        let encoded: String =
            text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
        for query in ["order", "before", "after", "around", "limit", "page"] {
            let answer = bob.get(&format!("{messages}?{query}={encoded}")).await;
            assert_eq!(answer.failure(), failure(400, "invalid_request"), "{query}={text}");
        }
        for query in ["type", "archived", "limit", "page"] {
            let answer = bob.get(&format!("/api/chat?{query}={encoded}")).await;
            assert_eq!(answer.failure(), failure(400, "invalid_request"), "{query}={text}");
        }
        // Filters that there are not are none.
        let sorted = bob.get(&format!("/api/chat?sort={encoded}&where={encoded}")).await;
        assert_eq!(sorted.data()["chats"].as_array().unwrap().len(), 1);
        for path in [format!("/api/chat/{encoded}/messages"), format!("{messages}/{encoded}")] {
            for method in [Method::GET, Method::PUT, Method::DELETE] {
                let answer = bob.call(method, &path, Some(json!({ "content": "x" }))).await;
                assert!([400, 405].contains(&answer.status.as_u16()), "{path}: {}", answer.text);
            }
        }
        let somebody = format!("/api/users/{encoded}");
        assert!([400, 403].contains(&bob.get(&somebody).await.status.as_u16()));
    }
    let list = bob.get("/api/chat").await.data();
    assert_eq!(list["chats"][0]["messageCount"], INJECTIONS.len());
}

/// Lengths of the protocol to Postgres have 32 bits: a value of 4 GiB would be the beginning of another message.
#[test]
fn class_27_no_value_is_as_long_as_would_wrap_a_length_and_the_driver_is_new_enough() {
    let lock = include_str!("../../../../../Cargo.lock");
    let version = |name: &str| {
        let package =
            lock.split("[[package]]").find(|it| it.contains(&format!("name = \"{name}\"")));
        let version = package.unwrap().split("version = \"").nth(1).unwrap();
        let numbers = version.split('"').next().unwrap().split(['.', '-']);
        numbers.map_while(|number| number.parse().ok()).collect::<Vec<u32>>()
    };
    assert!(version("sqlx") >= vec![0, 8, 1], "{:?}", version("sqlx"));
    assert!(version("sqlx-postgres") >= vec![0, 8, 1]);
    assert!(version("jsonwebtoken") >= vec![10, 3], "{:?}", version("jsonwebtoken"));
    let help = std::process::Command::new(env!("CARGO_BIN_EXE_parley-api")).arg("--help").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    let setting = help.split("PARLEY_MAX_BODY_BYTES=").nth(1).unwrap();
    let default = setting.split("[default: ").nth(1).unwrap().split(']').next().unwrap();
    let bound: u64 = default.parse().unwrap();
    assert!((1..=1 << 24).contains(&bound), "{bound}");
}

/// The fastest of several runs: what others do on the machine is none of its work.
fn fastest(work: impl Fn()) -> Duration {
    let timed = |_| {
        let begun = Instant::now();
        work();
        begun.elapsed()
    };
    (0..40).map(timed).min().unwrap()
}

#[test]
fn class_28_the_longest_text_is_read_in_less_than_a_millisecond_whatever_it_is() {
    let long = |unit: &str| unit.chars().cycle().take(5_000).collect::<String>();
    for unit in ["a", " ", "a ", "((", "aaaaaaaaaaaaaaaaaaaaaaaaaa!", "@a.", "http://", "\u{1F600}"]
    {
        let text = long(unit);
        let read = || {
            let _ = Content::parse(&text);
            let _ = Name::parse(&text);
            let _ = Avatar::parse(&text);
            let mut sniffer = Sniffer::default();
            sniffer.look(text.as_bytes());
            let _ = FileName::parse(&text).map(|name| sniffer.finish(&name));
        };
        let took = fastest(read);
        assert!(took < Duration::from_millis(1), "{took:?} for {unit:?}");
    }
}

async fn send(who: &Actor<'_>, path: &str, headers: &[(&str, String)]) -> Answer {
    let mut request = Request::post(who.world.url(path))
        .header("authorization", format!("Bearer {}", who.token))
        .header("content-type", "application/json");
    for (name, value) in headers {
        request = request.header(*name, value);
    }
    let body = json!({ "content": "hi" }).to_string();
    who.world.raw(request.body(Full::from(body)).unwrap()).await
}

#[tokio::test]
async fn class_29_a_limit_is_the_users_whatever_headers_paths_and_pods_say() {
    let world = World::with(&["--message-limits", "user=3/60", "--attempt-limit", "100/60"]).await;
    let beside = World::on(
        world.database_url.clone(),
        &["--pod", "api-beside", "--message-limits", "user=3/60", "--attempt-limit", "100/60"],
    )
    .await;
    let (alice, bob, carol) = (world.user().await, world.user().await, world.user().await);
    let (chat, other) = (alice.chat_with(&bob).await, alice.chat_with(&carol).await);
    let path = format!("/api/chat/{chat}/messages");
    for _ in 0..3 {
        assert_eq!(send(&alice, &path, &[]).await.status, 201);
    }
    let limited = failure(429, "rate_limited");
    let forwarding = [
        "x-forwarded-for",
        "x-real-ip",
        "forwarded",
        "cf-connecting-ip",
        "true-client-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "via",
        "user-agent",
        "x-request-id",
        "idempotency-key",
    ];
    for (n, name) in forwarding.iter().enumerate() {
        let value =
            if *name == "forwarded" { format!("for=10.0.0.{n}") } else { format!("10.0.0.{n}") };
        assert_eq!(send(&alice, &path, &[(name, value)]).await.failure(), limited, "{name}");
    }
    for path in [
        format!("/api/chat/{other}/messages"),
        format!("{path}?x=1"),
        format!("/api/chat/{}/messages", chat.to_uppercase()),
    ] {
        assert_eq!(send(&alice, &path, &[]).await.failure(), limited, "{path}");
    }
    for path in [format!("{path}/"), path.replace("/api", "/API"), path.replace("/chat", "//chat")]
    {
        assert_eq!(send(&alice, &path, &[]).await.failure(), failure(404, "not_found"), "{path}");
    }
    // Another token of the same user, another kind of message, another pod.
    let again = json!({ "sub": alice.id, "role": "buyer", "exp": u32::MAX, "jti": "another" });
    let again = Actor { world: &world, id: alice.id.clone(), token: crate::actor::sign(&again) };
    assert_eq!(send(&again, &path, &[]).await.failure(), limited);
    for path in [path.clone(), format!("{path}/file")] {
        let refused = alice.send_form(&path, Form::file("a.png", PNG)).await;
        assert_eq!(refused.failure(), limited, "{path}");
    }
    let there = Actor { world: &beside, id: alice.id.clone(), token: alice.token.clone() };
    assert_eq!(send(&there, &path, &[]).await.failure(), limited);
    let support = alice.post("/api/chat/support", json!({ "initialMessage": "hi" })).await;
    assert_eq!(support.failure(), limited);
}
