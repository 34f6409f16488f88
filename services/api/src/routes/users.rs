//! `/api/users`: the directory.

use axum::extract::State as Extract;
use parley_domain::ids::UserId;
use parley_domain::time::Timestamp;
use parley_domain::user::{Avatar, Name, Profile};
use parley_store::UserRecord;
use serde::{Deserialize, Serialize};

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Path};

#[derive(Deserialize)]
pub(crate) struct PutUser {
    name: Option<String>,
    avatar: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct UserAnswer {
    user: UserObject,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UserObject {
    #[serde(rename = "_id")]
    id: UserId,
    name: Option<String>,
    avatar: Option<String>,
    last_seen_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<UserRecord> for UserAnswer {
    fn from(record: UserRecord) -> Self {
        let UserRecord { id, name, avatar, last_seen_at, created_at, updated_at } = record;
        let user = UserObject {
            id,
            name,
            avatar,
            last_seen_at: last_seen_at.map(Timestamp::new),
            created_at: created_at.into(),
            updated_at: updated_at.into(),
        };
        Self { user }
    }
}

/// `PUT /api/users/:id`, for the host application: makes or renames a user. Fields left out stay as they are.
pub(crate) async fn put(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Path(id): Path<String>,
    Json(body): Json<PutUser>,
) -> Result<Success<UserAnswer>, ApiError> {
    if !caller.role.manages_users() {
        return Err(ApiError::Forbidden);
    }
    let profile = Profile {
        id: UserId::parse(&id).map_err(ApiError::InvalidId)?,
        name: body.name.as_deref().map(Name::parse).transpose()?,
        avatar: body.avatar.as_deref().map(Avatar::parse).transpose()?,
    };
    state.store.put_user(&profile).await?;
    answer(&state, &profile.id).await
}

/// `GET /api/users/:id`: oneself; anyone for the host application and for admins. Who else could ask would be able to
/// read the host's directory, id by id.
pub(crate) async fn get(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Path(id): Path<String>,
) -> Result<Success<UserAnswer>, ApiError> {
    let id = UserId::parse(&id).map_err(ApiError::InvalidId)?;
    if id != caller.id && !caller.role.reads_every_chat() {
        return Err(ApiError::Forbidden);
    }
    answer(&state, &id).await
}

async fn answer(state: &State, id: &UserId) -> Result<Success<UserAnswer>, ApiError> {
    let record = state.store.user(id).await?.ok_or(ApiError::UserNotFound)?;
    Ok(Success::ok(record.into()))
}
