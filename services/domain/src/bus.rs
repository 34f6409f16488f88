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
//! …            for events of users' connections, of each affected user: 8 bytes membership version
//! …            8 bytes moment of the commit, in microseconds since 1970; 0 if it is not known
//! …            25 bytes trace context: trace id, span id, flags, as W3C has them; 0 if there is none
//! …            (what later formats add)
//! then         the event, `["name",{…}]`
//! ```
//!
//! Numbers are big-endian. A gateway needs the header alone to order events and to know whom they concern; it never
//! reads the event. Old reader, new writer: unknown kinds pass through, unknown header bytes are skipped. New reader, old
//! writer: what the header ends before is not known. Nothing is written of an origin of which nothing is known.

use bytes::{Bytes, BytesMut};
use chrono::{DateTime, Utc};
use uuid::Uuid;

use crate::ids::{ChatId, UserId};
use crate::version::{Epoch, Version};

const FORMAT: u8 = 1;
const FIXED: usize = 38;
/// The moment of the commit and the trace context.
const ORIGIN: usize = 8 + 25;

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

/// Where an event comes from, for whoever watches over the way of it. It changes nothing in what is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Origin {
    /// When it was committed, by the clock of the pod that did it; to the microsecond.
    pub committed_at: Option<DateTime<Utc>>,
    /// The span by which it was published, if somebody traces it.
    pub trace: Option<TraceContext>,
}

/// A span that others may be children of, as W3C's trace context names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, not 0.
    pub trace_id: u128,
    /// The span's id, not 0.
    pub span_id: u64,
    /// The lowest bit: it is sampled.
    pub flags: u8,
}

impl Origin {
    fn write(&self, header: &mut BytesMut) {
        if *self == Self::default() {
            return;
        }
        let micros = self.committed_at.map_or(0, |at| at.timestamp_micros());
        header.extend_from_slice(&micros.to_be_bytes());
        if let Some(trace) = self.trace {
            header.extend_from_slice(&trace.trace_id.to_be_bytes());
            header.extend_from_slice(&trace.span_id.to_be_bytes());
            header.extend_from_slice(&[trace.flags]);
        }
    }

    /// What the rest of a header says. It may be of a writer who knew nothing of this.
    fn read(header: &mut Reader<'_>) -> Self {
        let micros = header.array().map(i64::from_be_bytes).unwrap_or_default();
        let committed_at =
            Some(micros).filter(|micros| *micros != 0).and_then(DateTime::from_timestamp_micros);
        Self { committed_at, trace: TraceContext::read(header) }
    }
}

impl TraceContext {
    fn read(header: &mut Reader<'_>) -> Option<Self> {
        let trace_id = u128::from_be_bytes(header.array().ok()?);
        let span_id = u64::from_be_bytes(header.array().ok()?);
        let [flags] = header.array().ok()?;
        (trace_id != 0 && span_id != 0).then_some(Self { trace_id, span_id, flags })
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
    /// For [`Kind::ChatCreated`] and [`Kind::ChatRemoved`], of each affected user: how often the set of the user's chats had
    /// changed with this. What was told already shows by it, and what was not told before. Empty for all others.
    pub membership_versions: Vec<u64>,
    /// Where it comes from.
    pub origin: Origin,
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
            let more = 2 + id.len() + 8 * (usize::from(named) + 1) + ORIGIN;
            let fits = u16::try_from(header.len() + more).is_ok();
            let (true, Ok(length)) = (fits, u16::try_from(id.len())) else { break };
            header.extend_from_slice(&length.to_be_bytes());
            header.extend_from_slice(id);
            named += 1;
        }
        for version in self.membership_versions.iter().take(usize::from(named)) {
            header.extend_from_slice(&version.to_be_bytes());
        }
        self.origin.write(&mut header);
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
        let of_users = matches!(kind, Kind::ChatCreated | Kind::ChatRemoved);
        let counted = if of_users { named } else { 0 };
        let membership_versions = (0..counted)
            .map(|_| header.array().map(u64::from_be_bytes))
            .collect::<Result<_, _>>()?;
        if length < header.at || bytes.len() < length {
            return Err(Unreadable::Truncated);
        }
        let origin = Origin::read(&mut Reader { bytes: &bytes[..length], at: header.at });
        let version = (version != Version::default()).then_some(version);
        Ok(Self {
            kind,
            chat_id,
            version,
            epoch,
            affected,
            membership_versions,
            origin,
            event: bytes.slice(length..),
        })
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
            membership_versions: Vec::new(),
            origin: Origin::default(),
            event: Bytes::from_static(br#"["new-message",{}]"#),
        }
    }

    fn traced() -> Origin {
        let trace = TraceContext { trace_id: 3 << 64, span_id: 5, flags: 1 };
        Origin { committed_at: DateTime::from_timestamp_micros(0x0102_0304), trace: Some(trace) }
    }

    #[test]
    fn reads_what_it_writes() {
        let users = vec![UserId::parse("alice").unwrap(), UserId::parse("用户").unwrap()];
        let of_users = RoomEvent {
            kind: Kind::ChatCreated,
            membership_versions: vec![3, u64::MAX],
            ..event(users.clone())
        };
        let plain = RoomEvent { version: None, ..event(vec![]) };
        let known = |origin| RoomEvent { origin, ..of_users.clone() };
        let committed = known(Origin { trace: None, ..traced() });
        let (whole, trace) = (known(traced()), known(Origin { committed_at: None, ..traced() }));
        for written in [event(users), event(vec![]), plain, of_users, committed, whole, trace] {
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
    fn the_bytes_of_an_origin_never_change() {
        let written = RoomEvent { origin: traced(), ..event(vec![]) }.encode();
        assert_eq!(written[2..4], [0, 71], "the header is longer by the origin");
        let origin = [
            &[0u8, 0, 0, 0, 1, 2, 3, 4][..],
            &[0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 0, 0, 0, 0, 0, 0, 5, 1],
        ];
        assert_eq!(written[FIXED..71], origin.concat());
        assert_eq!(written[71..], *br#"["new-message",{}]"#);
    }

    #[test]
    fn a_header_that_an_old_writer_has_ended_has_no_origin() {
        let whole = RoomEvent { origin: traced(), ..event(vec![]) }.encode();
        for (kept, committed) in [(0, false), (7, false), (8, true), (32, true)] {
            let mut bytes = whole.to_vec();
            bytes.drain(FIXED + kept..FIXED + ORIGIN);
            bytes[3] = u8::try_from(FIXED + kept).unwrap();
            let read = RoomEvent::decode(&Bytes::from(bytes)).unwrap();
            assert_eq!(read.origin.committed_at.is_some(), committed, "{kept} bytes");
            assert_eq!((read.origin.trace, read.event), (None, event(vec![]).event));
        }
    }

    #[test]
    fn an_old_reader_passes_a_new_writers_event_on() {
        let mut bytes = event(vec![]).encode().to_vec();
        bytes[1] = 200; // a kind that this release does not know
        bytes.splice(FIXED..FIXED, [0; ORIGIN].into_iter().chain([1, 2, 3])); // header bytes that it does not know
        bytes[3] += 3 + u8::try_from(ORIGIN).unwrap();
        let read = RoomEvent::decode(&Bytes::from(bytes)).unwrap();
        assert_eq!((read.kind, read.origin), (Kind::Unknown(200), Origin::default()));
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
