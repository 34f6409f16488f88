//! What a participant has read: the pointer and counters of `participants`, the rows of `read_exceptions`, and the
//! counts that follow from them.

use parley_domain::ids::{ChatId, MessageId, UserId};
use parley_domain::version::Seq;
use parley_domain::webhook::EventKind;
use uuid::Uuid;

use crate::metrics::Call;
use crate::users::user_id;
use crate::{Store, StoreError, unsigned};

/// What came of marking as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkRead {
    /// It is done.
    Marked(Marked),
    /// There is no such chat, or the reader is not in it.
    NotParticipant,
}

/// Messages that are read now and were not before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// How many.
    pub modified: u64,
    /// How many are left.
    pub unread: u64,
    /// Everything up to here is read.
    pub read_up_to: Seq,
    /// Who wrote them: of at most the newest 1,000.
    pub authors: Vec<UserId>,
    /// Which ones; `None` for all of the chat.
    pub messages: Option<Vec<MessageId>>,
    /// How many participants the chat has.
    pub participant_count: u64,
}

/// What came of marking as unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MarkUnread {
    /// It is done.
    Marked {
        /// How many are unread now.
        unread: u64,
        /// Everything up to here is read.
        read_up_to: Seq,
    },
    /// There is no such chat, or the reader is not in it.
    NotParticipant,
    /// The chat has no such message.
    MessageNotFound,
}

/// Totals over a user's chats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChatStats {
    /// Chats that the user is in.
    pub chats: u64,
    /// Messages ever sent in them.
    pub messages: u64,
    /// Messages that the user has not read.
    pub unread: u64,
}

impl Store {
    /// Marks messages as read for `reader`: these, or all of the chat. Ids that the chat does not know are passed over.
    pub async fn mark_read(
        &self,
        chat: ChatId,
        reader: &UserId,
        messages: Option<&[MessageId]>,
    ) -> Result<MarkRead, StoreError> {
        let _timed = self.metrics.time(Call::ReadState);
        let ids: Option<Vec<Uuid>> = messages.map(|ids| ids.iter().map(|id| id.uuid()).collect());
        let row = sqlx::query!(
            r#"
            with marked as (
                select * from mark_read_1($1, $2, $3)
            )
            , outward as (
                insert into outbox (kind, chat_ids, seqs, counts, detail)
                select 'message.read', array[$1], array[null::bigint], '{1}', jsonb_build_object(
                    'userId', $2::text, 'readUpTo', read_seq, 'messageIds', case when $3::uuid[] is not null then read_ids end
                    , 'readAt', to_char(clock_timestamp() at time zone 'utc', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
                )
                from marked
                where $4 and modified > 0
            )
            select
                modified as "modified!", unread as "unread!", read_seq as "read_seq!", authors as "authors!", read_ids
                , people as "people!"
            from marked
            "#,
            chat.uuid(),
            reader.as_str(),
            ids.as_deref() as _,
            self.demand.wants(EventKind::MessageRead),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(MarkRead::NotParticipant) };
        let authors = row.authors.iter().map(|id| user_id("messages", id));
        let read = row.read_ids.unwrap_or_default().into_iter().map(MessageId::from).collect();
        Ok(MarkRead::Marked(Marked {
            modified: unsigned(row.modified),
            unread: unsigned(row.unread),
            read_up_to: Seq(unsigned(row.read_seq)),
            authors: authors.collect::<Result<_, _>>()?,
            messages: messages.map(|_| read),
            participant_count: u64::from(row.people.unsigned_abs()),
        }))
    }

    /// Marks a message and everything after it as unread for `reader`.
    pub async fn mark_unread(
        &self,
        chat: ChatId,
        reader: &UserId,
        from: MessageId,
    ) -> Result<MarkUnread, StoreError> {
        let _timed = self.metrics.time(Call::ReadState);
        let row = sqlx::query!(
            "select unread, read_seq from mark_unread_1($1, $2, $3)",
            chat.uuid(),
            reader.as_str(),
            from.uuid(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(match row.map(|row| (row.unread, row.read_seq)) {
            None => MarkUnread::NotParticipant,
            Some((Some(unread), Some(read))) => {
                MarkUnread::Marked { unread: unsigned(unread), read_up_to: Seq(unsigned(read)) }
            }
            Some(_) => MarkUnread::MessageNotFound,
        })
    }

    /// Totals over the chats of a user.
    pub async fn stats(&self, user: &UserId) -> Result<ChatStats, StoreError> {
        let _timed = self.metrics.time(Call::ReadState);
        let row = sqlx::query!(
            r#"
            select
                count(*) as "chats!"
                , coalesce(sum(c.last_seq), 0)::bigint as "messages!"
                , coalesce(sum(u.unread), 0)::bigint as "unread!"
            from unread_counts u
            join chats c on c.id = u.chat_id
            where u.user_id = $1
            "#,
            user.as_str(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(ChatStats {
            chats: unsigned(row.chats),
            messages: unsigned(row.messages),
            unread: unsigned(row.unread),
        })
    }
}
