//! A batch as it nearly always is: every send the first try of a participant, without a file. Such a one is committed with
//! less looking; if any send of it is not like that, nothing happens, and the whole batch is decided one by one.

use std::collections::HashMap;

use chrono::{DateTime, TimeDelta, Utc};
use parley_domain::change::Change;
use parley_domain::ids::{ClientMessageId, MessageId, UserId};
use parley_domain::message::{Message, NewMessage, Sender};
use parley_domain::metadata::Metadata;
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use uuid::Uuid;

use super::append::{AppendMessage, Appended, BatchOutcome, Outcome};
use crate::heads::Head;
use crate::{StoreError, unsigned};

/// Hexadecimal digits of an id that are its time.
const TIME_DIGITS: usize = 12;
/// Bits of the others.
const TAIL_BITS: u32 = 80;

/// Columns of a batch, chat by chat, as the function takes them.
#[derive(Default)]
struct Columns<'a> {
    chats: Vec<Uuid>,
    chat_messages: Vec<i64>,
    sender_chats: Vec<i32>,
    senders: Vec<&'a str>,
    sender_messages: Vec<i64>,
    items: Vec<Item>,
    message_chats: Vec<i32>,
    places: Vec<i32>,
    authors: Vec<&'a str>,
    types: Vec<&'a str>,
    contents: Vec<&'a str>,
    replies: Vec<Option<Uuid>>,
    metadatas: Vec<Option<String>>,
    client_ids: Vec<Option<&'a str>>,
    hashes: Vec<Option<&'a [u8]>>,
    id_tails: Vec<String>,
}

/// A message among the columns.
struct Item {
    /// Its place in the batch.
    index: usize,
    /// Of `chats`.
    chat: usize,
    /// Of `senders`.
    sender: usize,
    /// How many come before it in its chat.
    before: i32,
    /// Its id but for the time.
    tail: Uuid,
}

impl<'a> Columns<'a> {
    fn of(batch: &[&'a NewMessage], hashes: &[Option<&'a [u8]>]) -> Self {
        let mut order: Vec<usize> = (0..batch.len()).collect();
        // Stable: a chat's sends stay in their order.
        order.sort_by_key(|index| batch[*index].chat_id.uuid());
        let mut columns = Self::default();
        let mut known = HashMap::with_capacity(batch.len());
        for index in order {
            columns.push(index, batch[index], hashes[index], &mut known);
        }
        columns
    }

    fn push(
        &mut self,
        index: usize,
        new: &'a NewMessage,
        hash: Option<&'a [u8]>,
        known: &mut HashMap<(usize, &'a UserId), usize>,
    ) {
        if self.chats.last() != Some(&new.chat_id.uuid()) {
            self.chats.push(new.chat_id.uuid());
            self.chat_messages.push(0);
        }
        let chat = self.chats.len() - 1;
        let number = position(chat);
        let sender = *known.entry((chat, &new.sender_id)).or_insert(self.senders.len());
        if sender == self.senders.len() {
            self.senders.push(new.sender_id.as_str());
            self.sender_chats.push(number);
            self.sender_messages.push(0);
        }
        let before = i32::try_from(self.chat_messages[chat]).unwrap_or(i32::MAX);
        self.chat_messages[chat] += 1;
        self.sender_messages[sender] += 1;
        let tail = new_tail();
        self.items.push(Item { index, chat, sender, before, tail });
        self.message_chats.push(number);
        self.places.push(before + 1);
        self.authors.push(new.sender_id.as_str());
        self.types.push(new.message_type.as_str());
        self.contents.push(new.content.as_str());
        self.replies.push(new.reply_to.map(MessageId::uuid));
        self.metadatas.push(new.metadata.as_ref().map(Metadata::to_json));
        self.client_ids.push(new.client_message_id.as_ref().map(ClientMessageId::as_str));
        self.hashes.push(hash);
        self.id_tails.push(digits(tail));
    }
}

/// As SQL counts places.
fn position(index: usize) -> i32 {
    i32::try_from(index).map_or(i32::MAX, |index| index + 1)
}

/// The part of a new `UUIDv7` that is not its time: version, variant and chance.
pub(super) fn new_tail() -> Uuid {
    uuid::Builder::from_unix_timestamp_millis(0, &rand::random()).into_uuid()
}

/// The digits behind the time.
pub(super) fn digits(tail: Uuid) -> String {
    let mut digits = [0; uuid::fmt::Simple::LENGTH];
    tail.simple().encode_lower(&mut digits)[TIME_DIGITS..].to_owned()
}

/// The function's answer.
struct Answer {
    done: bool,
    seqs: Vec<Option<i64>>,
    versions: Vec<Option<i64>>,
    moments: Vec<Option<DateTime<Utc>>>,
    millis: Vec<Option<i64>>,
    shown: Vec<i64>,
    names: Vec<Option<String>>,
    avatars: Vec<Option<String>>,
    kept: Vec<Option<String>>,
    head: Option<i64>,
}

/// Whether such a batch may be committed at once.
pub(super) fn suits(batch: &[&NewMessage]) -> bool {
    batch.iter().all(|new| !new.by_host && new.file.is_none())
}

/// Commits a batch, in which no client message id stands twice, at once; `None` if that cannot be, and then nothing was
/// done. The connection has to be one of the appender's, whose settings the plan needs.
pub(super) async fn append_at_once(
    connection: &mut PgConnection,
    batch: &[&NewMessage],
    hashes: &[Option<&[u8]>],
    patient: bool,
    told: &[i64],
    outward: bool,
) -> Result<Option<BatchOutcome>, StoreError> {
    let columns = Columns::of(batch, hashes);
    let answer = if outward {
        call_outward(connection, &columns, patient, told).await?
    } else {
        call(connection, &columns, patient, told).await?
    };
    answer.done.then(|| answer.outcome(batch, &columns)).transpose()
}

/// The function's answer to the columns; what stands before and after the list of what is asked for is the caller's.
macro_rules! answered {
    ($with:literal, $from:literal, $columns:expr, $patient:expr, $told:expr) => {
        sqlx::query_as!(
            Answer,
            $with
                + r#"
            select
                done as "done!", coalesce(seqs, '{}') as "seqs!: Vec<Option<i64>>"
                , coalesce(versions, '{}') as "versions!: Vec<Option<i64>>"
                , coalesce(moments, '{}') as "moments!: Vec<Option<DateTime<Utc>>>"
                , coalesce(millis, '{}') as "millis!: Vec<Option<i64>>"
                , coalesce(shown, '{}') as "shown!: Vec<i64>"
                , coalesce(names, '{}') as "names!: Vec<Option<String>>"
                , coalesce(avatars, '{}') as "avatars!: Vec<Option<String>>"
                , coalesce(kept, '{}') as "kept!: Vec<Option<String>>", head
            from
            "#
                + $from,
            &$columns.chats,
            &$columns.chat_messages,
            &$columns.sender_chats,
            &$columns.senders as _,
            &$columns.sender_messages,
            &$columns.message_chats,
            &$columns.places,
            &$columns.authors as _,
            &$columns.types as _,
            &$columns.contents as _,
            &$columns.replies as _,
            &$columns.metadatas as _,
            &$columns.client_ids as _,
            &$columns.hashes as _,
            &$columns.id_tails,
            $patient,
            $told,
        )
    };
}

async fn call(
    connection: &mut PgConnection,
    columns: &Columns<'_>,
    patient: bool,
    told: &[i64],
) -> Result<Answer, StoreError> {
    let answer = answered!(
        "",
        "append_messages_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)",
        columns,
        patient,
        told
    );
    Ok(answer.fetch_one(connection).await?)
}

/// The same, and one row for webhooks in the same statement, whatever is in the batch.
async fn call_outward(
    connection: &mut PgConnection,
    columns: &Columns<'_>,
    patient: bool,
    told: &[i64],
) -> Result<Answer, StoreError> {
    let answer = answered!(
        r#"
        with answer as (
            select *
            from append_messages_3($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17)
        )
        , outward as (
            insert into outbox (kind, chat_ids, seqs, counts)
            select 'message.created', array_agg(c.id), array_agg(c.seq), array_agg(c.messages)
            from answer
            cross join lateral unnest($1, answer.seqs, $2) as c (id, seq, messages)
            where answer.done and c.seq is not null
            having count(*) > 0
        )
        "#,
        "answer",
        columns,
        patient,
        told
    );
    Ok(answer.fetch_one(connection).await?)
}

impl Answer {
    fn outcome(
        self,
        batch: &[&NewMessage],
        columns: &Columns<'_>,
    ) -> Result<BatchOutcome, StoreError> {
        let broken = || StoreError::inconsistent("messages", "appended to no place");
        // Of each sender, where its name stands.
        let mut named = vec![None; columns.senders.len()];
        for (place, sender) in self.shown.iter().enumerate() {
            let sender = usize::try_from(sender - 1).ok().and_then(|sender| named.get_mut(sender));
            *sender.ok_or_else(broken)? = Some(place);
        }
        let mut outcomes: Vec<Option<Outcome>> = batch.iter().map(|_| None).collect();
        let mut changes = Vec::with_capacity(batch.len());
        for (position, item) in columns.items.iter().enumerate() {
            let outcome = if self.seqs.get(item.chat).ok_or_else(broken)?.is_some() {
                let named = named[item.sender].ok_or_else(broken)?;
                let message =
                    self.message(batch[item.index], item, position, named).ok_or_else(broken)?;
                // Chat by chat in rising version, as the items are.
                changes.push(Change::sent(message.clone()));
                let appended = Appended { message, replay: false };
                Outcome::Done(AppendMessage::Appended(Box::new(appended)))
            } else {
                Outcome::Busy
            };
            outcomes[item.index] = Some(outcome);
        }
        let items: Option<Vec<_>> = outcomes.into_iter().collect();
        let items = items.ok_or_else(broken)?;
        Ok(BatchOutcome { items, changes, head: self.head.map(Head), one_by_one: false })
    }

    /// What was inserted: what was sent, in its place.
    fn message(
        &self,
        new: &NewMessage,
        item: &Item,
        position: usize,
        named: usize,
    ) -> Option<Message> {
        let before = i64::from(item.before);
        let first = (*self.moments.get(item.chat)?)?;
        let milli = (*self.millis.get(item.chat)?)? + before;
        let id = u128::from(unsigned(milli)) << TAIL_BITS | item.tail.as_u128();
        let kept = self.kept.get(position).cloned().flatten();
        Some(Message {
            id: Uuid::from_u128(id).into(),
            chat_id: new.chat_id,
            seq: Seq(unsigned((*self.seqs.get(item.chat)?)? + before + 1)),
            version: Version(unsigned((*self.versions.get(item.chat)?)? + before + 1)),
            changed_version: None,
            sender_id: new.sender_id.clone(),
            sender: Sender {
                id: new.sender_id.clone(),
                name: self.names.get(named)?.clone(),
                avatar: self.avatars.get(named)?.clone(),
            },
            message_type: new.message_type,
            content: new.content.as_str().to_owned(),
            reply_to_message_id: new.reply_to,
            metadata: kept.map(RawValue::from_string).transpose().ok()?,
            attachments: Vec::new(),
            client_message_id: new.client_message_id.clone(),
            created_at: Timestamp::new(first + TimeDelta::milliseconds(before)),
            edited_at: None,
            deleted_at: None,
        })
    }
}
