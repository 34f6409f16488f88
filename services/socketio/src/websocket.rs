//! The server's side of RFC 6455, without I/O.
//!
//! A [`Decoder`] is fed what was read, in any pieces. A message that lies whole in the read buffer is
//! unmasked there and lent out; only an incomplete one is kept, and memory for it grows with the
//! bytes that came, not with the length that was announced.

use crate::frame::{Kind, seal};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use sha1::{Digest as _, Sha1};

/// Close codes of RFC 6455 §7.4.
pub(crate) mod code {
    pub(crate) const NORMAL: u16 = 1000;
    pub(crate) const GOING_AWAY: u16 = 1001;
    pub(crate) const PROTOCOL: u16 = 1002;
    pub(crate) const NOT_UTF8: u16 = 1007;
    pub(crate) const POLICY: u16 = 1008;
    pub(crate) const TOO_BIG: u16 = 1009;
    pub(crate) const TRY_AGAIN: u16 = 1013;
}

/// The answer to a `Sec-WebSocket-Key`, if it is one.
pub(crate) fn accept_key(key: &[u8]) -> Option<String> {
    if BASE64_STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let digest = Sha1::new()
        .chain_update(key)
        .chain_update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11")
        .finalize();
    Some(BASE64_STANDARD.encode(digest))
}

/// What a client's frames came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Text(&'a str),
    Binary(&'a [u8]),
    Ping(&'a [u8]),
    Pong,
    /// The client closes, with this code.
    Close(Option<u16>),
}

/// How a client broke the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Violation {
    /// Reserved bits or opcodes, masks, lengths, fragments, close codes.
    Framing,
    /// Text that is not UTF-8.
    NotUtf8,
    /// A message above the limit.
    TooBig,
}

impl Violation {
    pub(crate) fn code(self) -> u16 {
        match self {
            Self::Framing => code::PROTOCOL,
            Self::NotUtf8 => code::NOT_UTF8,
            Self::TooBig => code::TOO_BIG,
        }
    }
}

const LONGEST_HEADER: usize = 14;
const LONGEST_CONTROL: u64 = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opcode {
    Continuation,
    Data(Kind),
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }
}

#[derive(Clone, Copy, Debug)]
struct Header {
    fin: bool,
    opcode: Opcode,
    mask: [u8; 4],
    length: u64,
}

impl Header {
    /// Reads a header and its length, if all of it is there.
    fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Violation> {
        let [first, second, ..] = *bytes else { return Ok(None) };
        let opcode = match first & 0x0f {
            0x0 => Opcode::Continuation,
            0x1 => Opcode::Data(Kind::Text),
            0x2 => Opcode::Data(Kind::Binary),
            0x8 => Opcode::Close,
            0x9 => Opcode::Ping,
            0xa => Opcode::Pong,
            _ => return Err(Violation::Framing),
        };
        let (fin, reserved, masked) = (first & 0x80 != 0, first & 0x70, second & 0x80 != 0);
        if reserved != 0 || !masked {
            return Err(Violation::Framing);
        }
        let (length, rest) = match second & 0x7f {
            126 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from(u16::from_be_bytes(*length)), 4),
                None => return Ok(None),
            },
            127 => match bytes[2..].first_chunk() {
                Some(length) => (u64::from_be_bytes(*length), 10),
                None => return Ok(None),
            },
            short => (u64::from(short), 2),
        };
        // The shortest form is the only one, and the highest bit of the longest is not used.
        let wrong = match rest {
            4 => length < 126,
            10 => u16::try_from(length).is_ok() || length >> 63 != 0,
            _ => false,
        };
        if wrong {
            return Err(Violation::Framing);
        }
        if opcode.is_control() && (!fin || length > LONGEST_CONTROL) {
            return Err(Violation::Framing);
        }
        match bytes[rest..].first_chunk() {
            Some(&mask) => Ok(Some((Self { fin, opcode, mask, length }, rest + 4))),
            None => Ok(None),
        }
    }
}

/// A frame of which not everything has come yet.
#[derive(Debug)]
struct Partial {
    header: Header,
    left: usize,
    /// The mask, turned to where the next byte stands.
    mask: [u8; 4],
}

/// Makes messages of bytes.
#[derive(Debug)]
pub(crate) struct Decoder {
    limit: usize,
    /// The beginning of a header that was cut.
    head: [u8; LONGEST_HEADER],
    head_length: u8,
    partial: Option<Partial>,
    /// Payload of an unfinished control frame.
    control: Vec<u8>,
    /// Payload of an unfinished message, and what it is.
    message: Vec<u8>,
    kind: Option<Kind>,
    /// Lent out by the last call.
    done: Vec<u8>,
}

impl Decoder {
    /// `limit` is the longest message, in bytes.
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            head: [0; LONGEST_HEADER],
            head_length: 0,
            partial: None,
            control: Vec::new(),
            message: Vec::new(),
            kind: None,
            done: Vec::new(),
        }
    }

    /// Takes bytes from the front of `input` and says how many; call again with the rest until it
    /// is used up.
    pub(crate) fn next<'a>(
        &'a mut self,
        input: &'a mut [u8],
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        self.done = Vec::new();
        let mut used = 0;
        if self.partial.is_none() {
            let Some((header, taken)) = self.header(input)? else {
                return Ok((input.len(), None));
            };
            used = taken;
            let length = self.check(&header)?;
            let whole = header.fin && header.opcode != Opcode::Continuation;
            if whole && input.len() - used >= length {
                let payload = &mut input[used..used + length];
                unmask(payload, header.mask);
                return Ok((used + length, Some(item(header.opcode, payload)?)));
            }
            if let Opcode::Data(kind) = header.opcode {
                self.kind = Some(kind);
            }
            self.partial = Some(Partial { header, left: length, mask: header.mask });
        }
        self.fill(input, used)
    }

    /// Adds to the frame that is incomplete.
    fn fill<'a>(
        &'a mut self,
        input: &mut [u8],
        used: usize,
    ) -> Result<(usize, Option<Item<'a>>), Violation> {
        let Some(partial) = &mut self.partial else { return Ok((used, None)) };
        let taken = partial.left.min(input.len() - used);
        let bytes = &mut input[used..used + taken];
        unmask(bytes, partial.mask);
        partial.mask.rotate_left(taken % 4);
        partial.left -= taken;
        let header = partial.header;
        let control = header.opcode.is_control();
        let buffer = if control { &mut self.control } else { &mut self.message };
        buffer.extend_from_slice(bytes);
        if partial.left > 0 {
            return Ok((used + taken, None));
        }
        self.partial = None;
        if control {
            self.done = std::mem::take(&mut self.control);
            return Ok((used + taken, Some(item(header.opcode, &self.done)?)));
        }
        if !header.fin {
            return Ok((used + taken, None));
        }
        let kind = self.kind.take().ok_or(Violation::Framing)?;
        self.done = std::mem::take(&mut self.message);
        Ok((used + taken, Some(item(Opcode::Data(kind), &self.done)?)))
    }

    /// The next header, and how many bytes of `input` belong to it. None: everything was kept.
    fn header(&mut self, input: &[u8]) -> Result<Option<(Header, usize)>, Violation> {
        let kept = usize::from(self.head_length);
        if kept == 0
            && let Some(found) = Header::parse(input)?
        {
            return Ok(Some(found));
        }
        let more = input.len().min(LONGEST_HEADER - kept);
        self.head[kept..kept + more].copy_from_slice(&input[..more]);
        if let Some((header, length)) = Header::parse(&self.head[..kept + more])? {
            self.head_length = 0;
            return Ok(Some((header, length - kept)));
        }
        #[expect(clippy::cast_possible_truncation, reason = "at most LONGEST_HEADER")]
        {
            self.head_length = (kept + more) as u8;
        }
        Ok(None)
    }

    /// Whether this frame may come now, and be this long.
    fn check(&self, header: &Header) -> Result<usize, Violation> {
        let length = usize::try_from(header.length).map_err(|_| Violation::TooBig)?;
        match (header.opcode, self.kind) {
            (Opcode::Close | Opcode::Ping | Opcode::Pong, _) => return Ok(length),
            (Opcode::Data(_), None) | (Opcode::Continuation, Some(_)) => {}
            (Opcode::Data(_), Some(_)) | (Opcode::Continuation, None) => {
                return Err(Violation::Framing);
            }
        }
        if length > self.limit - self.message.len() {
            return Err(Violation::TooBig);
        }
        Ok(length)
    }
}

fn item(opcode: Opcode, payload: &[u8]) -> Result<Item<'_>, Violation> {
    Ok(match opcode {
        Opcode::Data(Kind::Text) => {
            Item::Text(simdutf8::basic::from_utf8(payload).map_err(|_| Violation::NotUtf8)?)
        }
        Opcode::Data(Kind::Binary) | Opcode::Continuation => Item::Binary(payload),
        Opcode::Ping => Item::Ping(payload),
        Opcode::Pong => Item::Pong,
        Opcode::Close => Item::Close(close_code(payload)?),
    })
}

fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let [high, low, reason @ ..] = payload else {
        return if payload.is_empty() { Ok(None) } else { Err(Violation::Framing) };
    };
    let code = u16::from_be_bytes([*high, *low]);
    let allowed = matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999);
    if !allowed {
        return Err(Violation::Framing);
    }
    simdutf8::basic::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}

fn unmask(bytes: &mut [u8], mask: [u8; 4]) {
    let wide = [mask[0], mask[1], mask[2], mask[3], mask[0], mask[1], mask[2], mask[3]];
    let wide = u64::from_ne_bytes(wide);
    let (chunks, rest) = bytes.as_chunks_mut::<8>();
    for chunk in chunks {
        *chunk = (u64::from_ne_bytes(*chunk) ^ wide).to_ne_bytes();
    }
    for (byte, mask) in rest.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
}

/// A close frame.
pub(crate) fn close_frame(code: u16) -> Bytes {
    seal(0x88, &[&code.to_be_bytes()])
}

/// The answer to a ping.
pub(crate) fn pong_frame(payload: &[u8]) -> Bytes {
    seal(0x8a, &[payload])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A client's frame.
    fn frame(first: u8, mask: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut frame = seal(first, &[payload]).to_vec();
        let header = frame.len() - payload.len();
        frame[1] |= 0x80;
        unmask(&mut frame[header..], mask);
        frame.splice(header..header, mask);
        frame
    }

    /// Everything the pieces came to, as text.
    fn decode(limit: usize, pieces: &[&[u8]]) -> Result<Vec<String>, Violation> {
        let mut decoder = Decoder::new(limit);
        let mut items = Vec::new();
        for piece in pieces {
            let mut piece = piece.to_vec();
            let mut rest = &mut piece[..];
            while !rest.is_empty() {
                let (used, item) = decoder.next(rest)?;
                items.extend(item.map(|item| format!("{item:?}")));
                rest = &mut rest[used..];
            }
        }
        Ok(items)
    }

    #[test]
    fn the_answer_to_a_key_is_that_of_the_rfc() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==");
        assert_eq!(accept.as_deref(), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
        assert_eq!(accept_key(b"short"), None);
        assert_eq!(accept_key(b"c2hvcnQ="), None);
    }

    #[test]
    fn a_whole_message_is_lent_from_where_it_was_read() {
        let mut input = frame(0x81, [1, 2, 3, 4], b"hello");
        let range = input.as_ptr_range();
        let mut decoder = Decoder::new(10);
        match decoder.next(&mut input) {
            Ok((11, Some(Item::Text(text)))) => {
                assert_eq!(text, "hello");
                assert!(range.contains(&text.as_ptr()));
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_limit_counts_all_fragments_and_comes_before_their_bytes() {
        let mask = [9; 4];
        let whole = frame(0x82, mask, &[0; 10]);
        assert!(decode(10, &[&whole]).is_ok());
        assert_eq!(decode(9, &[&whole[..6]]), Err(Violation::TooBig));
        let pieces = [frame(0x02, mask, &[0; 5]), frame(0x80, mask, &[0; 5])].concat();
        assert!(decode(10, &[&pieces]).is_ok());
        assert_eq!(decode(9, &[&pieces]), Err(Violation::TooBig));
    }

    #[test]
    fn a_length_has_one_form() {
        let long = |length: u64| [&[0x82, 0xff][..], &length.to_be_bytes(), &[0; 4]].concat();
        let short = |length: u16| [&[0x82, 0xfe][..], &length.to_be_bytes(), &[0; 4]].concat();
        for wrong in [long(0), long(0xffff), long(1 << 63), long(u64::MAX), short(0), short(125)] {
            assert_eq!(decode(100, &[&wrong]), Err(Violation::Framing), "{wrong:?}");
        }
        for right in [long(0x1_0000), long(u64::MAX >> 1), short(126), short(u16::MAX)] {
            assert_eq!(decode(100, &[&right]), Err(Violation::TooBig), "{right:?}");
        }
    }

    #[test]
    fn nothing_is_kept_between_messages() {
        let mut decoder = Decoder::new(1000);
        let mut input = frame(0x82, [1; 4], &[7; 500]);
        let (one, two) = input.split_at_mut(100);
        assert!(matches!(decoder.next(one), Ok((100, None))));
        assert!(matches!(decoder.next(two), Ok((_, Some(Item::Binary(_))))));
        assert!(matches!(decoder.next(&mut []), Ok((0, None))));
        assert_eq!((decoder.done.capacity(), decoder.message.capacity()), (0, 0));
    }

    #[test]
    fn class_10_an_announced_length_takes_no_memory() {
        let mut decoder = Decoder::new(usize::MAX);
        let mut header = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 5]].concat();
        assert!(matches!(decoder.next(&mut header), Ok((_, None))));
        assert!(decoder.message.capacity() < 100);
    }

    proptest! {
        #[test]
        fn messages_survive_masks_fragments_and_cuts(
            messages in prop::collection::vec((any::<[u8; 4]>(), "[a-z€]{0,200}", 0_usize..4), 1..6),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (mask, text, fragments) in &messages {
                let chunk = (text.len() / (fragments + 1)).max(1);
                let parts: Vec<_> = text.as_bytes().chunks(chunk).collect();
                let parts = if parts.is_empty() { vec![&[][..]] } else { parts };
                for (place, part) in parts.iter().enumerate() {
                    let opcode = u8::from(place == 0);
                    let fin = if place + 1 == parts.len() { 0x80 } else { 0x00 };
                    bytes.extend(frame(opcode | fin, *mask, part));
                    bytes.extend(frame(0x89, *mask, b"between"));
                }
                expected.push(format!("{:?}", Item::Text(text)));
            }
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
            cuts.sort_unstable();
            let mut pieces = Vec::new();
            let mut start = 0;
            for cut in cuts {
                pieces.push(&bytes[start..cut]);
                start = cut;
            }
            pieces.push(&bytes[start..]);
            let mut items = decode(1000, &pieces).expect("well formed");
            let pings = items.len();
            items.retain(|item| item.starts_with("Text"));
            prop_assert!(pings > items.len());
            prop_assert_eq!(items, expected);
        }

        #[test]
        fn no_bytes_panic_and_cuts_change_nothing(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(bytes.len() + 1);
            let whole = decode(100, &[&bytes]);
            prop_assert_eq!(decode(100, &[&bytes[..cut], &bytes[cut..]]), whole);
        }

        #[test]
        fn unmasking_takes_the_mask_byte_by_byte(mut bytes in prop::collection::vec(any::<u8>(), 0..100), mask in any::<[u8; 4]>()) {
            let before = bytes.clone();
            unmask(&mut bytes, mask);
            for (place, byte) in bytes.iter().enumerate() {
                prop_assert_eq!(*byte, before[place] ^ mask[place % 4]);
            }
        }
    }
}
