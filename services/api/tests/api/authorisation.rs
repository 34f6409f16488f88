//! Every operation of the document, asked for by everybody who could ask: i6, nobody gets what is not theirs.

mod classes;
mod expected;
mod keys;
mod scene;

use std::collections::BTreeSet;

use axum::http::{Method, Request};
use futures_util::StreamExt;
use futures_util::stream;
use http_body_util::Full;

use crate::actor::{Answer, World};
use crate::openapi::operations;
use expected::{BAD_TOKEN_CODES, BAD_TOKENS, DIRECT, GROUP, GROUP_CALLERS, OTHER_CALLERS, SUPPORT};
use keys::Host;
use scene::{Body, Kind, Scene};

/// Rows that are asked for at a time.
const AT_ONCE: usize = 3;

/// A row of a table.
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
    let (content_type, body) = body.map(Body::end).unwrap_or_default();
    let mut request = Request::builder().method(row.method.clone()).uri(world.url(&path));
    if !content_type.is_empty() {
        request = request.header("content-type", content_type);
    }
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    world.raw(request.body(Full::from(body)).unwrap()).await
}

/// The answer to a `HEAD` tells no code.
fn differs(method: &Method, answer: &Answer, status: u16, code: Option<&str>) -> bool {
    if *method == Method::HEAD {
        return answer.status != status;
    }
    let told = (answer.status.is_client_error()).then(|| answer.failure().1);
    answer.status != status || told.as_deref() != code
}

/// A row of one of the tables, with whom its last cells are about.
struct Questions {
    kind: Kind,
    row: Row,
    callers: &'static [&'static str],
}

impl Questions {
    /// What is answered otherwise than the row says.
    async fn ask(&self, world: &World, host: &Host) -> Vec<String> {
        let make = || Scene::make(world, host, self.kind, self.row.is_about_a_chat());
        // Enough for whatever reads or is refused: nothing happens in it.
        let quiet = make().await;
        let (bad, good) = self.row.cells.split_at(self.row.cells.len() - self.callers.len());
        let mut wrong = Vec::new();
        for (who, wanted) in self.callers.iter().zip(good) {
            let changes = !self.row.method.is_safe() && wanted.starts_with('2');
            let fresh = if changes { Some(make().await) } else { None };
            let scene = fresh.as_ref().unwrap_or(&quiet);
            let token = host.token(&scene.claims(who));
            let answer = ask(world, &self.row, scene, &scene.id(who), Some(&token)).await;
            let (status, code) = meaning(wanted);
            if differs(&self.row.method, &answer, status, code) {
                wrong.push(self.describe(who, wanted, &answer));
            }
        }
        for (wanted, (fault, code)) in bad.iter().zip(BAD_TOKENS.iter().zip(BAD_TOKEN_CODES)) {
            for token in host.bad_tokens(world, fault, &quiet).await {
                let me = quiet.id("creator");
                let answer = ask(world, &self.row, &quiet, &me, token.as_deref()).await;
                if differs(&self.row.method, &answer, meaning(wanted).0, Some(code)) {
                    wrong.push(self.describe(fault, wanted, &answer));
                }
            }
        }
        wrong
    }

    fn describe(&self, who: &str, wanted: &str, answer: &Answer) -> String {
        let (kind, Row { method, path, case, .. }) = (self.kind, &self.row);
        format!("{kind:?}: {method} {path} {case} as {who}: {} for {wanted}", answer.text)
    }
}

#[tokio::test]
async fn i6_every_operation_answers_everybody_as_the_table_says() {
    let host = Host::new();
    let world = host.world().await;
    let mut questions = Vec::new();
    for (kind, table, bad, callers) in [
        (Kind::Group, GROUP, BAD_TOKENS.len(), &GROUP_CALLERS[..]),
        (Kind::Support, SUPPORT, 0, &OTHER_CALLERS[..]),
        (Kind::Direct, DIRECT, 0, &OTHER_CALLERS[..]),
    ] {
        for row in rows(table) {
            assert_eq!(row.cells.len(), bad + callers.len(), "{kind:?}: {}", row.path);
            questions.push(Questions { kind, row, callers });
        }
    }
    let asked = questions.iter().map(|question| question.ask(&world, &host));
    let wrong: Vec<_> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    let wrong = wrong.concat();
    assert!(wrong.is_empty(), "{} cells: {wrong:#?}", wrong.len());
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
