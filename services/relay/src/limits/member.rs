//! What stands in a window, and where the window is.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parley_domain::ids::{ChatId, ClientMessageId, UserId};
use sha2::{Digest, Sha256};

/// Longer user ids enter keys as a digest.
const LONGEST_PLAIN: usize = 96;

/// What distinguishes one send from another within a user's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Member([u8; 16]);

impl Member {
    /// The same for every attempt at the same message. Another request under the same client message id is another
    /// attempt: one of them may be refused while the other is committed.
    pub fn of(chat: ChatId, client: &ClientMessageId, request_hash: &[u8]) -> Self {
        let digest = Sha256::new()
            .chain_update(chat.uuid().as_bytes())
            .chain_update(request_hash)
            .chain_update(client.as_str().as_bytes())
            .finalize();
        let mut member = [0; 16];
        member.copy_from_slice(&digest[..16]);
        Self(member)
    }

    /// For a send that cannot be repeated as the same.
    pub fn unique() -> Self {
        Self(rand::random())
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A user as a part of keys: injective, and nothing in it means anything to Redis.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct UserKey(Box<str>);

impl UserKey {
    pub(crate) fn of(user: &UserId) -> Self {
        let user = user.as_str().as_bytes();
        let encoded = if user.len() <= LONGEST_PLAIN {
            URL_SAFE_NO_PAD.encode(user)
        } else {
            // No base64 holds a tilde: a digest is nobody's plain id.
            format!("~{}", URL_SAFE_NO_PAD.encode(Sha256::digest(user)))
        };
        Self(encoded.into())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The user's window. The braces say which part of it places it in a Redis Cluster.
    pub(crate) fn window(&self) -> String {
        format!("parley:limit:{{{}}}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_member_is_the_chat_the_clients_id_and_the_request() {
        let chats = [1, 2].map(|number| ChatId::from(Uuid::from_u128(number)));
        let ids = ["a", "b"].map(|id| ClientMessageId::parse(id).unwrap());
        let requests: [[u8; 32]; 2] = [[1; 32], [2; 32]];
        let all = chats.iter().flat_map(|chat| {
            ids.iter().flat_map(|id| requests.iter().map(|request| Member::of(*chat, id, request)))
        });
        assert_eq!(all.collect::<HashSet<_>>().len(), 8);
        let one = || Member::of(chats[0], &ids[0], &requests[0]);
        assert_eq!(one(), one());
        assert_ne!(Member::unique(), Member::unique());
    }

    #[test]
    fn no_two_users_share_a_key_however_they_are_called() {
        let long = "x".repeat(128);
        let other = format!("{}y", &long[1..]);
        let odd = "用".repeat(128);
        let digest = UserKey::of(&UserId::parse(&long).unwrap()).0.into_string();
        let users = [
            "a",
            "A",
            "a}",
            "{a}",
            "}a{",
            "a:messages",
            "a b",
            "YQ",
            "~YQ",
            "é",
            "e\u{301}",
            "*",
            &long,
            &other,
            &odd,
            &digest,
        ];
        let keys = users.map(|user| UserKey::of(&UserId::parse(user).unwrap()).window());
        assert_eq!(keys.iter().collect::<HashSet<_>>().len(), users.len());
        for key in keys {
            assert_eq!(key.matches(['{', '}']).count(), 2, "one hash tag: {key}");
            assert!(key.len() < 160 && key.is_ascii());
        }
    }
}
