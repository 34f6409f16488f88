//! Telling people which chats they have, wherever their connections are.

use std::collections::BTreeMap;

use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::{Chat, ChatType, Participant, ParticipantRole};
use parley_domain::event::{self, ChatShown};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::page::Page;
use parley_domain::version::Epoch;
use parley_store::{Store, StoreError};

/// Users of one event: so many ids fit into its header, however long they are.
const TOGETHER: usize = 256;
/// Participants that are read at once.
const PAGE: u32 = 100;

/// A chat that was made, for everybody in it, and for the pool if it asks for support. `chat` has its unread counts.
pub(crate) async fn created(store: &Store, chat: Chat) -> Result<Vec<RoomEvent>, StoreError> {
    let mut events = Vec::new();
    for participant in unlisted(store, &chat).await? {
        let user = participant.user_id.clone();
        let seen = Chat { participants: vec![participant], ..seen_by_anybody(&chat, 0) };
        events.push(event(Kind::ChatCreated, &seen, store.epoch(), vec![user]));
    }
    for (unread, users) in by_unread(&chat) {
        let seen = seen_by_anybody(&chat, unread);
        for users in users.chunks(TOGETHER) {
            events.push(event(Kind::ChatCreated, &seen, store.epoch(), users.to_vec()));
        }
    }
    if chat.chat_type == ChatType::Support {
        let seen = seen_by_anybody(&chat, 0);
        events.push(event(Kind::SupportOpened, &seen, store.epoch(), Vec::new()));
    }
    Ok(events)
}

/// A chat that was made, and whose people were perhaps not told.
pub(crate) async fn found(store: &Store, chat: ChatId) -> Result<Vec<RoomEvent>, StoreError> {
    let first = store.participants(chat, Page { number: 1, limit: 1 }).await?;
    let first = first.and_then(|(people, _)| people.into_iter().next());
    let Some(first) = first else { return Ok(Vec::new()) };
    match store.chat(chat, &first.user_id).await? {
        Some(chat) => created(store, chat).await,
        None => Ok(Vec::new()),
    }
}

/// A chat for somebody who was added to it.
pub(crate) async fn added(
    store: &Store,
    chat: ChatId,
    user: &UserId,
) -> Result<Vec<RoomEvent>, StoreError> {
    let seen = store.chat(chat, user).await?;
    let seen = seen.map(|chat| Chat { unread_counts: None, ..chat });
    Ok(seen
        .iter()
        .map(|seen| event(Kind::ChatCreated, seen, store.epoch(), vec![user.clone()]))
        .collect())
}

/// A chat for somebody who is out of it: which one it was, and nothing that is said in it.
pub(crate) async fn removed(
    store: &Store,
    chat: ChatId,
    user: &UserId,
) -> Result<Vec<RoomEvent>, StoreError> {
    let seen = store.chat(chat, user).await?;
    let seen = seen.map(|chat| Chat {
        last_message: None,
        participants: Vec::new(),
        ..seen_by_anybody(&chat, 0)
    });
    Ok(seen
        .iter()
        .map(|seen| event(Kind::ChatRemoved, seen, store.epoch(), vec![user.clone()]))
        .collect())
}

/// What changes of a chat mean for those who come and go by them. Agents have every support chat, in it or not, and who
/// becomes a creator was in before.
pub(crate) async fn of_changes(
    store: &Store,
    changes: &[Change],
) -> Result<Vec<RoomEvent>, StoreError> {
    let mut events = Vec::new();
    for change in changes {
        match &change.kind {
            ChangeKind::ParticipantsAdded { participants, .. } => {
                let members = participants.iter().filter(|it| it.role == ParticipantRole::Member);
                for member in members {
                    events.extend(added(store, change.chat_id, &member.user_id).await?);
                }
            }
            ChangeKind::ParticipantRemoved { user_id, .. } => {
                events.extend(removed(store, change.chat_id, user_id).await?);
            }
            ChangeKind::NewMessage(_)
            | ChangeKind::MessageEdited(_)
            | ChangeKind::MessageDeleted { .. } => {}
        }
    }
    Ok(events)
}

/// Participants beyond those that the chat lists.
async fn unlisted(store: &Store, chat: &Chat) -> Result<Vec<Participant>, StoreError> {
    let mut unlisted = Vec::new();
    let mut page = Page { number: 1, limit: PAGE };
    if chat.participant_count <= chat.participants.len() as u64 {
        return Ok(unlisted);
    }
    while let Some((people, pagination)) = store.participants(chat.id, page).await? {
        unlisted.extend(
            people.into_iter().filter(|one| {
                !chat.participants.iter().any(|listed| listed.user_id == one.user_id)
            }),
        );
        if !pagination.has_next {
            break;
        }
        page.number += 1;
    }
    Ok(unlisted)
}

/// The listed participants by what they have not read.
fn by_unread(chat: &Chat) -> BTreeMap<u64, Vec<UserId>> {
    let mut users: BTreeMap<u64, Vec<UserId>> = BTreeMap::new();
    for participant in &chat.participants {
        let counts = chat.unread_counts.as_ref();
        let unread = counts.and_then(|counts| counts.get(&participant.user_id)).copied();
        users.entry(unread.unwrap_or_default()).or_default().push(participant.user_id.clone());
    }
    users
}

/// As whoever has not read so much of it and has not put it away.
fn seen_by_anybody(chat: &Chat, unread_count: u64) -> Chat {
    Chat { unread_count, archived: false, unread_counts: None, ..chat.clone() }
}

fn event(kind: Kind, chat: &Chat, epoch: Epoch, users: Vec<UserId>) -> RoomEvent {
    let name = match kind {
        Kind::ChatRemoved => event::server::CHAT_REMOVED,
        _ => event::server::CHAT_CREATED,
    };
    let shown = ChatShown { chat_id: chat.id, version: chat.version, epoch, chat };
    RoomEvent {
        kind,
        chat_id: chat.id,
        version: None,
        epoch,
        affected: users,
        event: event::encode(name, &shown).into(),
    }
}
