//! What every event looks like on the wire, byte for byte: clients that were written for it read it for years.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;

use chrono::DateTime;
use parley_domain::bus::{Kind, Origin};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::{Chat, ChatType, Participant, ParticipantRole};
use parley_domain::event::{self, ChatShown, MessagesRead, Resync, ResyncReason, UserTyping};
use parley_domain::ids::{AttachmentId, ChatId, ClientMessageId, MessageId, UserId};
use parley_domain::message::{Attachment, Message, MessageType, Sender};
use parley_domain::time::Timestamp;
use parley_domain::version::{Epoch, Seq, Version};
use serde_json::Value;
use serde_json::value::RawValue;
use uuid::Uuid;

const EPOCH: Epoch = Epoch(0x0123_4567_89ab_cdef);

fn id(number: u128) -> Uuid {
    Uuid::from_u128(0x0192_f0a4_7c3b_7d2e_8a1b_0000_0000_0000 + number)
}

fn chat_id() -> ChatId {
    id(1).into()
}

fn user(id: &str) -> UserId {
    UserId::parse(id).unwrap()
}

fn time(second: i64) -> Timestamp {
    Timestamp::new(DateTime::from_timestamp(1_780_056_000 + second, 125_000_000).unwrap())
}

fn message() -> Message {
    let attachment = AttachmentId::from(id(3));
    Message {
        id: MessageId::from(id(2)),
        chat_id: chat_id(),
        seq: Seq(4),
        version: Version(7),
        changed_version: None,
        sender_id: user("auth0|alice"),
        sender: Sender {
            id: user("auth0|alice"),
            name: Some("Alice".to_owned()),
            avatar: Some("https://example.org/alice.png".to_owned()),
        },
        message_type: MessageType::Text,
        content: "See you \"there\" – é 👋\n".to_owned(),
        reply_to_message_id: Some(MessageId::from(id(5))),
        metadata: Some(RawValue::from_string(r#"{"b":1,"a":[2.50]}"#.to_owned()).unwrap()),
        attachments: vec![Attachment::new(
            chat_id(),
            attachment,
            "plan é.png".to_owned(),
            "image/png".to_owned(),
            1024,
        )],
        client_message_id: Some(ClientMessageId::parse("c-1").unwrap()),
        created_at: time(0),
        edited_at: None,
        deleted_at: None,
    }
}

fn participant(id: &str, role: ParticipantRole) -> Participant {
    Participant {
        id: user(id),
        user_id: user(id),
        name: Some("Bob".to_owned()),
        avatar: None,
        role,
        joined_at: time(1),
        online: None,
        last_seen_at: None,
        read_up_to: Seq(3),
    }
}

fn chat() -> Chat {
    Chat {
        id: chat_id(),
        chat_type: ChatType::Group,
        title: Some("Flat".to_owned()),
        subject: None,
        metadata: None,
        purchase_request_id: None,
        buyer_id: None,
        seller_id: None,
        created_by: user("bob"),
        participants: vec![participant("bob", ParticipantRole::Creator)],
        participant_count: 2,
        last_message: Some(message()),
        unread_count: 1,
        archived: false,
        muted: false,
        muted_until: None,
        message_count: 4,
        version: Version(7),
        created_at: time(-10),
        updated_at: time(0),
        unread_counts: None,
    }
}

fn change(version: u64, kind: ChangeKind) -> Vec<u8> {
    let change = Change { chat_id: chat_id(), version: Version(version), kind };
    change.event(EPOCH, Origin::default()).event.to_vec()
}

/// One of each, by its name.
fn events() -> Vec<(&'static str, Vec<u8>)> {
    use event::server;
    let by = Some(user("bob"));
    let edited =
        Message { edited_at: Some(time(5)), changed_version: Some(Version(8)), ..message() };
    let gone = Message {
        content: String::new(),
        metadata: None,
        attachments: Vec::new(),
        changed_version: Some(Version(9)),
        deleted_at: Some(time(6)),
        ..message()
    };
    let (chat, shown) =
        (chat(), |chat| ChatShown { chat_id: chat_id(), version: Version(7), epoch: EPOCH, chat });
    let reader = user("bob");
    let message_ids = [MessageId::from(id(2))];
    let read = MessagesRead {
        chat_id: chat_id(),
        user_id: &reader,
        message_ids: Some(&message_ids),
        read_up_to: Seq(4),
        read_at: time(7),
    };
    let typing =
        UserTyping { chat_id: chat_id(), user_id: &reader, name: Some("Bob"), is_typing: true };
    let added = vec![participant("carol", ParticipantRole::Member)];
    vec![
        (server::NEW_MESSAGE, change(7, ChangeKind::NewMessage(Box::new(message())))),
        (server::MESSAGE_EDITED, change(8, ChangeKind::MessageEdited(Box::new(edited)))),
        (
            server::MESSAGE_DELETED,
            change(9, ChangeKind::MessageDeleted { message: Box::new(gone), by: by.clone() }),
        ),
        (
            server::PARTICIPANTS_ADDED,
            change(10, ChangeKind::ParticipantsAdded { participants: added, by: by.clone() }),
        ),
        (
            server::PARTICIPANT_REMOVED,
            change(11, ChangeKind::ParticipantRemoved { user_id: user("carol"), by }),
        ),
        (server::MESSAGES_READ, event::encode(server::MESSAGES_READ, &read)),
        (server::USER_TYPING, typing.encode()),
        (server::CHAT_CREATED, event::encode(server::CHAT_CREATED, &shown(&chat))),
        (server::CHAT_REMOVED, event::encode(server::CHAT_REMOVED, &shown(&chat))),
        (server::RESYNC, Resync { chat_id: Some(chat_id()), reason: ResyncReason::Gap }.encode()),
    ]
}

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.json"))
}

/// A new field is a new file here, seen in a review; nothing else may change. `PARLEY_WRITE_GOLDEN=1 cargo test -p
/// parley-domain --test events` writes them.
#[test]
fn every_event_is_what_it_was() {
    for (name, event) in events() {
        let path = golden(name);
        if std::env::var_os("PARLEY_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, [event.as_slice(), b"\n"].concat()).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap();
        assert_eq!(String::from_utf8(event).unwrap(), known.trim_end(), "{name}");
    }
}

/// What any event has, so that a client that does not know it can still place it.
#[test]
fn every_event_names_its_chat_and_every_durable_one_its_place() {
    for (name, event) in events() {
        let (called, payload): (String, Value) = serde_json::from_slice(&event).unwrap();
        assert_eq!(called, name);
        assert_eq!(payload["chatId"], chat_id().to_string(), "{name}");
        let durable = !matches!(
            name,
            event::server::MESSAGES_READ | event::server::USER_TYPING | event::server::RESYNC
        );
        assert_eq!(payload["version"].is_u64(), durable, "{name}");
        assert_eq!(payload.get("epoch").is_some(), durable, "{name}");
    }
    let number = |code| Kind::from_code(code).code();
    assert_eq!((0..=255).map(number).collect::<Vec<_>>(), (0..=255).collect::<Vec<_>>());
}
