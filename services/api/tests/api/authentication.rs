use std::time::{Duration, SystemTime};

use axum::http::{Method, Request};
use http_body_util::Full;
use serde_json::json;
use tokio::time::sleep;

use crate::actor::{Actor, World, failure, sign};

/// Every route, with a method that it has.
const ROUTES: [(Method, &str); 10] = [
    (Method::POST, "/api/users"),
    (Method::DELETE, "/api/users/someone"),
    (Method::POST, "/api/users/someone/revoke"),
    (Method::PUT, "/api/users/someone"),
    (Method::GET, "/api/users/someone"),
    (Method::GET, "/api/chat"),
    (Method::POST, "/api/chat"),
    (Method::GET, "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/info"),
    (Method::GET, "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/messages"),
    (Method::POST, "/api/chat/0192f0a4-7c3b-7d2e-8a1b-0123456789ab/messages"),
];

#[tokio::test]
async fn every_route_wants_a_token_that_counts() {
    let world = World::new().await;
    let expired = format!("Bearer {}", sign(&json!({ "sub": "a", "exp": 1 })));
    let early =
        format!("Bearer {}", sign(&json!({ "sub": "a", "exp": u32::MAX, "nbf": u32::MAX })));
    let nobody = format!("Bearer {}", sign(&json!({ "exp": u32::MAX })));
    let cases = [
        (None, "missing_token"),
        (Some("Bearer "), "invalid_token"),
        (Some("Bearer nonsense"), "invalid_token"),
        (Some("Basic YTpi"), "invalid_token"),
        (Some(expired.as_str()), "token_expired"),
        (Some(early.as_str()), "token_not_yet_valid"),
        (Some(nobody.as_str()), "invalid_token"),
    ];
    for (method, path) in ROUTES {
        for (authorization, code) in &cases {
            let mut request = Request::builder().method(method.clone()).uri(world.url(path));
            if let Some(value) = authorization {
                request = request.header("authorization", *value);
            }
            let answer = world.raw(request.body(Full::default()).unwrap()).await;
            assert_eq!(
                answer.failure(),
                failure(401, code),
                "{method} {path} with {authorization:?}"
            );
            assert_eq!(answer.header("www-authenticate"), "Bearer");
        }
    }
}

#[tokio::test]
async fn a_token_that_is_remembered_ends_at_its_time_all_the_same() {
    let world = World::with(&["--jwt-leeway-seconds", "0"]).await;
    let now = || SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    let ends = now() + 3;
    let token = sign(&json!({ "sub": "a", "exp": ends }));
    let alice = Actor { world: &world, id: "a".to_owned(), token };
    alice.get("/api/chat").await.data();
    let answer = loop {
        let asked = now();
        let answer = alice.get("/api/chat").await;
        if answer.status != 200 {
            break answer;
        }
        assert!(asked <= ends, "it counts on");
        sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(answer.failure(), failure(401, "token_expired"));
    assert!(now() >= ends);
}

#[tokio::test]
async fn the_first_request_of_a_user_writes_the_directory() {
    let world = World::new().await;
    let token = sign(
        &json!({ "id": "host|7", "name": "Seven", "picture": "/7.png", "role": "buyer", "exp": u32::MAX }),
    );
    let seven = Actor { world: &world, id: "host|7".to_owned(), token };
    assert_eq!(seven.get("/api/chat").await.status, 200);
    let user = seven.get("/api/users/host%7C7").await.data()["user"].clone();
    assert_eq!(
        (&user["_id"], &user["name"], &user["avatar"]),
        (&json!("host|7"), &json!("Seven"), &json!("/7.png"))
    );
}
