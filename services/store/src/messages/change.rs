//! Changing what was said: edits and deletes, each at a version of its own.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::ids::{ChatId, MessageId, UserId};
use parley_domain::message::{Content, Message};
use parley_domain::version::Version;
use parley_domain::webhook::EventKind;
use serde_json::{Value, json};
use sqlx::PgConnection;

use super::message_at;
use crate::attachments::remove_files;
use crate::chats::lock;
use crate::heads::Committed;
use crate::metrics::Call;
use crate::outbox::Outward;
use crate::participants::is_participant;
use crate::{Store, StoreError, signed};

/// What came of an edit.
#[derive(Debug, Clone)]
pub enum EditMessage {
    /// It is committed.
    Edited(Box<Message>, Committed),
    /// There is no such chat.
    ChatNotFound,
    /// The editor is not in it.
    NotParticipant,
    /// The chat has no such message.
    MessageNotFound,
    /// Somebody else wrote it.
    NotAuthor,
    /// It is deleted.
    Deleted,
    /// It is too old to be edited.
    WindowOver,
}

/// What came of a delete.
#[derive(Debug, Clone)]
pub enum DeleteMessage {
    /// It is committed; what is left of the message.
    Deleted(Box<Message>, Committed),
    /// It was deleted before; what is left of the message.
    AlreadyDeleted(Box<Message>),
    /// There is no such chat.
    ChatNotFound,
    /// The deleter is not in it.
    NotParticipant,
    /// The chat has no such message.
    MessageNotFound,
    /// Somebody else wrote it.
    NotAuthor,
}

/// On whose authority a message is deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeleteAs {
    /// As its author, who must be in the chat.
    Author,
    /// As an admin or the host application.
    Admin,
}

impl Store {
    /// Changes the text of a message, for its author, within `window` of its sending by the database's clock.
    pub async fn edit_message(
        &self,
        chat: ChatId,
        message: MessageId,
        editor: &UserId,
        content: &Content,
        window: Duration,
    ) -> Result<EditMessage, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, chat).await? else {
            return Ok(EditMessage::ChatNotFound);
        };
        if !is_participant(&mut transaction, chat, editor).await? {
            return Ok(EditMessage::NotParticipant);
        }
        let Some(found) = find(&mut transaction, chat, message).await? else {
            return Ok(EditMessage::MessageNotFound);
        };
        if found.sender != editor.as_str() {
            return Ok(EditMessage::NotAuthor);
        }
        if found.deleted {
            return Ok(EditMessage::Deleted);
        }
        let age = (locked.now - found.created_at).to_std().unwrap_or_default();
        if age > window {
            return Ok(EditMessage::WindowOver);
        }
        let version = locked.version.next();
        set_content(&mut transaction, chat, found.seq, content, version).await?;
        move_chat(&mut transaction, chat, version, 0).await?;
        let message = message_at(&mut transaction, chat, found.seq).await?;
        let outward = outward(EventKind::MessageEdited, found.seq, json!({ "version": version }));
        let head = self.note(&mut transaction, chat, version, &[outward]).await?;
        transaction.commit().await?;
        let message = Box::new(message);
        let kind = ChangeKind::MessageEdited(message.clone());
        let changes = vec![Change { chat_id: chat, version, kind }];
        Ok(EditMessage::Edited(
            message,
            Committed { changes, epoch: self.epoch(), head, traced: Vec::new() },
        ))
    }

    /// Deletes a message: it stays in its place without text, metadata and files.
    pub async fn delete_message(
        &self,
        chat: ChatId,
        message: MessageId,
        by: &UserId,
        authority: DeleteAs,
    ) -> Result<DeleteMessage, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, chat).await? else {
            return Ok(DeleteMessage::ChatNotFound);
        };
        let as_author = authority == DeleteAs::Author;
        if as_author && !is_participant(&mut transaction, chat, by).await? {
            return Ok(DeleteMessage::NotParticipant);
        }
        let Some(found) = find(&mut transaction, chat, message).await? else {
            return Ok(DeleteMessage::MessageNotFound);
        };
        if as_author && found.sender != by.as_str() {
            return Ok(DeleteMessage::NotAuthor);
        }
        if found.deleted {
            let message = message_at(&mut transaction, chat, found.seq).await?;
            return Ok(DeleteMessage::AlreadyDeleted(Box::new(message)));
        }
        let version = locked.version.next();
        clear(&mut transaction, chat, found.seq, by, version).await?;
        if found.has_files {
            remove_files(&mut transaction, chat, message).await?;
        }
        move_chat(&mut transaction, chat, version, 1).await?;
        let message = Box::new(message_at(&mut transaction, chat, found.seq).await?);
        let detail = json!({ "version": version, "deletedBy": by });
        let outward = outward(EventKind::MessageDeleted, found.seq, detail);
        let head = self.note(&mut transaction, chat, version, &[outward]).await?;
        transaction.commit().await?;
        let kind = ChangeKind::MessageDeleted { message: message.clone(), by: Some(by.clone()) };
        let changes = vec![Change { chat_id: chat, version, kind }];
        Ok(DeleteMessage::Deleted(
            message,
            Committed { changes, epoch: self.epoch(), head, traced: Vec::new() },
        ))
    }
}

const fn outward(kind: EventKind, seq: i64, detail: Value) -> Outward {
    Outward { kind, seq: Some(seq), detail: Some(detail) }
}

struct Found {
    seq: i64,
    sender: String,
    deleted: bool,
    has_files: bool,
    created_at: DateTime<Utc>,
}

async fn find(
    connection: &mut PgConnection,
    chat: ChatId,
    message: MessageId,
) -> Result<Option<Found>, StoreError> {
    let row = sqlx::query!(
        r#"
        select
            seq, sender_id, deleted_at is not null as "deleted!", attachment_count is not null as "has_files!"
            , created_at
        from messages
        where chat_id = $1 and id = $2
        "#,
        chat.uuid(),
        message.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    Ok(row.map(|row| Found {
        seq: row.seq,
        sender: row.sender_id,
        deleted: row.deleted,
        has_files: row.has_files,
        created_at: row.created_at,
    }))
}

async fn set_content(
    connection: &mut PgConnection,
    chat: ChatId,
    seq: i64,
    content: &Content,
    version: Version,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update messages
        set content = $3, edited_at = date_trunc('milliseconds', clock_timestamp()), changed_version = $4
        where chat_id = $1 and seq = $2
        "#,
        chat.uuid(),
        seq,
        content.as_str(),
        signed(version.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn clear(
    connection: &mut PgConnection,
    chat: ChatId,
    seq: i64,
    by: &UserId,
    version: Version,
) -> Result<(), StoreError> {
    sqlx::query!(
        r#"
        update messages
        set content = '', metadata = null, attachment_count = null, deleted_by = $3, changed_version = $4
          , deleted_at = date_trunc('milliseconds', clock_timestamp())
        where chat_id = $1 and seq = $2
        "#,
        chat.uuid(),
        seq,
        by.as_str(),
        signed(version.0),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn move_chat(
    connection: &mut PgConnection,
    chat: ChatId,
    version: Version,
    deleted: i64,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update chats set version = $2, deleted_count = deleted_count + $3 where id = $1",
        chat.uuid(),
        signed(version.0),
        deleted,
    )
    .execute(connection)
    .await?;
    Ok(())
}
