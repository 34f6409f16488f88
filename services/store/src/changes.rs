//! Catch-up: what changed in a chat after a version, read from the rows as they are now.
//!
//! Every row knows the versions at which it came and last changed, so a catch-up never expires; a later change of the
//! same message or participant stands for the earlier ones.

use std::collections::HashMap;

use parley_domain::ask::{
    MAX_MISSED, MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Missed, MissedEvent, MissedPage, Position,
};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::Participant;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::message::Message;
use parley_domain::version::{Epoch, Version};
use sqlx::PgConnection;

use crate::messages::messages_at;
use crate::participants::participants_of;
use crate::{Store, StoreError, signed, unsigned};

/// What was missed after a position.
#[derive(Debug, Clone)]
pub enum CatchUp {
    /// At most 200 changes in rising version.
    Changes {
        /// The changes.
        changes: Vec<Change>,
        /// The position after them.
        up_to: Version,
        /// Where the chat stands.
        version: Version,
        /// The history of the versions.
        epoch: Epoch,
        /// Of changes that show what came later: who was removed in between, and may not see it.
        hidden: HashMap<Version, Vec<UserId>>,
    },
    /// The position is too far back, in the future or in another history.
    Resync {
        /// Where the chat stands.
        version: Version,
        /// The history of that version.
        epoch: Epoch,
    },
}

/// Where a chat stands in a snapshot.
pub(crate) struct Standing {
    pub(crate) version: Version,
    pub(crate) last_seq: u64,
    pub(crate) epoch: Epoch,
}

impl Store {
    /// What happened in a chat after a position, or `None` without such a chat.
    pub async fn catch_up(
        &self,
        chat: ChatId,
        position: Position,
    ) -> Result<Option<CatchUp>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        let row = sqlx::query!("select version, last_seq from chats where id = $1", chat.uuid())
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let standing = Standing {
            version: Version(unsigned(row.version)),
            last_seq: unsigned(row.last_seq),
            epoch: self.epoch(),
        };
        let mut missed = missed(&mut snapshot, chat, &standing, position).await?;
        if let CatchUp::Changes { changes, hidden, .. } = &mut missed {
            *hidden = hide(&mut snapshot, chat, changes).await?;
        }
        snapshot.commit().await?;
        Ok(Some(missed))
    }
}

/// What was missed, in a snapshot.
pub(crate) async fn missed(
    snapshot: &mut PgConnection,
    chat: ChatId,
    standing: &Standing,
    position: Position,
) -> Result<CatchUp, StoreError> {
    let Standing { version, last_seq, epoch } = *standing;
    let other_history = position.epoch.is_some_and(|other| other != epoch);
    let behind = version.0.checked_sub(position.since.0);
    let Some(behind) = behind.filter(|behind| *behind <= MAX_MISSED && !other_history) else {
        return Ok(CatchUp::Resync { version, epoch });
    };
    // Every message takes one seq and one version: what was sent after the position lies above this seq.
    let above_seq = last_seq.saturating_sub(behind);
    let places = places(snapshot, chat, position.since, above_seq).await?;
    let full = places.len() >= MAX_PAGE_EVENTS;
    let up_to = places.last().filter(|_| full).map_or(version, |last| last.version);
    let changes = fill(snapshot, chat, places).await?;
    Ok(CatchUp::Changes { changes, up_to, version, epoch, hidden: HashMap::new() })
}

/// Messages are shown as they are now. Whoever was removed before a message became that may not see it, although it was
/// sent before.
async fn hide(
    snapshot: &mut PgConnection,
    chat: ChatId,
    changes: &[Change],
) -> Result<HashMap<Version, Vec<UserId>>, StoreError> {
    let ahead: Vec<(Version, Version)> = changes
        .iter()
        .filter_map(|change| Some((change.version, change.message()?.changed_version?)))
        .filter(|(version, shown)| shown > version)
        .collect();
    let first = ahead.iter().map(|(version, _)| *version).min();
    let last = ahead.iter().map(|(_, shown)| *shown).max();
    let (Some(first), Some(last)) = (first, last) else { return Ok(HashMap::new()) };
    let removed = sqlx::query!(
        r#"
        select user_id, changed_version
        from participants
        where chat_id = $1 and left_at is not null and changed_version > $2 and changed_version < $3
        "#,
        chat.uuid(),
        signed(first.0),
        signed(last.0),
    )
    .fetch_all(snapshot)
    .await?;
    let mut hidden: HashMap<Version, Vec<UserId>> = HashMap::new();
    for row in removed {
        let user = crate::users::user_id("participants", &row.user_id)?;
        let removed = Version(unsigned(row.changed_version));
        for (version, _) in ahead.iter().filter(|(at, shown)| *at < removed && removed < *shown) {
            hidden.entry(*version).or_default().push(user.clone());
        }
    }
    Ok(hidden)
}

/// A change, found by its version.
struct Place {
    version: Version,
    what: What,
}

enum What {
    Sent(i64),
    Edited(i64),
    Deleted(i64),
    Added(UserId),
    Removed(UserId),
}

async fn places(
    snapshot: &mut PgConnection,
    chat: ChatId,
    since: Version,
    above_seq: u64,
) -> Result<Vec<Place>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select version as "version!", what as "what!", seq, user_id
        from (
            (
                select version, 'sent' as what, seq, null::text as user_id
                from messages
                where chat_id = $1 and seq > $3 and version > $2
                order by seq
                limit $4
            )
            union all
            (
                select changed_version, case when deleted_at is null then 'edited' else 'deleted' end, seq, null
                from messages
                where chat_id = $1 and changed_version > $2
                order by changed_version
                limit $4
            )
            union all
            (
                select changed_version, case when left_at is null then 'added' else 'removed' end, null, user_id
                from participants
                where chat_id = $1 and changed_version > $2
                order by changed_version
                limit $4
            )
        ) missed
        order by version
        limit $4
        "#,
        chat.uuid(),
        signed(since.0),
        signed(above_seq),
        i64::try_from(MAX_PAGE_EVENTS).unwrap_or(i64::MAX),
    )
    .fetch_all(snapshot)
    .await?;
    rows.into_iter()
        .map(|row| {
            let seq = row.seq.unwrap_or_default();
            let user = || {
                let id = row.user_id.as_deref().unwrap_or_default();
                crate::users::user_id("participants", id)
            };
            let what = match row.what.as_str() {
                "sent" => What::Sent(seq),
                "edited" => What::Edited(seq),
                "deleted" => What::Deleted(seq),
                "added" => What::Added(user()?),
                _ => What::Removed(user()?),
            };
            Ok(Place { version: Version(unsigned(row.version)), what })
        })
        .collect()
}

/// Reads what stands at the places.
async fn fill(
    snapshot: &mut PgConnection,
    chat: ChatId,
    places: Vec<Place>,
) -> Result<Vec<Change>, StoreError> {
    let seqs: Vec<i64> = places
        .iter()
        .filter_map(|place| match place.what {
            What::Sent(seq) | What::Edited(seq) | What::Deleted(seq) => Some(seq),
            What::Added(_) | What::Removed(_) => None,
        })
        .collect();
    let users: Vec<&UserId> = places
        .iter()
        .filter_map(|place| match &place.what {
            What::Added(user) | What::Removed(user) => Some(user),
            What::Sent(_) | What::Edited(_) | What::Deleted(_) => None,
        })
        .collect();
    let mut rows = Rows::default();
    if !seqs.is_empty() {
        let messages = messages_at(snapshot, chat, &seqs).await?;
        rows.messages = messages.into_iter().map(|row| (signed(row.0.seq.0), row)).collect();
    }
    if !users.is_empty() {
        let participants = participants_of(snapshot, chat, &users).await?;
        rows.participants =
            participants.into_iter().map(|row| (row.0.user_id.clone(), row)).collect();
    }
    places.into_iter().map(|place| rows.change(chat, place)).collect()
}

#[derive(Default)]
struct Rows {
    messages: HashMap<i64, (Message, Option<UserId>)>,
    participants: HashMap<UserId, (Participant, Option<UserId>)>,
}

impl Rows {
    fn change(&self, chat_id: ChatId, place: Place) -> Result<Change, StoreError> {
        let message = |seq: i64| {
            let found = self.messages.get(&seq).cloned();
            found.ok_or_else(|| StoreError::inconsistent("messages", format!("no seq {seq}")))
        };
        let by = |user: &UserId| self.participants.get(user).and_then(|(_, by)| by.clone());
        let kind = match place.what {
            What::Sent(seq) => ChangeKind::NewMessage(Box::new(message(seq)?.0)),
            What::Edited(seq) => ChangeKind::MessageEdited(Box::new(message(seq)?.0)),
            What::Deleted(seq) => {
                let (message, by) = message(seq)?;
                ChangeKind::MessageDeleted { message: Box::new(message), by }
            }
            What::Added(user) => {
                let participants = self.participants.get(&user).map(|(added, _)| added.clone());
                let participants = participants.into_iter().collect();
                ChangeKind::ParticipantsAdded { participants, by: by(&user) }
            }
            What::Removed(user) => ChangeKind::ParticipantRemoved { by: by(&user), user_id: user },
        };
        Ok(Change { chat_id, version: place.version, kind })
    }
}

impl CatchUp {
    /// The answer to a gateway: finished events, cut to one page's bytes.
    pub fn into_missed(self) -> Missed {
        match self {
            Self::Resync { version, epoch } => Missed::Resync { version, epoch },
            Self::Changes { changes, mut up_to, version, epoch, mut hidden } => {
                let mut events = Vec::with_capacity(changes.len());
                let mut bytes = 0;
                let mut last = None;
                for change in &changes {
                    let hidden_from = hidden.remove(&change.version).unwrap_or_default();
                    let event = missed_event(change, epoch, hidden_from);
                    // As text within the answer, every quotation mark counts twice.
                    bytes += event.event.len() + event.event.matches(['"', '\\']).count();
                    if bytes > MAX_PAGE_BYTES
                        && let Some(last) = last
                    {
                        up_to = last;
                        break;
                    }
                    last = Some(change.version);
                    events.push(event);
                }
                Missed::Events(MissedPage { events, up_to, version, epoch })
            }
        }
    }
}

fn missed_event(change: &Change, epoch: Epoch, hidden_from: Vec<UserId>) -> MissedEvent {
    let event = change.event(epoch);
    MissedEvent {
        version: change.version,
        kind: event.kind.code(),
        affected: event.affected,
        hidden_from,
        event: String::from_utf8_lossy(&event.event).into_owned(),
    }
}
