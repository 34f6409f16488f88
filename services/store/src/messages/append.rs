//! Appending: the one way in which a message comes to be, many at a time.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use parley_domain::change::Change;
use parley_domain::ids::{ChatId, ClientMessageId, MessageId, UserId};
use parley_domain::message::{Attachment, Message, NewFile, NewMessage, Sender};
use parley_domain::metadata::Metadata;
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{at_once, message_rows};
use crate::attachments::AttachmentRow;
use crate::heads::Head;
use crate::messages::MessageRow;
use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

/// What became of a send.
#[derive(Debug, Clone)]
pub enum AppendMessage {
    /// It is committed, now or by an earlier try.
    Appended(Box<Appended>),
    /// There is no such chat.
    ChatNotFound,
    /// The sender is not in it.
    NotParticipant,
    /// The message that it answers is not in this chat.
    ReplyNotFound,
    /// The sender has used this client message id for another request.
    IdempotencyConflict,
}

/// A committed message.
#[derive(Debug, Clone)]
pub struct Appended {
    /// As everyone sees it.
    pub message: Message,
    /// Whether an earlier try had committed it.
    pub replay: bool,
}

/// What one item of a batch came to.
pub(crate) enum Outcome {
    Done(AppendMessage),
    /// It was committed by an earlier try, as this seq: its present state has yet to be read.
    Replay(i64),
    /// Its chat was locked by somebody else; nothing was done.
    Busy,
}

/// What a committed batch came to.
pub(crate) struct BatchOutcome {
    /// One for each item, in their order.
    pub(crate) items: Vec<Outcome>,
    /// What was appended, chat by chat in rising version.
    pub(crate) changes: Vec<Change>,
    /// The trace of it in the database, to be removed once the changes are told.
    pub(crate) head: Option<Head>,
    /// Whether its sends had to be looked at one by one.
    pub(crate) one_by_one: bool,
}

/// Columns of a batch, as the function takes them.
#[derive(Default)]
struct Columns {
    chats: Vec<Uuid>,
    senders: Vec<String>,
    by_host: Vec<bool>,
    types: Vec<String>,
    contents: Vec<String>,
    replies: Vec<Option<Uuid>>,
    metadatas: Vec<Option<String>>,
    client_ids: Vec<Option<String>>,
    hashes: Vec<Option<Vec<u8>>>,
    id_tails: Vec<String>,
    files: FileColumns,
}

/// Columns of files; null for messages without one.
#[derive(Default)]
struct FileColumns {
    any: bool,
    ids: Vec<Option<Uuid>>,
    names: Vec<Option<String>>,
    types: Vec<Option<String>>,
    sizes: Vec<Option<i64>>,
    keys: Vec<Option<String>>,
}

impl FileColumns {
    fn push(&mut self, file: Option<&NewFile>) {
        self.any |= file.is_some();
        self.ids.push(file.map(|file| file.id.uuid()));
        self.names.push(file.map(|file| file.name.as_str().to_owned()));
        self.types.push(file.map(|file| file.file_type.as_str().to_owned()));
        self.sizes.push(file.map(|file| signed(file.size)));
        self.keys.push(file.map(|file| file.storage_key.clone()));
    }
}

impl Columns {
    fn of(batch: &[&NewMessage], hashes: &[Option<Vec<u8>>], wanted: &[usize]) -> Self {
        let mut columns = Self::default();
        for (new, hash) in wanted.iter().map(|index| (batch[*index], &hashes[*index])) {
            columns.chats.push(new.chat_id.uuid());
            columns.senders.push(new.sender_id.to_string());
            columns.by_host.push(new.by_host);
            columns.types.push(new.message_type.as_str().to_owned());
            columns.contents.push(new.content.as_str().to_owned());
            columns.replies.push(new.reply_to.map(MessageId::uuid));
            columns.metadatas.push(new.metadata.as_ref().map(Metadata::to_json));
            let client_id = new.client_message_id.as_ref().map(ClientMessageId::as_str);
            columns.client_ids.push(client_id.map(str::to_owned));
            columns.hashes.push(hash.clone());
            columns.id_tails.push(at_once::digits(at_once::new_tail()));
            columns.files.push(new.file.as_deref());
        }
        columns
    }
}

/// A row of the function's answer.
struct ItemRow {
    item: i64,
    outcome: String,
    seq: Option<i64>,
    version: Option<i64>,
    id: Option<Uuid>,
    created_at: Option<DateTime<Utc>>,
    metadata: Option<String>,
    sender_name: Option<String>,
    sender_avatar: Option<String>,
    head: Option<i64>,
}

/// Commits a batch in one round trip, its sends in their order chat by chat. `patient` waits for a chat that is locked, and wants a batch of one chat;
/// otherwise such a chat's items come back as [`Outcome::Busy`]. `fresh` as long as nobody knows of an earlier try of any of
/// them; `outward` if webhooks want to hear of it.
pub(crate) async fn append_batch(
    connection: &mut PgConnection,
    batch: &[&NewMessage],
    patient: bool,
    fresh: bool,
    told: &[Head],
    outward: bool,
) -> Result<BatchOutcome, StoreError> {
    let hashes: Vec<_> = batch
        .iter()
        .map(|new| new.client_message_id.as_ref().map(|_| new.request_hash().to_vec()))
        .collect();
    let repeats = Repeats::of(batch);
    let told: Vec<i64> = told.iter().map(|head| head.0).collect();
    let firsts: Vec<_> = repeats.firsts.iter().map(|index| batch[*index]).collect();
    if fresh && at_once::suits(&firsts) {
        let firsts_hashes: Vec<_> =
            repeats.firsts.iter().map(|index| hashes[*index].as_deref()).collect();
        let done =
            at_once::append_at_once(connection, &firsts, &firsts_hashes, patient, &told, outward)
                .await?;
        if let Some(outcome) = done {
            let items = repeats.outcomes(outcome.items, &hashes);
            return Ok(BatchOutcome { items, ..outcome });
        }
    }
    let columns = Columns::of(batch, &hashes, &repeats.firsts);
    let rows = if columns.files.any {
        call_with_files(connection, &columns, patient, &told, outward).await?
    } else if outward {
        call_outward(connection, &columns, patient, &told).await?
    } else {
        call(connection, &columns, patient, &told).await?
    };
    let outcome = sort_out(&firsts, rows)?;
    Ok(BatchOutcome { items: repeats.outcomes(outcome.items, &hashes), ..outcome })
}

/// The answer to the columns of one of the functions; what stands before and after the list of what is asked for is the
/// caller's.
macro_rules! answered {
    ($with:literal, $from:literal, $columns:expr, $patient:expr, $told:expr $(, $files:expr)*) => {
        sqlx::query_as!(
            ItemRow,
            $with
            + r#"
            select
                item as "item!", outcome as "outcome!", seq, version, id, created_at, metadata, sender_name
                , sender_avatar, head
            from
            "#
            + $from,
            &$columns.chats,
            &$columns.senders,
            &$columns.by_host,
            &$columns.types,
            &$columns.contents,
            &$columns.replies as _,
            &$columns.metadatas as _,
            &$columns.client_ids as _,
            &$columns.hashes as _,
            &$columns.id_tails,
            $patient,
            $told,
            $($files as _,)*
        )
    };
}

async fn call(
    connection: &mut PgConnection,
    columns: &Columns,
    patient: bool,
    told: &[i64],
) -> Result<Vec<ItemRow>, StoreError> {
    let rows = answered!(
        "",
        "append_messages_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        columns,
        patient,
        told
    );
    Ok(rows.fetch_all(connection).await?)
}

/// The same, and one row for webhooks in the same statement, whatever is in the batch.
async fn call_outward(
    connection: &mut PgConnection,
    columns: &Columns,
    patient: bool,
    told: &[i64],
) -> Result<Vec<ItemRow>, StoreError> {
    let rows = answered!(
        r#"
        with answer as (
            select * from append_messages_1($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        )
        , outward as (
            insert into outbox (kind, chat_ids, seqs, counts)
            select 'message.created', array_agg(a.chat_id), array_agg(a.seq), array_agg(a.messages)
            from (
                select ($1::uuid[])[answer.item::integer] as chat_id, min(answer.seq) - 1 as seq, count(*) as messages
                from answer
                where answer.outcome = 'appended'
                group by 1
            ) a
            having count(*) > 0
        )
        "#,
        "answer",
        columns,
        patient,
        told
    );
    Ok(rows.fetch_all(connection).await?)
}

/// The same with files: a batch without any pays nothing for them. Files are rare, so whether webhooks want to hear of it is a
/// condition of the one statement.
async fn call_with_files(
    connection: &mut PgConnection,
    columns: &Columns,
    patient: bool,
    told: &[i64],
    outward: bool,
) -> Result<Vec<ItemRow>, StoreError> {
    let files = &columns.files;
    let rows = answered!(
        r#"
        with answer as (
            select * from append_messages_2(
                $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
            )
        )
        , outward as (
            insert into outbox (kind, chat_ids, seqs, counts)
            select 'message.created', array_agg(a.chat_id), array_agg(a.seq), array_agg(a.messages)
            from (
                select ($1::uuid[])[answer.item::integer] as chat_id, min(answer.seq) - 1 as seq, count(*) as messages
                from answer
                where answer.outcome = 'appended'
                group by 1
            ) a
            having count(*) > 0 and $18::boolean
        )
        "#,
        "answer",
        columns,
        patient,
        told,
        &files.ids,
        &files.names,
        &files.types,
        &files.sizes,
        &files.keys,
        outward
    );
    Ok(rows.fetch_all(connection).await?)
}

/// Sends of a batch under a client message id that stands in it more than once: the database is asked for the first of
/// them, and the others share its fate.
struct Repeats {
    /// Those that the database is asked for, by their place in the batch.
    firsts: Vec<usize>,
    /// Of each send, the place of the first one among `firsts`.
    first_of: Vec<usize>,
}

impl Repeats {
    fn of(batch: &[&NewMessage]) -> Self {
        let mut known = HashMap::with_capacity(batch.len());
        let (mut firsts, mut first_of) = (Vec::with_capacity(batch.len()), Vec::new());
        for (index, new) in batch.iter().enumerate() {
            let key = new.client_message_id.as_ref().map(|id| (new.chat_id, &new.sender_id, id));
            let place = match key {
                Some(key) => *known.entry(key).or_insert(firsts.len()),
                None => firsts.len(),
            };
            if place == firsts.len() {
                firsts.push(index);
            }
            first_of.push(place);
        }
        Self { firsts, first_of }
    }

    /// The outcome of every send from those of the first ones.
    fn outcomes(self, firsts: Vec<Outcome>, hashes: &[Option<Vec<u8>>]) -> Vec<Outcome> {
        if self.firsts.len() == self.first_of.len() {
            return firsts;
        }
        let repeated = |(index, place): (usize, &usize)| {
            let first = self.firsts[*place];
            (first != index).then(|| firsts[*place].of_repeat(hashes[first] == hashes[index]))
        };
        let mut repeats: Vec<_> = self.first_of.iter().enumerate().map(repeated).collect();
        let mut firsts = firsts.into_iter();
        // In the order of the batch, a send is either the next first one or a repeat.
        repeats.iter_mut().filter_map(|repeat| repeat.take().or_else(|| firsts.next())).collect()
    }
}

impl Outcome {
    /// What comes of a send under the client message id of one with this outcome.
    fn of_repeat(&self, same_request: bool) -> Self {
        match self {
            Self::Done(AppendMessage::Appended(appended)) if same_request => {
                Self::Replay(signed(appended.message.seq.0))
            }
            Self::Done(AppendMessage::Appended(_)) => {
                Self::Done(AppendMessage::IdempotencyConflict)
            }
            Self::Done(refused) if same_request => Self::Done(refused.clone()),
            Self::Replay(seq) if same_request => Self::Replay(*seq),
            // The database has not looked at this request: its turn comes again.
            Self::Done(_) | Self::Replay(_) | Self::Busy => Self::Busy,
        }
    }
}

fn sort_out(batch: &[&NewMessage], rows: Vec<ItemRow>) -> Result<BatchOutcome, StoreError> {
    let mut items: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
    let mut changes = Vec::with_capacity(batch.len());
    let mut head = None;
    for row in rows {
        head = head.or(row.head.map(Head));
        let index = usize::try_from(row.item - 1).unwrap_or(usize::MAX);
        let (Some(new), Some(place)) = (batch.get(index), items.get_mut(index)) else {
            return Err(StoreError::inconsistent("messages", "an outcome of no item"));
        };
        let outcome = match row.outcome.as_str() {
            "appended" => {
                let message = row.message(new)?;
                changes.push(Change::sent(message.clone()));
                let appended = Appended { message, replay: false };
                Outcome::Done(AppendMessage::Appended(Box::new(appended)))
            }
            "replay" => Outcome::Replay(row.seq.unwrap_or_default()),
            "conflict" => Outcome::Done(AppendMessage::IdempotencyConflict),
            "chat_not_found" => Outcome::Done(AppendMessage::ChatNotFound),
            "not_participant" => Outcome::Done(AppendMessage::NotParticipant),
            "reply_not_found" => Outcome::Done(AppendMessage::ReplyNotFound),
            "busy" => Outcome::Busy,
            other => return Err(StoreError::inconsistent("messages", format!("outcome {other}"))),
        };
        *place = Some(outcome);
    }
    changes.sort_unstable_by_key(|change: &Change| (change.chat_id, change.version));
    let items: Option<Vec<_>> = items.into_iter().collect();
    let items = items.ok_or_else(|| StoreError::inconsistent("messages", "an item is missing"))?;
    Ok(BatchOutcome { items, changes, head, one_by_one: true })
}

impl ItemRow {
    /// What was inserted: what was sent, in its place.
    fn message(self, new: &NewMessage) -> Result<Message, StoreError> {
        let broken = || StoreError::inconsistent("messages", "appended to no place");
        let metadata = self.metadata.map(RawValue::from_string).transpose();
        Ok(Message {
            id: self.id.ok_or_else(broken)?.into(),
            chat_id: new.chat_id,
            seq: Seq(unsigned(self.seq.ok_or_else(broken)?)),
            version: Version(unsigned(self.version.ok_or_else(broken)?)),
            changed_version: None,
            sender_id: new.sender_id.clone(),
            sender: Sender {
                id: new.sender_id.clone(),
                name: self.sender_name,
                avatar: self.sender_avatar,
            },
            message_type: new.message_type,
            content: new.content.as_str().to_owned(),
            reply_to_message_id: new.reply_to,
            metadata: metadata.map_err(|_| broken())?,
            attachments: new.file.iter().map(|file| shown(new.chat_id, file)).collect(),
            client_message_id: new.client_message_id.clone(),
            created_at: Timestamp::new(self.created_at.ok_or_else(broken)?),
            edited_at: None,
            deleted_at: None,
        })
    }
}

fn shown(chat: ChatId, file: &NewFile) -> Attachment {
    let (name, mime_type) = (file.name.as_str().to_owned(), file.file_type.as_str().to_owned());
    Attachment::new(chat, file.id, name, mime_type, file.size)
}

/// Reads the messages that earlier tries have made, as they are now.
pub(crate) async fn replays(
    connection: &mut PgConnection,
    places: &[(Uuid, i64)],
) -> Result<Vec<Message>, StoreError> {
    let (chats, seqs): (Vec<Uuid>, Vec<i64>) = places.iter().copied().unzip();
    let rows = message_rows!(
        "join unnest($1::uuid[], $2::bigint[]) as wanted (chat_id, seq) on wanted.chat_id = m.chat_id and wanted.seq = m.seq",
        &chats,
        &seqs,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(MessageRow::message).collect()
}

impl Store {
    /// Whether the sender has used this client message id in this chat, whatever for.
    pub async fn has_tried(
        &self,
        chat: ChatId,
        sender: &UserId,
        client_id: &ClientMessageId,
    ) -> Result<bool, StoreError> {
        let _timed = self.metrics.time(Call::Tries);
        let tried = sqlx::query_scalar!(
            r#"
            select exists (
                select from messages where chat_id = $1 and sender_id = $2 and client_message_id = $3
            ) as "tried!"
            "#,
            chat.uuid(),
            sender.as_str(),
            client_id.as_str(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(tried)
    }

    /// What an earlier try under the same client message id came to, if there was one. Changes nothing.
    pub async fn earlier_try(&self, new: &NewMessage) -> Result<Option<AppendMessage>, StoreError> {
        let _timed = self.metrics.time(Call::Tries);
        let Some(client_id) = &new.client_message_id else { return Ok(None) };
        let mut snapshot = self.snapshot().await?;
        let earlier = sqlx::query!(
            r#"
            select m.seq, m.request_hash, exists (
                select from participants p
                where p.chat_id = m.chat_id and p.user_id = m.sender_id and p.left_at is null
            ) as "participant!"
            from messages m
            where m.chat_id = $1 and m.sender_id = $2 and m.client_message_id = $3
            "#,
            new.chat_id.uuid(),
            new.sender_id.as_str(),
            client_id.as_str(),
        )
        .fetch_optional(&mut *snapshot)
        .await?;
        let Some(earlier) = earlier else { return Ok(None) };
        if !earlier.participant && !new.by_host {
            return Ok(Some(AppendMessage::NotParticipant));
        }
        if earlier.request_hash != Some(new.request_hash().to_vec()) {
            return Ok(Some(AppendMessage::IdempotencyConflict));
        }
        let place = (new.chat_id.uuid(), earlier.seq);
        let message = replays(&mut snapshot, &[place]).await?.pop();
        snapshot.commit().await?;
        Ok(message
            .map(|message| AppendMessage::Appended(Box::new(Appended { message, replay: true }))))
    }
}
