//! Support chats: opened by whoever needs help, and all of them open to the pool.

use std::time::Duration;

use parley_domain::chat::{Chat, NewChat, Subject};
use parley_domain::ids::UserId;
use parley_domain::page::{Page, Pagination};
use sqlx::postgres::types::PgInterval;
use uuid::Uuid;

use super::{CreatedChat, show};
use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

impl Store {
    /// Opens a support chat, or finds the one that the same user has opened about the same within `double_click`.
    pub async fn open_support_chat(
        &self,
        creator: &UserId,
        subject: Option<Subject>,
        double_click: Duration,
    ) -> Result<CreatedChat, StoreError> {
        let _timed = self.metrics.time(Call::Create);
        let double_click = PgInterval::try_from(double_click).map_err(sqlx::Error::Encode)?;
        let mut transaction = self.pool.begin().await?;
        // One at a time for each user: the second click waits here, and then sees what the first one made.
        sqlx::query!("select id from users where id = $1 for no key update", creator.as_str())
            .fetch_optional(&mut *transaction)
            .await?;
        let same = sqlx::query_scalar!(
            r#"
            select id
            from chats
            where type = 'support' and created_by = $1 and subject is not distinct from $2
                and created_at > clock_timestamp() - $3::interval
            order by created_at desc
            limit 1
            "#,
            creator.as_str(),
            subject.as_ref().map(Subject::as_str),
            double_click,
        )
        .fetch_optional(&mut *transaction)
        .await?;
        if let Some(same) = same {
            return Ok(CreatedChat { id: same.into(), new: false, head: None });
        }
        let id = Uuid::now_v7();
        let new = NewChat::of_support(creator.clone(), subject);
        let head = self.insert_chat(&mut transaction, id, &new).await?;
        transaction.commit().await?;
        Ok(CreatedChat { id: id.into(), new: head.is_some(), head })
    }

    /// A page of all support chats as one of the pool sees them, the one with the newest message first.
    pub async fn support_chats(
        &self,
        agent: &UserId,
        archived: Option<bool>,
        page: Page,
    ) -> Result<(Vec<Chat>, Pagination), StoreError> {
        let _timed = self.metrics.time(Call::Chats);
        let mut snapshot = self.snapshot().await?;
        let total = sqlx::query_scalar!(
            r#"
            select count(*) as "total!"
            from chats c
            left join participants p on p.chat_id = c.id and p.user_id = $1 and p.left_at is null
            where c.type = 'support' and ($2::boolean is null or coalesce((p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq), false) = $2)
            "#,
            agent.as_str(),
            archived,
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let ids = sqlx::query_scalar!(
            r#"
            select c.id
            from chats c
            left join participants p on p.chat_id = c.id and p.user_id = $1 and p.left_at is null
            where c.type = 'support' and ($2::boolean is null or coalesce((p.archived and coalesce(p.archived_until, c.last_seq) >= c.last_seq), false) = $2)
            order by coalesce(c.last_message_at, c.created_at) desc, c.id desc
            limit $3 offset $4
            "#,
            agent.as_str(),
            archived,
            i64::from(page.limit),
            signed(page.skipped()),
        )
        .fetch_all(&mut *snapshot)
        .await?;
        let chats = show(&mut snapshot, &ids, agent).await?;
        snapshot.commit().await?;
        Ok((chats, page.of(unsigned(total))))
    }
}
