//! An event on the bus, of a room or for people's connections: a small binary header, then the finished event.
//!
//! ```text
//! byte 0       format, 1
//! byte 1       kind
//! bytes 2–3    length of the header, so that a later writer may add to its end
//! bytes 4–19   chat id
//! bytes 20–27  version, 0 for an event that is not durable
//! bytes 28–35  epoch
//! bytes 36–37  number of affected users, each: 2 bytes length, then the id
//! …            (what later formats add)
//! then         the event, `["name",{…}]`
//! ```
//!
//! Numbers are big-endian. A gateway needs the header alone to order events and to know whom they concern; it never
//! reads the event. Old reader, new writer: unknown kinds pass through, unknown header bytes are skipped.

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::ids::{ChatId, UserId};
use crate::version::{Epoch, Version};

const FORMAT: u8 = 1;
const FIXED: usize = 38;

/// What an event does to a room, beyond being passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A message was sent.
    NewMessage,
    /// A message's text was changed.
    MessageEdited,
    /// A message was deleted.
    MessageDeleted,
    /// The affected users are in the chat from here on.
    ParticipantsAdded,
    /// The affected user is not in the chat from here on.
    ParticipantRemoved,
    /// Somebody has read. With affected users, only they are told.
    MessagesRead,
    /// For the affected users' connections, in the room or not: they have this chat from here on.
    ChatCreated,
    /// For the affected users' connections: they have it no more.
    ChatRemoved,
    /// For the connections of the support pool: somebody has opened this chat.
    SupportOpened,
    /// Of a newer writer: passed on, nothing else.
    Unknown(u8),
}

impl Kind {
    /// The number on the bus.
    pub const fn code(self) -> u8 {
        match self {
            Self::NewMessage => 1,
            Self::MessageEdited => 2,
            Self::MessageDeleted => 3,
            Self::ParticipantsAdded => 4,
            Self::ParticipantRemoved => 5,
            Self::MessagesRead => 6,
            Self::ChatCreated => 7,
            Self::ChatRemoved => 8,
            Self::SupportOpened => 9,
            Self::Unknown(code) => code,
        }
    }

    /// What a number on the bus says.
    pub const fn from_code(code: u8) -> Self {
        match code {
            1 => Self::NewMessage,
            2 => Self::MessageEdited,
            3 => Self::MessageDeleted,
            4 => Self::ParticipantsAdded,
            5 => Self::ParticipantRemoved,
            6 => Self::MessagesRead,
            7 => Self::ChatCreated,
            8 => Self::ChatRemoved,
            9 => Self::SupportOpened,
            other => Self::Unknown(other),
        }
    }
}

/// An event between pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomEvent {
    /// What it does.
    pub kind: Kind,
    /// To which room.
    pub chat_id: ChatId,
    /// Its place among the chat's changes; `None` for what is not durable.
    pub version: Option<Version>,
    /// The history of that version.
    pub epoch: Epoch,
    /// The users whom it adds, removes or otherwise concerns.
    pub affected: Vec<UserId>,
    /// The finished event, `["name",{…}]`.
    pub event: Bytes,
}

/// Bytes that are no room event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Shorter than its own header says.
    #[error("the event is cut short")]
    Truncated,
    /// Written by an incompatible release.
    #[error("the event has the unknown format {0}")]
    Format(u8),
    /// An affected user's id is none.
    #[error("the event names no valid user")]
    UserId,
}

impl RoomEvent {
    /// The bytes for the bus. Of more affected users than a header can hold (65,535 bytes), the first ones are named;
    /// no change of a chat concerns that many (1,000 people of 128 characters at most fit as a rule).
    pub fn encode(&self) -> Bytes {
        let mut header = BytesMut::with_capacity(FIXED + self.event.len() + 64);
        header.extend_from_slice(&[FORMAT, self.kind.code(), 0, 0]);
        header.extend_from_slice(self.chat_id.uuid().as_bytes());
        header.extend_from_slice(&self.version.unwrap_or_default().0.to_be_bytes());
        header.extend_from_slice(&self.epoch.0.to_be_bytes());
        header.extend_from_slice(&[0, 0]);
        let mut named = 0u16;
        for user in &self.affected {
            let id = user.as_str().as_bytes();
            let fits = u16::try_from(header.len() + 2 + id.len()).is_ok();
            let (true, Ok(length)) = (fits, u16::try_from(id.len())) else { break };
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(id);
            named += 1;
        }
        let length = u16::try_from(header.len()).unwrap_or(u16::MAX);
        header[2..4].copy_from_slice(&length.to_be_bytes());
        header[36..38].copy_from_slice(&named.to_be_bytes());
        header.extend_from_slice(&self.event);
        header.freeze()
    }

    /// Reads what [`RoomEvent::encode`] wrote, in this or a compatible release. The event shares `bytes`.
    pub fn decode(bytes: &Bytes) -> Result<Self, Unreadable> {
        match bytes.first() {
            None => return Err(Unreadable::Truncated),
            Some(&FORMAT) => {}
            Some(&other) => return Err(Unreadable::Format(other)),
        }
        let mut header = Reader { bytes, at: 1 };
        let kind = Kind::from_code(header.array::<1>()?[0]);
        let length = usize::from(header.u16()?);
        let chat_id = ChatId::from(Uuid::from_bytes(header.array()?));
        let version = Version(u64::from_be_bytes(header.array()?));
        let epoch = Epoch(u64::from_be_bytes(header.array()?));
        let named = header.u16()?;
        let affected = (0..named).map(|_| header.user()).collect::<Result<_, _>>()?;
        if length < header.at || bytes.len() < length {
            return Err(Unreadable::Truncated);
        }
        let version = (version != Version::default()).then_some(version);
        Ok(Self { kind, chat_id, version, epoch, affected, event: bytes.slice(length..) })
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Unreadable> {
        let taken = self.bytes.get(self.at..self.at + length).ok_or(Unreadable::Truncated)?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        self.take(N)?.try_into().map_err(|_| Unreadable::Truncated)
    }

    fn u16(&mut self) -> Result<u16, Unreadable> {
        self.array().map(u16::from_be_bytes)
    }

    fn user(&mut self) -> Result<UserId, Unreadable> {
        let length = self.u16()?;
        let id =
            std::str::from_utf8(self.take(usize::from(length))?).map_err(|_| Unreadable::UserId)?;
        UserId::parse(id).map_err(|_| Unreadable::UserId)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(affected: Vec<UserId>) -> RoomEvent {
        RoomEvent {
            kind: Kind::NewMessage,
            chat_id: ChatId::from(Uuid::from_u128(7)),
            version: Some(Version(42)),
            epoch: Epoch(9),
            affected,
            event: Bytes::from_static(br#"["new-message",{}]"#),
        }
    }

    #[test]
    fn reads_what_it_writes() {
        let users = vec![UserId::parse("alice").unwrap(), UserId::parse("用户").unwrap()];
        for written in [event(users), event(vec![]), RoomEvent { version: None, ..event(vec![]) }] {
            assert_eq!(RoomEvent::decode(&written.encode()), Ok(written));
        }
    }

    #[test]
    fn the_bytes_of_format_1_never_change() {
        let written = event(vec![UserId::parse("al").unwrap()]).encode();
        let head = [
            &[1u8, 1, 0, 42][..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7],
            &[0, 0, 0, 0, 0, 0, 0, 42],
            &[0, 0, 0, 0, 0, 0, 0, 9],
            &[0, 1, 0, 2, b'a', b'l'],
        ];
        assert_eq!(written, [head.concat(), br#"["new-message",{}]"#.to_vec()].concat());
    }

    #[test]
    fn an_old_reader_passes_a_new_writers_event_on() {
        let mut bytes = event(vec![]).encode().to_vec();
        bytes[1] = 200; // a kind that this release does not know
        bytes.splice(FIXED..FIXED, [1, 2, 3]); // header bytes that it does not know
        bytes[3] += 3;
        let read = RoomEvent::decode(&Bytes::from(bytes)).unwrap();
        assert_eq!(read.kind, Kind::Unknown(200));
        assert_eq!(read.event, event(vec![]).event);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = RoomEvent::decode(&Bytes::from(bytes));
        }

        #[test]
        fn any_cut_is_refused_or_harmless(cut in 0usize..60) {
            let whole = event(vec![UserId::parse("alice").unwrap()]).encode();
            let read = RoomEvent::decode(&whole.slice(..cut.min(whole.len())));
            prop_assert_eq!(read.is_ok(), cut >= FIXED + 7);
        }
    }
}
