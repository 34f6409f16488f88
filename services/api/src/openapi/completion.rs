//! What is the same for all operations: their refusals, their headers, and that absent values are `null`.

use std::collections::{BTreeMap, BTreeSet};

use parley_domain::token::TokenError;
use serde_json::{Map, Value, json};
use utoipa::openapi::OpenApi;

use super::webhooks::webhooks;
use crate::error::CODES;

/// An operation's own refusals, as its handler names them.
const REFUSALS: &str = "x-refusals";

/// Fields of answers that are left out at times; all others are always there, and `null` when absent.
const SOMETIMES: [(&str, &[&str]); 2] = [
    ("Chat", &["unreadCounts"]),
    (
        "ChangeEvent",
        &[
            "messageId",
            "content",
            "editedAt",
            "message",
            "deletedAt",
            "deletedBy",
            "participants",
            "addedBy",
            "userId",
            "removedBy",
        ],
    ),
];

/// The document with everything that handlers do not say themselves.
///
/// # Panics
/// When an operation names a refusal that [`crate::error`] does not have. There is one document, and a test makes it.
#[expect(clippy::expect_used, reason = "a document is plain JSON")]
pub(crate) fn complete(described: &OpenApi) -> String {
    let mut document = serde_json::to_value(described).expect("a document is JSON");
    let schemas = document["components"]["schemas"].take();
    let schemas = shape(schemas, &answered(&document["paths"]));
    document["components"]["schemas"] = schemas;
    document["components"]["headers"] = headers();
    document["components"]["parameters"] = parameters();
    let mut refusals = Map::new();
    for (_, item) in entries(&mut document["paths"]) {
        for (_, operation) in entries(item) {
            complete_operation(operation, &mut refusals);
        }
    }
    document["components"]["responses"] = Value::Object(refusals);
    document["webhooks"] = webhooks();
    let mut text = serde_json::to_string_pretty(&document).expect("a document is JSON");
    text.push('\n');
    text
}

fn entries(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// The schemas that answers name themselves.
fn answered(paths: &Value) -> BTreeSet<String> {
    let mut named = BTreeSet::new();
    for operation in paths.as_object().into_iter().flat_map(Map::values) {
        for operation in operation.as_object().into_iter().flat_map(Map::values) {
            references(&operation["responses"], &mut named);
        }
    }
    named
}

fn references(value: &Value, named: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(path)) = map.get("$ref") {
                named.extend(path.rsplit('/').next().map(str::to_owned));
            }
            map.values().for_each(|value| references(value, named));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, named)),
        _ => {}
    }
}

/// Flattened objects become one object each, and answers have all their fields.
fn shape(schemas: Value, answered: &BTreeSet<String>) -> Value {
    let Value::Object(mut schemas) = schemas else { return schemas };
    let parts = schemas.clone();
    for (name, schema) in &mut schemas {
        flatten(schema, &parts);
        name_data(name, schema);
    }
    let mut reached = answered.clone();
    reached.insert("OutwardChat".to_owned());
    loop {
        let before = reached.len();
        for name in reached.clone() {
            references(&schemas[&name], &mut reached);
        }
        if reached.len() == before {
            break;
        }
    }
    for (name, schema) in &mut schemas {
        if reached.contains(name) {
            require_all(name, schema);
        }
    }
    schemas["Changes"]["properties"]["events"]["items"] = event();
    Value::Object(schemas)
}

/// `["name", { … }]`, as a Socket.IO client hears it.
fn event() -> Value {
    let names = [
        "new-message",
        "message-edited",
        "message-deleted",
        "participants-added",
        "participant-removed",
    ];
    json!({
        "type": "array",
        "prefixItems": [
            { "type": "string", "enum": names },
            { "$ref": "#/components/schemas/ChangeEvent" },
        ],
        "items": false,
        "minItems": 2,
        "maxItems": 2,
    })
}

/// `allOf` objects, as serde's `flatten` makes them, as the one object that is on the wire.
fn flatten(schema: &mut Value, parts: &Map<String, Value>) {
    let Some(Value::Array(all)) = schema.as_object_mut().and_then(|it| it.remove("allOf")) else {
        return;
    };
    let mut required = BTreeSet::new();
    let mut properties = Map::new();
    for part in all {
        let name = part["$ref"].as_str().and_then(|path| path.rsplit('/').next());
        let part = name.and_then(|name| parts.get(name)).unwrap_or(&part);
        let names = part["required"].as_array().into_iter().flatten();
        required.extend(names.filter_map(Value::as_str).map(str::to_owned));
        properties.extend(part["properties"].as_object().cloned().unwrap_or_default());
    }
    schema["type"] = json!("object");
    schema["properties"] = Value::Object(properties);
    schema["required"] = json!(required);
}

/// An envelope's data by its name instead of once more in full.
fn name_data(name: &str, schema: &mut Value) {
    let Some(data) = name.strip_prefix("Success_") else { return };
    schema["properties"] = json!({
        "success": { "type": "boolean", "const": true },
        "data": { "$ref": format!("#/components/schemas/{data}") },
    });
}

pub(super) fn require_all(name: &str, schema: &mut Value) {
    let Some(properties) = schema.get("properties").and_then(Value::as_object) else { return };
    let sometimes = SOMETIMES.iter().find(|(it, _)| *it == name).map_or(&[][..], |(_, it)| it);
    let required: Vec<_> =
        properties.keys().filter(|it| !sometimes.contains(&it.as_str())).cloned().collect();
    schema["required"] = json!(required);
}

/// A part that is left out is not sent as `null`.
fn forbid_null(schema: &mut Value) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|it| it != "null");
        if let [only] = types.as_slice() {
            schema["type"] = only.clone();
        }
    }
    let null = json!({ "type": "null" });
    if let Some(Value::Array(mut choices)) =
        schema.as_object_mut().and_then(|it| it.remove("oneOf"))
    {
        choices.retain(|it| *it != null);
        *schema = choices.pop().unwrap_or_default();
    }
}

fn complete_operation(operation: &mut Value, all_refusals: &mut Map<String, Value>) {
    for parameter in operation["parameters"].as_array_mut().into_iter().flatten() {
        forbid_null(&mut parameter["schema"]);
    }
    for (_, body) in operation
        .get_mut("requestBody")
        .and_then(|it| it.get_mut("content"))
        .into_iter()
        .flat_map(entries)
    {
        forbid_null(&mut body["schema"]);
    }

    title(operation);
    let own = operation.as_object_mut().and_then(|it| it.remove(REFUSALS)).unwrap_or_default();
    let own = own.as_array().cloned().unwrap_or_default();
    let mut words: BTreeSet<&str> = own.iter().filter_map(Value::as_str).collect();
    words.extend(implied(operation));
    let mut refusals: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
    for word in &words {
        refusals.entry(status_of(word)).or_default().push(word);
    }
    let unauthorized = TokenError::ALL.iter().map(|error| error.code()).collect();
    refusals.insert(401, unauthorized);

    let limited = words.contains("rate_limited");
    for (_, answer) in entries(&mut operation["responses"]) {
        let mut names: Vec<_> = entries(&mut answer["headers"]).map(|(it, _)| it.clone()).collect();
        if limited {
            names.extend(["RateLimit", "RateLimit-Policy"].map(str::to_owned));
        }
        answer["headers"] = answer_headers(&names);
    }
    for (status, words) in refusals {
        let name = format!("{status}-{}", words.join("."));
        let reference = format!("#/components/responses/{name}");
        operation["responses"][status.to_string()] = json!({ "$ref": reference });
        all_refusals.entry(name).or_insert_with(|| refusal(status, &words));
    }
    let request_id = json!({ "$ref": "#/components/parameters/RequestId" });
    match operation["parameters"].as_array_mut() {
        Some(parameters) => parameters.push(request_id),
        None => operation["parameters"] = json!([request_id]),
    }
}

/// A handler's comment opens with its method and path, which here stand beside it. Its first sentence is the summary.
fn title(operation: &mut Value) {
    let Some(text) = operation["summary"].as_str() else { return };
    let text = text.replace('\n', " ");
    let said =
        text.strip_prefix('`').and_then(|it| it.split_once('`')).map_or(text.as_str(), |it| it.1);
    let said = said.trim_start_matches([':', ',', ' ']);
    let (first, rest) = said.split_once(". ").unwrap_or((said, ""));
    let mut letters = first.trim_end_matches('.').chars();
    let summary: String =
        letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
    let rest = rest.to_owned();
    operation["summary"] = json!(summary);
    if !rest.is_empty() {
        operation["description"] = json!(rest);
    }
}

/// What an operation refuses because of what it takes.
fn implied(operation: &Value) -> Vec<&'static str> {
    let mut words = vec!["internal", "unavailable"];
    for parameter in operation["parameters"].as_array().into_iter().flatten() {
        words.push("invalid_request");
        if parameter["in"] == "path" {
            words.push("invalid_id");
        }
    }
    let Some(content) = operation.pointer("/requestBody/content") else { return words };
    words.extend(["invalid_request", "payload_too_large", "unsupported_media_type"]);
    if content["application/json"].is_object() {
        words.push("invalid_json");
    }
    if content["multipart/form-data"].is_object() {
        words.extend(["invalid_form", "upload_incomplete", "file_type_not_allowed"]);
    }
    words
}

#[expect(clippy::panic, reason = "a misspelt word is found by the first test")]
fn status_of(word: &str) -> u16 {
    let known = CODES.iter().find(|(_, code)| *code == word);
    known.unwrap_or_else(|| panic!("there is no code {word}")).0.as_u16()
}

fn refusal(status: u16, words: &[&str]) -> Value {
    let (description, own): (_, &[&str]) = match status {
        400 => ("The request breaks a rule", &[]),
        401 => ("No token, or one that does not count", &["WWW-Authenticate"]),
        403 => ("The caller may not do this", &[]),
        404 => ("What is named is not there", &[]),
        413 => ("The body is too large", &[]),
        415 => ("The body, or the file in it, is of a type that is not taken", &[]),
        416 => ("The file does not reach as far as was asked", &["Content-Range"]),
        422 => ("The client message id stands for another request", &[]),
        429 => ("A limit is reached", &["RateLimit", "RateLimit-Policy", "Retry-After"]),
        503 => ("A dependency or a queue is at its limit", &["Retry-After"]),
        _ => ("A bug of the service", &[]),
    };
    json!({
        "description": description,
        "headers": answer_headers(own),
        "content": { "application/json": { "schema": failure(words) } },
    })
}

fn failure(words: &[&str]) -> Value {
    json!({
        "type": "object",
        "required": ["success", "error", "requestId"],
        "properties": {
            "success": { "type": "boolean", "const": false },
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {
                    "code": { "type": "string", "enum": words },
                    "message": { "type": "string", "description": "One sentence for a developer" },
                    "details": { "$ref": "#/components/schemas/FailureDetails" },
                },
            },
            "requestId": { "type": "string", "minLength": 1, "maxLength": 128 },
        },
    })
}

fn answer_headers(own: &[impl AsRef<str>]) -> Value {
    let common = ["x-request-id", "x-parley-pod", "Cache-Control"];
    let names = common.into_iter().chain(own.iter().map(AsRef::as_ref));
    let header = |name: &str| {
        let reference = json!({ "$ref": format!("#/components/headers/{name}") });
        (name.to_owned(), reference)
    };
    names.map(header).collect::<Map<_, _>>().into()
}

fn headers() -> Value {
    let text = |description: &str, required: bool| json!({ "description": description, "required": required, "schema": { "type": "string" } });
    json!({
        "x-request-id": text("The request's id, as it stands in the log", true),
        "x-parley-pod": text("The pod that has answered", true),
        "Cache-Control": text("`private, no-store`", true),
        "WWW-Authenticate": text("`Bearer`", true),
        "RateLimit": text("What is left of the sender's limit and for how many seconds: `\"messages\";r=19;t=60`; for senders that have one", false),
        "RateLimit-Policy": text("The sender's limit: `\"messages\";q=20;w=60`; for senders that have one", false),
        "Accept-Ranges": text("`bytes`", true),
        "Content-Disposition": text("`inline` for what a browser shows without running it, else `attachment`; the name twice, as RFC 6266 has it", true),
        "Content-Length": {
            "description": "Bytes of the file or of the range",
            "required": true,
            "schema": { "type": "integer", "minimum": 0 },
        },
        "Content-Range": text("`bytes 0-499/1234`; of a file without such a range `bytes */1234`", true),
        "Content-Security-Policy": text("`sandbox; default-src 'none'`", true),
        "ETag": text("A file never changes: the same as long as there is one", true),
        "X-Content-Type-Options": text("`nosniff`", true),
        "Retry-After": {
            "description": "Seconds after which to try again",
            "required": true,
            "schema": { "type": "integer", "minimum": 1 },
        },
    })
}

fn parameters() -> Value {
    json!({
        "RequestId": {
            "name": "x-request-id",
            "in": "header",
            "description": "The caller's own id of the request, 1–128 visible ASCII characters; another one is replaced",
            "required": false,
            "schema": { "type": "string" },
        },
    })
}
