//! WebSocket frames, as a client of a measurement needs them: what came is told apart, and hardly looked at.

/// A frame of the server.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) opcode: u8,
    pub(super) payload: &'a [u8],
}

pub(super) const TEXT: u8 = 1;
pub(super) const BINARY: u8 = 2;
pub(super) const CLOSE: u8 = 8;
pub(super) const PING: u8 = 9;
pub(super) const PONG: u8 = 10;

/// The frame at the front, and how long it is; `None` while it is not whole. Servers do not mask, and none of those that
/// are measured here cuts a message into frames.
pub(super) fn first(bytes: &[u8]) -> Option<(Frame<'_>, usize)> {
    let [begin, short, rest @ ..] = bytes else { return None };
    let (length, header) = match short & 0x7f {
        126 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), 4),
        127 => (usize::try_from(u64::from_be_bytes(*rest.first_chunk()?)).ok()?, 10),
        short => (usize::from(short), 2),
    };
    let payload = bytes.get(header..header + length)?;
    Some((Frame { opcode: begin & 0x0f, payload }, header + length))
}

/// Adds a client's frame. Its mask is nothing: what is masked is for proxies, and there is none.
pub(super) fn append(to: &mut Vec<u8>, opcode: u8, payload: &[&[u8]]) {
    let length: usize = payload.iter().map(|part| part.len()).sum();
    to.push(0x80 | opcode);
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short @ 0..=125), _) => to.push(0x80 | short),
        (_, Ok(medium)) => {
            to.push(0x80 | 0x7e);
            to.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            to.push(0x80 | 0x7f);
            to.extend_from_slice(&(length as u64).to_be_bytes());
        }
    }
    to.extend_from_slice(&[0; 4]);
    for part in payload {
        to.extend_from_slice(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_seen_once_it_is_whole() {
        for length in [0, 5, 125, 126, 70_000] {
            let payload = vec![b'x'; length];
            let mut bytes = Vec::new();
            append(&mut bytes, TEXT, &[&payload]);
            // What a server sends has no mask.
            let header = bytes.len() - length - 4;
            bytes[1] &= 0x7f;
            bytes.drain(header..header + 4);
            let whole = bytes.len();
            assert_eq!(first(&bytes[..whole - 1]), None);
            bytes.extend_from_slice(b"rest");
            assert_eq!(first(&bytes), Some((Frame { opcode: TEXT, payload: &payload }, whole)));
        }
        assert_eq!(first(&[0x81]), None);
    }
}
