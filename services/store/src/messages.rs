//! Table `messages`: appending, reading in pages, and what a row looks like.

mod append;
mod at_once;
mod change;
mod history;
mod place;

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, ClientMessageId, UserId};
use parley_domain::message::{Attachment, Message, MessageType, Sender};
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::attachments::AttachmentRow;
use crate::users::user_id;
use crate::{StoreError, unsigned};

pub use append::{AppendMessage, Appended};
pub(crate) use append::{BatchOutcome, Outcome, append_batch, replays};
pub use change::{DeleteAs, DeleteMessage, EditMessage};
pub use history::{Cursor, MessagePage, MessageQuery, Order};
pub use place::MessagePlace;

/// The rows of messages with their authors; what follows the `from` is the caller's.
macro_rules! message_rows {
    ($rest:literal $(, $argument:expr)* $(,)?) => {
        sqlx::query_as!(
            MessageRow,
            r#"
            select
                m.chat_id, m.seq, m.id, m.version, m.changed_version, m.sender_id, m.type as message_type, m.content
                , m.reply_to_id, m.metadata as "metadata: Json<Box<RawValue>>", m.client_message_id
                , m.created_at, m.edited_at, m.deleted_at, m.deleted_by
                , u.name as "sender_name?", u.avatar as "sender_avatar?"
                , case when m.attachment_count > 0 and m.deleted_at is null then (
                    select jsonb_agg(
                        jsonb_build_object(
                            'id', a.id, 'filename', a.filename, 'mimeType', a.mime_type, 'size', a.size
                        ) order by a.id
                    )
                    from attachments a
                    where a.chat_id = m.chat_id and a.message_id = m.id
                ) end as "attachments: Json<Vec<AttachmentRow>>"
            from messages m
            left join users u on u.id = m.sender_id
            "#
            + $rest
            $(, $argument)*
        )
    };
}

use message_rows;

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

/// Messages of a chat, by their seqs, in order; with who deleted them.
pub(crate) async fn messages_at(
    connection: &mut PgConnection,
    chat: ChatId,
    seqs: &[i64],
) -> Result<Vec<(Message, Option<UserId>)>, StoreError> {
    let rows =
        message_rows!("where m.chat_id = $1 and m.seq = any($2) order by m.seq", chat.uuid(), seqs)
            .fetch_all(connection)
            .await?;
    rows.into_iter().map(MessageRow::message_and_deleter).collect()
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

pub(crate) struct MessageRow {
    pub(crate) chat_id: Uuid,
    pub(crate) seq: i64,
    pub(crate) id: Uuid,
    pub(crate) version: i64,
    pub(crate) changed_version: Option<i64>,
    pub(crate) sender_id: String,
    pub(crate) message_type: String,
    pub(crate) content: String,
    pub(crate) reply_to_id: Option<Uuid>,
    pub(crate) metadata: Option<Json<Box<RawValue>>>,
    pub(crate) client_message_id: Option<String>,
    pub(crate) created_at: DateTime<Utc>,
    pub(crate) edited_at: Option<DateTime<Utc>>,
    pub(crate) deleted_at: Option<DateTime<Utc>>,
    pub(crate) deleted_by: Option<String>,
    pub(crate) sender_name: Option<String>,
    pub(crate) sender_avatar: Option<String>,
    pub(crate) attachments: Option<Json<Vec<AttachmentRow>>>,
}

impl MessageRow {
    /// With who has deleted it.
    pub(crate) fn message_and_deleter(mut self) -> Result<(Message, Option<UserId>), StoreError> {
        let by = self.deleted_by.take().map(|id| user_id("messages", &id)).transpose()?;
        Ok((self.message()?, by))
    }

    fn message(self) -> Result<Message, StoreError> {
        let broken =
            |error: parley_domain::Invalid| StoreError::inconsistent("messages", error.to_string());
        let sender_id: UserId = user_id("messages", &self.sender_id)?;
        let chat = self.chat_id.into();
        let files = self.attachments.map(|json| json.0).unwrap_or_default();
        let file = |row: AttachmentRow| {
            Attachment::new(chat, row.id.into(), row.filename, row.mime_type, row.size)
        };
        Ok(Message {
            id: self.id.into(),
            chat_id: chat,
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
            attachments: files.into_iter().map(file).collect(),
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
