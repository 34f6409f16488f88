//! Tokens that are signed with keys of a JWKS, as the api counts them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::client::{Client, Heard};
use crate::fixture::{Gateway, World, token_for};

fn key() -> (EncodingKey, Value) {
    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let pair = EcdsaKeyPair::generate_pkcs8(signing, &SystemRandom::new()).unwrap();
    let encoding = EncodingKey::from_ec_der(pair.as_ref());
    let public = Jwk::from_encoding_key(&encoding, Algorithm::ES256).unwrap();
    (encoding, serde_json::to_value(public).unwrap())
}

fn token(key: &EncodingKey, kid: &str) -> String {
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::ES256) };
    let claims = json!({ "sub": "alice", "exp": 4_000_000_000_u64 });
    jsonwebtoken::encode(&header, &claims, key).unwrap()
}

async fn attempt(gateway: &Gateway, token: &str) -> Heard {
    let mut client = Client::open(gateway.address, "", None).await;
    client.send(&format!("40{}", json!({ "token": token }))).await;
    client.next().await
}

#[tokio::test]
async fn keys_of_a_file_count_and_a_new_one_is_found_when_it_is_used() {
    let world = World::start().await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("jwks.json");
    let publish = |kid: &str, public: &Value| {
        let mut public = public.clone();
        public["kid"] = json!(kid);
        std::fs::write(&file, json!({ "keys": [public] }).to_string()).unwrap();
    };
    let ((old, old_public), (new, new_public)) = (key(), key());
    publish("old", &old_public);
    let jwks = ["--jwks-file", file.to_str().unwrap()];
    let gateway = Gateway::start(&world.nats.url(), &jwks).await;
    gateway.is_ready().await;
    assert_eq!(attempt(&gateway, &token(&old, "old")).await, Heard::Connected);
    assert_eq!(attempt(&gateway, &token_for("alice", 60)).await, Heard::Connected, "the secret");
    publish("new", &new_public);
    assert_eq!(attempt(&gateway, &token(&new, "new")).await, Heard::Connected);
    assert_eq!(attempt(&gateway, &token(&old, "old")).await, Heard::Connected, "for a while");
    for (bad, code) in
        [(token(&new, "old"), "invalid_token"), (token(&new, "unknown"), "unknown_key")]
    {
        let heard = attempt(&gateway, &bad).await;
        assert!(
            matches!(&heard, Heard::ConnectError(error) if error["data"]["code"] == code),
            "{heard:?}"
        );
    }
}
