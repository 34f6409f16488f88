//! Every operation of the document, asked for by everybody who could ask: i6, nobody gets what is not theirs.

mod expected;
mod keys;
mod scene;

use std::collections::BTreeSet;

use axum::http::{Method, Request};
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::Full;
use serde_json::Value;

use crate::actor::{Answer, World};
use crate::openapi::operations;
use expected::{BAD_TOKEN_CODES, BAD_TOKENS, DIRECT, GROUP, GROUP_CALLERS, OTHER_CALLERS, SUPPORT};
use keys::Host;
use scene::{Kind, Scene};

/// Cells that are asked at a time.
const AT_ONCE: usize = 3;

/// A row of a table.
#[derive(Clone)]
struct Row {
    method: Method,
    path: String,
    /// Which case of the operation, if there are several.
    case: String,
    cells: Vec<String>,
}

impl Row {
    fn read(line: &str) -> Option<Self> {
        let (operation, cells) = line.split_once('|')?;
        let mut words = operation.split_whitespace();
        let method = Method::from_bytes(words.next()?.as_bytes()).unwrap();
        let path = words.next().unwrap().to_owned();
        let case = words.next().unwrap_or_default().to_owned();
        let cells = cells.split([' ', '|']).filter(|cell| !cell.is_empty());
        Some(Self { method, path, case, cells: cells.map(str::to_owned).collect() })
    }

    fn is_about_a_chat(&self) -> bool {
        self.path.contains("/chat/{id}")
    }
}

fn rows(table: &str) -> Vec<Row> {
    table.lines().filter_map(Row::read).collect()
}

/// The status and, of a refusal, the code that a cell stands for.
fn meaning(cell: &str) -> (u16, Option<&'static str>) {
    let (status, letter) = cell.split_at(3);
    let code = match letter {
        "" => None,
        "p" => Some("not_participant"),
        "f" => Some("forbidden"),
        "a" => Some("not_author"),
        "g" => Some("not_group"),
        "n" => Some("participant_not_found"),
        other => panic!("{other} has no meaning"),
    };
    (status.parse().unwrap(), code)
}

async fn ask(world: &World, row: &Row, scene: &Scene, me: &str, token: Option<&str>) -> Answer {
    let (path, body) = scene.request(row.method.as_str(), &row.path, &row.case, me);
    let mut request = Request::builder()
        .method(row.method.clone())
        .uri(world.url(&path))
        .header("content-type", "application/json");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let body = body.as_ref().map(Value::to_string).unwrap_or_default();
    world.raw(request.body(Full::from(body)).unwrap()).await
}

fn differs(answer: &Answer, status: u16, code: Option<&str>) -> bool {
    let told = (answer.status.is_client_error()).then(|| answer.failure().1);
    answer.status != status || told.as_deref() != code
}

/// Asks as a caller with a good token, in a scene of its own.
async fn cell(
    world: &World,
    host: &Host,
    (kind, row, who, wanted): (Kind, &Row, &str, &str),
) -> Option<String> {
    let scene = Scene::make(world, host, kind, row.is_about_a_chat()).await;
    let token = host.token(&scene.claims(who));
    let answer = ask(world, row, &scene, &scene.id(who), Some(&token)).await;
    let (status, code) = meaning(wanted);
    let Row { method, path, case, .. } = row;
    differs(&answer, status, code)
        .then(|| format!("{kind:?}: {method} {path} {case} as {who}: {} for {wanted}", answer.text))
}

/// Asks with every bad token. One scene is enough: nothing may happen in it.
async fn bad_tokens(world: &World, host: &Host, row: &Row) -> Vec<String> {
    let scene = Scene::make(world, host, Kind::Group, row.is_about_a_chat()).await;
    let mut wrong = Vec::new();
    for (n, kind) in BAD_TOKENS.iter().enumerate() {
        for token in host.bad_tokens(world, kind, &scene).await {
            let answer = ask(world, row, &scene, &scene.id("creator"), token.as_deref()).await;
            let (status, _) = meaning(&row.cells[n]);
            if differs(&answer, status, Some(BAD_TOKEN_CODES[n])) {
                let Row { method, path, case, .. } = row;
                wrong.push(format!("{method} {path} {case} with {kind}: {}", answer.text));
            }
        }
    }
    wrong
}

#[tokio::test]
async fn i6_every_operation_answers_everybody_as_the_table_says() {
    let host = Host::new();
    let world = host.world().await;
    let mut asked = Vec::new();
    for row in rows(GROUP) {
        assert_eq!(row.cells.len(), BAD_TOKENS.len() + GROUP_CALLERS.len(), "{}", row.path);
        let cells = row.cells[BAD_TOKENS.len()..].to_vec();
        for (who, wanted) in GROUP_CALLERS.into_iter().zip(cells) {
            asked.push((Kind::Group, row.clone(), who, wanted));
        }
    }
    for (kind, table) in [(Kind::Support, SUPPORT), (Kind::Direct, DIRECT)] {
        for row in rows(table) {
            assert_eq!(row.cells.len(), OTHER_CALLERS.len(), "{}", row.path);
            for (who, wanted) in OTHER_CALLERS.into_iter().zip(row.cells.clone()) {
                asked.push((kind, row.clone(), who, wanted));
            }
        }
    }
    let (world, host) = (&world, &host);
    let cells = asked
        .iter()
        .map(|(kind, row, who, wanted)| cell(world, host, (*kind, row, who, wanted.as_str())));
    let wrong: Vec<_> = stream::iter(cells).buffer_unordered(AT_ONCE).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    let table = rows(GROUP);
    let bad = table.iter().map(|row| bad_tokens(world, host, row));
    let with_bad_tokens: Vec<_> = stream::iter(bad).buffer_unordered(AT_ONCE).collect().await;
    let wrong = [wrong, with_bad_tokens.concat()].concat();
    assert!(wrong.is_empty(), "{} of {} cells: {wrong:#?}", wrong.len(), asked.len());
}

/// The token that each bad one is but for its one fault.
#[tokio::test]
async fn what_a_bad_token_would_be_without_its_fault_is_good() {
    let host = Host::new();
    let world = host.world().await;
    let scene = Scene::make(&world, &host, Kind::Group, true).await;
    for row in rows(GROUP).iter().filter(|row| row.path == "/api/chat/{id}/info") {
        let token = host.token(&scene.powerful());
        assert_eq!(ask(&world, row, &scene, "", Some(&token)).await.status, 200);
    }
}

#[test]
fn every_operation_of_the_document_has_a_row_and_every_row_an_operation() {
    let told: BTreeSet<_> =
        operations().into_iter().map(|(method, path, _)| format!("{method} {path}")).collect();
    let listed = |table| -> BTreeSet<_> {
        rows(table).into_iter().map(|row| format!("{} {}", row.method, row.path)).collect()
    };
    assert_eq!(listed(GROUP), told);
    let of_chats: BTreeSet<_> = told.into_iter().filter(|it| it.contains("/chat/{id}")).collect();
    assert_eq!(listed(SUPPORT), of_chats);
    assert_eq!(listed(DIRECT), of_chats);
}
