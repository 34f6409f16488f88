//! Table `attachments`: the files of messages.

use parley_domain::ids::{AttachmentId, ChatId, MessageId};
use serde::Deserialize;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::metrics::Call;
use crate::{Store, StoreError, unsigned};

/// A file that may be downloaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredFile {
    /// The file.
    pub id: AttachmentId,
    /// Its name as uploaded.
    pub filename: String,
    /// Its type, found from its content.
    pub mime_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// Where its bytes lie.
    pub storage_key: String,
}

/// A file as it stands beside its message.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct AttachmentRow {
    pub(crate) id: Uuid,
    pub(crate) filename: String,
    pub(crate) mime_type: String,
    pub(crate) size: u64,
}

impl Store {
    /// A file of a message of this chat, or `None` when there is none, or its message is deleted.
    pub async fn file(
        &self,
        chat: ChatId,
        attachment: AttachmentId,
    ) -> Result<Option<StoredFile>, StoreError> {
        let _timed = self.metrics.time(Call::Files);
        let row = sqlx::query!(
            r#"
            select a.filename, a.mime_type, a.size, a.storage_key
            from attachments a
            join messages m on m.chat_id = a.chat_id and m.id = a.message_id
            where a.chat_id = $1 and a.id = $2 and m.deleted_at is null
            "#,
            chat.uuid(),
            attachment.uuid(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| StoredFile {
            id: attachment,
            filename: row.filename,
            mime_type: row.mime_type,
            size: unsigned(row.size),
            storage_key: row.storage_key,
        }))
    }
}

/// Removes the files of a message; their bytes are loose from here on, to be removed at once.
pub(crate) async fn remove_files(
    connection: &mut PgConnection,
    chat: ChatId,
    message: MessageId,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        with removed as (
            delete from attachments
            where chat_id = $1 and message_id = $2
            returning storage_key
        )
        insert into loose_objects (storage_key, remove_after, try_after)
        select storage_key, clock_timestamp(), clock_timestamp()
        from removed
        "#,
        chat.uuid(),
        message.uuid(),
    )
    .execute(connection)
    .await?;
    Ok(())
}
