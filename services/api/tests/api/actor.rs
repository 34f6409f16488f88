//! A pod, and people who call it.

use axum::body::Bytes;
use axum::http::response::Parts;
use axum::http::{HeaderMap, Method, Request, StatusCode};
use clap::Parser;
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_api::{App, Settings};
use parley_local::testing;
use parley_runtime::lifecycle::Lifecycle;
use parley_store::{DatabaseSettings, Store};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

use crate::contract;
use crate::wire::Wire;

pub(crate) const SECRET: &str = "a secret of the tests, long enough.";
pub(crate) const LINK_SECRET: &str = "another secret of the tests, long enough.";

/// A running pod behind a line to its database that can be cut.
pub(crate) struct World {
    pub(crate) app: App,
    pub(crate) database: Wire,
    pub(crate) database_url: String,
    /// Where the bytes of its files lie, unless they lie in a bucket.
    pub(crate) files: TempDir,
    client: Client<HttpConnector, Full<Bytes>>,
    lifecycle: Lifecycle,
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(&[]).await
    }

    pub(crate) async fn with(arguments: &[&str]) -> Self {
        Self::on(testing::fresh_database(&testing::database_url()), arguments).await
    }

    /// Another pod of the same database and bus.
    pub(crate) async fn beside(&self) -> Self {
        Self::on(self.database_url.clone(), &["--pod", "api-beside"]).await
    }

    pub(crate) async fn on(fresh: String, arguments: &[&str]) -> Self {
        let (credentials, place) = fresh.rsplit_once('@').unwrap();
        let (target, name) = place.split_once('/').unwrap();
        let database = Wire::to(target.to_owned()).await;
        let url = format!("{credentials}@127.0.0.1:{}/{name}", database.port);
        let (nats, redis) = (testing::nats_url(), testing::redis_url());
        let mut all =
            vec!["parley-api", "--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
        if !arguments.contains(&"--pod") {
            all.extend(["--pod", "api-test"]);
        }
        // Only tests of deadlines are to meet one, however busy the machine is.
        if !arguments.contains(&"--database-wait-ms") {
            all.extend(["--database-wait-ms", "30000"]);
        }
        if !arguments.contains(&"--request-ms") {
            all.extend(["--request-ms", "60000"]);
        }
        all.extend(["--database-url", &url, "--nats-url", &nats, "--jwt-secret", SECRET]);
        if !arguments.contains(&"--redis-url") {
            all.extend(["--redis-url", &redis]);
        }
        let files = TempDir::new().unwrap();
        let folder = files.path().to_str().unwrap().to_owned();
        if !arguments.contains(&"--files-folder") {
            all.extend(["--files-folder", &folder]);
        }
        // A word of the tests' own: a setting that is there by default cannot be unset.
        let unlinked = "--without-link-secret";
        if !arguments.contains(&unlinked) {
            all.extend(["--link-secret", LINK_SECRET]);
        }
        all.extend(arguments.iter().filter(|argument| **argument != unlinked));
        let settings = Settings::parse_from(all);
        parley_store::migrate(&settings.database).await.unwrap();
        let lifecycle = Lifecycle::default();
        let app = App::start(settings, &lifecycle).await.unwrap();
        let client = Client::builder(TokioExecutor::new()).build_http();
        Self { app, database, database_url: fresh, files, client, lifecycle }
    }

    /// The pod is asked to leave, and has not stopped yet.
    pub(crate) fn leaves(&self) {
        self.lifecycle.readiness().drain();
    }

    /// The pod's database, as another pod would reach it that dies right after it has committed.
    pub(crate) async fn store(&self) -> Store {
        #[derive(Parser)]
        struct Settings {
            #[command(flatten)]
            database: DatabaseSettings,
        }
        let settings = Settings::parse_from(["test", "--database-url", &self.database_url]);
        Store::connect(&settings.database).await.unwrap()
    }

    /// A new user, known to the pod by a first request.
    pub(crate) async fn user(&self) -> Actor<'_> {
        // Limits outlive a test: Redis is shared with every other one, and with those of a minute ago.
        let actor = self.actor(&format!("user-{}", Uuid::new_v4()), "user");
        assert_eq!(actor.get("/api/chat").await.status, 200);
        actor
    }

    /// Somebody with a role; unknown to the pod until a first request.
    pub(crate) fn actor(&self, id: &str, role: &str) -> Actor<'_> {
        let token = sign(&json!({ "sub": id, "role": role, "exp": u32::MAX }));
        Actor { world: self, id: id.to_owned(), token }
    }

    /// The same person with a token that was issued then, in seconds of the Unix epoch.
    pub(crate) fn issued(&self, id: &str, at: i64) -> Actor<'_> {
        let token = sign(&json!({ "sub": id, "name": "Somebody", "iat": at, "exp": u32::MAX }));
        Actor { world: self, id: id.to_owned(), token }
    }

    pub(crate) async fn admin_port(&self, path: &str) -> (StatusCode, String) {
        let uri = format!("http://{}{path}", self.app.admin_address);
        let answer = self.raw(Request::get(uri).body(Full::default()).unwrap()).await;
        (answer.status, answer.text)
    }

    pub(crate) async fn raw(&self, request: Request<Full<Bytes>>) -> Answer {
        let (head, bytes) = self.exchange(request).await;
        Answer::of(&head, &bytes)
    }

    /// An answer whose body need not be text.
    pub(crate) async fn exchange(&self, request: Request<Full<Bytes>>) -> (Parts, Bytes) {
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let (head, body) = self.client.request(request).await.unwrap().into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let compressed = head.headers.contains_key("content-encoding");
        if uri.port_u16() == Some(self.app.address.port()) && !compressed {
            contract::check(&method, uri.path(), &Answer::of(&head, &bytes));
        }
        (head, bytes)
    }

    /// A good answer whose body need not be text.
    pub(crate) async fn bytes(&self, request: Request<Full<Bytes>>) -> (HeaderMap, Bytes) {
        let (head, bytes) = self.exchange(request).await;
        assert_eq!(head.status, 200);
        (head.headers, bytes)
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.app.address)
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.lifecycle.stop().cancel();
    }
}

pub(crate) struct Actor<'w> {
    pub(crate) world: &'w World,
    pub(crate) id: String,
    pub(crate) token: String,
}

impl Actor<'_> {
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PUT, path, Some(body)).await
    }

    pub(crate) async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.call(Method::DELETE, path, None).await
    }

    /// A message's id.
    pub(crate) async fn says(&self, chat: &str, text: &str) -> String {
        let path = format!("/api/chat/{chat}/messages");
        let answer = self.post(&path, json!({ "content": text })).await;
        answer.data()["message"]["_id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let request = Request::builder()
            .method(method)
            .uri(self.world.url(path))
            .header("authorization", format!("Bearer {}", self.token))
            .header("content-type", "application/json");
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        self.world.raw(request.body(Full::from(body)).unwrap()).await
    }

    /// The direct chat with somebody.
    pub(crate) async fn chat_with(&self, other: &Actor<'_>) -> String {
        let answer = self.post("/api/chat", json!({ "participantIds": [other.id] })).await;
        answer.data()["chat"]["_id"].as_str().unwrap().to_owned()
    }
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
    /// Bytes of its body, which need not be text.
    pub(crate) length: usize,
}

impl Answer {
    fn of(head: &Parts, body: &Bytes) -> Self {
        let text = String::from_utf8_lossy(body).into_owned();
        Self { status: head.status, headers: head.headers.clone(), text, length: body.len() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("no JSON: {}", self.text))
    }

    /// What a successful answer carries.
    pub(crate) fn data(&self) -> Value {
        let json = self.json();
        assert!(self.status.is_success() && json["success"] == true, "{}", self.text);
        json["data"].clone()
    }

    /// Status and code of a failure whose envelope is whole.
    pub(crate) fn failure(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["success"], false, "{}", self.text);
        assert!(json["error"]["message"].is_string(), "{}", self.text);
        assert_eq!(json["requestId"], self.header("x-request-id"), "{}", self.text);
        (self.status.as_u16(), json["error"]["code"].as_str().unwrap().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name}")).to_str().unwrap()
    }
}

pub(crate) fn sign(claims: &Value) -> String {
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &key).unwrap()
}

pub(crate) fn failure(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}
