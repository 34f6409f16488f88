//! Socket.IO packets from a client, without I/O.

use crate::engine::Message;
use bytes::Bytes;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde_json::value::RawValue;

/// The longest name of a namespace, in bytes.
const MAX_NAMESPACE: usize = 256;
/// Names that mean something to the client or server libraries themselves.
const RESERVED: [&str; 6] =
    ["connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"];

/// A packet, with all its attachments.
#[derive(Debug)]
pub(crate) struct Packet {
    pub(crate) namespace: Box<str>,
    pub(crate) content: Content,
}

#[derive(Debug)]
pub(crate) enum Content {
    Connect { auth: Option<Box<RawValue>> },
    Disconnect,
    Event { name: String, args: Box<RawValue>, attachments: Vec<Bytes>, ack: Option<u64> },
    Ack,
}

/// Not a packet that may come from a client, here and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    Syntax,
    /// Attachments above the limits.
    TooLarge,
}

/// Puts packets together.
#[derive(Debug)]
pub(crate) struct Decoder {
    max_attachments: usize,
    max_bytes: usize,
    /// A packet of which attachments are missing.
    pending: Option<Box<Pending>>,
}

#[derive(Debug)]
struct Pending {
    /// As it came.
    text: String,
    packet: Packet,
    received: Vec<Bytes>,
    expected: usize,
    bytes: usize,
}

impl Decoder {
    /// Limits of one packet's attachments: how many, and how many bytes together.
    pub(crate) fn new(max_attachments: usize, max_bytes: usize) -> Self {
        Self { max_attachments, max_bytes, pending: None }
    }

    /// The messages of a packet that is not complete, as they came.
    pub(crate) fn pending(&self) -> impl Iterator<Item = Message> {
        self.pending.iter().flat_map(|pending| {
            let received = pending.received.iter().cloned().map(Message::Binary);
            std::iter::once(Message::Text(pending.text.clone())).chain(received)
        })
    }

    /// The packet that this message is, or completes.
    pub(crate) fn decode(&mut self, message: Message) -> Result<Option<Packet>, Malformed> {
        match message {
            Message::Text(text) => self.text(text),
            Message::Binary(data) => self.attachment(data),
        }
    }

    fn text(&mut self, text: String) -> Result<Option<Packet>, Malformed> {
        if self.pending.is_some() {
            return Err(Malformed::Syntax);
        }
        let (packet, expected) = parse(&text)?;
        if expected > self.max_attachments {
            return Err(Malformed::TooLarge);
        }
        if expected == 0 {
            return Ok(Some(packet));
        }
        let pending = Pending { text, packet, received: Vec::new(), expected, bytes: 0 };
        self.pending = Some(Box::new(pending));
        Ok(None)
    }

    fn attachment(&mut self, data: Bytes) -> Result<Option<Packet>, Malformed> {
        let mut pending = self.pending.take().ok_or(Malformed::Syntax)?;
        pending.bytes += data.len();
        if pending.bytes > self.max_bytes {
            return Err(Malformed::TooLarge);
        }
        pending.received.push(data);
        if pending.received.len() < pending.expected {
            self.pending = Some(pending);
            return Ok(None);
        }
        let Pending { mut packet, received, .. } = *pending;
        if let Content::Event { attachments, .. } = &mut packet.content {
            *attachments = received;
        }
        Ok(Some(packet))
    }
}

/// A packet, and how many attachments follow.
fn parse(text: &str) -> Result<(Packet, usize), Malformed> {
    let (&kind, _) = text.as_bytes().split_first().ok_or(Malformed::Syntax)?;
    let mut rest = text.get(1..).ok_or(Malformed::Syntax)?;
    let expected = match kind {
        b'5' | b'6' => {
            let (count, after) = number(rest).ok_or(Malformed::Syntax)?;
            rest = after.strip_prefix('-').ok_or(Malformed::Syntax)?;
            if count == 0 {
                return Err(Malformed::Syntax);
            }
            usize::try_from(count).map_err(|_| Malformed::TooLarge)?
        }
        _ => 0,
    };
    let namespace = if rest.starts_with('/') {
        let (namespace, after) = rest.split_once(',').unwrap_or((rest, ""));
        rest = after;
        namespace
    } else {
        "/"
    };
    if namespace.len() > MAX_NAMESPACE {
        return Err(Malformed::TooLarge);
    }
    let id = if rest.starts_with(|first: char| first.is_ascii_digit()) {
        let (id, after) = number(rest).ok_or(Malformed::Syntax)?;
        rest = after;
        Some(id)
    } else {
        None
    };
    let content = match kind {
        b'0' => Content::Connect { auth: auth(rest)? },
        b'1' if rest.is_empty() => Content::Disconnect,
        b'2' | b'5' => event(rest, id)?,
        b'3' | b'6' if id.is_some() => {
            serde_json::from_str::<Vec<IgnoredAny>>(rest).map_err(|_| Malformed::Syntax)?;
            Content::Ack
        }
        _ => return Err(Malformed::Syntax),
    };
    Ok((Packet { namespace: namespace.into(), content }, expected))
}

/// Digits at the front, and what follows.
fn number(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len());
    Some((text[..end].parse().ok()?, &text[end..]))
}

fn raw(json: &str) -> Result<Box<RawValue>, Malformed> {
    RawValue::from_string(json.to_owned()).map_err(|_| Malformed::Syntax)
}

/// An object, or nothing.
fn auth(json: &str) -> Result<Option<Box<RawValue>>, Malformed> {
    if json.is_empty() {
        return Ok(None);
    }
    let auth = raw(json)?;
    if auth.get().starts_with('{') { Ok(Some(auth)) } else { Err(Malformed::Syntax) }
}

/// An array that begins with a name: the name, and an array of the rest.
fn event(json: &str, ack: Option<u64>) -> Result<Content, Malformed> {
    let items = json.strip_prefix('[').ok_or(Malformed::Syntax)?.trim_start();
    // The reference accepts numbers too. Nothing else is looked at.
    let (name, rest) = if items.starts_with('"') {
        first::<String>(items)?
    } else {
        let (number, rest) = first::<serde_json::Number>(items)?;
        (number.to_string(), rest)
    };
    if RESERVED.contains(&&*name) {
        return Err(Malformed::Syntax);
    }
    let args = match rest.strip_prefix(',') {
        Some(args) if args.trim_start().starts_with(']') => return Err(Malformed::Syntax),
        Some(args) => raw(&format!("[{args}"))?,
        None => raw(&format!("[{rest}"))?,
    };
    if rest.starts_with(',') || args.get() == "[]" {
        Ok(Content::Event { name, args, attachments: Vec::new(), ack })
    } else {
        Err(Malformed::Syntax)
    }
}

/// The value at the front, and what follows.
fn first<T: DeserializeOwned>(json: &str) -> Result<(T, &str), Malformed> {
    let mut stream = serde_json::Deserializer::from_str(json).into_iter();
    let Some(Ok(value)) = stream.next() else { return Err(Malformed::Syntax) };
    Ok((value, json[stream.byte_offset()..].trim_start()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn decoder() -> Decoder {
        Decoder::new(3, 10)
    }

    fn text(text: &str) -> Result<Option<Packet>, Malformed> {
        decoder().decode(Message::Text(text.to_owned()))
    }

    fn show(packet: Packet) -> String {
        match packet.content {
            Content::Connect { auth } => {
                format!(
                    "connect {} {}",
                    packet.namespace,
                    auth.map_or("-".into(), |a| a.to_string())
                )
            }
            Content::Disconnect => format!("disconnect {}", packet.namespace),
            Content::Event { name, args, attachments, ack } => {
                let ack = ack.map_or("-".into(), |id| id.to_string());
                format!("event {} {name} {args} {} {ack}", packet.namespace, attachments.len())
            }
            Content::Ack => format!("ack {}", packet.namespace),
        }
    }

    #[test]
    fn well_formed_packets_are_understood() {
        for (input, expected) in [
            ("0", "connect / -"),
            ("0{\"token\":\"123\"}", "connect / {\"token\":\"123\"}"),
            ("0/custom", "connect /custom -"),
            ("0/custom,", "connect /custom -"),
            ("0/custom,{}", "connect /custom {}"),
            ("1", "disconnect /"),
            ("1/custom,", "disconnect /custom"),
            ("2[\"a\"]", "event / a [] 0 -"),
            ("2[ \"a\" , 1 ]", "event / a [ 1 ] 0 -"),
            ("2[\"a\",1,{\"3\":[true]}]", "event / a [1,{\"3\":[true]}] 0 -"),
            ("2/custom,12[\"a\",\"]\"]", "event /custom a [\"]\"] 0 12"),
            ("2[7,1]", "event / 7 [1] 0 -"),
            ("3/custom,5[]", "ack /custom"),
            ("312[1,2]", "ack /"),
        ] {
            let packet = text(input).expect(input).expect(input);
            assert_eq!(show(packet), expected, "{input}");
        }
    }

    #[test]
    fn malformed_packets_are_refused() {
        for input in [
            "",
            "a",
            "abc",
            "€",
            "7",
            "4",
            "4{}",
            "0[]",
            "0{",
            "0null",
            "0\"x\"",
            "1{}",
            "1[]",
            "2",
            "2{}",
            "2[]",
            "2[",
            "2[\"a\"",
            "2[\"a\"]]",
            "2[\"a\",]",
            "2[\"a\" 1]",
            "2[null]",
            "2[{}]",
            "2[\"a\"]x",
            "2abc[\"a\"]",
            "2\"a\"",
            "2[\"connect\"]",
            "2[\"disconnecting\"]",
            "2[\"newListener\"]",
            "3[]",
            "3",
            "31",
            "31{}",
            "3x[]",
            "5[\"a\"]",
            "5-[\"a\"]",
            "5x-[\"a\"]",
            "51[\"a\"]",
            "51-",
            "50-[\"a\"]",
            "61-[]",
            "299999999999999999999[\"a\"]",
        ] {
            assert_eq!(text(input).err(), Some(Malformed::Syntax), "{input}");
        }
    }

    #[test]
    fn a_binary_event_waits_for_its_attachments() {
        let mut decoder = decoder();
        let head = "52-/c,3[\"a\",{\"_placeholder\":true,\"num\":0}]".to_owned();
        assert!(matches!(decoder.decode(Message::Text(head)), Ok(None)));
        assert!(matches!(decoder.decode(Message::Binary(Bytes::from_static(&[1]))), Ok(None)));
        let packet = decoder.decode(Message::Binary(Bytes::from_static(&[2]))).expect("complete");
        let expected = "event /c a [{\"_placeholder\":true,\"num\":0}] 2 3";
        assert_eq!(packet.map(show).as_deref(), Some(expected));
    }

    #[test]
    fn attachments_come_only_when_expected_and_within_limits() {
        let binary = |length| Message::Binary(Bytes::from(vec![0; length]));
        let head = || Message::Text("52-[\"a\"]".to_owned());
        assert_eq!(decoder().decode(binary(1)).err(), Some(Malformed::Syntax));
        let mut waiting = decoder();
        assert!(matches!(waiting.decode(head()), Ok(None)));
        assert_eq!(waiting.decode(head()).err(), Some(Malformed::Syntax));
        let mut waiting = decoder();
        assert!(matches!(waiting.decode(head()), Ok(None)));
        assert_eq!(waiting.decode(binary(11)).err(), Some(Malformed::TooLarge));
        assert_eq!(text("54-[\"a\"]").err(), Some(Malformed::TooLarge));
        assert_eq!(text(&format!("0/{}", "x".repeat(256))).err(), Some(Malformed::TooLarge));
    }

    proptest! {
        #[test]
        fn no_text_panics(input in "[0-9/,\\[\\]{}\"a-z-]{0,40}|.{0,40}") {
            let _ = text(&input);
        }

        #[test]
        fn events_survive_the_way(name in "[a-z \"\\\\€]{1,20}", values in prop::collection::vec(any::<i64>(), 0..5), ack in any::<Option<u32>>()) {
            prop_assume!(!RESERVED.contains(&name.as_str()));
            let mut all = vec![serde_json::json!(name)];
            all.extend(values.iter().map(|value| serde_json::json!(value)));
            let ack_text = ack.map(|id| id.to_string()).unwrap_or_default();
            let packet = text(&format!("2/ns,{ack_text}{}", serde_json::json!(all)));
            let Ok(Some(Packet { content: Content::Event { name: read, args, ack: id, .. }, .. })) = packet else {
                return Err(TestCaseError::fail("not an event"));
            };
            prop_assert_eq!(read, name);
            prop_assert_eq!(id, ack.map(u64::from));
            prop_assert_eq!(serde_json::from_str::<Vec<i64>>(args.get()).ok(), Some(values));
        }
    }
}
