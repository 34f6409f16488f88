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
        if kept == 0 {
            if let Some(found) = Header::parse(input)? {
                return Ok(Some(found));
            }
        }
        let more = input.len().min(LONGEST_HEADER - kept);
        self.head[kept..kept + more].copy_from_slice(&input[..more]);
        match Header::parse(&self.head[..kept + more])? {
            Some((header, length)) => {
                self.head_length = 0;
                Ok(Some((header, length - kept)))
            }
            None => {
                #[expect(clippy::cast_possible_truncation, reason = "at most LONGEST_HEADER")]
                {
                    self.head_length = (kept + more) as u8;
                }
                Ok(None)
            }
        }
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
