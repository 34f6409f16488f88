//! Table `notices`: who is to be told, out of band, of what was said while they were away.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::preferences::Preferences;
use parley_domain::version::Seq;
use uuid::Uuid;

use crate::metrics::Call;
use crate::preferences::PreferencesRow;
use crate::users::user_id;
use crate::webhooks::interval;
use crate::{Store, StoreError, signed, unsigned};

/// Somebody who may have to be told of a chat, and is this process's to decide about for a while.
#[derive(Debug, Clone)]
pub struct DueNotice {
    /// Where something was said.
    pub chat: ChatId,
    /// Who.
    pub user: UserId,
    /// The last message there, by now.
    pub last: Seq,
    /// What they want of notifications.
    pub preferences: Preferences,
}

/// What is decided about a notice; the database decides whether there is anything to tell.
#[derive(Debug, Clone)]
pub struct Decision {
    /// Where.
    pub chat: ChatId,
    /// Who.
    pub user: UserId,
    /// They saw the chat when it was asked for, with this as its last message: of that there is nothing to tell.
    pub seen: Option<Seq>,
    /// They are not to be disturbed before this.
    pub later: Option<DateTime<Utc>>,
    /// Whether what was said may be shown.
    pub previews: bool,
}

/// What came of decisions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// Who will be told, as events of the outbox.
    pub told: u64,
    /// Who needed nothing: they have read it, see it, want nothing, or are told later.
    pub needless: u64,
}

impl Store {
    /// Claims notices that are due, at most so many. A claim that is not decided about in time ends by itself.
    pub async fn claim_notices(
        &self,
        holder: Uuid,
        lease: Duration,
        most: u32,
    ) -> Result<Vec<DueNotice>, StoreError> {
        let _timed = self.metrics.time(Call::Notices);
        let rows = sqlx::query!(
            r#"
            with due as materialized (
                select n.chat_id, n.user_id
                from notices n
                where n.due_at <= statement_timestamp()
                order by n.due_at
                limit $3
                for no key update skip locked
            )
            update notices n
            set holder = $1, due_at = clock_timestamp() + $2::interval
            from due d
            join chats c on c.id = d.chat_id
            left join user_preferences p on p.user_id = d.user_id
            where n.chat_id = d.chat_id and n.user_id = d.user_id
            returning
                n.chat_id, n.user_id, c.last_seq, p.quiet_from as "quiet_from?", p.quiet_to as "quiet_to?"
                , p.quiet_zone as "quiet_zone?", p.previews as "previews?"
            "#,
            holder,
            interval(lease),
            i64::from(most),
        )
        .fetch_all(&self.pool)
        .await?;
        let notices = rows.into_iter().map(|row| {
            let preferences = row.previews.map(|previews| {
                let (quiet_from, quiet_to) = (row.quiet_from, row.quiet_to);
                PreferencesRow { quiet_from, quiet_to, quiet_zone: row.quiet_zone, previews }
                    .readable()
                    .preferences()
            });
            Ok(DueNotice {
                chat: row.chat_id.into(),
                user: user_id("notices", &row.user_id)?,
                last: Seq(unsigned(row.last_seq)),
                preferences: preferences.transpose()?.unwrap_or_default(),
            })
        });
        notices.collect()
    }

    /// Decides about notices that were claimed. Who has unread messages of which they were not told yet, has neither seen nor
    /// muted the chat nor is to be told later, is told, once: with how many there are, and with all that they have not read
    /// anywhere. What was said after somebody has seen the chat waits for them for `delay` once more.
    pub async fn decide_notices(
        &self,
        holder: Uuid,
        decisions: &[Decision],
        delay: Duration,
    ) -> Result<Decided, StoreError> {
        let _timed = self.metrics.time(Call::Notices);
        let chats: Vec<Uuid> = decisions.iter().map(|it| it.chat.uuid()).collect();
        let users: Vec<&str> = decisions.iter().map(|it| it.user.as_str()).collect();
        let seen: Vec<Option<i64>> =
            decisions.iter().map(|it| it.seen.map(|last| signed(last.0))).collect();
        let later: Vec<Option<DateTime<Utc>>> = decisions.iter().map(|it| it.later).collect();
        let previews: Vec<bool> = decisions.iter().map(|it| it.previews).collect();
        let row = sqlx::query!(
            "select told, needless from decide_notices_1($1, $2, $3, $4, $5, $6, $7)",
            &chats,
            &users as _,
            holder,
            &seen as _,
            &later as _,
            &previews,
            interval(delay),
        )
        .fetch_one(&self.pool)
        .await?;
        let number = |number: Option<i64>| unsigned(number.unwrap_or_default());
        Ok(Decided { told: number(row.told), needless: number(row.needless) })
    }
}
