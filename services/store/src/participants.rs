//! Table `participants`: who is in which chat.

mod joins;
mod membership;

use chrono::{DateTime, Utc};
use parley_domain::chat::{ChatType, ParticipantRole};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::mute::Mute;
use parley_domain::version::{Seq, Version};

use sqlx::PgConnection;

use crate::chats::chat_type;
use crate::metrics::Call;
use crate::{ComesBack, Store, StoreError, unsigned};

pub use membership::{AddParticipant, ChangeAs, EnterSupport, RemoveParticipant};
pub(crate) use membership::{ParticipantRow, participants_of};

/// A current participant's place in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Membership {
    /// What the participant is there.
    pub role: ParticipantRole,
}

/// What is kept of somebody's place in a chat, also of one that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipRecord {
    /// When it began, for the last time.
    pub joined_at: DateTime<Utc>,
    /// The chat's last message then.
    pub joined_seq: Seq,
    /// When it ended.
    pub left_at: Option<DateTime<Utc>>,
    /// The version at which it last changed: of its end, if it has ended.
    pub changed_version: Version,
}

/// What a chat is to a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// There is no such chat.
    NoChat,
    /// The chat is there, and not the user's.
    Outsider(ChatType),
    /// The user is in it.
    Participant(Membership),
}

impl Store {
    /// What `chat` is to `user`, now and uncached.
    pub async fn access(&self, chat: ChatId, user: &UserId) -> Result<Access, StoreError> {
        let _timed = self.metrics.time(Call::Access);
        let row = sqlx::query!(
            r#"
            select c.type as chat_type, p.role as "role?"
            from chats c
            left join participants p on p.chat_id = c.id and p.user_id = $2 and p.left_at is null
            where c.id = $1
            "#,
            chat.uuid(),
            user.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        let Some(row) = row else { return Ok(Access::NoChat) };
        Ok(match row.role {
            None => Access::Outsider(chat_type(&row.chat_type)?),
            Some(role) => Access::Participant(Membership { role: participant_role(&role)? }),
        })
    }

    /// What is kept of a user's place in a chat; `None` for somebody who was never in it.
    pub async fn membership_record(
        &self,
        chat: ChatId,
        user: &UserId,
    ) -> Result<Option<MembershipRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Access);
        let row = sqlx::query!(
            r#"
            select p.joined_at, p.joined_seq, p.left_at, p.changed_version
            from participants p
            where p.chat_id = $1 and p.user_id = $2
            "#,
            chat.uuid(),
            user.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| MembershipRecord {
            joined_at: row.joined_at,
            joined_seq: Seq(unsigned(row.joined_seq)),
            left_at: row.left_at,
            changed_version: Version(unsigned(row.changed_version)),
        }))
    }

    /// Puts a chat away for one participant, or takes it back; says which. `None` for somebody who is no participant.
    /// Nobody else sees it, so it takes no version.
    pub async fn toggle_archived(
        &self,
        chat: ChatId,
        user: &UserId,
        comes_back: ComesBack,
    ) -> Result<Option<bool>, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let archived = sqlx::query_scalar!(
            r#"
            update participants p
            set archived = not now.archived
                , archived_until = case when $3 and not now.archived then now.last_seq end
            from (
                select c.last_seq
                    , p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq as archived
                from participants p
                join chats c on c.id = p.chat_id
                where p.chat_id = $1 and p.user_id = $2
                for no key update of p
            ) as now
            where p.chat_id = $1 and p.user_id = $2 and p.left_at is null
            returning p.archived
            "#,
            chat.uuid(),
            user.as_str(),
            comes_back == ComesBack::WithMessage,
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(archived)
    }

    /// Mutes a chat for one participant, or unmutes it; false for somebody who is no participant. Nobody else sees it, so
    /// it takes no version.
    pub async fn mute(&self, chat: ChatId, user: &UserId, mute: Mute) -> Result<bool, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let (muted, until) = match mute {
            Mute::Off => (false, None),
            Mute::ForGood => (true, None),
            Mute::Until(until) => (true, Some(until)),
        };
        let written = sqlx::query!(
            r#"
            update participants
            set muted_until = case when $3 then coalesce($4::timestamptz, 'infinity') end
            where chat_id = $1 and user_id = $2 and left_at is null
            "#,
            chat.uuid(),
            user.as_str(),
            muted,
            until,
        )
        .execute(&self.pool)
        .await?;
        Ok(written.rows_affected() > 0)
    }
}

/// Whether a user is in a chat now.
pub(crate) async fn is_participant(
    connection: &mut PgConnection,
    chat: ChatId,
    user: &UserId,
) -> Result<bool, StoreError> {
    Ok(role_of(connection, chat, user).await?.is_some())
}

/// What a user is in a chat now.
pub(crate) async fn role_of(
    connection: &mut PgConnection,
    chat: ChatId,
    user: &UserId,
) -> Result<Option<ParticipantRole>, StoreError> {
    let role = sqlx::query_scalar!(
        "select role from participants where chat_id = $1 and user_id = $2 and left_at is null",
        chat.uuid(),
        user.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    role.as_deref().map(participant_role).transpose()
}

/// A role that the schema says is one.
pub(crate) fn participant_role(text: &str) -> Result<ParticipantRole, StoreError> {
    ParticipantRole::parse(text)
        .ok_or_else(|| StoreError::inconsistent("participants", format!("unknown role {text}")))
}
