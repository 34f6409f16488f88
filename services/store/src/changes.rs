//! Catch-up: what changed in a chat after a version, read from the rows as they are now.
//!
//! Every row knows the versions at which it came and last changed, so a catch-up never expires; a later change of the
//! same message or participant stands for the earlier ones.

use std::collections::HashMap;

use parley_domain::ask::{
    MAX_MISSED, MAX_PAGE_BYTES, MAX_PAGE_EVENTS, Missed, MissedEvent, MissedPage, Position,
};
use parley_domain::bus::Origin;
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::Participant;
use parley_domain::ids::{ChatId, UserId};
use parley_domain::message::Message;
use parley_domain::version::{Epoch, Version};
use sqlx::PgConnection;

use crate::messages::{MessageRow, messages_at};
use crate::metrics::Call;
use crate::participants::{ParticipantRow, participants_of};
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
        let _timed = self.metrics.time(Call::Changes);
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

impl Standing {
    /// Whether a position is too far back, in the future or in another history.
    pub(crate) fn is_out_of_reach(&self, position: Position) -> bool {
        let other_history = position.epoch.is_some_and(|other| other != self.epoch);
        let behind = self.version.0.checked_sub(position.since.0);
        other_history || behind.is_none_or(|behind| behind > MAX_MISSED)
    }

    pub(crate) const fn resync(&self) -> CatchUp {
        CatchUp::Resync { version: self.version, epoch: self.epoch }
    }

    /// What was missed; as many places as `most` may not be all of them.
    pub(crate) fn changes(
        &self,
        chat: ChatId,
        places: Vec<Place>,
        rows: &Rows,
        most: usize,
    ) -> Result<CatchUp, StoreError> {
        let full = places.len() >= most;
        let up_to = places.last().filter(|_| full).map_or(self.version, |last| last.version);
        let changes = places.into_iter().map(|place| rows.change(chat, place));
        let changes = changes.collect::<Result<_, _>>()?;
        let (version, epoch, hidden) = (self.version, self.epoch, HashMap::new());
        Ok(CatchUp::Changes { changes, up_to, version, epoch, hidden })
    }
}

/// What was missed, in a snapshot.
async fn missed(
    snapshot: &mut PgConnection,
    chat: ChatId,
    standing: &Standing,
    position: Position,
) -> Result<CatchUp, StoreError> {
    if standing.is_out_of_reach(position) {
        return Ok(standing.resync());
    }
    // Every message takes one seq and one version: what was sent after the position lies above this seq.
    let behind = standing.version.0.saturating_sub(position.since.0);
    let above_seq = standing.last_seq.saturating_sub(behind);
    let places = places(snapshot, chat, position.since, above_seq).await?;
    let rows = read(snapshot, chat, &places).await?;
    standing.changes(chat, places, &rows, MAX_PAGE_EVENTS)
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
pub(crate) struct Place {
    pub(crate) version: Version,
    pub(crate) what: What,
}

pub(crate) enum What {
    Sent(i64),
    Edited(i64),
    Deleted(i64),
    Added(UserId),
    Removed(UserId),
}

impl What {
    /// By the word that the statements have for it.
    pub(crate) fn of_message(word: &str, seq: i64) -> Self {
        match word {
            "sent" => Self::Sent(seq),
            "edited" => Self::Edited(seq),
            _ => Self::Deleted(seq),
        }
    }

    pub(crate) fn of_participant(word: &str, user: UserId) -> Self {
        if word == "added" { Self::Added(user) } else { Self::Removed(user) }
    }
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
            let what = match (row.seq, row.user_id) {
                (Some(seq), _) => What::of_message(&row.what, seq),
                (None, user) => {
                    let user = crate::users::user_id("participants", &user.unwrap_or_default())?;
                    What::of_participant(&row.what, user)
                }
            };
            Ok(Place { version: Version(unsigned(row.version)), what })
        })
        .collect()
}

/// Reads what stands at the places.
async fn read(
    snapshot: &mut PgConnection,
    chat: ChatId,
    places: &[Place],
) -> Result<Rows, StoreError> {
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
    Ok(rows)
}

#[derive(Default)]
pub(crate) struct Rows {
    messages: HashMap<i64, (Message, Option<UserId>)>,
    participants: HashMap<UserId, (Participant, Option<UserId>)>,
}

impl Rows {
    pub(crate) fn put_message(&mut self, row: MessageRow) -> Result<(), StoreError> {
        let seq = row.seq;
        let row = row.message_and_deleter()?;
        self.messages.insert(seq, row);
        Ok(())
    }

    /// Says whose row it was.
    pub(crate) fn put_participant(&mut self, row: ParticipantRow) -> Result<UserId, StoreError> {
        let row = row.participant()?;
        let user = row.0.user_id.clone();
        self.participants.insert(user.clone(), row);
        Ok(user)
    }

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
        self.into_page(MAX_PAGE_BYTES).0
    }

    /// The same cut to so many bytes, and how many there are; one event at least.
    pub(crate) fn into_page(self, most: usize) -> (Missed, usize) {
        match self {
            Self::Resync { version, epoch } => (Missed::Resync { version, epoch }, 0),
            Self::Changes { changes, mut up_to, version, epoch, mut hidden } => {
                let mut events = Vec::with_capacity(changes.len());
                let mut bytes = 0;
                let mut last = None;
                for change in &changes {
                    let hidden_from = hidden.remove(&change.version).unwrap_or_default();
                    let event = missed_event(change, epoch, hidden_from);
                    // As text within the answer, every quotation mark counts twice.
                    let more = event.event.len() + event.event.matches(['"', '\\']).count();
                    if bytes + more > most
                        && let Some(last) = last
                    {
                        up_to = last;
                        break;
                    }
                    bytes += more;
                    last = Some(change.version);
                    events.push(event);
                }
                (Missed::Events(MissedPage { events, up_to, version, epoch }), bytes)
            }
        }
    }
}

fn missed_event(change: &Change, epoch: Epoch, hidden_from: Vec<UserId>) -> MissedEvent {
    let event = change.event(epoch, Origin::default());
    MissedEvent {
        version: change.version,
        kind: event.kind.code(),
        affected: event.affected,
        hidden_from,
        event: String::from_utf8_lossy(&event.event).into_owned(),
    }
}
