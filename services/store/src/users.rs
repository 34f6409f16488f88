//! Table `users`: the directory.

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ask::UserStanding;
use parley_domain::ids::UserId;
use parley_domain::token::Revocation;
use parley_domain::user::{Avatar, Name, Profile};
use sqlx::PgConnection;

use crate::metrics::Call;
use crate::{Store, StoreError, unsigned};

/// A user as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The user.
    pub id: UserId,
    /// The display name.
    pub name: Option<String>,
    /// The picture.
    pub avatar: Option<String>,
    /// When anonymised; name and picture are gone since, and the id stays with what it wrote.
    pub anonymised_at: Option<DateTime<Utc>>,
    /// When last connected, as far as known.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When first seen.
    pub created_at: DateTime<Utc>,
    /// When last written.
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// Writes what the host application says of different users: all of it, or nothing. What a profile leaves out
    /// stays; whoever was anonymised is somebody again.
    pub async fn put_users(&self, profiles: &[Profile]) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Directory);
        let ids: Vec<&str> = profiles.iter().map(|profile| profile.id.as_str()).collect();
        let names: Vec<Option<&str>> =
            profiles.iter().map(|profile| profile.name.as_ref().map(Name::as_str)).collect();
        let avatars: Vec<Option<&str>> =
            profiles.iter().map(|profile| profile.avatar.as_ref().map(Avatar::as_str)).collect();
        // In the order of the ids, so that two batches with the same users wait for each other instead of dying.
        sqlx::query!(
            r#"
            insert into users (id, name, avatar)
            select id, name, avatar
            from unnest($1::text[], $2::text[], $3::text[]) as told (id, name, avatar)
            order by id collate "C"
            on conflict (id) do update set
                name = coalesce(excluded.name, users.name)
                , avatar = coalesce(excluded.avatar, users.avatar)
                , anonymised_at = null
                , updated_at = now()
            "#,
            &ids as &[&str],
            &names as &[Option<&str>],
            &avatars as &[Option<&str>],
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes what the host application says of one user, as [`Store::put_users`] does.
    pub async fn put_user(&self, profile: &Profile) -> Result<(), StoreError> {
        self.put_users(std::slice::from_ref(profile)).await
    }

    /// Takes the name, the picture and the preferences from a user, and the worth from every token issued so far; the id stays, with
    /// what it wrote. Again, it changes nothing. `None` if there is no such user.
    pub async fn anonymise_user(&self, id: &UserId) -> Result<Option<Revocation>, StoreError> {
        let _timed = self.metrics.time(Call::Directory);
        let row = sqlx::query!(
            r#"
            with forgotten as (delete from user_preferences where user_id = $1)
            update users set
                name = null
                , avatar = null
                , last_seen_at = null
                , anonymised_at = coalesce(anonymised_at, now())
                , tokens_valid_after = case when anonymised_at is null then greatest(tokens_valid_after, now())
                                            else coalesce(tokens_valid_after, now()) end
                , updated_at = case when anonymised_at is null then now() else updated_at end
            where id = $1
            returning tokens_valid_after as "valid_after!"
            "#,
            id.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| Revocation { user_id: id.clone(), valid_after: row.valid_after }))
    }

    /// Takes the worth from every token of a user that was issued so far. A user whom nobody has seen yet may hold
    /// tokens all the same, and is noted for them.
    pub async fn revoke_tokens(&self, id: &UserId) -> Result<Revocation, StoreError> {
        let _timed = self.metrics.time(Call::Directory);
        let row = sqlx::query!(
            r#"
            insert into users (id, tokens_valid_after)
            values ($1, now())
            on conflict (id) do update set
                tokens_valid_after = greatest(users.tokens_valid_after, excluded.tokens_valid_after)
            returning tokens_valid_after as "valid_after!"
            "#,
            id.as_str(),
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(Revocation { user_id: id.clone(), valid_after: row.valid_after })
    }

    /// The moment after which a token of this user must have been issued to count; `None`: all count.
    pub async fn tokens_valid_after(
        &self,
        id: &UserId,
    ) -> Result<Option<DateTime<Utc>>, StoreError> {
        let _timed = self.metrics.time(Call::Users);
        let valid_after =
            sqlx::query_scalar!("select tokens_valid_after from users where id = $1", id.as_str())
                .fetch_optional(&self.pool)
                .await?;
        Ok(valid_after.flatten())
    }

    /// How these users stand; whom the directory does not know is left out.
    pub async fn standings(&self, ids: &[UserId]) -> Result<Vec<UserStanding>, StoreError> {
        let _timed = self.metrics.time(Call::Users);
        let ids: Vec<String> = ids.iter().map(ToString::to_string).collect();
        let rows = sqlx::query!(
            "select id, membership_version, tokens_valid_after from users where id = any($1)",
            &ids,
        )
        .fetch_all(&self.pool)
        .await?;
        let standings = rows.into_iter().map(|row| {
            Ok(UserStanding {
                user_id: user_id("users", &row.id)?,
                membership_version: unsigned(row.membership_version),
                tokens_valid_after: row.tokens_valid_after,
            })
        });
        standings.collect()
    }

    /// A page of the revocations of the last `age`, in their order, after the one given.
    pub async fn revocations(
        &self,
        age: Duration,
        after: Option<&Revocation>,
        most: u32,
    ) -> Result<Vec<Revocation>, StoreError> {
        let _timed = self.metrics.time(Call::Users);
        let rows = sqlx::query!(
            r#"
            select id, tokens_valid_after as "valid_after!"
            from users
            where tokens_valid_after > now() - make_interval(secs => $1)
                and ($2::timestamptz is null or (tokens_valid_after, id) > ($2, $3 collate "C"))
            order by tokens_valid_after, id
            limit $4
            "#,
            age.as_secs_f64(),
            after.map(|revocation| revocation.valid_after),
            after.map(|revocation| revocation.user_id.as_str()),
            i64::from(most),
        )
        .fetch_all(&self.pool)
        .await?;
        rows.into_iter()
            .map(|row| {
                Ok(Revocation { user_id: user_id("users", &row.id)?, valid_after: row.valid_after })
            })
            .collect()
    }

    /// Writes what a token says of its bearer. A token speaks for the moment at which it was issued: it fills what is
    /// not known, and overrules only what is older than itself; once revoked, it says nothing.
    pub async fn note_user(
        &self,
        profile: &Profile,
        issued_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Directory);
        sqlx::query!(
            r#"
            insert into users (id, name, avatar)
            values ($1, $2, $3)
            on conflict (id) do update set
                name = case when $4 > users.updated_at then coalesce(excluded.name, users.name)
                            else coalesce(users.name, excluded.name) end
                , avatar = case when $4 > users.updated_at then coalesce(excluded.avatar, users.avatar)
                                else coalesce(users.avatar, excluded.avatar) end
                , anonymised_at = null
                , updated_at = now()
            where (users.tokens_valid_after is null or $4 > users.tokens_valid_after)
                and ((excluded.name is distinct from users.name and excluded.name is not null
                    and (users.name is null or $4 > users.updated_at))
                or (excluded.avatar is distinct from users.avatar and excluded.avatar is not null
                    and (users.avatar is null or $4 > users.updated_at)))
            "#,
            profile.id.as_str(),
            profile.name.as_ref().map(Name::as_str),
            profile.avatar.as_ref().map(Avatar::as_str),
            issued_at,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A user of the directory.
    pub async fn user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let _timed = self.metrics.time(Call::Users);
        let row = sqlx::query!(
            r#"
            select name, avatar, anonymised_at, last_seen_at, created_at, updated_at
            from users
            where id = $1
            "#,
            id.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(|row| UserRecord {
            id: id.clone(),
            name: row.name,
            avatar: row.avatar,
            anonymised_at: row.anonymised_at,
            last_seen_at: row.last_seen_at,
            created_at: row.created_at,
            updated_at: row.updated_at,
        }))
    }
}

/// An id that the schema says is one.
pub(crate) fn user_id(table: &'static str, text: &str) -> Result<UserId, StoreError> {
    UserId::parse(text).map_err(|error| StoreError::inconsistent(table, error.to_string()))
}

/// Makes sure that the directory has these ids, each given once and in order.
pub(crate) async fn introduce(
    connection: &mut PgConnection,
    users: &[UserId],
) -> Result<(), StoreError> {
    let ids: Vec<String> = users.iter().map(ToString::to_string).collect();
    sqlx::query!(
        "insert into users (id) select unnest($1::text[]) on conflict (id) do nothing",
        &ids,
    )
    .execute(connection)
    .await?;
    Ok(())
}
