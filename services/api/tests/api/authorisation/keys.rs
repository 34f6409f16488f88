//! The host application's keys, and tokens that must not count.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::jwk::Jwk;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tempfile::NamedTempFile;

use super::scene::Scene;
use crate::actor::World;

/// For whom tokens are.
pub(super) const AUDIENCE: &str = "parley";

pub(super) struct Host {
    signing: EncodingKey,
    /// The public key in every form in which somebody could take it for a secret.
    public: Vec<Vec<u8>>,
    key_set: NamedTempFile,
}

impl Host {
    pub(super) fn new() -> Self {
        let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = AsDer::as_der(&pair).unwrap();
        let private = pem("PRIVATE KEY", private.as_ref());
        let signing = EncodingKey::from_rsa_pem(private.as_bytes()).unwrap();
        let public: PublicKeyX509Der<'_> = AsDer::as_der(pair.public_key()).unwrap();
        let jwk = Jwk::from_encoding_key(&signing, Algorithm::RS256).unwrap();
        let jwk = serde_json::to_value(jwk).unwrap();
        let modulus = jwk["n"].as_str().unwrap();
        let key_set = NamedTempFile::new().unwrap();
        std::fs::write(key_set.path(), json!({ "keys": [jwk] }).to_string()).unwrap();
        let public = vec![
            pem("PUBLIC KEY", public.as_ref()).into_bytes(),
            public.as_ref().to_vec(),
            URL_SAFE_NO_PAD.decode(modulus).unwrap(),
            modulus.as_bytes().to_vec(),
        ];
        Self { signing, public, key_set }
    }

    /// A pod that trusts this host. It is patient, since it is asked some thousand times, beside all other tests.
    pub(super) async fn world(&self) -> World {
        let file = self.key_set.path().to_str().unwrap();
        let trust = ["--jwks-file", file, "--jwt-audience", AUDIENCE];
        let patience = ["--database-wait-ms", "20000", "--request-ms", "60000"];
        // Every scene makes one.
        let room = ["--max-webhooks", "1000"];
        World::with(&[&trust[..], &patience, &room].concat()).await
    }

    pub(super) fn token(&self, claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::RS256), claims, &self.signing).unwrap()
    }

    /// Tokens that have the one fault.
    pub(super) async fn bad_tokens(
        &self,
        world: &World,
        fault: &str,
        scene: &Scene,
    ) -> Vec<Option<String>> {
        let with = |claim: &str, value: Value| {
            let mut claims = scene.powerful();
            claims[claim] = value;
            self.token(&claims)
        };
        let good = self.token(&scene.powerful());
        let (signed, _) = good.rsplit_once('.').unwrap();
        let body = signed.split('.').nth(1).unwrap();
        match fault {
            "none" => vec![None],
            "signature" => {
                let other = self.token(&json!({ "sub": "other" }));
                vec![Some(format!("{signed}.{}", other.rsplit_once('.').unwrap().1))]
            }
            "alg-none" => ["none", "None", "NONE"]
                .map(|alg| {
                    let header = json!({ "alg": alg, "typ": "JWT" }).to_string();
                    Some(format!("{}.{body}.", URL_SAFE_NO_PAD.encode(header)))
                })
                .to_vec(),
            "hs-rsa" => {
                let header = Header::new(Algorithm::HS256);
                let sign = |key: &Vec<u8>| {
                    let key = EncodingKey::from_secret(key);
                    Some(jsonwebtoken::encode(&header, &scene.powerful(), &key).unwrap())
                };
                self.public.iter().map(sign).collect()
            }
            "expired" => vec![Some(with("exp", json!(1_000_000_000)))],
            "early" => vec![Some(with("nbf", json!(u32::MAX - 1)))],
            "audience" => vec![Some(with("aud", json!("another")))],
            "revoked" => vec![Some(self.revoked(world, scene).await)],
            other => panic!("{other} is no fault"),
        }
    }

    /// A token that counted until now.
    async fn revoked(&self, world: &World, scene: &Scene) -> String {
        let mut claims = scene.powerful();
        claims["sub"] = json!(scene.id("revoked"));
        let token = self.token(&claims);
        let revoked = scene.actor(world, &token);
        assert_eq!(revoked.get("/api/chat/stats").await.status, 200);
        let host = self.token(&scene.claims("service"));
        let path = format!("/api/users/{}/revoke", scene.id("revoked"));
        scene.actor(world, &host).post(&path, json!({})).await.data();
        token
    }
}

fn pem(what: &str, der: &[u8]) -> String {
    format!("-----BEGIN {what}-----\n{}\n-----END {what}-----\n", STANDARD.encode(der))
}
