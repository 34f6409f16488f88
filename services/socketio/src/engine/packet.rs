//! Engine.IO packets, and the payloads that polling makes of them.

use crate::frame::{self, Kind};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;

/// Stands between the packets of a payload.
const SEPARATOR: u8 = 0x1e;

pub(crate) const PING: &str = "2";
pub(crate) const NOOP: &str = "6";
pub(crate) const CLOSE: &str = "1";
pub(crate) const PROBE_PING: &str = "2probe";
pub(crate) const PROBE_PONG: &str = "3probe";
pub(crate) const UPGRADE: &str = "5";

/// A packet from a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Packet<'a> {
    Close,
    Pong,
    Text(&'a str),
    Binary(Bytes),
    /// A ping: in this direction only a probe may be one.
    Ping,
    /// `open`, `upgrade` and `noop` mean nothing here, and do no harm.
    Ignored,
}

/// Not an Engine.IO packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Malformed;

impl<'a> Packet<'a> {
    /// A packet in its text form.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Malformed> {
        match text.as_bytes().first() {
            Some(b'4') => Ok(Self::Text(&text[1..])),
            Some(b'3') => Ok(Self::Pong),
            Some(b'2') => Ok(Self::Ping),
            Some(b'1') => Ok(Self::Close),
            Some(b'0' | b'5' | b'6') => Ok(Self::Ignored),
            _ => Err(Malformed),
        }
    }

    /// Bytes of its payload.
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(data) => data.len(),
            Self::Close | Self::Pong | Self::Ping | Self::Ignored => 0,
        }
    }

    /// A packet in a payload, where binary is base64 behind a `b`.
    fn parse_encoded(text: &'a str) -> Result<Self, Malformed> {
        match text.strip_prefix('b') {
            Some(encoded) => match BASE64_STANDARD.decode(encoded) {
                Ok(data) => Ok(Self::Binary(data.into())),
                Err(_) => Err(Malformed),
            },
            None => Self::parse(text),
        }
    }
}

/// The packets of a payload, up to and with the first that is malformed.
pub(crate) fn payload(body: &str) -> impl Iterator<Item = Result<Packet<'_>, Malformed>> {
    body.split(char::from(SEPARATOR)).map(Packet::parse_encoded)
}

/// Adds a frame to a payload, unless it is not empty and would grow above `limit`.
pub(crate) fn append(body: &mut Vec<u8>, frame: &Bytes, limit: usize) -> bool {
    let (kind, data) = frame::payload(frame);
    let length = match kind {
        Kind::Text => data.len(),
        Kind::Binary => 1 + data.len().div_ceil(3) * 4,
    };
    if !body.is_empty() {
        if body.len() + 1 + length > limit {
            return false;
        }
        body.push(SEPARATOR);
    }
    match kind {
        Kind::Text => body.extend_from_slice(data),
        Kind::Binary => {
            body.push(b'b');
            let start = body.len();
            body.resize(start + length - 1, 0);
            let written = BASE64_STANDARD.encode_slice(data, &mut body[start..]);
            debug_assert_eq!(written, Ok(length - 1));
        }
    }
    true
}

/// A text packet as a frame.
pub(crate) fn frame(packet: &str) -> Bytes {
    frame::encode(Kind::Text, &[packet.as_bytes()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn packets_are_told_apart_by_their_first_character() {
        assert_eq!(Packet::parse("4hello"), Ok(Packet::Text("hello")));
        assert_eq!(Packet::parse("4"), Ok(Packet::Text("")));
        assert_eq!(Packet::parse("3"), Ok(Packet::Pong));
        assert_eq!(Packet::parse("1"), Ok(Packet::Close));
        assert_eq!(Packet::parse("2probe"), Ok(Packet::Ping));
        for malformed in ["", "abc", "7", "9x", "€"] {
            assert_eq!(Packet::parse(malformed), Err(Malformed), "{malformed}");
        }
    }

    #[test]
    fn a_payload_is_its_packets_with_separators() {
        let packets: Vec<_> = payload("4hello\x1e2\x1ebAQIDBA==\x1e4€").collect();
        let binary = Packet::Binary(Bytes::from_static(&[1, 2, 3, 4]));
        assert_eq!(
            packets,
            [Ok(Packet::Text("hello")), Ok(Packet::Ping), Ok(binary), Ok(Packet::Text("€"))]
        );
        assert_eq!(payload("").collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(payload("b===").collect::<Vec<_>>(), [Err(Malformed)]);
        assert_eq!(payload("4a\x1e").last(), Some(Err(Malformed)));
    }

    #[test]
    fn a_payload_ends_at_the_limit_but_is_never_empty() {
        let mut body = Vec::new();
        assert!(append(&mut body, &frame("4hello"), 3));
        assert!(!append(&mut body, &frame("4a"), 8));
        assert!(append(&mut body, &frame("4a"), 9));
        assert_eq!(body, b"4hello\x1e4a");
    }

    proptest! {
        #[test]
        fn what_was_appended_is_read_back(
            texts in prop::collection::vec("[^\x1e]{0,40}", 1..8),
            data in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut body = Vec::new();
            for text in &texts {
                append(&mut body, &frame(&format!("4{text}")), usize::MAX);
            }
            append(&mut body, &frame::encode(Kind::Binary, &[&data]), usize::MAX);
            let body = String::from_utf8(body).expect("a payload is text");
            let mut read = payload(&body);
            for text in &texts {
                prop_assert_eq!(read.next(), Some(Ok(Packet::Text(text))));
            }
            prop_assert_eq!(read.next(), Some(Ok(Packet::Binary(data.into()))));
            prop_assert_eq!(read.next(), None);
        }

        #[test]
        fn no_payload_panics(body in any::<String>()) {
            let _ = payload(&body).count();
        }
    }
}
