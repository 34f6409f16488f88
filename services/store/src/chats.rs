//! Tables `chats` and `chat_keys`: making chats, and showing them.

mod support;

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Utc};
use parley_domain::chat::{
    Chat, ChatType, MAX_LISTED_PARTICIPANTS, NewChat, NewChatKind, Participant, Subject,
};
use parley_domain::ids::{ChatId, PurchaseRequestId, UserId};
use parley_domain::message::Message;
use parley_domain::page::{Page, Pagination};
use parley_domain::time::Timestamp;
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use crate::heads::{self, Head};
use crate::messages::last_messages;
use crate::metrics::Call;
use crate::participants::participant_role;
use crate::users::{introduce, user_id};
use crate::{Store, StoreError, UnknownUsers, signed, unsigned};

/// What became of the wish for a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CreateChat {
    /// There it is.
    Created(CreatedChat),
    /// Someone named is not in the directory.
    UnknownParticipant(UserId),
}

/// A chat that is there now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CreatedChat {
    /// The chat.
    pub id: ChatId,
    /// Whether this call made it; otherwise it was there.
    pub new: bool,
    /// Of a new one: the trace that stays until its people are told.
    pub head: Option<Head>,
}

/// Which of a user's chats.
#[derive(Debug, Clone, Copy, Default)]
pub struct ChatFilter {
    /// Only of this type.
    pub chat_type: Option<ChatType>,
    /// Only archived ones, or only others.
    pub archived: Option<bool>,
}

impl Store {
    /// Makes a chat, or finds the one that must be the only one of its kind.
    ///
    /// What may exist once is claimed first, by its key; then the chat is made under the claimed id by whoever comes
    /// first. A process that dies in between leaves a claim that the next call fulfils.
    pub async fn create_chat(
        &self,
        new: &NewChat,
        unknown: UnknownUsers,
    ) -> Result<CreateChat, StoreError> {
        let _timed = self.metrics.time(Call::Create);
        match unknown {
            UnknownUsers::Create => {
                introduce(&mut *self.pool.acquire().await?, &new.others).await?;
            }
            UnknownUsers::Refuse => {
                if let Some(unknown) = self.first_unknown(&new.others).await? {
                    return Ok(CreateChat::UnknownParticipant(unknown));
                }
            }
        }
        let id = match new.key() {
            Some(key) => self.claim(&key).await?,
            None => Uuid::now_v7(),
        };
        let mut transaction = self.pool.begin().await?;
        let head = insert_chat(&mut transaction, id, new).await?;
        transaction.commit().await?;
        Ok(CreateChat::Created(CreatedChat { id: id.into(), new: head.is_some(), head }))
    }

    async fn first_unknown(&self, users: &[UserId]) -> Result<Option<UserId>, StoreError> {
        let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
        let unknown = sqlx::query_scalar!(
            r#"
            select wanted.id as "id!"
            from unnest($1::text[]) as wanted (id)
            where not exists (select from users where users.id = wanted.id)
            limit 1
            "#,
            &ids,
        )
        .fetch_optional(&self.pool)
        .await?;
        unknown.map(|id| user_id("users", &id)).transpose()
    }

    /// The chat id that belongs to a key, claimed now if it was not.
    async fn claim(&self, key: &str) -> Result<Uuid, StoreError> {
        let claimed = sqlx::query_scalar!(
            r#"
            insert into chat_keys (key, chat_id)
            values ($1, $2)
            on conflict (key) do nothing
            returning chat_id
            "#,
            key,
            Uuid::now_v7(),
        )
        .fetch_optional(&self.pool)
        .await?;
        match claimed {
            Some(id) => Ok(id),
            None => Ok(sqlx::query_scalar!("select chat_id from chat_keys where key = $1", key)
                .fetch_one(&self.pool)
                .await?),
        }
    }

    /// The chat that there is about a purchase request with this seller; should several buyers have one, the first.
    pub async fn purchase_chat(
        &self,
        request: &PurchaseRequestId,
        seller: &UserId,
    ) -> Result<Option<ChatId>, StoreError> {
        let _timed = self.metrics.time(Call::Chat);
        let id = sqlx::query_scalar!(
            r#"
            select id
            from chats
            where purchase_request_id = $1 and seller_id = $2
            order by id
            limit 1
            "#,
            request.as_str(),
            seller.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(id.map(ChatId::from))
    }

    /// A chat as `viewer` sees it, with everybody's unread counts, or `None` without such a chat.
    pub async fn chat(&self, chat: ChatId, viewer: &UserId) -> Result<Option<Chat>, StoreError> {
        let _timed = self.metrics.time(Call::Chat);
        let mut snapshot = self.snapshot().await?;
        let shown = show_one(&mut snapshot, chat, viewer).await?;
        snapshot.commit().await?;
        Ok(shown)
    }

    /// A chat as somebody sees it whose membership was last changed at this version, to be in or to be out; with how often
    /// the set of their chats has changed. `None` when it was changed again since: that change is told by itself. To who is out
    /// it is shown as far as it was when they left.
    pub async fn chat_as_changed(
        &self,
        chat: ChatId,
        user: &UserId,
        changed: Version,
        is_in: bool,
    ) -> Result<Option<(Chat, u64)>, StoreError> {
        let _timed = self.metrics.time(Call::Chat);
        let mut snapshot = self.snapshot().await?;
        let standing = sqlx::query!(
            r#"
            select u.membership_version, p.left_at, coalesce((
                select max(m.seq) from messages m where m.chat_id = $1 and m.version < $3
            ), 0) as "messages!"
            from participants p
            join users u on u.id = p.user_id
            where p.chat_id = $1 and p.user_id = $2 and p.changed_version = $3 and (p.left_at is null) = $4
            "#,
            chat.uuid(),
            user.as_str(),
            signed(changed.0),
            is_in,
        )
        .fetch_optional(&mut *snapshot)
        .await?;
        let Some(standing) = standing else { return Ok(None) };
        let mut shown = show_one(&mut snapshot, chat, user).await?;
        snapshot.commit().await?;
        if let (Some(shown), Some(left_at)) = (&mut shown, standing.left_at) {
            shown.version = changed;
            shown.message_count = unsigned(standing.messages);
            shown.updated_at = left_at.into();
        }
        Ok(shown.map(|shown| (shown, unsigned(standing.membership_version))))
    }

    /// A page of the user's chats, the one with the newest message first.
    pub async fn chats(
        &self,
        user: &UserId,
        filter: ChatFilter,
        page: Page,
    ) -> Result<(Vec<Chat>, Pagination), StoreError> {
        let _timed = self.metrics.time(Call::Chats);
        let mut snapshot = self.snapshot().await?;
        let chat_type = filter.chat_type.map(ChatType::as_str);
        let total = sqlx::query_scalar!(
            r#"
            select count(*) as "total!"
            from participants p
            join chats c on c.id = p.chat_id
            where p.user_id = $1 and p.left_at is null
                and ($2::text is null or c.type = $2)
                and ($3::boolean is null or (p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq) = $3)
            "#,
            user.as_str(),
            chat_type,
            filter.archived,
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let ids = sqlx::query_scalar!(
            r#"
            select c.id
            from participants p
            join chats c on c.id = p.chat_id
            where p.user_id = $1 and p.left_at is null
                and ($2::text is null or c.type = $2)
                and ($3::boolean is null or (p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq) = $3)
            order by coalesce(c.last_message_at, c.created_at) desc, c.id desc
            limit $4 offset $5
            "#,
            user.as_str(),
            chat_type,
            filter.archived,
            i64::from(page.limit),
            signed(page.skipped()),
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let chats = show(&mut snapshot, &ids, user).await?;
        snapshot.commit().await?;
        Ok((chats, page.of(unsigned(total))))
    }
}

/// Writes the chat and its first participants, and leaves the trace of it; `None` when it was there.
async fn insert_chat(
    connection: &mut PgConnection,
    id: Uuid,
    new: &NewChat,
) -> Result<Option<Head>, StoreError> {
    let (chat_type, title, subject, request) = match &new.kind {
        NewChatKind::Direct => (ChatType::Direct, None, None, None),
        NewChatKind::Group { title } => (ChatType::Group, title.as_ref(), None, None),
        NewChatKind::PurchaseRequest(request) => (ChatType::Direct, None, None, Some(request)),
        NewChatKind::Support { subject } => (ChatType::Support, None, subject.as_ref(), None),
    };
    let buyer = request.map(|_| new.creator.as_str());
    let seller = request.and_then(|_| new.others.first()).map(UserId::as_str);
    let people = i32::try_from(new.people()).unwrap_or(i32::MAX);
    let made = sqlx::query!(
        r#"
        insert into chats (
            id, type, title, metadata, created_by, participant_count, purchase_request_id, buyer_id, seller_id
            , subject
        )
        values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
        on conflict (id) do nothing
        "#,
        id,
        chat_type.as_str(),
        title.map(parley_domain::chat::Title::as_str),
        new.metadata.clone().map(parley_domain::metadata::Metadata::into_value),
        new.creator.as_str(),
        people,
        request.map(PurchaseRequestId::as_str),
        buyer,
        seller,
        subject.map(Subject::as_str),
    )
    .execute(&mut *connection)
    .await?
    .rows_affected();
    if made == 0 {
        return Ok(None);
    }
    let others: Vec<String> = new.others.iter().map(ToString::to_string).collect();
    sqlx::query!(
        r#"
        insert into participants (chat_id, user_id, role)
        select $1::uuid, $2, 'creator'
        union all
        select $1::uuid, unnest($3::text[]), 'member'
        "#,
        id,
        new.creator.as_str(),
        &others,
    )
    .execute(&mut *connection)
    .await?;
    has_another_chat(connection, new).await?;
    Ok(Some(heads::note(connection, id.into(), heads::MADE).await?))
}

/// The set of everybody's chats is another one now.
async fn has_another_chat(connection: &mut PgConnection, new: &NewChat) -> Result<(), StoreError> {
    let people = std::iter::once(&new.creator).chain(&new.others);
    let people: Vec<String> = people.map(ToString::to_string).collect();
    // In the order of their ids: two groups of the same people must not wait for each other.
    sqlx::query!(
        r#"
        update users
        set membership_version = membership_version + 1
        where id in (select id from users where id = any($1) order by id for no key update)
        "#,
        &people,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// A chat that this transaction has locked: nobody else changes it before the transaction ends.
pub(crate) struct LockedChat {
    pub(crate) version: Version,
    pub(crate) last_seq: i64,
    pub(crate) chat_type: ChatType,
    pub(crate) participant_count: u64,
    /// The database's clock.
    pub(crate) now: DateTime<Utc>,
}

/// Locks a chat, as the first statement of every transaction that takes a version of it; `None` without such a chat.
pub(crate) async fn lock(
    connection: &mut PgConnection,
    chat: ChatId,
) -> Result<Option<LockedChat>, StoreError> {
    let row = sqlx::query!(
        r#"
        select version, last_seq, type as chat_type, participant_count, clock_timestamp() as "now!"
        from chats
        where id = $1
        for no key update
        "#,
        chat.uuid(),
    )
    .fetch_optional(connection)
    .await?;
    row.map(|row| {
        Ok(LockedChat {
            version: Version(unsigned(row.version)),
            last_seq: row.last_seq,
            chat_type: chat_type(&row.chat_type)?,
            participant_count: u64::from(row.participant_count.unsigned_abs()),
            now: row.now,
        })
    })
    .transpose()
}

/// A type that the schema says is one.
pub(crate) fn chat_type(text: &str) -> Result<ChatType, StoreError> {
    ChatType::parse(text).map_err(|error| StoreError::inconsistent("chats", error.to_string()))
}

/// A chat as `viewer` sees it, with everybody's unread counts.
pub(crate) async fn show_one(
    connection: &mut PgConnection,
    chat: ChatId,
    viewer: &UserId,
) -> Result<Option<Chat>, StoreError> {
    let Some(mut shown) = show(connection, &[chat.uuid()], viewer).await?.pop() else {
        return Ok(None);
    };
    let listed: Vec<String> = shown.participants.iter().map(|p| p.user_id.to_string()).collect();
    shown.unread_counts = Some(unread_counts(connection, chat.uuid(), &listed).await?);
    Ok(Some(shown))
}

/// The chats of these ids as `viewer` sees them, in the order of the ids; absent ones are left out.
async fn show(
    connection: &mut PgConnection,
    ids: &[Uuid],
    viewer: &UserId,
) -> Result<Vec<Chat>, StoreError> {
    let rows = sqlx::query_as!(
        ChatRow,
        r#"
        select
            c.id, c.type as chat_type, c.title, c.subject, c.metadata as "metadata: Json<Box<RawValue>>"
            , c.purchase_request_id, c.buyer_id, c.seller_id, c.created_by, c.participant_count
            , c.last_seq, c.version, c.created_at
            , greatest(c.updated_at, c.last_message_at) as "updated_at!"
            , coalesce((p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq), false) as "archived!"
            , coalesce(p.muted_until > now(), false) as "muted!"
            , case when p.muted_until > now() and p.muted_until < 'infinity' then p.muted_until end as muted_until
            , coalesce(u.unread, 0) as "unread!"
        from unnest($1::uuid[]) with ordinality as wanted (id, place)
        join chats c on c.id = wanted.id
        left join participants p on p.chat_id = c.id and p.user_id = $2 and p.left_at is null
        left join unread_counts u on u.chat_id = c.id and u.user_id = $2
        order by wanted.place
        "#,
        ids,
        viewer.as_str(),
    )
    .fetch_all(&mut *connection)
    .await?;
    let mut participants = listed_participants(connection, ids, viewer).await?;
    let mut last: HashMap<ChatId, Message> = last_messages(connection, ids)
        .await?
        .into_iter()
        .map(|message| (message.chat_id, message))
        .collect();
    rows.into_iter()
        .map(|row| {
            let id = row.id.into();
            row.chat(participants.remove(&id).unwrap_or_default(), last.remove(&id))
        })
        .collect()
}

/// At most 100 participants of each chat: the viewer, then others in order of their ids, so that the cost does not
/// grow with the chat.
async fn listed_participants(
    connection: &mut PgConnection,
    ids: &[Uuid],
    viewer: &UserId,
) -> Result<HashMap<ChatId, Vec<Participant>>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select
            p.chat_id as "chat_id!", p.user_id as "user_id!", p.role as "role!", p.joined_at as "joined_at!"
            , p.read_seq as "read_seq!", u.name, u.avatar, u.last_seen_at
        from unnest($1::uuid[]) as wanted (id)
        cross join lateral (
            (
                select chat_id, user_id, role, joined_at, read_seq
                from participants
                where chat_id = wanted.id and user_id = $2 and left_at is null
            )
            union all
            (
                select chat_id, user_id, role, joined_at, read_seq
                from participants
                where chat_id = wanted.id and user_id <> $2 and left_at is null
                order by user_id
                limit $3
            )
        ) as p
        join users u on u.id = p.user_id
        "#,
        ids,
        viewer.as_str(),
        i64::try_from(MAX_LISTED_PARTICIPANTS).unwrap_or(i64::MAX) - 1,
    )
    .fetch_all(connection)
    .await?;
    let mut listed: HashMap<ChatId, Vec<Participant>> = HashMap::new();
    for row in rows {
        let id = user_id("participants", &row.user_id)?;
        listed.entry(row.chat_id.into()).or_default().push(Participant {
            id: id.clone(),
            user_id: id,
            name: row.name,
            avatar: row.avatar,
            role: participant_role(&row.role)?,
            joined_at: Timestamp::new(row.joined_at),
            online: None,
            last_seen_at: row.last_seen_at.map(Timestamp::new),
            read_up_to: Seq(unsigned(row.read_seq)),
        });
    }
    Ok(listed)
}

async fn unread_counts(
    connection: &mut PgConnection,
    chat: Uuid,
    users: &[String],
) -> Result<BTreeMap<UserId, u64>, StoreError> {
    let rows = sqlx::query!(
        r#"
        select user_id as "user_id!", unread as "unread!"
        from unread_counts
        where chat_id = $1 and user_id = any($2)
        "#,
        chat,
        users,
    )
    .fetch_all(connection)
    .await?;
    rows.into_iter()
        .map(|row| Ok((user_id("participants", &row.user_id)?, unsigned(row.unread))))
        .collect()
}

struct ChatRow {
    id: Uuid,
    chat_type: String,
    title: Option<String>,
    subject: Option<String>,
    metadata: Option<Json<Box<RawValue>>>,
    purchase_request_id: Option<String>,
    buyer_id: Option<String>,
    seller_id: Option<String>,
    created_by: String,
    participant_count: i32,
    last_seq: i64,
    version: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    archived: bool,
    muted: bool,
    muted_until: Option<DateTime<Utc>>,
    unread: i64,
}

impl ChatRow {
    fn chat(
        self,
        participants: Vec<Participant>,
        last_message: Option<Message>,
    ) -> Result<Chat, StoreError> {
        let party = |id: Option<String>| id.map(|id| user_id("chats", &id)).transpose();
        Ok(Chat {
            id: self.id.into(),
            chat_type: chat_type(&self.chat_type)?,
            title: self.title,
            subject: self.subject,
            metadata: self.metadata.map(|json| json.0),
            purchase_request_id: self.purchase_request_id,
            buyer_id: party(self.buyer_id)?,
            seller_id: party(self.seller_id)?,
            created_by: user_id("chats", &self.created_by)?,
            participants,
            participant_count: u64::from(self.participant_count.unsigned_abs()),
            last_message,
            unread_count: unsigned(self.unread),
            archived: self.archived,
            muted: self.muted,
            muted_until: self.muted_until.map(Timestamp::new),
            message_count: unsigned(self.last_seq),
            version: Version(unsigned(self.version)),
            created_at: Timestamp::new(self.created_at),
            updated_at: Timestamp::new(self.updated_at),
            unread_counts: None,
        })
    }
}
