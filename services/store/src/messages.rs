//! Table `messages`: appending, and reading in pages.

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, ClientMessageId, MessageId, UserId};
use parley_domain::message::{Message, MessageType, NewMessage, Sender};
use parley_domain::page::{MessagePagination, Page, Pagination};
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::users::user_id;
use crate::{Store, StoreError, signed, unsigned};

/// The rows of messages with their authors; what follows the `from` is the caller's.
macro_rules! message_rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            MessageRow,
            r#"
            select
                m.chat_id, m.seq, m.id, m.version, m.changed_version, m.sender_id, m.type as message_type, m.content
                , m.reply_to_id, m.metadata as "metadata: Json<Box<RawValue>>", m.client_message_id
                , m.created_at, m.edited_at, m.deleted_at
                , u.name as "sender_name?", u.avatar as "sender_avatar?"
            from messages m
            left join users u on u.id = m.sender_id
            "#
            + $rest
            $(, $argument)*
        )
    };
}

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

/// Which messages of a chat.
#[derive(Debug, Clone, Copy)]
pub struct MessageQuery {
    /// Only older ones.
    pub before: Option<Cursor>,
    /// Only newer ones.
    pub after: Option<Cursor>,
    /// A page with this one in its middle; stands alone.
    pub around: Option<Cursor>,
    /// From which end the range is read.
    pub order: Order,
    /// Which page of the range.
    pub page: Page,
}

/// A place in a chat's history; ranges exclude it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// A message's place.
    Seq(Seq),
    /// A message, whether still there or not: ids rise with time.
    Id(MessageId),
    /// A moment.
    Time(DateTime<Utc>),
}

/// From which end a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest message comes first.
    #[default]
    NewestFirst,
    /// The oldest message comes first.
    OldestFirst,
}

/// Messages of one moment.
#[derive(Debug, Clone)]
pub struct MessagePage {
    /// In the order asked for.
    pub messages: Vec<Message>,
    /// Where they stand.
    pub pagination: MessagePagination,
    /// The chat's version at that moment: the `since` of a join that misses nothing.
    pub version: Version,
}

impl Store {
    /// Commits a message, once per client message id.
    ///
    /// The chat's row is locked first; everything else is looked up after that, so the version, the seq, the time and
    /// the membership are those of the moment at which the message takes its place.
    pub async fn append_message(&self, new: &NewMessage) -> Result<AppendMessage, StoreError> {
        let mut transaction = self.pool.begin().await?;
        let Some(place) = lock_chat(&mut transaction, new.chat_id).await? else {
            return Ok(AppendMessage::ChatNotFound);
        };
        let hash = request_hash(new);
        let found = look_up(&mut transaction, new).await?;
        if !found.participant && !new.by_host {
            return Ok(AppendMessage::NotParticipant);
        }
        if let Some((seq, original)) = found.earlier {
            if original != hash {
                return Ok(AppendMessage::IdempotencyConflict);
            }
            let message = message_at(&mut transaction, new.chat_id, seq).await?;
            return Ok(AppendMessage::Appended(Box::new(Appended { message, replay: true })));
        }
        if new.reply_to.is_some() && !found.reply_there {
            return Ok(AppendMessage::ReplyNotFound);
        }
        insert(&mut transaction, new, &place, &hash).await?;
        let message = message_at(&mut transaction, new.chat_id, signed(place.seq.0)).await?;
        transaction.commit().await?;
        Ok(AppendMessage::Appended(Box::new(Appended { message, replay: false })))
    }

    /// A page of a chat's messages, or `None` without such a chat. Seqs are dense, so a page is a range of them
    /// whatever its number: no row is read only to be skipped.
    pub async fn messages(
        &self,
        chat: ChatId,
        query: &MessageQuery,
    ) -> Result<Option<MessagePage>, StoreError> {
        let mut snapshot = self.snapshot().await?;
        let head = sqlx::query!("select version, last_seq from chats where id = $1", chat.uuid())
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(head) = head else { return Ok(None) };
        let range = resolve(&mut snapshot, chat, query, unsigned(head.last_seq)).await?;
        let slice = Slice::of(range, query);
        let rows = message_rows!(
            "where m.chat_id = $1 and m.seq between $2 and $3 order by m.seq",
            chat.uuid(),
            signed(slice.first),
            signed(slice.last),
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        let mut messages =
            rows.into_iter().map(MessageRow::message).collect::<Result<Vec<_>, _>>()?;
        let next_before =
            messages.first().filter(|oldest| oldest.seq > Seq(1)).map(|oldest| oldest.id);
        if query.order == Order::NewestFirst {
            messages.reverse();
        }
        Ok(Some(MessagePage {
            messages,
            pagination: MessagePagination { page: slice.pagination, next_before },
            version: Version(unsigned(head.version)),
        }))
    }
}

/// What the next message of a locked chat gets.
struct Place {
    seq: Seq,
    version: Version,
    created_at: DateTime<Utc>,
}

async fn lock_chat(
    connection: &mut PgConnection,
    chat: ChatId,
) -> Result<Option<Place>, StoreError> {
    let row = sqlx::query!(
        r#"
        select
            last_seq + 1 as "seq!"
            , version + 1 as "version!"
            , last_message_at
        from chats
        where id = $1
        for update
        "#,
        chat.uuid(),
    )
    .fetch_optional(&mut *connection)
    .await?;
    let Some(row) = row else { return Ok(None) };
    // The clock is read after the lock was waited for; a later message must not carry an earlier time.
    let created_at = sqlx::query_scalar!(
        r#"
        select greatest(
            date_trunc('milliseconds', clock_timestamp())
            , $1::timestamptz + interval '1 millisecond'
        ) as "at!"
        "#,
        row.last_message_at,
    )
    .fetch_one(connection)
    .await?;
    Ok(Some(Place {
        seq: Seq(unsigned(row.seq)),
        version: Version(unsigned(row.version)),
        created_at,
    }))
}

struct Found {
    participant: bool,
    reply_there: bool,
    /// The seq and request hash of the message that an earlier try made.
    earlier: Option<(i64, Vec<u8>)>,
}

async fn look_up(connection: &mut PgConnection, new: &NewMessage) -> Result<Found, StoreError> {
    let row = sqlx::query!(
        r#"
        select
            exists (
                select from participants
                where chat_id = $1 and user_id = $2 and left_at is null
            ) as "participant!"
            , exists (select from messages where chat_id = $1 and id = $4) as "reply_there!"
            , earlier.seq as "seq?"
            , earlier.request_hash
        from (select) as one
        left join messages earlier
            on earlier.chat_id = $1 and earlier.sender_id = $2 and earlier.client_message_id = $3
        "#,
        new.chat_id.uuid(),
        new.sender_id.as_str(),
        new.client_message_id.as_ref().map(ClientMessageId::as_str),
        new.reply_to.map(MessageId::uuid),
    )
    .fetch_one(connection)
    .await?;
    let earlier = row.seq.map(|seq| (seq, row.request_hash.unwrap_or_default()));
    Ok(Found { participant: row.participant, reply_there: row.reply_there, earlier })
}

async fn insert(
    connection: &mut PgConnection,
    new: &NewMessage,
    place: &Place,
    hash: &[u8],
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        insert into messages
            (chat_id, seq, id, version, sender_id, type, content, reply_to_id, metadata, client_message_id
            , request_hash, created_at)
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
        "#,
        new.chat_id.uuid(),
        signed(place.seq.0),
        id_at(place.created_at),
        signed(place.version.0),
        new.sender_id.as_str(),
        new.message_type.as_str(),
        new.content.as_str(),
        new.reply_to.map(MessageId::uuid),
        new.metadata.clone().map(parley_domain::metadata::Metadata::into_value),
        new.client_message_id.as_ref().map(ClientMessageId::as_str),
        new.client_message_id.as_ref().map(|_| hash),
        place.created_at,
    )
    .execute(&mut *connection)
    .await?;
    sqlx::query!(
        "update chats set version = $2, last_seq = $3, last_message_at = $4 where id = $1",
        new.chat_id.uuid(),
        signed(place.version.0),
        signed(place.seq.0),
        place.created_at,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A new id of this moment: a `UUIDv7`, so that ids rise with the chat's own times.
fn id_at(moment: DateTime<Utc>) -> Uuid {
    let millis = u64::try_from(moment.timestamp_millis()).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &rand::random()).into_uuid()
}

/// The smallest id that a message of this moment, or a later one, can have.
fn first_id_at(millis: i64) -> Uuid {
    let millis = u64::try_from(millis).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

/// What distinguishes one request from another under the same client message id.
fn request_hash(new: &NewMessage) -> Vec<u8> {
    let reply_to = new.reply_to.map(|id| id.to_string());
    let request = (new.message_type.as_str(), new.content.as_str(), reply_to, &new.metadata);
    // A tuple of text and JSON always serializes; its fields stand in a fixed order.
    Sha256::digest(serde_json::to_vec(&request).unwrap_or_default()).to_vec()
}

async fn message_at(
    connection: &mut PgConnection,
    chat: ChatId,
    seq: i64,
) -> Result<Message, StoreError> {
    message_rows!("where m.chat_id = $1 and m.seq = $2", chat.uuid(), seq,)
        .fetch_one(connection)
        .await?
        .message()
}

/// The newest message of each chat that has one.
pub(crate) async fn last_messages(
    connection: &mut PgConnection,
    chats: &[Uuid],
) -> Result<Vec<Message>, StoreError> {
    let rows = message_rows!(
        "join chats c on c.id = m.chat_id and c.last_seq = m.seq where c.id = any($1)",
        chats,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(MessageRow::message).collect()
}

/// Seqs from `first` to `last`, both included; empty when `first > last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

/// The range of seqs that a query speaks of.
async fn resolve(
    connection: &mut PgConnection,
    chat: ChatId,
    query: &MessageQuery,
    last_seq: u64,
) -> Result<Range, StoreError> {
    if let Some(around) = query.around {
        let middle = seqs_below(connection, chat, around, last_seq).await? + 1;
        let half = u64::from(query.page.limit) / 2;
        let first = middle.saturating_sub(half).max(1);
        let last = (first + u64::from(query.page.limit) - 1).min(last_seq);
        return Ok(Range { first, last });
    }
    let last = match query.before {
        Some(cursor) => seqs_below(connection, chat, cursor, last_seq).await?,
        None => last_seq,
    };
    let first = match query.after {
        Some(cursor) => seqs_up_to(connection, chat, cursor, last_seq).await? + 1,
        None => 1,
    };
    Ok(Range { first, last })
}

/// The last seq before the cursor.
async fn seqs_below(
    connection: &mut PgConnection,
    chat: ChatId,
    cursor: Cursor,
    last_seq: u64,
) -> Result<u64, StoreError> {
    match cursor {
        Cursor::Seq(seq) => Ok(seq.0.saturating_sub(1).min(last_seq)),
        Cursor::Id(id) => last_seq_below(connection, chat, id.uuid()).await,
        // A time may be finer than the milliseconds of a message: round up, and what is earlier stays in.
        Cursor::Time(time) => {
            last_seq_below(connection, chat, first_id_at(millis_ceil(time))).await
        }
    }
}

/// The last seq that the cursor itself covers.
async fn seqs_up_to(
    connection: &mut PgConnection,
    chat: ChatId,
    cursor: Cursor,
    last_seq: u64,
) -> Result<u64, StoreError> {
    match cursor {
        Cursor::Seq(seq) => Ok(seq.0.min(last_seq)),
        Cursor::Id(id) => {
            let next = Uuid::from_u128(id.uuid().as_u128().saturating_add(1));
            last_seq_below(connection, chat, next).await
        }
        Cursor::Time(time) => {
            last_seq_below(connection, chat, first_id_at(time.timestamp_millis() + 1)).await
        }
    }
}

fn millis_ceil(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    time.timestamp_millis() + i64::from(finer)
}

async fn last_seq_below(
    connection: &mut PgConnection,
    chat: ChatId,
    id: Uuid,
) -> Result<u64, StoreError> {
    let seq = sqlx::query_scalar!(
        "select seq from messages where chat_id = $1 and id < $2 order by id desc limit 1",
        chat.uuid(),
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(seq.map_or(0, unsigned))
}

/// The seqs of one page, and the page's account of itself.
struct Slice {
    first: u64,
    last: u64,
    pagination: Pagination,
}

impl Slice {
    fn of(range: Range, query: &MessageQuery) -> Self {
        let total = (range.last + 1).saturating_sub(range.first);
        let pagination = query.page.of(total);
        let (skipped, limit) = (query.page.skipped(), u64::from(query.page.limit));
        if skipped >= total {
            return Self { first: 1, last: 0, pagination };
        }
        let (first, last) = match query.order {
            Order::OldestFirst => {
                let first = range.first + skipped;
                (first, range.last.min(first + limit - 1))
            }
            Order::NewestFirst => {
                let last = range.last - skipped;
                (range.first.max((last + 1).saturating_sub(limit)), last)
            }
        };
        Self { first, last, pagination }
    }
}

struct MessageRow {
    chat_id: Uuid,
    seq: i64,
    id: Uuid,
    version: i64,
    changed_version: Option<i64>,
    sender_id: String,
    message_type: String,
    content: String,
    reply_to_id: Option<Uuid>,
    metadata: Option<Json<Box<RawValue>>>,
    client_message_id: Option<String>,
    created_at: DateTime<Utc>,
    edited_at: Option<DateTime<Utc>>,
    deleted_at: Option<DateTime<Utc>>,
    sender_name: Option<String>,
    sender_avatar: Option<String>,
}

impl MessageRow {
    fn message(self) -> Result<Message, StoreError> {
        let broken =
            |error: parley_domain::Invalid| StoreError::inconsistent("messages", error.to_string());
        let sender_id: UserId = user_id("messages", &self.sender_id)?;
        Ok(Message {
            id: self.id.into(),
            chat_id: self.chat_id.into(),
            seq: Seq(unsigned(self.seq)),
            version: Version(unsigned(self.version)),
            changed_version: self.changed_version.map(|version| Version(unsigned(version))),
            sender: Sender {
                id: sender_id.clone(),
                name: self.sender_name,
                avatar: self.sender_avatar,
            },
            sender_id,
            message_type: MessageType::parse(&self.message_type).map_err(broken)?,
            content: self.content,
            reply_to_message_id: self.reply_to_id.map(Into::into),
            metadata: self.metadata.map(|json| json.0),
            attachments: Vec::new(),
            client_message_id: self
                .client_message_id
                .map(|id| ClientMessageId::parse(&id).map_err(broken))
                .transpose()?,
            created_at: Timestamp::new(self.created_at),
            edited_at: self.edited_at.map(Timestamp::new),
            deleted_at: self.deleted_at.map(Timestamp::new),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(first: u64, last: u64, order: Order, number: u32, limit: u32) -> Vec<u64> {
        let page = Page { number, limit };
        let query = MessageQuery { before: None, after: None, around: None, order, page };
        let slice = Slice::of(Range { first, last }, &query);
        (slice.first..=slice.last).collect()
    }

    #[test]
    fn pages_cover_a_range_once_in_either_order() {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            for limit in 1..=6 {
                let mut all: Vec<u64> =
                    (1..=12).flat_map(|n| slice(3, 12, order, n, limit)).collect();
                all.sort_unstable();
                assert_eq!(all, (3..=12).collect::<Vec<_>>(), "{order:?} by {limit}");
            }
        }
        assert_eq!(slice(1, 10, Order::NewestFirst, 1, 3), [8, 9, 10]);
        assert_eq!(slice(1, 10, Order::NewestFirst, 4, 3), [1]);
        assert_eq!(slice(1, 10, Order::OldestFirst, 4, 3), [10]);
    }

    #[test]
    fn an_empty_range_has_only_empty_pages() {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            assert!(slice(1, 0, order, 1, 50).is_empty());
            assert!(slice(8, 3, order, 1, 50).is_empty());
            assert!(slice(1, 5, order, 1_000_000, 100).is_empty());
        }
    }

    #[test]
    fn a_time_finer_than_a_millisecond_keeps_what_is_earlier() {
        let at = |nanos| DateTime::from_timestamp(1, nanos).unwrap();
        assert_eq!(millis_ceil(at(123_000_000)), 1123);
        assert_eq!(millis_ceil(at(123_000_001)), 1124);
    }
}
