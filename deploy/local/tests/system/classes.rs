//! Known holes of chat systems that take both kinds of pod to be shown closed: see deploy/SECURITY-TESTS.md.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_local::{Client, Role, Token};
use serde_json::{Value, json};

use crate::arena::{GoOn, messages_of, version};
use crate::people::{refusal, stage};
use crate::socket::Socket;

const SECOND: Duration = Duration::from_secs(1);
/// How many send, and how often each of them.
const SENDERS: u32 = 10;
const PACE: u32 = 50;

/// Sends as evenly as it can until it is told to stop.
fn stream(sender: &Client, chat: &str, on: &AtomicBool) {
    let begun = Instant::now();
    let body = json!({ "content": "a line of the stream", "type": "system" });
    for n in 1_u32.. {
        if !on.load(Ordering::Relaxed) {
            return;
        }
        assert_eq!(sender.post(&messages_of(chat), &body).unwrap().status, 201);
        thread::sleep((SECOND / PACE * n).saturating_sub(begun.elapsed()));
    }
}

#[test]
fn class_03_whoever_is_removed_from_a_busy_chat_hears_nothing_that_is_said_later() {
    let (cluster, alice, bob) = stage();
    let description = cluster.description();
    let owner = alice.at(&description.url);
    let group = json!({ "participantIds": [bob.id], "type": "group" });
    let made = owner.post("/api/chat", &group).unwrap();
    let chat = made.data().unwrap()["chat"]["_id"].as_str().unwrap().to_owned();
    let gateways = || description.gateway.iter().map(|pod| pod.url.as_str());
    let mut leaving: Vec<_> = gateways().map(|url| Socket::connect(url, bob.token())).collect();
    let mut staying: Vec<_> = gateways().map(|url| Socket::connect(url, alice.token())).collect();
    for socket in leaving.iter_mut().chain(&mut staying) {
        assert_eq!(socket.join(&json!(chat))["success"], true);
    }
    let service = Token { role: Role::Service, ..Token::user("the-host") };
    let service = service.sign(&description.jwt.secret).unwrap();
    let on = AtomicBool::new(false);
    let (removed, last) = thread::scope(|scope| {
        let going = GoOn::until_dropped(&on);
        for n in 0..SENDERS {
            let pod = &description.api[n as usize % description.api.len()];
            let sender = Client::new(&pod.url, Some(service.clone()));
            let (chat, on) = (&chat, &on);
            scope.spawn(move || stream(&sender, chat, on));
        }
        thread::sleep(SECOND);
        let gone = owner.delete(&format!("/api/chat/{chat}/participants/{}", bob.id)).unwrap();
        let removed = gone.data().unwrap()["chat"]["version"].as_u64().unwrap();
        thread::sleep(SECOND * 2);
        drop(going);
        (removed, version(&owner, &chat))
    });
    // The answer shows the chat as of its removal or a little later: the event says where it was.
    assert!(last > removed + 100, "no stream: {removed} of {last}");
    for socket in leaving {
        let mut heard = Vec::new();
        while let Some((name, payload)) = socket.event(SECOND * 2) {
            heard.push((name, payload["version"].as_u64()));
        }
        let of_room = |name: &str| ["new-message", "participant-removed"].contains(&name);
        heard.retain(|(name, _)| of_room(name));
        let (name, at) = heard.pop().expect("something is heard");
        assert_eq!(name, "participant-removed", "the last is the removal");
        assert!(at.is_some_and(|at| at <= removed), "{at:?} for {removed}");
        let before: Vec<_> = heard.iter().filter_map(|(_, version)| *version).collect();
        assert_eq!(before, (1..at.unwrap()).collect::<Vec<_>>(), "everything before it");
    }
    for socket in staying {
        let mut at = 0;
        while at < last {
            let (name, payload) = socket.event(SECOND * 20).expect("the stream goes on");
            if ["new-message", "participant-removed"].contains(&name.as_str()) {
                assert_eq!(payload["version"], at + 1);
                at += 1;
            }
        }
    }
}

fn claims(more: &Value) -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let mut claims = json!({ "sub": "somebody", "iat": now, "exp": now + 600 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims
}

/// Tokens of every kind, good and bad ones: what each of them is, and the token.
fn tokens(secret: &str) -> Vec<(String, String)> {
    let sign = |algorithm, secret: &[u8], claims: &Value| {
        let key = EncodingKey::from_secret(secret);
        jsonwebtoken::encode(&Header::new(algorithm), claims, &key).unwrap()
    };
    let now = claims(&json!({}))["iat"].as_u64().unwrap();
    let mut all = Vec::new();
    for more in [
        json!({}),
        json!({ "role": "admin", "name": "\u{202e}x", "picture": "javascript:1" }),
        json!({ "exp": now - 60 }),
        json!({ "exp": now.to_string() }),
        json!({ "exp": null }),
        json!({ "exp": 1e300 }),
        json!({ "exp": [now + 60] }),
        json!({ "nbf": now + 60 }),
        json!({ "nbf": (now + 60).to_string() }),
        json!({ "iat": "yesterday" }),
        json!({ "sub": "" }),
        json!({ "sub": null }),
        json!({ "sub": ["somebody"] }),
        json!({ "sub": "a\0b" }),
        json!({ "sub": 17 }),
        json!({ "sub": "x".repeat(129) }),
        json!({ "aud": "another", "iss": "another" }),
        json!({ "pad": "x".repeat(9_000) }),
    ] {
        let what = more.to_string().chars().take(60).collect();
        all.push((what, sign(Algorithm::HS256, secret.as_bytes(), &claims(&more))));
    }
    let good = claims(&json!({}));
    all.push(("another secret".into(), sign(Algorithm::HS256, &[b'x'; 32], &good)));
    all.push(("no secret".into(), sign(Algorithm::HS256, b"", &good)));
    all.push(("HS512".into(), sign(Algorithm::HS512, secret.as_bytes(), &good)));
    let token = sign(Algorithm::HS256, secret.as_bytes(), &good);
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let body = signed.split('.').nth(1).unwrap();
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "NONE" }),
        json!({ "alg": "RS256", "kid": "x" }),
        json!({ "alg": "HS256", "crit": ["b64"] }),
        json!({}),
    ] {
        let head = URL_SAFE_NO_PAD.encode(header.to_string());
        all.push((header.to_string(), format!("{head}.{body}.{signature}")));
        all.push((format!("{header}, unsigned"), format!("{head}.{body}.")));
    }
    for mangled in [
        format!("{signed}."),
        signed.to_owned(),
        format!("{token}."),
        format!("{token}="),
        token.to_lowercase(),
        "garbage".to_owned(),
        "..".to_owned(),
        "x".repeat(8_193),
    ] {
        all.push((format!("mangled: {mangled:.20}…"), mangled));
    }
    all
}

#[test]
fn class_05_a_gateway_judges_every_token_as_an_api_pod_does() {
    let (cluster, ..) = stage();
    let description = cluster.description();
    let (mut good, mut bad) = (0, 0);
    for (what, token) in tokens(&description.jwt.secret) {
        let api = Client::new(&description.api[0].url, Some(token.clone()));
        let answer = api.get("/api/chat").unwrap();
        let verdict = (answer.status != 200).then(|| refusal(&answer, 401));
        for gateway in &description.gateway {
            assert_eq!(Socket::refusal(&gateway.url, &token), verdict, "{what}");
        }
        *(if verdict.is_none() { &mut good } else { &mut bad }) += 1;
    }
    assert!(good >= 3 && bad >= 30, "{good} good and {bad} bad ones");
}
