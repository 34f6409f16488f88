//! How a session opens, and how it does not.

use crate::support::{TestServer, Ws, quick, request};
use parley_socketio::{Config, Cors};

fn assert_open(packet: &str, upgrades: &[&str]) {
    let open: serde_json::Value =
        serde_json::from_str(packet.strip_prefix('0').expect("an open packet")).expect("JSON");
    let keys: Vec<_> = open.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(keys, ["maxPayload", "pingInterval", "pingTimeout", "sid", "upgrades"]);
    assert!(open["sid"].as_str().expect("a sid").len() >= 20);
    assert_eq!(open["upgrades"], serde_json::json!(upgrades));
    assert_eq!(open["pingInterval"], 300);
    assert_eq!(open["pingTimeout"], 200);
    assert_eq!(open["maxPayload"], 1_000_000);
}

#[tokio::test]
async fn polling_opens_a_session() {
    let server = TestServer::with(quick()).await;
    for path in ["/engine.io/", "/socket.io/", "/socket.io"] {
        let answer = server.get(&format!("{path}?EIO=4&transport=polling")).await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["content-type"], "text/plain; charset=UTF-8");
        assert_open(&answer.body, &["websocket"]);
    }
    assert_eq!((server.echo.connections(), server.server.connections()), (1, 2));
}

#[tokio::test]
async fn websocket_opens_a_session() {
    let server = TestServer::with(quick()).await;
    for path in ["/engine.io/", "/socket.io/", "/socket.io"] {
        let mut ws = server.ws(&format!("{path}?EIO=4&transport=websocket")).await;
        assert_open(&ws.text().await, &[]);
    }
    assert_eq!(server.server.stats().opened_websocket, 2);
}

#[tokio::test]
async fn polling_needs_version_transport_and_method() {
    let server = TestServer::start().await;
    for path in ["/engine.io/", "/socket.io/"] {
        for (method, query, code) in [
            ("GET", "?transport=polling", 5),
            ("GET", "?EIO=abc&transport=polling", 5),
            ("GET", "?EIO=3&transport=polling", 5),
            ("GET", "?EIO=4", 0),
            ("GET", "?EIO=4&transport=abc", 0),
            ("GET", "", 0),
            ("POST", "?EIO=4&transport=polling", 2),
            ("PUT", "?EIO=4&transport=polling", 2),
            ("GET", "?EIO=4&transport=polling&sid=unknown", 1),
            ("POST", "?EIO=4&transport=polling&sid=unknown", 1),
            ("GET", "?EIO=4&transport=websocket", 3),
        ] {
            let path = format!("{path}{query}");
            let answer = request(server.address, method, &path, &[], b"").await;
            assert_eq!((answer.status, answer.code()), (400, Some(code)), "{method} {path}");
            assert_eq!(answer.headers["content-type"], "application/json");
        }
    }
    let refused: u64 = server.echo.stats().refused.iter().map(|(_, count)| count).sum();
    assert_eq!(refused, 11);
}

#[tokio::test]
async fn websocket_needs_version_and_transport() {
    let server = TestServer::start().await;
    for query in [
        "?transport=websocket",
        "?EIO=abc&transport=websocket",
        "?EIO=4",
        "?EIO=4&transport=abc",
        "?EIO=4&transport=polling",
        "?EIO=4&transport=websocket&sid=unknown",
    ] {
        let opened = Ws::open(server.address, &format!("/engine.io/{query}")).await;
        assert_eq!(opened.err(), Some(400), "{query}");
    }
}

#[tokio::test]
async fn a_websocket_handshake_has_to_be_complete() {
    let server = TestServer::start().await;
    let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for headers in [
        ["Upgrade: websocket", "X-Connection: upgrade", "Sec-WebSocket-Version: 8", key],
        ["Upgrade: websocket", "X-Connection: upgrade", "Sec-WebSocket-Version: 13", "X: y"],
        ["Upgrade: h2c", "X-Connection: upgrade", "Sec-WebSocket-Version: 13", key],
    ] {
        let path = "/engine.io/?EIO=4&transport=websocket";
        let answer = request(server.address, "GET", path, &headers, b"").await;
        assert_eq!((answer.status, answer.code()), (400, Some(3)));
    }
}

#[tokio::test]
async fn a_session_keeps_to_its_transport() {
    let server = TestServer::start().await;
    let mut ws = server.ws("/engine.io/?EIO=4&transport=websocket").await;
    let open: serde_json::Value = serde_json::from_str(&ws.text().await[1..]).expect("JSON");
    let sid = open["sid"].as_str().expect("a sid");
    let answer = server.get(&format!("/engine.io/?EIO=4&transport=polling&sid={sid}")).await;
    assert_eq!((answer.status, answer.code()), (400, Some(3)));
    ws.send("4still here").await;
    assert_eq!(ws.text().await, "4still here");
}

#[tokio::test]
async fn other_paths_are_not_found() {
    let server = TestServer::start().await;
    for path in ["/", "/other/", "/engine.io/more", "/socket.iox"] {
        let answer = server.get(&format!("{path}?EIO=4&transport=polling")).await;
        assert_eq!((answer.status, answer.code()), (404, None), "{path}");
    }
}

#[tokio::test]
async fn ids_carry_the_prefix() {
    let server = TestServer::with(Config { id_prefix: "p1.".to_owned(), ..quick() }).await;
    assert!(server.poll_session("/engine.io/").await.sid.starts_with("p1."));
}

#[tokio::test]
async fn any_origin_may_read_by_default() {
    let server = TestServer::start().await;
    let path = "/engine.io/?EIO=4&transport=polling";
    let answer = request(server.address, "GET", path, &["Origin: https://a.example"], b"").await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let headers = ["Origin: https://a.example", "Access-Control-Request-Headers: x-one"];
    let answer = request(server.address, "OPTIONS", path, &headers, b"").await;
    assert_eq!(answer.status, 204);
    assert_eq!(answer.headers["access-control-allow-headers"], "x-one");
    assert!(answer.headers["access-control-allow-methods"].contains("POST"));
}

#[tokio::test]
async fn only_listed_origins_may_come_if_there_is_a_list() {
    let cors = Cors::List(vec!["https://a.example".to_owned()]);
    let server = TestServer::with(Config { cors, ..quick() }).await;
    let path = "/engine.io/?EIO=4&transport=polling";
    let answer = request(server.address, "GET", path, &["Origin: https://a.example"], b"").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["access-control-allow-origin"], "https://a.example");
    assert_eq!(answer.headers["access-control-allow-credentials"], "true");
    let upgrade = "/engine.io/?EIO=4&transport=websocket";
    for path in [path, upgrade] {
        let origin = ["Origin: https://b.example"];
        let answer = request(server.address, "GET", path, &origin, b"").await;
        assert_eq!((answer.status, answer.code()), (403, Some(4)));
    }
    assert_eq!(server.get(path).await.status, 200, "a client that is no browser names no origin");
}

#[tokio::test]
async fn without_cors_nothing_is_said_about_origins() {
    let server = TestServer::with(Config { cors: Cors::None, ..quick() }).await;
    let path = "/engine.io/?EIO=4&transport=polling";
    let answer = request(server.address, "GET", path, &["Origin: https://a.example"], b"").await;
    assert!(!answer.headers.contains_key("access-control-allow-origin"));
    let answer = request(server.address, "OPTIONS", path, &[], b"").await;
    assert_eq!((answer.status, answer.code()), (400, Some(2)));
}
