//! Identifiers that cannot be guessed, and small ones that only have to be unique.

use base64::{Engine as _, prelude::BASE64_URL_SAFE_NO_PAD};
use rand::Rng as _;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

const SOCKET_ID_LENGTH: usize = 20;

/// The public name of a socket: 120 random bits. It gives no access to the session.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId([u8; SOCKET_ID_LENGTH]);

impl SocketId {
    pub(crate) fn random() -> Self {
        let mut id = [0; SOCKET_ID_LENGTH];
        let random: [u8; SOCKET_ID_LENGTH / 4 * 3] = rand::rng().random();
        let written = BASE64_URL_SAFE_NO_PAD.encode_slice(random, &mut id);
        debug_assert_eq!(written, Ok(SOCKET_ID_LENGTH));
        Self(id)
    }
}

impl SocketId {
    /// One that was given by another server.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }
}

impl fmt::Display for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for &byte in &self.0 {
            fmt::Write::write_char(f, char::from(byte))?;
        }
        Ok(())
    }
}

impl fmt::Debug for SocketId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SocketId({self})")
    }
}

/// An Engine.IO session id: the prefix and 144 random bits. Whoever has it can use the session.
pub(crate) fn session_id(prefix: &str) -> Box<str> {
    let random: [u8; 18] = rand::rng().random();
    let mut id = String::with_capacity(prefix.len() + 24);
    id.push_str(prefix);
    BASE64_URL_SAFE_NO_PAD.encode_string(random, &mut id);
    id.into_boxed_str()
}

/// A number this process has not given before.
pub(crate) fn next_key() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_printable_and_different() {
        let (one, two) = (SocketId::random(), SocketId::random());
        assert_ne!(one, two);
        assert_eq!(one.to_string().len(), SOCKET_ID_LENGTH);
        assert!(one.to_string().bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)));
        assert_eq!(SocketId::parse(&one.to_string()), Some(one));
        assert_eq!(SocketId::parse("short"), None);
        let session = session_id("pod7.");
        assert!(session.starts_with("pod7."));
        assert_eq!(session.len(), 29);
        assert_ne!(next_key(), next_key());
    }
}
