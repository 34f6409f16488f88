//! Signatures by the Standard Webhooks specification: a receiver checks them with any library of it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, HeaderName, HeaderValue};
use rand::RngCore;
use secrecy::{ExposeSecret, SecretSlice, SecretString};
use sha2::Sha256;

use crate::OutboundError;

/// The message's id: the same at every attempt.
pub const ID: HeaderName = HeaderName::from_static("webhook-id");
/// When the attempt was made, in seconds of the Unix epoch.
pub const TIMESTAMP: HeaderName = HeaderName::from_static("webhook-timestamp");
/// One signature or, while secrets change, several.
pub const SIGNATURE: HeaderName = HeaderName::from_static("webhook-signature");

/// Shortest key, in bytes.
pub const MIN_KEY: usize = 24;
/// Longest key, in bytes.
pub const MAX_KEY: usize = 64;
/// Bytes of a key that is made here.
const MADE: usize = 32;
/// What a secret begins with.
const PREFIX: &str = "whsec_";
/// Longest id.
const MAX_ID: usize = 128;

/// A key that signs: 24 to 64 bytes, written as `whsec_` and their base64.
#[derive(Clone)]
pub struct Key(SecretSlice<u8>);

impl Key {
    /// Parses a secret.
    pub fn parse(secret: &SecretString) -> Result<Self, OutboundError> {
        use OutboundError::Secret;
        let Some(encoded) = secret.expose_secret().strip_prefix(PREFIX) else {
            return Err(Secret("does not begin with whsec_"));
        };
        let bytes = STANDARD.decode(encoded).map_err(|_| Secret("is no base64"))?;
        if !(MIN_KEY..=MAX_KEY).contains(&bytes.len()) {
            return Err(Secret("does not have 24 to 64 bytes"));
        }
        Ok(Self(bytes.into()))
    }

    /// A new one, by the generator that the system seeds.
    pub fn make() -> Self {
        let mut bytes = vec![0; MADE];
        rand::rng().fill_bytes(&mut bytes);
        Self(bytes.into())
    }

    /// The secret as it is given to a receiver.
    pub fn secret(&self) -> SecretString {
        format!("{PREFIX}{}", STANDARD.encode(self.0.expose_secret())).into()
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// A message's id: 1 to 128 letters, digits, `_` and `-`. A dot would be taken for the end of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct MessageId(String);

impl MessageId {
    /// Parses an id.
    pub fn parse(text: &str) -> Result<Self, OutboundError> {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=MAX_ID).contains(&text.len()) || !text.bytes().all(fits) {
            return Err(OutboundError::MessageId("is not 1 to 128 letters, digits, _ and -"));
        }
        Ok(Self(text.to_owned()))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The value of `webhook-signature`: one signature of each key, the newest first, so that a receiver that knows any of
/// them accepts it. The timestamp is in seconds of the Unix epoch.
#[expect(clippy::missing_panics_doc, reason = "HMAC takes keys of any length")]
pub fn sign(keys: &[Key], id: &MessageId, timestamp: i64, body: &[u8]) -> String {
    let signed = keys.iter().map(|key| {
        let mac = Hmac::<Sha256>::new_from_slice(key.0.expose_secret());
        let mac = mac.expect("HMAC takes keys of any length");
        let head = format!("{}.{timestamp}.", id.0);
        let signature = mac.chain_update(head).chain_update(body).finalize();
        format!("v1,{}", STANDARD.encode(signature.into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

/// The three headers of an attempt.
#[expect(clippy::missing_panics_doc, reason = "ids and base64 are printable ASCII")]
pub fn headers(keys: &[Key], id: &MessageId, timestamp: i64, body: &[u8]) -> HeaderMap {
    let printable = |text: String| HeaderValue::try_from(text).expect("it is printable ASCII");
    let mut headers = HeaderMap::with_capacity(8);
    headers.insert(ID, printable(id.0.clone()));
    headers.insert(TIMESTAMP, timestamp.into());
    headers.insert(SIGNATURE, printable(sign(keys, id, timestamp, body)));
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The specification's own vector.
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
    const MESSAGE: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const TIME: i64 = 1_614_265_330;
    const BODY: &[u8] = br#"{"test": 2432232314}"#;
    const EXPECTED: &str = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

    fn key(secret: &str) -> Key {
        Key::parse(&secret.into()).unwrap()
    }

    fn id() -> MessageId {
        MessageId::parse(MESSAGE).unwrap()
    }

    #[test]
    fn class_21_a_signature_is_the_one_of_the_specification() {
        assert_eq!(sign(&[key(SECRET)], &id(), TIME, BODY), EXPECTED);
        let headers = headers(&[key(SECRET)], &id(), TIME, BODY);
        assert_eq!(headers[ID], MESSAGE);
        assert_eq!(headers[TIMESTAMP], "1614265330");
        assert_eq!(headers[SIGNATURE], EXPECTED);
    }

    #[test]
    fn while_secrets_change_each_signs_and_the_newest_is_first() {
        let new = Key::make();
        let alone = sign(std::slice::from_ref(&new), &id(), TIME, BODY);
        let both = sign(&[new, key(SECRET)], &id(), TIME, BODY);
        assert_eq!(both, format!("{alone} {EXPECTED}"));
    }

    #[test]
    fn class_21_id_time_body_and_key_are_all_signed() {
        let other = MessageId::parse("msg_other").unwrap();
        for signature in [
            sign(&[Key::make()], &id(), TIME, BODY),
            sign(&[key(SECRET)], &other, TIME, BODY),
            sign(&[key(SECRET)], &id(), TIME + 1, BODY),
            sign(&[key(SECRET)], &id(), TIME, b"{}"),
        ] {
            assert_ne!(signature, EXPECTED);
        }
    }

    #[test]
    fn a_secret_has_its_prefix_its_alphabet_and_its_length() {
        let of = |bytes: usize| format!("whsec_{}", STANDARD.encode(vec![7; bytes]));
        for fits in [of(24), of(32), of(64)] {
            assert_eq!(key(&fits).secret().expose_secret(), fits);
        }
        let wrong = ["", "whsec_", "whsec_!!", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "WHSEC_AAAA"];
        for wrong in wrong.map(str::to_owned).into_iter().chain([of(23), of(65)]) {
            assert!(Key::parse(&wrong.clone().into()).is_err(), "{wrong}");
        }
        assert_ne!(Key::make().secret().expose_secret(), Key::make().secret().expose_secret());
        assert_eq!(format!("{:?}", key(SECRET)), "Key(…)");
    }

    #[test]
    fn an_id_cannot_hold_what_separates_it() {
        for wrong in ["", "a.b", "a b", "a\n", "ä", &"a".repeat(129)] {
            assert!(MessageId::parse(wrong).is_err(), "{wrong:?}");
        }
        assert!(MessageId::parse(&"a".repeat(128)).is_ok());
    }
}
