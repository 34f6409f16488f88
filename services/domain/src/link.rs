//! Links to files that work without a token, for a short while: `<img src>` sends none.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

use crate::ids::{AttachmentId, ChatId, UserId};
use crate::user::Role;

/// Shortest secret, in bytes.
pub const MIN_LINK_SECRET: usize = 32;

/// What a link allows: one file, to one person, up to a moment. Whether that person may still read the chat, and whether
/// the file is still there, is asked again when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// The file's chat.
    pub chat: ChatId,
    /// The file.
    pub attachment: AttachmentId,
    /// Who asked for the link.
    pub user: UserId,
    /// As what.
    pub role: Role,
    /// When that was, in seconds of the Unix epoch: a revocation since then counts.
    pub issued: i64,
    /// The second from which on it counts no more.
    pub expires: i64,
}

/// What links are signed with.
#[derive(Clone)]
pub struct LinkKey(Hmac<Sha256>);

impl LinkKey {
    /// A key of a secret; `None` for one that is too short.
    pub fn new(secret: &SecretString) -> Option<Self> {
        let secret = secret.expose_secret().as_bytes();
        let key = Hmac::new_from_slice(secret).ok()?;
        (secret.len() >= MIN_LINK_SECRET).then_some(Self(key))
    }

    /// The signature of a link, in hexadecimal digits.
    pub fn sign(&self, link: &Link) -> String {
        use std::fmt::Write;
        let mut text = String::with_capacity(64);
        for byte in self.over(link).finalize().into_bytes() {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// Whether the signature is the link's and the link still counts.
    pub fn accepts(&self, link: &Link, signature: &str, now: DateTime<Utc>) -> bool {
        let Some(signature) = bytes(signature) else { return false };
        now.timestamp() < link.expires && self.over(link).verify_slice(&signature).is_ok()
    }

    fn over(&self, link: &Link) -> Hmac<Sha256> {
        let Link { chat, attachment, user, role, issued, expires } = link;
        // No part holds a line break, so that no two links have the same text.
        let text = format!(
            "parley file link\n{chat}\n{attachment}\n{issued}\n{expires}\n{}\n{user}",
            role.as_str()
        );
        self.0.clone().chain_update(text)
    }
}

fn bytes(hexadecimal: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    if hexadecimal.len() != 64 || !hexadecimal.is_ascii() {
        return None;
    }
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hexadecimal[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn key(secret: &str) -> Option<LinkKey> {
        LinkKey::new(&SecretString::from(secret.to_owned()))
    }

    fn link() -> Link {
        Link {
            chat: Uuid::from_u128(1).into(),
            attachment: Uuid::from_u128(2).into(),
            user: UserId::parse("alice").unwrap(),
            role: Role::User,
            issued: 900,
            expires: 1_000,
        }
    }

    #[test]
    fn a_link_counts_for_what_it_names_until_it_expires() {
        let key = key(&"s".repeat(32)).unwrap();
        let at = |second| DateTime::from_timestamp(second, 0).unwrap();
        let signature = key.sign(&link());
        assert!(key.accepts(&link(), &signature, at(999)));
        assert!(!key.accepts(&link(), &signature, at(1_000)), "over");
        let others = [
            Link { chat: Uuid::from_u128(3).into(), ..link() },
            Link { attachment: Uuid::from_u128(3).into(), ..link() },
            Link { user: UserId::parse("bob").unwrap(), ..link() },
            Link { role: Role::Admin, ..link() },
            Link { issued: 901, ..link() },
            Link { expires: 9_999, ..link() },
        ];
        for other in others {
            assert!(!key.accepts(&other, &signature, at(999)), "{other:?}");
        }
        for wrong in ["", "00", &signature[1..], &format!("+{}", &signature[1..]), &"é".repeat(32)]
        {
            assert!(!key.accepts(&link(), wrong, at(999)), "{wrong}");
        }
    }

    #[test]
    fn a_secret_is_not_short() {
        assert!(key("short").is_none());
        assert_ne!(
            key(&"s".repeat(32)).unwrap().sign(&link()),
            key(&"t".repeat(32)).unwrap().sign(&link())
        );
    }
}
