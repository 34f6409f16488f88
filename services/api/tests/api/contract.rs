//! Every answer that a test gets is compared with the document: its status, its headers, and its body, in which nothing may
//! be missing and nothing may stand that the document does not tell.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use axum::http::Method;
use jsonschema::{Draft, Validator};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::actor::Answer;

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(&parley_api::document()).unwrap());

/// The schemas with all objects closed: to clients they may gain fields, but not without a word in the document.
static CLOSED: LazyLock<Value> = LazyLock::new(|| {
    let mut components = DOCUMENT["components"].clone();
    close(&mut components);
    components
});

/// Those of the events.
pub(crate) static EVENTS: LazyLock<Value> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(&parley_api::events()).unwrap();
    let mut components = document["components"].clone();
    close(&mut components);
    components
});

static VALIDATORS: LazyLock<Mutex<HashMap<String, Arc<Validator>>>> = LazyLock::new(Mutex::default);

fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// What follows a local `$ref`, or the value itself.
pub(crate) fn resolved(value: &Value) -> &Value {
    let reference = value["$ref"].as_str().and_then(|it| it.strip_prefix('#'));
    reference.map_or(value, |pointer| DOCUMENT.pointer(pointer).unwrap())
}

/// Panics, with what is wrong, unless the value is as the schema says.
pub(crate) fn assert_valid(schema: &Value, value: &Value, what: &str) {
    assert_valid_by(&CLOSED, schema, value, what);
}

/// Panics unless an event, `["name", { … }]`, is as the document of the events says.
pub(crate) fn assert_event(event: &Value) {
    let name = event[0].as_str().unwrap();
    let schema = &EVENTS["messages"][name]["payload"];
    assert!(schema.is_object(), "{name}: an event of which the document does not tell");
    assert_valid_by(&EVENTS, schema, &event[1], name);
}

fn assert_valid_by(components: &Value, schema: &Value, value: &Value, what: &str) {
    let key = schema.to_string();
    let known = VALIDATORS.lock().get(&key).cloned();
    let validator = known.unwrap_or_else(|| {
        let mut whole = schema.clone();
        close(&mut whole);
        whole["components"] = components.clone();
        let options = jsonschema::options().with_draft(Draft::Draft202012);
        let made = Arc::new(options.should_validate_formats(true).build(&whole).unwrap());
        VALIDATORS.lock().insert(key, made.clone());
        made
    });
    let errors: Vec<String> = validator
        .iter_errors(value)
        .map(|error| format!("{} at {}", error, error.instance_path()))
        .collect();
    assert!(errors.is_empty(), "{what}: not as the document says: {errors:#?} in {value:#}");
}

/// The item of the document that serves a path: words win over parameters, as in the router.
fn item(path: &str) -> Option<&'static Value> {
    let fits = |template: &str| {
        let (wanted, given) = (template.split('/'), path.split('/'));
        wanted.clone().count() == given.clone().count()
            && wanted.zip(given).all(|(want, has)| want.starts_with('{') || want == has)
    };
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let found = paths.iter().filter(|(template, _)| fits(template));
    found.min_by_key(|(template, _)| template.matches('{').count()).map(|(_, item)| item)
}

/// Panics unless the document foretells the answer.
pub(crate) fn check(method: &Method, path: &str, answer: &Answer) {
    if *method == Method::OPTIONS {
        return;
    }
    let what = format!("{method} {path}: {}", answer.status);
    let operation = item(path).and_then(|item| item.get(method.as_str().to_lowercase()));
    let Some(operation) = operation else {
        let told = path == "/api/openapi.json"
            || path == "/api/asyncapi.json"
            || path.starts_with("/api/docs");
        // Of what a `GET` shows, a `HEAD` is answered everywhere, and described only for files.
        let told = told || *method == Method::HEAD;
        assert!(told || [404, 405, 503].contains(&answer.status.as_u16()), "{what}");
        return;
    };
    let response = &operation["responses"][answer.status.as_str()];
    assert!(response.is_object(), "{what}: a status of which the document does not tell");
    let response = resolved(response);
    for (name, header) in response["headers"].as_object().unwrap() {
        let required = resolved(header)["required"] == true;
        assert!(!required || answer.headers.contains_key(name), "{what}: no {name}");
    }
    if *method == Method::HEAD {
        assert_eq!(answer.text, "", "{what}");
    } else if response["content"]["*/*"].is_object() {
        assert_eq!(answer.header("content-length"), answer.length.to_string(), "{what}");
    } else {
        assert_eq!(answer.header("content-type"), "application/json", "{what}");
        let schema = &response["content"]["application/json"]["schema"];
        let body = answer.json();
        assert_valid(schema, &body, &what);
        if path.contains("/changes") {
            body["data"]["events"].as_array().into_iter().flatten().for_each(assert_event);
        }
    }
}

#[test]
#[should_panic(expected = "not as the document says")]
fn a_field_that_the_document_does_not_tell_is_found() {
    let schema = json!({ "$ref": "#/components/schemas/Stats" });
    let more = json!({ "totalChats": 1, "totalMessages": 1, "totalUnread": 0, "more": 1 });
    assert_valid(&schema, &more, "stats");
}

#[test]
#[should_panic(expected = "not as the document says")]
fn a_field_that_is_missing_is_found() {
    let schema = json!({ "$ref": "#/components/schemas/Stats" });
    assert_valid(&schema, &json!({ "totalChats": 1, "totalMessages": 1 }), "stats");
}
