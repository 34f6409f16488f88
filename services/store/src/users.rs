//! Table `users`: the directory.

use chrono::{DateTime, Utc};
use parley_domain::ids::UserId;
use parley_domain::user::Profile;
use sqlx::PgConnection;

use crate::{Store, StoreError};

/// A user as the directory knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The user.
    pub id: UserId,
    /// The display name.
    pub name: Option<String>,
    /// The picture.
    pub avatar: Option<String>,
    /// When last connected, as far as known.
    pub last_seen_at: Option<DateTime<Utc>>,
    /// When first seen.
    pub created_at: DateTime<Utc>,
    /// When last written.
    pub updated_at: DateTime<Utc>,
}

impl Store {
    /// Writes what the host application says of a user. What the profile leaves out stays.
    pub async fn put_user(&self, profile: &Profile) -> Result<(), StoreError> {
        sqlx::query!(
            r#"
            insert into users (id, name, avatar)
            values ($1, $2, $3)
            on conflict (id) do update set
                name = coalesce(excluded.name, users.name)
                , avatar = coalesce(excluded.avatar, users.avatar)
                , updated_at = now()
            "#,
            profile.id.as_str(),
            profile.name.as_ref().map(parley_domain::user::Name::as_str),
            profile.avatar.as_ref().map(parley_domain::user::Avatar::as_str),
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Writes what a token says of its bearer. A token speaks for the moment at which it was issued: it fills what is
    /// not known, and overrules only what is older than itself.
    pub async fn note_user(
        &self,
        profile: &Profile,
        issued_at: Option<DateTime<Utc>>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            r#"
            insert into users (id, name, avatar)
            values ($1, $2, $3)
            on conflict (id) do update set
                name = case when $4 > users.updated_at then coalesce(excluded.name, users.name)
                            else coalesce(users.name, excluded.name) end
                , avatar = case when $4 > users.updated_at then coalesce(excluded.avatar, users.avatar)
                                else coalesce(users.avatar, excluded.avatar) end
                , updated_at = now()
            where (excluded.name is distinct from users.name and excluded.name is not null
                    and (users.name is null or $4 > users.updated_at))
                or (excluded.avatar is distinct from users.avatar and excluded.avatar is not null
                    and (users.avatar is null or $4 > users.updated_at))
            "#,
            profile.id.as_str(),
            profile.name.as_ref().map(parley_domain::user::Name::as_str),
            profile.avatar.as_ref().map(parley_domain::user::Avatar::as_str),
            issued_at,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// A user of the directory.
    pub async fn user(&self, id: &UserId) -> Result<Option<UserRecord>, StoreError> {
        let row = sqlx::query!(
            r#"
            select name, avatar, last_seen_at, created_at, updated_at
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
