//! Appending: the one way in which a message comes to be.

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, ClientMessageId, MessageId};
use parley_domain::message::{Message, NewMessage};
use parley_domain::metadata::Metadata;
use parley_domain::version::{Seq, Version};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use super::message_at;
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
        new.metadata.clone().map(Metadata::into_value),
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

/// What distinguishes one request from another under the same client message id.
fn request_hash(new: &NewMessage) -> Vec<u8> {
    let reply_to = new.reply_to.map(|id| id.to_string());
    let request = (new.message_type.as_str(), new.content.as_str(), reply_to, &new.metadata);
    // A tuple of text and JSON always serializes; its fields stand in a fixed order.
    Sha256::digest(serde_json::to_vec(&request).unwrap_or_default()).to_vec()
}
