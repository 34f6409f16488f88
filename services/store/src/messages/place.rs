//! Where a message stands in its chat, without what it says.

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, MessageId, UserId};
use parley_domain::version::{Seq, Version};

use crate::metrics::Call;
use crate::users::user_id;
use crate::{Store, StoreError, unsigned};

/// A message as those see it who operate Parley.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePlace {
    /// Its chat.
    pub chat_id: ChatId,
    /// Its place among the chat's messages.
    pub seq: Seq,
    /// The version that it took when it was sent.
    pub version: Version,
    /// The version of its last edit or delete.
    pub changed_version: Option<Version>,
    /// Who sent it.
    pub sender_id: UserId,
    /// When.
    pub created_at: DateTime<Utc>,
}

impl Store {
    /// A message of `chat`; without one, of the chats that `user` is in. Ids are looked up chat by chat.
    pub async fn message_place(
        &self,
        message: MessageId,
        chat: Option<ChatId>,
        user: &UserId,
    ) -> Result<Option<MessagePlace>, StoreError> {
        let _timed = self.metrics.time(Call::History);
        let row = sqlx::query!(
            r#"
            select m.chat_id, m.seq, m.version, m.changed_version, m.sender_id, m.created_at
            from (
                select $2::uuid as chat_id
                where $2 is not null
                union all
                select p.chat_id
                from participants p
                where $2 is null and p.user_id = $3 and p.left_at is null
            ) c
            join messages m on m.chat_id = c.chat_id and m.id = $1
            limit 1
            "#,
            message.uuid(),
            chat.map(ChatId::uuid),
            user.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(MessagePlace {
            chat_id: ChatId::from(row.chat_id),
            seq: Seq(unsigned(row.seq)),
            version: Version(unsigned(row.version)),
            changed_version: row.changed_version.map(|version| Version(unsigned(version))),
            sender_id: user_id("messages", &row.sender_id)?,
            created_at: row.created_at,
        }))
    }
}
