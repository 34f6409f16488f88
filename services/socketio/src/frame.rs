//! Outgoing messages, encoded once.

use bytes::Bytes;
use std::sync::Arc;

/// One outgoing message, encoded once and shared by every socket it goes to.
///
/// The bytes are the finished WebSocket frame: a server's frames are not masked, so they are the
/// same for all. Long-polling takes a slice of the same bytes.
#[derive(Clone, Debug)]
pub struct Frame(Parts);

#[derive(Clone, Debug)]
enum Parts {
    One(Bytes),
    /// A packet and its attachments: they go out together and in order, or not at all.
    Group(Arc<[Bytes]>),
}

impl Frame {
    /// An event: `array_json` is `["name", …]`, and is trusted to be JSON.
    ///
    /// ```
    /// use parley_socketio::Frame;
    /// let frame = Frame::event("/", br#"["hello",1]"#);
    /// assert_eq!(frame.len(), 2 + "42[\"hello\",1]".len());
    /// ```
    pub fn event(namespace: &str, array_json: &[u8]) -> Self {
        Self::packet(b'2', namespace, None, array_json)
    }

    /// An event with attachments, for which `array_json` has the placeholders
    /// `{"_placeholder":true,"num":n}`.
    #[expect(clippy::needless_pass_by_value, reason = "a frame takes what it is made of")]
    pub fn event_binary(namespace: &str, array_json: &[u8], attachments: Vec<Bytes>) -> Self {
        Self::packet_with(b'5', namespace, None, array_json, &attachments)
    }

    /// Several frames as one: they go out in this order and in one write, or not at all.
    ///
    /// ```
    /// use parley_socketio::Frame;
    /// let frames = [Frame::event("/", b"[1]"), Frame::event("/", b"[2]")];
    /// assert_eq!(Frame::together(&frames).len(), 2 * frames[0].len());
    /// ```
    pub fn together(frames: &[Self]) -> Self {
        match frames {
            [one] => one.clone(),
            many => Self(Parts::Group(many.iter().flat_map(Self::parts).cloned().collect())),
        }
    }

    pub(crate) fn ack(namespace: &str, id: u64, array_json: &[u8]) -> Self {
        Self::packet(b'3', namespace, Some(id), array_json)
    }

    pub(crate) fn ack_binary(
        namespace: &str,
        id: u64,
        array_json: &[u8],
        attachments: &[Bytes],
    ) -> Self {
        Self::packet_with(b'6', namespace, Some(id), array_json, attachments)
    }

    pub(crate) fn connected(namespace: &str, sid: &str) -> Self {
        Self::packet(b'0', namespace, None, format!(r#"{{"sid":"{sid}"}}"#).as_bytes())
    }

    pub(crate) fn disconnect(namespace: &str) -> Self {
        Self::packet(b'1', namespace, None, b"")
    }

    pub(crate) fn connect_error(namespace: &str, json: &[u8]) -> Self {
        Self::packet(b'4', namespace, None, json)
    }

    fn packet(kind: u8, namespace: &str, id: Option<u64>, json: &[u8]) -> Self {
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let (namespace, comma) = prefix(namespace);
        let head = [b'4', kind];
        let parts: [&[u8]; 5] = [&head, namespace, comma, id.as_bytes(), json];
        Self(Parts::One(encode(Kind::Text, &parts)))
    }

    fn packet_with(
        kind: u8,
        namespace: &str,
        id: Option<u64>,
        json: &[u8],
        attachments: &[Bytes],
    ) -> Self {
        let head = format!("4{}{}-", char::from(kind), attachments.len());
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        let (namespace, comma) = prefix(namespace);
        let packet = encode(Kind::Text, &[head.as_bytes(), namespace, comma, id.as_bytes(), json]);
        let group = std::iter::once(packet)
            .chain(attachments.iter().map(|data| encode(Kind::Binary, &[data])))
            .collect();
        Self(Parts::Group(group))
    }

    /// An Engine.IO message of text.
    pub(crate) fn text(text: &str) -> Self {
        Self(Parts::One(encode(Kind::Text, &[b"4", text.as_bytes()])))
    }

    /// An Engine.IO message of bytes.
    pub(crate) fn binary(data: &[u8]) -> Self {
        Self(Parts::One(encode(Kind::Binary, &[data])))
    }

    pub(crate) fn parts(&self) -> &[Bytes] {
        match &self.0 {
            Parts::One(bytes) => std::slice::from_ref(bytes),
            Parts::Group(parts) => parts,
        }
    }

    /// Bytes on a WebSocket.
    pub fn len(&self) -> usize {
        self.parts().iter().map(Bytes::len).sum()
    }

    /// Never: even the smallest packet has a header.
    pub fn is_empty(&self) -> bool {
        false
    }
}

fn prefix(namespace: &str) -> (&[u8], &'static [u8]) {
    match namespace {
        "/" | "" => (b"", b""),
        named => (named.as_bytes(), b","),
    }
}

/// What a data frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// A finished, unmasked WebSocket data frame, in one allocation.
pub(crate) fn encode(kind: Kind, parts: &[&[u8]]) -> Bytes {
    let opcode = match kind {
        Kind::Text => 0x81,
        Kind::Binary => 0x82,
    };
    seal(opcode, parts)
}

/// A finished, unmasked WebSocket frame whose first byte is `first`.
pub(crate) fn seal(first: u8, parts: &[&[u8]]) -> Bytes {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let mut frame = Vec::with_capacity(length + header_length(length));
    frame.push(first);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(small @ 0..=125), _) => frame.push(small),
        (_, Ok(medium)) => {
            frame.push(126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(127);
            frame.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    for part in parts {
        frame.extend_from_slice(part);
    }
    Bytes::from(frame)
}

fn header_length(payload: usize) -> usize {
    match payload {
        0..=125 => 2,
        126..=65_535 => 4,
        _ => 10,
    }
}

/// What [`encode`] put into a frame.
pub(crate) fn payload(frame: &Bytes) -> (Kind, &[u8]) {
    let header = match frame[1] {
        126 => 4,
        127 => 10,
        _ => 2,
    };
    let kind = if frame[0] == 0x82 { Kind::Binary } else { Kind::Text };
    (kind, &frame[header..])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(frame: &Frame) -> Vec<u8> {
        payload(&frame.parts()[0]).1.to_vec()
    }

    #[test]
    fn packets_are_written_as_the_protocol_has_them() {
        assert_eq!(text(&Frame::event("/", b"[\"a\"]")), b"42[\"a\"]");
        assert_eq!(text(&Frame::event("/custom", b"[\"a\"]")), b"42/custom,[\"a\"]");
        assert_eq!(text(&Frame::ack("/", 12, b"[]")), b"4312[]");
        assert_eq!(text(&Frame::ack("/c", 12, b"[]")), b"43/c,12[]");
        assert_eq!(text(&Frame::connected("/", "x")), b"40{\"sid\":\"x\"}");
        assert_eq!(text(&Frame::disconnect("/c")), b"41/c,");
        assert_eq!(text(&Frame::connect_error("/c", b"{}")), b"44/c,{}");
    }

    #[test]
    fn a_binary_event_is_one_group() {
        let frame = Frame::event_binary("/", b"[\"a\"]", vec![Bytes::from_static(&[1, 2])]);
        assert_eq!(text(&frame), b"451-[\"a\"]");
        assert_eq!(payload(&frame.parts()[1]), (Kind::Binary, &[1, 2][..]));
        assert_eq!(frame.parts().len(), 2);
        let frame = Frame::ack_binary("/c", 7, b"[]", &[Bytes::new(), Bytes::new()]);
        assert_eq!(text(&frame), b"462-/c,7[]");
    }

    #[test]
    fn every_length_form_keeps_its_payload() {
        for length in [0, 1, 125, 126, 65_535, 65_536] {
            let data = vec![7; length];
            let frame = encode(Kind::Binary, &[&data]);
            assert_eq!(frame.len(), length + header_length(length));
            assert_eq!(payload(&frame), (Kind::Binary, &data[..]));
        }
    }
}
