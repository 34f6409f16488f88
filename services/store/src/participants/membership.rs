//! Coming and going: each takes a version of the chat, under its lock.

use chrono::{DateTime, Utc};
use parley_domain::change::{Change, ChangeKind};
use parley_domain::chat::{Chat, ChatType, Participant, ParticipantRole};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::page::{Page, Pagination};
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use sqlx::PgConnection;

use super::{participant_role, role_of};
use crate::chats::{LockedChat, lock, show_one};
use crate::heads::{self, Committed};
use crate::metrics::Call;
use crate::users::{introduce, user_id};
use crate::{ParticipantSettings, Store, StoreError, UnknownUsers, signed, unsigned};

/// On whose authority a membership is changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeAs {
    /// As a participant: who made the group may change it, anybody may leave.
    Participant,
    /// As an admin or the host application.
    Admin,
}

/// What came of adding somebody.
#[derive(Debug, Clone)]
pub enum AddParticipant {
    /// It is committed.
    Added(Box<Participant>, Committed),
    /// They are in already.
    AlreadyIn(Box<Participant>),
    /// There is no such chat.
    ChatNotFound,
    /// The participants of this chat do not change: those of a direct chat never, those of a support chat only by an admin.
    NotGroup,
    /// Who adds is not in the chat.
    NotParticipant,
    /// Who adds has not made the group.
    NotAllowed,
    /// The directory does not know whom to add.
    UserNotFound,
    /// The group has as many participants as it may have.
    Full,
}

/// What came of removing somebody, or of leaving.
#[derive(Debug, Clone)]
pub enum RemoveParticipant {
    /// It is committed; the chat as who removed left it, which is the last that one who left may see of it.
    Removed(Box<Chat>, Committed),
    /// There is no such chat.
    ChatNotFound,
    /// As in [`AddParticipant::NotGroup`].
    NotGroup,
    /// Who removes is not in the chat.
    NotParticipant,
    /// Who removes has not made the group.
    NotAllowed,
    /// Whom to remove is not in the chat.
    NotThere,
}

/// What came of an agent's wish to be in a support chat.
#[derive(Debug, Clone)]
pub enum EnterSupport {
    /// It is committed.
    Entered(Committed),
    /// The agent is in already.
    AlreadyIn,
    /// There is no such chat.
    ChatNotFound,
    /// It is no support chat.
    NotSupport,
}

impl LockedChat {
    /// Whether people come and go here on this authority: two people have their direct chat for good, and the pool is in
    /// every support chat by its role.
    fn changes_participants(&self, authority: ChangeAs) -> bool {
        match self.chat_type {
            ChatType::Direct => false,
            ChatType::Group => true,
            ChatType::Support => authority == ChangeAs::Admin,
        }
    }
}

impl Store {
    /// A page of a chat's participants in order of their ids, or `None` without such a chat.
    pub async fn participants(
        &self,
        chat: ChatId,
        page: Page,
    ) -> Result<Option<(Vec<Participant>, Pagination)>, StoreError> {
        let _timed = self.metrics.time(Call::Participants);
        let mut snapshot = self.snapshot().await?;
        let count =
            sqlx::query_scalar!("select participant_count from chats where id = $1", chat.uuid())
                .fetch_optional(&mut *snapshot)
                .await?;
        let Some(count) = count else { return Ok(None) };
        let rows = sqlx::query_as!(
            ParticipantRow,
            r#"
            select p.user_id, p.role, p.joined_at, p.read_seq, p.changed_by, u.name, u.avatar, u.last_seen_at
            from participants p
            join users u on u.id = p.user_id
            where p.chat_id = $1 and p.left_at is null
            order by p.user_id
            limit $2 offset $3
            "#,
            chat.uuid(),
            i64::from(page.limit),
            signed(page.skipped()),
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        let participants = rows.into_iter().map(|row| row.participant().map(|(shown, _)| shown));
        let pagination = page.of(u64::from(count.unsigned_abs()));
        Ok(Some((participants.collect::<Result<_, _>>()?, pagination)))
    }

    /// Adds a user to a group that has room; a rejoining one begins anew: what was said before is not
    /// unread.
    pub async fn add_participant(
        &self,
        chat: ChatId,
        user: &UserId,
        by: &UserId,
        authority: ChangeAs,
        settings: &ParticipantSettings,
    ) -> Result<AddParticipant, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, chat).await? else {
            return Ok(AddParticipant::ChatNotFound);
        };
        let as_participant = authority == ChangeAs::Participant;
        let role = role_of(&mut transaction, chat, by).await?;
        if as_participant && role.is_none() {
            return Ok(AddParticipant::NotParticipant);
        }
        if !locked.changes_participants(authority) {
            return Ok(AddParticipant::NotGroup);
        }
        if as_participant && role != Some(ParticipantRole::Creator) {
            return Ok(AddParticipant::NotAllowed);
        }
        if role_of(&mut transaction, chat, user).await?.is_some() {
            let there = one_participant(&mut transaction, chat, user).await?;
            return Ok(AddParticipant::AlreadyIn(Box::new(there)));
        }
        if locked.participant_count >= u64::from(settings.group_participants) {
            return Ok(AddParticipant::Full);
        }
        if settings.unknown_users == UnknownUsers::Create {
            introduce(&mut transaction, std::slice::from_ref(user)).await?;
        }
        let version = locked.version.next();
        let role = ParticipantRole::Member;
        if !enter(&mut transaction, chat, user, role, by, &locked).await? {
            return Ok(AddParticipant::UserNotFound);
        }
        count(&mut transaction, chat, version, 1).await?;
        has_other_chats(&mut transaction, user).await?;
        let participant = one_participant(&mut transaction, chat, user).await?;
        let head = heads::note(&mut transaction, chat, version).await?;
        transaction.commit().await?;
        let participants = vec![participant.clone()];
        let kind = ChangeKind::ParticipantsAdded { participants, by: Some(by.clone()) };
        let changes = vec![Change { chat_id: chat, version, kind }];
        let committed = Committed { changes, epoch: self.epoch(), head, traced: Vec::new() };
        Ok(AddParticipant::Added(Box::new(participant), committed))
    }

    /// Makes one of the support pool a participant of a support chat, which the others hear of. What was said before is not
    /// unread.
    pub async fn enter_support_chat(
        &self,
        chat: ChatId,
        agent: &UserId,
    ) -> Result<EnterSupport, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, chat).await? else {
            return Ok(EnterSupport::ChatNotFound);
        };
        if locked.chat_type != ChatType::Support {
            return Ok(EnterSupport::NotSupport);
        }
        if role_of(&mut transaction, chat, agent).await?.is_some() {
            return Ok(EnterSupport::AlreadyIn);
        }
        // An agent who only ever held a socket has not been seen by the directory.
        introduce(&mut transaction, std::slice::from_ref(agent)).await?;
        let version = locked.version.next();
        enter(&mut transaction, chat, agent, ParticipantRole::Agent, agent, &locked).await?;
        // Agents have every support chat, in it or not.
        count(&mut transaction, chat, version, 1).await?;
        let participants = vec![one_participant(&mut transaction, chat, agent).await?];
        let head = heads::note(&mut transaction, chat, version).await?;
        transaction.commit().await?;
        let kind = ChangeKind::ParticipantsAdded { participants, by: Some(agent.clone()) };
        let changes = vec![Change { chat_id: chat, version, kind }];
        Ok(EnterSupport::Entered(Committed {
            changes,
            epoch: self.epoch(),
            head,
            traced: Vec::new(),
        }))
    }

    /// Removes a user from a group; oneself: leaves it. When the last creator goes, the oldest member becomes one.
    pub async fn remove_participant(
        &self,
        chat: ChatId,
        user: &UserId,
        by: &UserId,
        authority: ChangeAs,
    ) -> Result<RemoveParticipant, StoreError> {
        let _timed = self.metrics.time(Call::Change);
        let mut transaction = self.pool.begin().await?;
        let Some(locked) = lock(&mut transaction, chat).await? else {
            return Ok(RemoveParticipant::ChatNotFound);
        };
        let as_participant = authority == ChangeAs::Participant;
        let role = role_of(&mut transaction, chat, by).await?;
        if as_participant && role.is_none() {
            return Ok(RemoveParticipant::NotParticipant);
        }
        if !locked.changes_participants(authority) {
            return Ok(RemoveParticipant::NotGroup);
        }
        if as_participant && role != Some(ParticipantRole::Creator) && by != user {
            return Ok(RemoveParticipant::NotAllowed);
        }
        let version = locked.version.next();
        if !leave(&mut transaction, chat, user, by, version).await? {
            return Ok(RemoveParticipant::NotThere);
        }
        let kind = ChangeKind::ParticipantRemoved { user_id: user.clone(), by: Some(by.clone()) };
        let mut changes = vec![Change { chat_id: chat, version, kind }];
        let heir = match locked.chat_type {
            ChatType::Group => inherit(&mut transaction, chat, by, version.next()).await?,
            ChatType::Direct | ChatType::Support => None,
        };
        if let Some(heir) = heir {
            let heir = one_participant(&mut transaction, chat, &heir).await?;
            let kind =
                ChangeKind::ParticipantsAdded { participants: vec![heir], by: Some(by.clone()) };
            changes.push(Change { chat_id: chat, version: version.next(), kind });
        }
        let last = changes.last().map_or(version, |change| change.version);
        count(&mut transaction, chat, last, -1).await?;
        has_other_chats(&mut transaction, user).await?;
        let head = heads::note(&mut transaction, chat, version).await?;
        let shown = show_one(&mut transaction, chat, by).await?;
        let shown = shown.ok_or_else(|| StoreError::inconsistent("chats", "a row has gone"))?;
        transaction.commit().await?;
        let committed = Committed { changes, epoch: self.epoch(), head, traced: Vec::new() };
        Ok(RemoveParticipant::Removed(Box::new(shown), committed))
    }
}

/// Makes the user a participant from here on; false when the directory does not know the user.
async fn enter(
    connection: &mut PgConnection,
    chat: ChatId,
    user: &UserId,
    role: ParticipantRole,
    by: &UserId,
    locked: &LockedChat,
) -> Result<bool, StoreError> {
    let entered = sqlx::query!(
        r#"
        insert into participants (chat_id, user_id, role, joined_seq, changed_version, changed_by)
        select $1, u.id, $6, $3, $4, $5
        from users u
        where u.id = $2
        on conflict (chat_id, user_id) do update set
            role = excluded.role
            , joined_at = now()
            , joined_seq = excluded.joined_seq
            , left_at = null
            , archived = false
            , muted_until = null
            , own_read_count = participants.sent_count
            , exception_count = 0
            , changed_version = excluded.changed_version
            , changed_by = excluded.changed_by
        "#,
        chat.uuid(),
        user.as_str(),
        locked.last_seq,
        signed(locked.version.next().0),
        by.as_str(),
        role.as_str(),
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    sqlx::query!(
        "delete from read_exceptions where chat_id = $1 and user_id = $2",
        chat.uuid(),
        user.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(entered > 0)
}

/// Ends a membership; false when there is none.
async fn leave(
    connection: &mut PgConnection,
    chat: ChatId,
    user: &UserId,
    by: &UserId,
    version: Version,
) -> Result<bool, StoreError> {
    let left = sqlx::query!(
        r#"
        update participants
        set left_at = now(), changed_version = $3, changed_by = $4
        where chat_id = $1 and user_id = $2 and left_at is null
        "#,
        chat.uuid(),
        user.as_str(),
        signed(version.0),
        by.as_str(),
    )
    .execute(connection)
    .await?
    .rows_affected();
    Ok(left > 0)
}

/// Makes the oldest member the creator, if there is none left and somebody to become one.
async fn inherit(
    connection: &mut PgConnection,
    chat: ChatId,
    by: &UserId,
    version: Version,
) -> Result<Option<UserId>, StoreError> {
    let heir = sqlx::query_scalar!(
        r#"
        update participants
        set role = 'creator', changed_version = $2, changed_by = $3
        where chat_id = $1
            and not exists (
                select from participants where chat_id = $1 and role = 'creator' and left_at is null
            )
            and user_id = (
                select user_id
                from participants
                where chat_id = $1 and left_at is null
                order by joined_at, user_id
                limit 1
            )
        returning user_id
        "#,
        chat.uuid(),
        signed(version.0),
        by.as_str(),
    )
    .fetch_optional(connection)
    .await?;
    heir.map(|id| user_id("participants", &id)).transpose()
}

async fn count(
    connection: &mut PgConnection,
    chat: ChatId,
    version: Version,
    more: i32,
) -> Result<(), StoreError> {
    sqlx::query!(
        "update chats set version = $2, participant_count = participant_count + $3 where id = $1",
        chat.uuid(),
        signed(version.0),
        more,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The set of the user's chats is another one now.
async fn has_other_chats(connection: &mut PgConnection, user: &UserId) -> Result<(), StoreError> {
    sqlx::query!(
        "update users set membership_version = membership_version + 1 where id = $1",
        user.as_str(),
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn one_participant(
    connection: &mut PgConnection,
    chat: ChatId,
    user: &UserId,
) -> Result<Participant, StoreError> {
    let found = participants_of(connection, chat, &[user]).await?.pop();
    found
        .map(|(participant, _)| participant)
        .ok_or_else(|| StoreError::inconsistent("participants", "a row has gone"))
}

/// Participants, also former ones, by their ids; with who changed their membership last.
pub(crate) async fn participants_of(
    connection: &mut PgConnection,
    chat: ChatId,
    users: &[&UserId],
) -> Result<Vec<(Participant, Option<UserId>)>, StoreError> {
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    let rows = sqlx::query_as!(
        ParticipantRow,
        r#"
        select p.user_id, p.role, p.joined_at, p.read_seq, p.changed_by, u.name, u.avatar, u.last_seen_at
        from participants p
        join users u on u.id = p.user_id
        where p.chat_id = $1 and p.user_id = any($2)
        "#,
        chat.uuid(),
        &ids,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter().map(ParticipantRow::participant).collect()
}

pub(crate) struct ParticipantRow {
    pub(crate) user_id: String,
    pub(crate) role: String,
    pub(crate) joined_at: DateTime<Utc>,
    pub(crate) read_seq: i64,
    pub(crate) changed_by: Option<String>,
    pub(crate) name: Option<String>,
    pub(crate) avatar: Option<String>,
    pub(crate) last_seen_at: Option<DateTime<Utc>>,
}

impl ParticipantRow {
    pub(crate) fn participant(self) -> Result<(Participant, Option<UserId>), StoreError> {
        let id = user_id("participants", &self.user_id)?;
        let by = self.changed_by.map(|by| user_id("participants", &by)).transpose()?;
        let participant = Participant {
            id: id.clone(),
            user_id: id,
            name: self.name,
            avatar: self.avatar,
            role: participant_role(&self.role)?,
            joined_at: Timestamp::new(self.joined_at),
            online: None,
            last_seen_at: self.last_seen_at.map(Timestamp::new),
            read_up_to: Seq(unsigned(self.read_seq)),
        };
        Ok((participant, by))
    }
}
