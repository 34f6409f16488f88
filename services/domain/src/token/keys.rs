//! The host's public keys, as a JWKS (RFC 7517) tells them.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use jsonwebtoken::jwk::{
    AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse,
};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde::Deserialize;
use serde_json::Value;

/// Most keys of one set.
pub const MAX_KEYS: usize = 100;

/// The document holds no keys that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    /// It is no JWKS.
    #[error("it is no JWKS")]
    Unreadable,
    /// No key of it verifies RS256, ES256 or `EdDSA`.
    #[error("it has no key for RS256, ES256 or EdDSA")]
    NoKeys,
    /// It has too many.
    #[error("it has more than {MAX_KEYS} keys")]
    TooMany,
}

/// A public key and the one algorithm that it is for.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) algorithm: Algorithm,
    pub(super) decoding: Arc<DecodingKey>,
    jwk: Jwk,
}

impl Key {
    /// `None` for what is not for the signatures that count here; above all for every symmetric key, which a public
    /// document cannot keep secret.
    fn read(jwk: &Value) -> Option<Self> {
        let jwk = Jwk::deserialize(jwk).ok()?;
        let algorithm = match &jwk.algorithm {
            AlgorithmParameters::RSA(_) => Algorithm::RS256,
            AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
                Algorithm::ES256
            }
            AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
                Algorithm::EdDSA
            }
            _ => return None,
        };
        let common = &jwk.common;
        let says = common.key_algorithm.unwrap_or_else(|| KeyAlgorithm::from(algorithm));
        let signs =
            common.public_key_use.as_ref().is_none_or(|r#use| *r#use == PublicKeyUse::Signature);
        let verifies =
            common.key_operations.as_ref().is_none_or(|all| all.contains(&KeyOperations::Verify));
        if says != KeyAlgorithm::from(algorithm) || !signs || !verifies {
            return None;
        }
        let decoding = Arc::new(DecodingKey::from_jwk(&jwk).ok()?);
        Some(Self { algorithm, decoding, jwk })
    }

    fn id(&self) -> Option<&str> {
        self.jwk.common.key_id.as_deref()
    }
}

/// The keys that count: those of the last set, and for a while those that it has no more.
#[derive(Clone, Default)]
pub(super) struct KeyRing {
    current: Vec<Key>,
    retired: Vec<(Key, DateTime<Utc>)>,
}

impl KeyRing {
    /// Takes over a new set. Keys that are gone from it count for `overlap` more. Says whether any key stopped to count.
    pub(super) fn renew(
        &mut self,
        document: &[u8],
        now: DateTime<Utc>,
        overlap: TimeDelta,
    ) -> Result<bool, KeySetError> {
        let current = read(document)?;
        let is_current = |key: &Key| current.iter().any(|now| now.jwk == key.jwk);
        let gone = self.current.drain(..).map(|key| (key, now + overlap));
        let mut retired: Vec<_> = gone.chain(self.retired.drain(..)).collect();
        retired.retain(|(key, _)| !is_current(key));
        let before = retired.len();
        retired.retain(|(_, until)| now < *until);
        // Who changes all keys at every fetch keeps fewer of the old ones.
        retired.truncate(MAX_KEYS);
        let lost = retired.len() < before;
        *self = Self { current, retired };
        Ok(lost)
    }

    /// The keys that may have signed a token with this `kid`. A token without one is taken only where there is no
    /// choice.
    pub(super) fn find(&self, kid: Option<&str>, now: DateTime<Utc>) -> Vec<&Key> {
        let retired = self.retired.iter().filter(|(_, until)| now < *until).map(|(key, _)| key);
        let all = self.current.iter().chain(retired);
        match kid {
            Some(kid) => all.filter(|key| key.id() == Some(kid)).collect(),
            None if self.current.len() == 1 => all.collect(),
            None => Vec::new(),
        }
    }

    /// Whether no set has been read yet.
    pub(super) fn is_empty(&self) -> bool {
        self.current.is_empty()
    }
}

fn read(document: &[u8]) -> Result<Vec<Key>, KeySetError> {
    #[derive(Deserialize)]
    struct Document {
        keys: Vec<Value>,
    }
    let document: Document =
        serde_json::from_slice(document).map_err(|_| KeySetError::Unreadable)?;
    if document.keys.len() > MAX_KEYS {
        return Err(KeySetError::TooMany);
    }
    // A key of a kind that we do not know is for somebody else.
    let keys: Vec<Key> = document.keys.iter().filter_map(Key::read).collect();
    if keys.is_empty() { Err(KeySetError::NoKeys) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::{KeyPair, KeySize};
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
    };
    use base64::Engine;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
    use clap::Parser;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;
    use crate::token::{TokenError, TokenSettings, TokenSettingsError, Verifier};

    const SECRET: &str = "0123456789abcdef0123456789abcdef";

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_800_000_000, 0).unwrap()
    }

    fn later(seconds: i64) -> DateTime<Utc> {
        now() + TimeDelta::seconds(seconds)
    }

    fn settings(arguments: &[&str]) -> TokenSettings {
        #[derive(Parser)]
        struct Settings {
            #[command(flatten)]
            tokens: TokenSettings,
        }
        Settings::parse_from([&["test"], arguments].concat()).tokens
    }

    fn verifier() -> Verifier {
        Verifier::new(&settings(&["--jwks-file", "keys", "--jwt-secret", SECRET])).unwrap()
    }

    /// A key pair: what signs, and what is published.
    struct Pair {
        algorithm: Algorithm,
        encoding: EncodingKey,
        public: Value,
    }

    impl Pair {
        fn new(algorithm: Algorithm, kid: &str) -> Self {
            let (encoding, mut public) = match algorithm {
                Algorithm::RS256 => {
                    let pair = KeyPair::generate(KeySize::Rsa2048).unwrap();
                    let der: Pkcs8V1Der<'_> = AsDer::as_der(&pair).unwrap();
                    let der = STANDARD.encode(der.as_ref() as &[u8]);
                    let pem =
                        format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----");
                    let encoding = EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap();
                    let public = Jwk::from_encoding_key(&encoding, algorithm).unwrap();
                    (encoding, serde_json::to_value(public).unwrap())
                }
                Algorithm::ES256 => {
                    let random = SystemRandom::new();
                    let signing = &ECDSA_P256_SHA256_FIXED_SIGNING;
                    let pair = EcdsaKeyPair::generate_pkcs8(signing, &random).unwrap();
                    let encoding = EncodingKey::from_ec_der(pair.as_ref());
                    let public = Jwk::from_encoding_key(&encoding, algorithm).unwrap();
                    (encoding, serde_json::to_value(public).unwrap())
                }
                _ => {
                    let random = SystemRandom::new();
                    let der = Ed25519KeyPair::generate_pkcs8(&random).unwrap();
                    let pair = Ed25519KeyPair::from_pkcs8(der.as_ref()).unwrap();
                    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
                    let public = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
                    (EncodingKey::from_ed_der(der.as_ref()), public)
                }
            };
            public["kid"] = json!(kid);
            Self { algorithm, encoding, public }
        }

        fn sign_as(&self, kid: Option<&str>, claims: &Value) -> String {
            let header = Header { kid: kid.map(str::to_owned), ..Header::new(self.algorithm) };
            jsonwebtoken::encode(&header, claims, &self.encoding).unwrap()
        }

        fn sign(&self) -> String {
            self.sign_as(self.public["kid"].as_str(), &claims())
        }
    }

    fn claims() -> Value {
        json!({ "sub": "alice", "exp": now().timestamp() + 100_000 })
    }

    fn document(keys: &[&Value]) -> Vec<u8> {
        json!({ "keys": keys }).to_string().into_bytes()
    }

    /// Signed with HMAC, whatever the header says.
    fn forged(header: &Value, secret: &[u8]) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let message = format!("{}.{}", part(header), part(&claims()));
        let key = EncodingKey::from_secret(secret);
        let signature =
            jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
        format!("{message}.{signature}")
    }

    #[test]
    fn each_algorithm_counts_with_its_own_key_and_beside_the_secret() {
        let verifier = verifier();
        let pairs = [Algorithm::RS256, Algorithm::ES256, Algorithm::EdDSA]
            .map(|algorithm| Pair::new(algorithm, &format!("{algorithm:?}")));
        let public: Vec<&Value> = pairs.iter().map(|pair| &pair.public).collect();
        assert_eq!(verifier.verify(&pairs[0].sign(), now()), Err(TokenError::UnknownKey));
        verifier.renew_keys(&document(&public), now()).unwrap();
        for (place, pair) in pairs.iter().enumerate() {
            assert_eq!(verifier.verify(&pair.sign(), now()).unwrap().id.as_str(), "alice");
            let other = pairs[(place + 1) % 3].public["kid"].as_str();
            let bad = pair.sign_as(other, &claims());
            assert_eq!(verifier.verify(&bad, now()), Err(TokenError::Invalid), "another's kid");
            let unnamed = pair.sign_as(None, &claims());
            assert_eq!(verifier.verify(&unnamed, now()), Err(TokenError::Invalid), "of three");
            let unknown = pair.sign_as(Some("../../etc/passwd"), &claims());
            assert_eq!(verifier.verify(&unknown, now()), Err(TokenError::UnknownKey));
        }
        let hs256 = forged(&json!({ "alg": "HS256" }), SECRET.as_bytes());
        assert!(verifier.verify(&hs256, now()).is_ok());
        verifier.renew_keys(&document(&[&pairs[0].public]), later(1)).unwrap();
        assert!(verifier.verify(&pairs[0].sign_as(None, &claims()), now()).is_ok(), "the only one");
    }

    #[test]
    fn a_public_key_is_no_secret_and_no_algorithm_is_none() {
        let pair = Pair::new(Algorithm::RS256, "rsa");
        let modulus = URL_SAFE_NO_PAD.decode(pair.public["n"].as_str().unwrap()).unwrap();
        let published = document(&[&pair.public]);
        let only_keys = Verifier::new(&settings(&["--jwks-url", "https://host.example"])).unwrap();
        for verifier in [verifier(), only_keys] {
            verifier.renew_keys(&published, now()).unwrap();
            assert!(verifier.verify(&pair.sign(), now()).is_ok());
            for secret in [&modulus[..], pair.public["n"].as_str().unwrap().as_bytes(), &published]
            {
                for header in [
                    json!({ "alg": "HS256", "kid": "rsa" }),
                    json!({ "alg": "HS256" }),
                    json!({ "alg": "RS256", "kid": "rsa" }),
                    json!({ "alg": "none", "kid": "rsa" }),
                    json!({ "alg": "None" }),
                    json!({ "alg": "RS512", "kid": "rsa" }),
                    json!({ "alg": "PS256", "kid": "rsa" }),
                    json!({ "kid": "rsa" }),
                ] {
                    let token = forged(&header, secret);
                    assert_eq!(
                        verifier.verify(&token, now()),
                        Err(TokenError::Invalid),
                        "{header}"
                    );
                    let (unsigned, _) = token.rsplit_once('.').unwrap();
                    let bare = format!("{unsigned}.");
                    assert_eq!(verifier.verify(&bare, now()), Err(TokenError::Invalid), "{header}");
                }
            }
            let critical = Header {
                kid: Some("rsa".to_owned()),
                crit: Some(vec!["b64".to_owned()]),
                ..Header::new(Algorithm::RS256)
            };
            let token = jsonwebtoken::encode(&critical, &claims(), &pair.encoding).unwrap();
            assert_eq!(verifier.verify(&token, now()), Err(TokenError::Invalid), "an extension");
            // Where a token says its key is, nobody looks.
            let own = Pair::new(Algorithm::RS256, "rsa");
            let header = Header {
                jku: Some("https://evil.example/jwks".to_owned()),
                jwk: Some(Jwk::deserialize(&own.public).unwrap()),
                kid: Some("rsa".to_owned()),
                ..Header::new(Algorithm::RS256)
            };
            let token = jsonwebtoken::encode(&header, &claims(), &own.encoding).unwrap();
            assert_eq!(verifier.verify(&token, now()), Err(TokenError::Invalid), "its own key");
        }
    }

    #[test]
    fn what_a_token_says_is_judged_whatever_its_key() {
        let pair = Pair::new(Algorithm::ES256, "ec");
        let demanding = ["--jwks-file", "keys", "--jwt-issuer", "host", "--jwt-audience", "chat"];
        let verifier = Verifier::new(&settings(&demanding)).unwrap();
        verifier.renew_keys(&document(&[&pair.public]), now()).unwrap();
        let at = |seconds: i64| now().timestamp() + seconds;
        let good = json!({ "sub": "a", "iss": "host", "aud": "chat", "exp": at(60) });
        for (claim, value, outcome) in [
            ("sub", json!("a"), Ok(())),
            ("exp", json!(at(-60)), Err(TokenError::Expired)),
            ("exp", json!("never"), Err(TokenError::Invalid)),
            ("exp", Value::Null, Err(TokenError::Invalid)),
            ("nbf", json!(at(60)), Err(TokenError::NotYetValid)),
            ("nbf", json!("now"), Err(TokenError::Invalid)),
            ("aud", json!("elsewhere"), Err(TokenError::Invalid)),
            ("iss", json!("elsewhere"), Err(TokenError::Invalid)),
        ] {
            let mut claims = good.clone();
            claims[claim] = value;
            let verified = verifier.verify(&pair.sign_as(Some("ec"), &claims), now());
            assert_eq!(verified.map(drop), outcome, "{claim}");
        }
    }

    #[test]
    fn a_key_that_is_gone_counts_for_the_overlap_and_a_fetch_in_vain_changes_nothing() {
        let verifier = verifier();
        let (old, new) = (Pair::new(Algorithm::ES256, "old"), Pair::new(Algorithm::ES256, "new"));
        verifier.renew_keys(&document(&[&old.public]), now()).unwrap();
        verifier.renew_keys(&document(&[&old.public, &new.public]), later(100)).unwrap();
        verifier.renew_keys(&document(&[&new.public]), later(200)).unwrap();
        for bad in
            [&b"<html>"[..], b"{}", br#"{"keys":[]}"#, br#"{"keys":[{"kty":"oct","k":"AA"}]}"#]
        {
            assert!(verifier.renew_keys(bad, later(900)).is_err());
        }
        assert!(verifier.verify(&old.sign(), later(799)).is_ok());
        assert_eq!(verifier.verify(&old.sign(), later(800)), Err(TokenError::UnknownKey));
        assert!(verifier.verify(&new.sign(), later(5_000)).is_ok());
        assert_eq!(verifier.keys_lost(), 0);
        verifier.renew_keys(&document(&[&new.public]), later(900)).unwrap();
        assert_eq!(verifier.keys_lost(), 1, "what the old key signed is not to be remembered");
        // One that comes back counts for good.
        verifier.renew_keys(&document(&[&old.public]), later(901)).unwrap();
        assert!(verifier.verify(&old.sign(), later(5_000)).is_ok());
    }

    #[test]
    fn a_new_key_under_an_old_id_counts_beside_it() {
        let verifier = verifier();
        let (old, new) = (Pair::new(Algorithm::ES256, "key"), Pair::new(Algorithm::EdDSA, "key"));
        verifier.renew_keys(&document(&[&old.public]), now()).unwrap();
        verifier.renew_keys(&document(&[&new.public]), later(1)).unwrap();
        assert!(verifier.verify(&old.sign(), later(2)).is_ok());
        assert!(verifier.verify(&new.sign(), later(2)).is_ok());
    }

    #[test]
    fn only_keys_for_our_signatures_are_taken() {
        let pair = Pair::new(Algorithm::RS256, "key");
        for (member, value) in [
            ("use", json!("enc")),
            ("alg", json!("RS512")),
            ("alg", json!("HS256")),
            ("alg", json!("RSA-OAEP")),
            ("key_ops", json!(["encrypt"])),
            ("kty", json!("quantum")),
        ] {
            let mut public = pair.public.clone();
            public[member] = value;
            let renewed = verifier().renew_keys(&document(&[&public]), now());
            assert_eq!(renewed, Err(KeySetError::NoKeys), "{member}");
        }
        let many = vec![&pair.public; MAX_KEYS + 1];
        assert_eq!(verifier().renew_keys(&document(&many), now()), Err(KeySetError::TooMany));
    }

    #[test]
    fn something_has_to_be_trusted_and_keys_come_from_one_place() {
        let wrong = |arguments: &[&str]| Verifier::new(&settings(arguments)).err();
        assert_eq!(wrong(&[]), Some(TokenSettingsError::NothingTrusted));
        assert_eq!(wrong(&["--jwks-url", "ftp://x"]), Some(TokenSettingsError::Url));
        let two = ["--jwks-url", "https://x", "--jwks-file", "x"];
        assert_eq!(wrong(&two), Some(TokenSettingsError::TwoKeySets));
        assert_eq!(wrong(&["--jwks-file", "x"]), None);
    }
}
