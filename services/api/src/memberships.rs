//! Telling people which chats they have, wherever their connections are.

use std::collections::{BTreeMap, HashMap};

use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::{Chat, ChatType, Participant, ParticipantRole};
use parley_domain::event::{self, ChatShown};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::page::Page;
use parley_domain::version::{Epoch, Version};
use parley_store::{Store, StoreError};

/// Users that are counted at once.
const TOGETHER: usize = 256;
/// Participants that are read at once.
const PAGE: u32 = 100;

/// A chat that was made, for everybody in it, and for the pool if it asks for support. `chat` has its unread counts.
pub(crate) async fn created(store: &Store, chat: Chat) -> Result<Vec<RoomEvent>, StoreError> {
    let mut events = Vec::new();
    for participants in unlisted(store, &chat).await?.chunks(TOGETHER) {
        let users = participants.iter().map(|one| one.user_id.clone()).collect();
        for (participant, to) in participants.iter().zip(counted(store, users).await?) {
            let seen =
                Chat { participants: vec![participant.clone()], ..seen_by_anybody(&chat, 0) };
            events.push(event(Kind::ChatCreated, &seen, store.epoch(), vec![to]));
        }
    }
    for (unread, users) in by_unread(&chat) {
        let seen = seen_by_anybody(&chat, unread);
        events.push(event(Kind::ChatCreated, &seen, store.epoch(), counted(store, users).await?));
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

/// A chat for somebody who was added to it at this version, unless their membership has changed again since.
async fn added(
    store: &Store,
    (chat, version): (ChatId, Version),
    user: &UserId,
) -> Result<Option<RoomEvent>, StoreError> {
    let seen = store.chat_as_changed(chat, user, version, true).await?;
    Ok(seen.map(|(chat, memberships)| {
        let seen = Chat { unread_counts: None, ..chat };
        let to = vec![(user.clone(), memberships)];
        event(Kind::ChatCreated, &seen, store.epoch(), to)
    }))
}

/// A chat for somebody who is out of it from this version on: which one it was, and nothing that is said in it, or has
/// happened in it since.
async fn removed(
    store: &Store,
    (chat, version): (ChatId, Version),
    user: &UserId,
) -> Result<Option<RoomEvent>, StoreError> {
    let seen = store.chat_as_changed(chat, user, version, false).await?;
    Ok(seen.map(|(chat, memberships)| {
        let seen =
            Chat { participants: Vec::new(), participant_count: 0, ..seen_by_anybody(&chat, 0) };
        let to = vec![(user.clone(), memberships)];
        event(Kind::ChatRemoved, &seen, store.epoch(), to)
    }))
}

/// What changes of a chat mean for those who come and go by them. Agents have every support chat, in it or not. Who
/// becomes a creator is told as well: what they were told as a member may have been lost.
pub(crate) async fn of_changes(
    store: &Store,
    changes: &[Change],
) -> Result<Vec<RoomEvent>, StoreError> {
    let mut events = Vec::new();
    for change in changes {
        let at = (change.chat_id, change.version);
        match &change.kind {
            ChangeKind::ParticipantsAdded { participants, .. } => {
                let members = participants.iter().filter(|it| it.role != ParticipantRole::Agent);
                for member in members {
                    events.extend(added(store, at, &member.user_id).await?);
                }
            }
            ChangeKind::ParticipantRemoved { user_id, .. } => {
                events.extend(removed(store, at, user_id).await?);
            }
            ChangeKind::NewMessage(_)
            | ChangeKind::MessageEdited(_)
            | ChangeKind::MessageDeleted { .. } => {}
        }
    }
    Ok(events)
}

/// Users, in their order, with how often the set of their chats has changed.
async fn counted(store: &Store, users: Vec<UserId>) -> Result<Vec<(UserId, u64)>, StoreError> {
    let standings = store.standings(&users).await?.into_iter();
    let versions: HashMap<_, _> =
        standings.map(|user| (user.user_id, user.membership_version)).collect();
    let counted = |user: UserId| {
        let version = versions.get(&user).copied().unwrap_or_default();
        (user, version)
    };
    Ok(users.into_iter().map(counted).collect())
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

/// As whoever has not read so much of it and has neither put it away nor muted it; without what was said, which is not for whoever is out by
/// the time that this is heard.
fn seen_by_anybody(chat: &Chat, unread_count: u64) -> Chat {
    Chat {
        unread_count,
        archived: false,
        muted: false,
        muted_until: None,
        unread_counts: None,
        last_message: None,
        ..chat.clone()
    }
}

fn event(kind: Kind, chat: &Chat, epoch: Epoch, to: Vec<(UserId, u64)>) -> RoomEvent {
    let name = match kind {
        Kind::ChatRemoved => event::server::CHAT_REMOVED,
        _ => event::server::CHAT_CREATED,
    };
    let shown = ChatShown { chat_id: chat.id, version: chat.version, epoch, chat };
    let (affected, membership_versions) = to.into_iter().unzip();
    RoomEvent {
        kind,
        chat_id: chat.id,
        version: None,
        epoch,
        affected,
        membership_versions,
        origin: Origin::default(),
        event: event::encode(name, &shown).into(),
    }
}
