//! Tokens that somebody has made up.

use std::time::Duration;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::NamedTempFile;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::actor::{Actor, SECRET, World, failure};

const KID: &str = "the-one-key";

/// A host's key, and what could be taken for a secret of it.
struct Key {
    signing: EncodingKey,
    public: Vec<Vec<u8>>,
    set: NamedTempFile,
}

impl Key {
    fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = AsDer::as_der(&pair).unwrap();
        let pem = |what: &str, der: &[u8]| {
            format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
        };
        let signing =
            EncodingKey::from_rsa_pem(pem("PRIVATE KEY", der.as_ref()).as_bytes()).unwrap();
        let public: PublicKeyX509Der<'_> = AsDer::as_der(pair.public_key()).unwrap();
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).unwrap();
        let mut jwk = serde_json::to_value(jwk).unwrap();
        jwk["kid"] = json!(KID);
        // It does not say for which algorithm it is.
        jwk.as_object_mut().unwrap().remove("alg");
        let set = NamedTempFile::new().unwrap();
        std::fs::write(set.path(), json!({ "keys": [jwk] }).to_string()).unwrap();
        let public = vec![
            pem("PUBLIC KEY", public.as_ref()).into_bytes(),
            public.as_ref().to_vec(),
            jwk["n"].as_str().unwrap().as_bytes().to_vec(),
            jwk.to_string().into_bytes(),
        ];
        Self { signing, public, set }
    }

    /// A token with this header, whatever it says, and this payload, signed as RS256 all the same.
    fn sign_raw(&self, header: &Value, claims: &str) -> String {
        let [header, claims] =
            [header.to_string(), claims.to_owned()].map(|it| URL_SAFE_NO_PAD.encode(it));
        let signed = format!("{header}.{claims}");
        let signature =
            jsonwebtoken::crypto::sign(signed.as_bytes(), &self.signing, Algorithm::RS256).unwrap();
        format!("{signed}.{signature}")
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_raw(&json!({ "alg": "RS256", "kid": KID }), &claims.to_string())
    }
}

fn good() -> Value {
    json!({ "sub": "alice", "iss": "host", "aud": "chat", "role": "service", "exp": u32::MAX })
}

fn with(claim: &str, value: Value) -> Value {
    let mut claims = good();
    claims[claim] = value;
    claims
}

fn without(claim: &str) -> Value {
    let mut claims = good();
    claims.as_object_mut().unwrap().remove(claim);
    claims
}

/// Headers that point to a key of the attacker's own, or say that none is needed.
fn headers(url: &str) -> Vec<(Value, &'static str)> {
    vec![
        (json!({ "alg": "RS256", "kid": "../../../../dev/null" }), "unknown_key"),
        (json!({ "alg": "RS256", "kid": "x' union select 'secret" }), "unknown_key"),
        (json!({ "alg": "RS256", "kid": url }), "unknown_key"),
        (json!({ "alg": "RS256", "kid": "" }), "unknown_key"),
        (json!({ "alg": "RS256", "kid": 7 }), "invalid_token"),
        (json!({ "alg": "RS384", "kid": KID }), "invalid_token"),
        (json!({ "alg": "PS256", "kid": KID }), "invalid_token"),
        (json!({ "alg": "none", "kid": KID }), "invalid_token"),
        (json!({ "alg": "HS256", "kid": KID }), "invalid_token"),
        (json!({ "alg": ["RS256"], "kid": KID }), "invalid_token"),
        (json!({ "kid": KID }), "invalid_token"),
        (json!({ "alg": "RS256", "kid": KID, "crit": ["exp"], "exp": 1 }), "invalid_token"),
    ]
}

async fn refused(world: &World, token: &str, code: &str, why: &str) {
    let token = token.to_owned();
    let answer = Actor { world, id: String::new(), token }.get("/api/users/nobody").await;
    assert_eq!(answer.failure(), failure(401, code), "{why}");
}

async fn accepted(world: &World, token: String) {
    let answer = Actor { world, id: String::new(), token }.get("/api/chat").await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}

#[tokio::test]
async fn class_26_no_header_and_no_key_of_somebody_elses_makes_a_token() {
    let (key, other) = (Key::new(), Key::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/jwks.json", listener.local_addr().unwrap());
    let file = key.set.path().to_str().unwrap();
    let world =
        World::with(&["--jwks-file", file, "--jwt-issuer", "host", "--jwt-audience", "chat"]).await;
    accepted(&world, key.sign(&good())).await;
    for (header, code) in headers(&url) {
        let token = key.sign_raw(&header, &good().to_string());
        refused(&world, &token, code, &header.to_string()).await;
    }
    // Addresses and keys in a header are not asked: the signature is by the known key, or by none.
    let its_own =
        serde_json::from_slice::<Value>(&std::fs::read(other.set.path()).unwrap()).unwrap();
    for extra in [
        json!({ "jku": url }),
        json!({ "x5u": url }),
        json!({ "jwk": its_own["keys"][0] }),
        json!({ "x5c": ["MIIB"] }),
    ] {
        let mut header = json!({ "alg": "RS256", "kid": KID });
        header.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        let forged = other.sign_raw(&header, &good().to_string());
        refused(&world, &forged, "invalid_token", &header.to_string()).await;
    }
    // The published key is no secret.
    for public in &key.public {
        for (header, secret) in [
            (Header::new(Algorithm::HS256), public.as_slice()),
            (Header { kid: Some(KID.to_owned()), ..Header::new(Algorithm::HS256) }, public),
            (Header::new(Algorithm::HS512), SECRET.as_bytes()),
            (Header::new(Algorithm::HS256), b""),
        ] {
            let secret = EncodingKey::from_secret(secret);
            let forged = jsonwebtoken::encode(&header, &good(), &secret).unwrap();
            refused(&world, &forged, "invalid_token", "a public key is no secret").await;
        }
    }
    let token = key.sign(&good());
    let (signed, signature) = token.rsplit_once('.').unwrap();
    for mangled in [
        format!("{signed}."),
        signed.to_owned(),
        format!("{signed}.{signature}.{signature}"),
        format!("{signed}.{signature}="),
        format!("{signed}.{}", &signature[..signature.len() - 4]),
        format!(".{token}"),
        format!("{token}."),
        token.replace('.', ".."),
        token.to_uppercase(),
    ] {
        refused(&world, &mangled, "invalid_token", "mangled").await;
    }
    // Whoever was here first was this test.
    let own = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (_, first) = timeout(Duration::from_secs(10), listener.accept()).await.unwrap().unwrap();
    assert_eq!(first, own.local_addr().unwrap(), "no address of a token is called");
}

#[tokio::test]
async fn class_26_every_claim_has_to_be_there_of_its_type_and_for_us() {
    let key = Key::new();
    let file = key.set.path().to_str().unwrap();
    let world =
        World::with(&["--jwks-file", file, "--jwt-issuer", "host", "--jwt-audience", "chat"]).await;
    let invalid = "invalid_token";
    for (claims, code) in [
        (without("exp"), invalid),
        (with("exp", json!("4000000000")), invalid),
        (with("exp", json!("never")), invalid),
        (with("exp", json!(null)), invalid),
        (with("exp", json!([u32::MAX])), invalid),
        (with("exp", json!({ "$gt": 0 })), invalid),
        (with("exp", json!(true)), invalid),
        (with("exp", json!(1e300)), invalid),
        (with("exp", json!(u64::MAX)), invalid),
        (with("exp", json!(-1)), invalid),
        (with("exp", json!(0)), "token_expired"),
        (with("nbf", json!("0")), invalid),
        (with("nbf", json!("4000000000")), invalid),
        (with("nbf", json!(null)), invalid),
        (with("nbf", json!(u32::MAX)), "token_not_yet_valid"),
        (without("aud"), invalid),
        (with("aud", json!("chats")), invalid),
        (with("aud", json!(["other"])), invalid),
        (with("aud", json!([])), invalid),
        (with("aud", json!({ "chat": 1 })), invalid),
        (without("iss"), invalid),
        (with("iss", json!("host.example")), invalid),
        (with("iss", json!(["other"])), invalid),
        (without("sub"), invalid),
        (with("sub", json!("")), invalid),
        (with("sub", json!(["alice"])), invalid),
        (with("sub", json!({ "$ne": "" })), invalid),
        (with("sub", json!("a\0")), invalid),
        (with("sub", json!(-1)), invalid),
        (with("sub", json!("x".repeat(129))), invalid),
    ] {
        refused(&world, &key.sign(&claims), code, &claims.to_string()).await;
    }
    for payload in ["", "null", "[]", "\"alice\"", "{", "{}{}", "\u{feff}{}"] {
        let token = key.sign_raw(&json!({ "alg": "RS256", "kid": KID }), payload);
        refused(&world, &token, invalid, payload).await;
    }
    accepted(&world, key.sign(&with("aud", json!(["other", "chat"])))).await;
    accepted(&world, key.sign(&with("nbf", json!(1.5)))).await;
}
