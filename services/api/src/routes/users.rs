//! `/api/users`: the directory.

use std::collections::HashSet;

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ids::UserId;
use parley_domain::time::Timestamp;
use parley_domain::token::Revocation;
use parley_domain::user::{Avatar, MAX_PROFILES, Name, Profile};
use parley_store::UserRecord;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, Json, UserEnder, UserManager, UserPath};

#[derive(Deserialize, ToSchema)]
pub(crate) struct PutUser {
    /// Left out, it stays as it is.
    #[schema(value_type = Option<Name>)]
    name: Option<String>,
    /// Left out, it stays as it is; at most 2,048 bytes.
    #[schema(value_type = Option<Avatar>)]
    avatar: Option<String>,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct PutUsers {
    /// Different ones; all are written, or none.
    #[schema(min_items = 1, max_items = 1000)]
    users: Vec<NamedUser>,
}

#[derive(Deserialize, ToSchema)]
struct NamedUser {
    #[schema(value_type = UserId)]
    id: String,
    #[serde(flatten)]
    user: PutUser,
}

impl PutUser {
    fn parse(&self, id: UserId) -> Result<Profile, Invalid> {
        Ok(Profile {
            id,
            name: self.name.as_deref().map(Name::parse).transpose()?,
            avatar: self.avatar.as_deref().map(Avatar::parse).transpose()?,
        })
    }
}

impl PutUsers {
    /// Different users, as the directory takes them.
    fn parse(&self) -> Result<Vec<Profile>, Invalid> {
        if self.users.is_empty() || self.users.len() > MAX_PROFILES {
            return Err(Invalid::new("users", format!("must have 1 to {MAX_PROFILES} elements")));
        }
        let mut seen = HashSet::with_capacity(self.users.len());
        let parse = |(place, named): (usize, &NamedUser)| {
            let profile = UserId::parse(&named.id).and_then(|id| named.user.parse(id));
            let within = |error: Invalid| Invalid::new("users", format!("[{place}]: {error}"));
            let profile = profile.map_err(within)?;
            if !seen.insert(profile.id.clone()) {
                return Err(Invalid::new("users", format!("[{place}]: id is there twice")));
            }
            Ok(profile)
        };
        self.users.iter().enumerate().map(parse).collect()
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = Count)]
pub(crate) struct CountAnswer {
    count: usize,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Revocation)]
pub(crate) struct RevocationAnswer {
    user_id: UserId,
    tokens_valid_after: Timestamp,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneUser)]
pub(crate) struct UserAnswer {
    user: UserObject,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = User)]
struct UserObject {
    #[serde(rename = "_id")]
    id: UserId,
    name: Option<String>,
    avatar: Option<String>,
    deleted_at: Option<Timestamp>,
    /// Whether connected; `null` while presence is not known.
    online: Option<bool>,
    /// When last connected, as far as known.
    last_seen_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<UserRecord> for UserAnswer {
    fn from(record: UserRecord) -> Self {
        let UserRecord { id, name, avatar, anonymised_at, last_seen_at, created_at, updated_at } =
            record;
        let user = UserObject {
            id,
            name,
            avatar,
            deleted_at: anonymised_at.map(Timestamp::new),
            online: None,
            last_seen_at: last_seen_at.map(Timestamp::new),
            created_at: created_at.into(),
            updated_at: updated_at.into(),
        };
        Self { user }
    }
}

impl UserAnswer {
    async fn with_presence(mut self, state: &State) -> Self {
        if let Some(seen) = state.seen(&self.user.id).await {
            self.user.online = Some(seen.online);
            self.user.last_seen_at =
                seen.last_seen_at.map(Timestamp::new).or(self.user.last_seen_at);
        }
        self
    }
}

/// `PUT /api/users/:id`, for the host application: makes or renames a user. Fields left out stay as they are.
#[utoipa::path(
    put,
    path = "/api/users/{id}",
    operation_id = "putUser",
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    request_body(content = PutUser, example = json!({ "name": "Alice", "avatar": "https://cdn.example/alice.png" })),
    responses(
        (status = 200, description = "The user as it is now", body = Success<UserAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "user_not_found"]))),
)]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    _: UserManager,
    UserPath(id): UserPath,
    Json(body): Json<PutUser>,
) -> Result<Success<UserAnswer>, ApiError> {
    let profile = body.parse(id)?;
    state.store.put_user(&profile).await?;
    answer(&state, &profile.id).await
}

/// `POST /api/users`, for the host application: makes or renames up to 1,000 different users at once, all or none.
#[utoipa::path(
    post,
    path = "/api/users",
    operation_id = "putUsers",
    tag = "users",
    request_body(content = PutUsers, example = json!({ "users": [{ "id": "alice", "name": "Alice" }, { "id": "bob" }] })),
    responses(
        (status = 200, description = "All are written", body = Success<CountAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden"]))),
)]
pub(crate) async fn put_many(
    Extract(state): Extract<State>,
    _: UserManager,
    Json(body): Json<PutUsers>,
) -> Result<Success<CountAnswer>, ApiError> {
    let profiles = body.parse()?;
    state.store.put_users(&profiles).await?;
    Ok(Success::ok(CountAnswer { count: profiles.len() }))
}

/// `DELETE /api/users/:id`: takes name and picture from a user and revokes its tokens; what it wrote stays. The same
/// again changes nothing.
#[utoipa::path(
    delete,
    path = "/api/users/{id}",
    operation_id = "deleteUser",
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    responses(
        (status = 200, description = "The user, without name and picture", body = Success<UserAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "user_not_found"]))),
)]
pub(crate) async fn delete(
    Extract(state): Extract<State>,
    _: UserEnder,
    UserPath(id): UserPath,
) -> Result<Success<UserAnswer>, ApiError> {
    let revocation = state.store.anonymise_user(&id).await?.ok_or(ApiError::UserNotFound)?;
    state.callers.revoke(&revocation).await;
    state.presence.forget(&id).await;
    answer(&state, &id).await
}

/// `POST /api/users/:id/revoke`: every token of the user that was issued up to now counts no more. A user may hold
/// tokens without having come here yet, so an unknown one is none the less revoked.
#[utoipa::path(
    post,
    path = "/api/users/{id}/revoke",
    operation_id = "revokeTokens",
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    responses(
        (status = 200, description = "From when on tokens count", body = Success<RevocationAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden"]))),
)]
pub(crate) async fn revoke(
    Extract(state): Extract<State>,
    _: UserEnder,
    UserPath(id): UserPath,
) -> Result<Success<RevocationAnswer>, ApiError> {
    let revocation = state.store.revoke_tokens(&id).await?;
    state.callers.revoke(&revocation).await;
    let Revocation { user_id, valid_after } = revocation;
    Ok(Success::ok(RevocationAnswer { user_id, tokens_valid_after: valid_after.into() }))
}

/// `GET /api/users/:id`: shows a user: oneself; anyone for the host application and for admins. Who else could ask would be able to
/// read the host's directory, id by id.
#[utoipa::path(
    get,
    path = "/api/users/{id}",
    operation_id = "getUser",
    tag = "users",
    params(("id" = UserId, Path, description = "The user")),
    responses(
        (status = 200, description = "The user", body = Success<UserAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "user_not_found"]))),
)]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    UserPath(id): UserPath,
) -> Result<Success<UserAnswer>, ApiError> {
    if id != caller.id && !caller.role.reads_every_chat() {
        return Err(ApiError::Forbidden);
    }
    answer(&state, &id).await
}

async fn answer(state: &State, id: &UserId) -> Result<Success<UserAnswer>, ApiError> {
    let record = state.store.user(id).await?.ok_or(ApiError::UserNotFound)?;
    Ok(Success::ok(UserAnswer::from(record).with_presence(state).await))
}
