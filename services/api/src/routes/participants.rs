//! `/api/chat/:id/participants`: who is in a chat, and coming and going.

use axum::extract::State as Extract;
use parley_domain::chat::{Chat, Participant};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::page::{Page, Pagination};
use parley_domain::token;
use parley_domain::user::Role;
use parley_store::{AddParticipant, ChangeAs, RemoveParticipant, StoreError};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::chats::{ChatAnswer, shown};
use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, ChatPath, Json, ParticipantPath, Query, Reader};
use crate::finishing::to_the_end;

const DEFAULT_LIMIT: u32 = 50;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// From 1.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    page: Option<String>,
    /// 50 by default; above 100 counts as 100.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Participants)]
pub(crate) struct ListAnswer {
    participants: Vec<Participant>,
    pagination: Pagination,
}

/// `GET /api/chat/:id/participants`: a page of them, in order of their ids.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/participants",
    operation_id = "listParticipants",
    tag = "participants",
    params(("id" = ChatId, Path, description = "The chat"), ListQuery),
    responses(
        (status = 200, description = "A page of participants", body = Success<ListAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    reader: Reader,
    Query(query): Query<ListQuery>,
) -> Result<Success<ListAnswer>, ApiError> {
    let page = Page::parse(query.page.as_deref(), query.limit.as_deref(), DEFAULT_LIMIT)?;
    let listed = state.store.participants(reader.chat, page).await?;
    let (mut participants, pagination) = listed.ok_or(ApiError::ChatNotFound)?;
    state.add_presence(&mut participants).await;
    Ok(Success::ok(ListAnswer { participants, pagination }))
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = AddParticipant)]
pub(crate) struct AddRequest {
    #[schema(value_type = UserId)]
    user_id: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Added)]
pub(crate) struct AddAnswer {
    chat: Chat,
    participant: Participant,
}

/// `POST /api/chat/:id/participants`: adds somebody: 201 with a new participant, 200 with one who is in already.
#[utoipa::path(
    post,
    path = "/api/chat/{id}/participants",
    operation_id = "addParticipant",
    tag = "participants",
    params(("id" = ChatId, Path, description = "The chat")),
    request_body(content = AddRequest, example = json!({ "userId": "carol" })),
    responses(
        (status = 201, description = "A new participant", body = Success<AddAnswer>),
        (status = 200, description = "One who is in already", body = Success<AddAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "not_group", "group_full", "forbidden", "not_participant", "chat_not_found",
        "participant_not_found",
    ]))),
)]
pub(crate) async fn add(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    ChatPath(chat): ChatPath,
    Json(body): Json<AddRequest>,
) -> Result<Success<AddAnswer>, ApiError> {
    let user = UserId::parse(&body.user_id)?;
    let (new, mut participant) = match committed_add(&state, chat, &user, &caller).await? {
        AddParticipant::Added(participant, _) => (true, *participant),
        AddParticipant::AlreadyIn(participant) => (false, *participant),
        AddParticipant::ChatNotFound => return Err(ApiError::ChatNotFound),
        AddParticipant::NotGroup => return Err(ApiError::NotGroup),
        AddParticipant::NotParticipant => return Err(ApiError::NotParticipant),
        AddParticipant::NotAllowed => return Err(ApiError::Forbidden),
        AddParticipant::UserNotFound => return Err(unknown(&user)),
        AddParticipant::Full => return Err(ApiError::GroupFull),
    };
    let mut chat = shown(&state, chat, &caller.id).await?;
    state.add_presence(chat.participants.iter_mut().chain([&mut participant])).await;
    Ok(Success::made(new, AddAnswer { chat, participant }))
}

/// `DELETE /api/chat/:id/participants/:userId`: takes somebody out; oneself: leaves.
#[utoipa::path(
    delete,
    path = "/api/chat/{id}/participants/{userId}",
    operation_id = "removeParticipant",
    tag = "participants",
    params(
        ("id" = ChatId, Path, description = "The chat"),
        ("userId" = UserId, Path, description = "The participant", example = "bob"),
    ),
    responses(
        (status = 200, description = "The chat as it is now; for one who leaves, as of that moment", body = Success<ChatAnswer>),
    ),
    extensions(("x-refusals" = json!([
        "not_group", "forbidden", "not_participant", "chat_not_found", "participant_not_found",
    ]))),
)]
pub(crate) async fn remove(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    ParticipantPath { chat, user }: ParticipantPath,
) -> Result<Success<ChatAnswer>, ApiError> {
    match committed_removal(&state, chat, &user, &caller).await? {
        RemoveParticipant::Removed(chat, _) => {
            Ok(Success::ok(ChatAnswer { chat: state.with_presence(*chat).await }))
        }
        RemoveParticipant::ChatNotFound => Err(ApiError::ChatNotFound),
        RemoveParticipant::NotGroup => Err(ApiError::NotGroup),
        RemoveParticipant::NotParticipant => Err(ApiError::NotParticipant),
        RemoveParticipant::NotAllowed => Err(ApiError::Forbidden),
        RemoveParticipant::NotThere => Err(unknown(&user)),
    }
}

/// To the end: a client that goes away must not keep the room from hearing what is committed.
async fn committed_add(
    state: &State,
    chat: ChatId,
    user: &UserId,
    by: &token::Caller,
) -> Result<AddParticipant, StoreError> {
    let (state, user, by) = (state.clone(), user.clone(), by.clone());
    to_the_end(async move {
        let (authority, settings) = (authority(by.role), &state.participants);
        let outcome = state.store.add_participant(chat, &user, &by.id, authority, settings).await?;
        if let AddParticipant::Added(_, committed) = &outcome {
            state.teller.tell_membership(committed);
        }
        Ok(outcome)
    })
    .await
}

/// To the end, for the same reason.
async fn committed_removal(
    state: &State,
    chat: ChatId,
    user: &UserId,
    by: &token::Caller,
) -> Result<RemoveParticipant, StoreError> {
    let (state, user, by) = (state.clone(), user.clone(), by.clone());
    to_the_end(async move {
        let authority = authority(by.role);
        let outcome = state.store.remove_participant(chat, &user, &by.id, authority).await?;
        if let RemoveParticipant::Removed(_, committed) = &outcome {
            state.teller.tell_membership(committed);
        }
        Ok(outcome)
    })
    .await
}

const fn authority(role: Role) -> ChangeAs {
    if role.moderates() { ChangeAs::Admin } else { ChangeAs::Participant }
}

fn unknown(user: &UserId) -> ApiError {
    ApiError::ParticipantNotFound { user_id: user.to_string() }
}
