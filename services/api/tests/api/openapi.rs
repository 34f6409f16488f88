//! The document of the REST interface says what there is, and its page needs nobody else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use axum::http::{Method, Request};
use http_body_util::Full;
use serde_json::{Value, json};

use crate::actor::World;
use crate::contract::{DOCUMENT, EVENTS, assert_event, assert_valid, resolved};
use crate::uploads::{Form, PNG};

/// Set to anything, it rewrites the committed copy.
const WRITE: &str = "PARLEY_WRITE_OPENAPI";

fn beside_the_manifest(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn the_committed_document_is_the_one_that_the_handlers_make() {
    let path = beside_the_manifest("openapi.json");
    let made = parley_api::document();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "services/api/openapi.json is another: `{WRITE}=1 cargo test -p parley-api --test api committed` writes it anew"
    );
}

#[test]
fn the_committed_document_of_the_events_is_the_one_that_the_types_make() {
    let path = beside_the_manifest("asyncapi.json");
    let made = parley_api::events();
    if std::env::var_os(WRITE).is_some() {
        fs::write(&path, &made).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == made,
        "services/api/asyncapi.json is another: `{WRITE}=1 cargo test -p parley-api --test api committed` writes it anew"
    );
}

/// The golden files are what clients hear, and the document tells of nothing else.
#[test]
fn every_event_is_as_its_document_says() {
    let mut golden = BTreeSet::new();
    for file in fs::read_dir(beside_the_manifest("../domain/tests/golden")).unwrap() {
        let event: Value =
            serde_json::from_str(&fs::read_to_string(file.unwrap().path()).unwrap()).unwrap();
        assert_event(&event);
        golden.insert(event[0].as_str().unwrap().to_owned());
    }
    let asks =
        ["join-chat-room", "leave-chat-room", "refresh-token", "typing-start", "typing-stop"];
    let told = EVENTS["messages"].as_object().unwrap().keys().cloned();
    let told: BTreeSet<_> = told.filter(|name| !asks.contains(&name.as_str())).collect();
    assert_eq!(golden, told);
}

/// Statuses that every operation can answer, and that no row repeats.
const ALWAYS: [&str; 3] = ["401", "500", "503"];

#[test]
fn every_operation_has_its_row_in_the_readme() {
    let readme = fs::read_to_string(beside_the_manifest("README.md")).unwrap();
    let mut rows: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for line in readme.lines().filter(|line| line.contains("`/api/") || line.contains(" /api/")) {
        let Some(row) = line.strip_prefix("| `") else { continue };
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let operation = cells[0].split('`').next().unwrap();
        assert!(rows.insert(operation.to_owned(), cells).is_none(), "{operation} is there twice");
    }
    for (method, path, operation) in operations() {
        // The table says `:id` where the document says `{id}`.
        let shown = format!("{method} {path}").replace('{', ":").replace('}', "");
        let row = rows.remove(&shown).unwrap_or_else(|| panic!("no row for {shown}"));
        let [_, _, success, refused, _, tests, ..] = row.as_slice() else { panic!("{row:?}") };
        let numbers = |cell: &str| {
            let words = cell.split(|c: char| !c.is_ascii_digit());
            words.filter(|it| it.len() == 3).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        let all = operation["responses"].as_object().unwrap().keys().cloned();
        let all = all.filter(|it| !ALWAYS.contains(&it.as_str()));
        let (told_success, told_refused): (BTreeSet<_>, _) =
            all.partition(|it| it.starts_with('2'));
        assert_eq!(numbers(success), told_success, "{shown}");
        assert_eq!(numbers(refused), told_refused, "{shown}");
        let modules = tests.split('`').skip(1).step_by(2);
        for module in modules {
            let file = beside_the_manifest(&format!("tests/api/{module}.rs"));
            assert!(file.exists(), "{shown}: no {module}");
        }
    }
    assert!(rows.is_empty(), "rows without an operation: {:?}", rows.keys());
}

/// Method, path and description of every operation.
pub(crate) fn operations() -> Vec<(String, String, Value)> {
    let mut found = Vec::new();
    for (path, item) in DOCUMENT["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            found.push((method.to_uppercase(), path.clone(), operation.clone()));
        }
    }
    found
}

#[tokio::test]
async fn document_and_page_are_told_to_everyone_and_need_no_other_host() {
    let world = World::new().await;
    let get = |path: &str| world.raw(Request::get(world.url(path)).body(Full::default()).unwrap());
    let document = get("/api/openapi.json").await;
    assert_eq!(document.header("content-type"), "application/json");
    assert_eq!(document.text, parley_api::document());
    assert!(document.json()["openapi"].as_str().unwrap().starts_with("3.1"));
    let page = get("/api/docs/").await;
    assert_eq!(page.status, 200);
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    let files: Vec<&str> = page
        .text
        .split('"')
        .filter(|it| [".js", ".css", ".png"].iter().any(|end| it.ends_with(end)))
        .collect();
    assert!(files.len() >= 5, "{}", page.text);
    for file in files {
        assert!(!file.contains("//"), "{file} is somebody else's");
        assert_eq!(get(&format!("/api/docs/{}", file.trim_start_matches("./"))).await.status, 200);
    }
    let initializer = get("/api/docs/swagger-initializer.js").await.text;
    assert!(initializer.contains("/api/openapi.json"), "{initializer}");
    let nothing = get("/api/docs/nothing").await;
    assert_eq!(nothing.failure(), crate::actor::failure(404, "not_found"));
}

/// The id that examples name; a run puts a real one in its place.
const EXAMPLE_ID: &str = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";

/// Every body that an operation shows, by its type; one without any is called without a body.
fn bodies(operation: &Value) -> Vec<Option<(String, Value)>> {
    let Some(body) = operation.get("requestBody") else { return vec![None] };
    let mut all = Vec::new();
    for (content_type, shown) in body["content"].as_object().unwrap() {
        let several = shown["examples"].as_object().into_iter().flatten();
        let examples = several.map(|(_, example)| &example["value"]).chain(shown.get("example"));
        let before = all.len();
        all.extend(examples.map(|example| Some((content_type.clone(), example.clone()))));
        assert!(all.len() > before, "{} shows no {content_type}", operation["operationId"]);
    }
    all
}

/// The form of an example, in which a file is shown as the text in it.
fn form(example: &Value) -> Form {
    let fields = example.as_object().unwrap().iter();
    fields.fold(Form::default(), |form, (name, value)| match value.as_str() {
        Some(text) if name == "file" => form.and_file("words.txt", text.as_bytes()),
        Some(text) => form.and(name, text),
        None => form.and(name, &value.to_string()),
    })
}

/// A query with everything that has to be there, as the document shows it.
fn required_query(operation: &Value) -> String {
    let parameters = operation["parameters"].as_array().unwrap().iter();
    let required = parameters.filter(|it| it["in"] == "query" && it["required"] == true);
    let pairs: Vec<_> = required
        .map(|it| {
            let example = &resolved(&it["schema"])["example"];
            format!("{}={example}", it["name"].as_str().unwrap())
        })
        .collect();
    if pairs.is_empty() { String::new() } else { format!("?{}", pairs.join("&")) }
}

#[tokio::test]
async fn every_example_of_a_request_is_answered_with_success() {
    let world = World::with(&["--message-limits", "user=none"]).await;
    let (host, alice) = (world.actor("host", "service"), world.actor("alice", "user"));
    let people = ["alice", "bob", "carol"].map(|id| json!({ "id": id }));
    host.post("/api/users", json!({ "users": people })).await.data();
    for (method, path, operation) in operations() {
        for body in bodies(&operation) {
            let (caller, mut path) = (&alice, path.clone() + &required_query(&operation));
            let mut body = body.map(|(content_type, body)| (content_type, body.to_string()));
            let caller = if operation["tags"] == json!(["users"]) {
                path = path.replace("{id}", "alice");
                &host
            } else if operation["tags"] == json!(["webhooks"]) {
                let new = json!({ "url": "https://app.example/parley" });
                let made = host.post("/api/webhooks", new).await.data();
                let webhook = made["webhook"]["_id"].as_str().unwrap();
                let ping = host.post(&format!("/api/webhooks/{webhook}/ping"), json!({})).await;
                let delivery = ping.data()["delivery"]["_id"].to_string();
                path = path.replace("{id}", webhook).replace("{deliveryId}", &delivery);
                &host
            } else {
                let group = json!({ "participantIds": ["bob"], "type": "group" });
                let group = alice.post("/api/chat", group).await.data();
                let chat = group["chat"]["_id"].as_str().unwrap();
                let message = alice.says(chat, "hi").await;
                path = path.replace("{id}", chat).replace("{messageId}", &message);
                let sent = alice.sends_file(chat, "a.png", PNG).await;
                let file = sent["attachments"][0]["_id"].as_str().unwrap();
                path = path.replace("{userId}", "bob").replace("{attachmentId}", file);
                body = body.map(|(kind, body)| (kind, body.replace(EXAMPLE_ID, &message)));
                caller
            };
            let body =
                body.map(|(kind, body)| (kind, serde_json::from_str::<Value>(&body).unwrap()));
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let answer = match body {
                Some((kind, body)) if kind == "multipart/form-data" => {
                    caller.send_form(&path, form(&body)).await
                }
                body => caller.call(method.clone(), &path, body.map(|(_, body)| body)).await,
            };
            assert!(answer.status.is_success(), "{method} {path}: {}", answer.text);
        }
    }
}

#[test]
fn every_example_is_as_its_schema_says() {
    let mut seen = 0;
    examples(&DOCUMENT, &mut |schema, example| {
        assert_valid(schema, example, "an example");
        seen += 1;
    });
    assert!(seen > 20, "{seen}");
}

/// Calls back with every example in the document and its schema.
fn examples(value: &Value, found: &mut impl FnMut(&Value, &Value)) {
    match value {
        Value::Object(map) => {
            let schema = map.get("schema").unwrap_or(value);
            if let Some(example) = map.get("example") {
                found(schema, example);
            }
            match map.get("examples") {
                Some(Value::Array(several)) => several.iter().for_each(|it| found(schema, it)),
                Some(Value::Object(several)) => {
                    several.values().for_each(|it| found(schema, &it["value"]));
                }
                _ => {}
            }
            map.values().for_each(|value| examples(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| examples(value, found)),
        _ => {}
    }
}
