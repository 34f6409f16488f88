//! Tokens that are signed with keys of a JWKS.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use axum::Router;
use axum::routing::get;
use futures_util::future::join_all;
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};
use uuid::Uuid;

use crate::actor::{Actor, World, failure, sign};

/// A key pair of the host.
struct Pair {
    kid: String,
    encoding: EncodingKey,
    public: Value,
}

impl Pair {
    fn new() -> Arc<Self> {
        let kid = Uuid::new_v4().to_string();
        let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pair = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
        let encoding = EncodingKey::from_ec_der(pair.as_ref());
        let public = Jwk::from_encoding_key(&encoding, Algorithm::ES256).unwrap();
        let mut public = serde_json::to_value(public).unwrap();
        public["kid"] = json!(kid);
        Arc::new(Self { kid, encoding, public })
    }

    /// A token that was never seen before.
    fn sign(&self, user: &str) -> String {
        self.sign_as(user, &self.kid)
    }

    fn sign_as(&self, user: &str, kid: &str) -> String {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
        let claims = json!({ "sub": user, "exp": u32::MAX, "jti": Uuid::new_v4() });
        jsonwebtoken::encode(&header, &claims, &self.encoding).unwrap()
    }
}

/// The host's web server with its JWKS.
#[derive(Clone, Default)]
struct Host(Arc<Published>);

#[derive(Default)]
struct Published {
    document: Mutex<String>,
    fetched: AtomicUsize,
}

impl Host {
    fn publish(&self, keys: &[&Pair]) {
        let keys: Vec<&Value> = keys.iter().map(|pair| &pair.public).collect();
        *self.0.document.lock() = json!({ "keys": keys }).to_string();
    }

    fn fetched(&self) -> usize {
        self.0.fetched.load(Ordering::SeqCst)
    }

    /// Says under which URL.
    async fn serve(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
        let published = self.0.clone();
        let document = async move || {
            published.fetched.fetch_add(1, Ordering::SeqCst);
            published.document.lock().clone()
        };
        let router = Router::new().route("/jwks.json", get(document));
        tokio::spawn(async move { axum::serve(listener, router).await });
        url
    }
}

async fn call(world: &World, token: String) -> crate::actor::Answer {
    Actor { world, id: String::new(), token }.get("/api/chat").await
}

/// Waits for what happens within seconds.
async fn eventually(what: impl Fn() -> bool) {
    let begun = Instant::now();
    while !what() {
        assert!(begun.elapsed() < Duration::from_secs(20), "in vain");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn keys_are_rotated_under_load_without_one_wrong_401() {
    let host = Host::default();
    let first = Pair::new();
    host.publish(&[&first]);
    let url = host.serve().await;
    let world = World::with(&["--jwks-url", &url, "--jwks-refresh-seconds", "1"]).await;
    let (signing, done, answered) =
        (Mutex::new(first), AtomicBool::new(false), AtomicUsize::new(0));
    let load = join_all((0..4).map(|number| {
        let (world, signing, done, answered) = (&world, &signing, &done, &answered);
        async move {
            while !done.load(Ordering::SeqCst) {
                let pair = signing.lock().clone();
                let answer = call(world, pair.sign(&format!("user-{number}"))).await;
                assert_eq!(answer.status, 200, "{}", answer.text);
                answered.fetch_add(1, Ordering::SeqCst);
            }
        }
    }));
    let rotation = async {
        let more = async || {
            let before = answered.load(Ordering::SeqCst);
            eventually(|| answered.load(Ordering::SeqCst) >= before + 20).await;
        };
        more().await;
        // At once: the first token with the new key makes the pod look. Who signs with the old one still counts.
        let abrupt = Pair::new();
        host.publish(&[&abrupt]);
        *signing.lock() = abrupt;
        more().await;
        // And as it should be: published first, used later.
        for _ in 0..2 {
            let (old, new) = (signing.lock().clone(), Pair::new());
            host.publish(&[&old, &new]);
            let before = host.fetched();
            eventually(|| host.fetched() >= before + 2).await;
            *signing.lock() = new.clone();
            host.publish(&[&new]);
            more().await;
        }
        done.store(true, Ordering::SeqCst);
    };
    tokio::join!(load, rotation);
}

#[tokio::test]
async fn i9_a_storm_of_unknown_keys_is_one_fetch() {
    let host = Host::default();
    let pair = Pair::new();
    host.publish(&[&pair]);
    let url = host.serve().await;
    let world = World::with(&["--jwks-url", &url]).await;
    assert_eq!(host.fetched(), 1);
    let begun = Instant::now();
    for _ in 0..100 {
        let storm = (0..100).map(|_| call(&world, pair.sign_as("a", &Uuid::new_v4().to_string())));
        for answer in join_all(storm).await {
            assert_eq!(answer.failure(), failure(401, "unknown_key"));
        }
    }
    let minutes = usize::try_from(begun.elapsed().as_secs() / 60).unwrap();
    assert!(host.fetched() <= 2 + minutes, "{} fetches", host.fetched());
    call(&world, pair.sign("a")).await.data();
}

#[tokio::test]
async fn a_jwks_that_breaks_keeps_the_keys_and_one_that_is_late_is_found() {
    let host = Host::default();
    let pair = Pair::new();
    let url = host.serve().await;
    let world = World::with(&["--jwks-url", &url, "--jwks-refresh-seconds", "1"]).await;
    assert_eq!(call(&world, pair.sign("a")).await.failure(), failure(401, "unknown_key"));
    // Whoever has the secret is served meanwhile.
    call(&world, sign(&json!({ "sub": "b", "exp": u32::MAX }))).await.data();
    host.publish(&[&pair]);
    let published = host.fetched();
    eventually(|| host.fetched() >= published + 2).await;
    call(&world, pair.sign("a")).await.data();
    "<html>".clone_into(&mut host.0.document.lock());
    let broken = host.fetched();
    eventually(|| host.fetched() >= broken + 2).await;
    call(&world, pair.sign("a")).await.data();
}

#[tokio::test]
async fn what_a_withdrawn_key_signed_is_not_remembered() {
    let host = Host::default();
    let (old, new) = (Pair::new(), Pair::new());
    host.publish(&[&old]);
    let url = host.serve().await;
    let settings = ["--jwks-refresh-seconds", "1", "--jwks-overlap-seconds", "0"];
    let world = World::with(&[&["--jwks-url", &url][..], &settings].concat()).await;
    let token = old.sign("a");
    call(&world, token.clone()).await.data();
    host.publish(&[&new]);
    let published = host.fetched();
    eventually(|| host.fetched() >= published + 2).await;
    assert_eq!(call(&world, token).await.failure(), failure(401, "unknown_key"));
}
