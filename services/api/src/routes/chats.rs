//! `/api/chat`: making, listing and showing chats.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::chat::{Chat, ChatType, NewChat, Title};
use parley_domain::ids::{ChatId, PurchaseRequestId, UserId};
use parley_domain::metadata::Metadata;
use parley_domain::page::{Page, Pagination};
use parley_store::{ChatFilter, ChatStats, CreateChat};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Participant, Query, Reader};

const DEFAULT_LIMIT: u32 = 20;

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = CreateChat)]
pub(crate) struct CreateRequest {
    /// At least one besides the caller, who is in without being named; exactly one for a direct chat.
    #[schema(value_type = Vec<UserId>, required, min_items = 1, max_items = 1000)]
    participant_ids: Option<Vec<String>>,
    #[serde(rename = "type")]
    #[schema(value_type = Option<CreatedType>)]
    chat_type: Option<String>,
    /// Kept for groups only.
    #[schema(value_type = Option<Title>)]
    title: Option<String>,
    /// The host's own data: at most 16 KiB and 16 levels, without NUL.
    #[schema(value_type = Option<Object>)]
    metadata: Option<Value>,
}

/// What people make themselves; `direct` by default.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "the document's words for what `NewChat::parse` takes")]
enum CreatedType {
    Direct,
    Group,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneChat)]
pub(crate) struct ChatAnswer {
    pub(super) chat: Chat,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListQuery {
    /// From 1.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    page: Option<String>,
    /// 20 by default; above 100 counts as 100.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<String>,
    #[serde(rename = "type")]
    #[param(value_type = Option<ChatType>)]
    chat_type: Option<String>,
    /// Only what the caller has put away, or only what not.
    #[param(value_type = Option<bool>)]
    archived: Option<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Chats)]
pub(crate) struct ListAnswer {
    chats: Vec<Chat>,
    pagination: Pagination,
}

/// `POST /api/chat`: makes a chat: 201 with a new one, or 200 with the direct chat that these two people have.
#[utoipa::path(
    post,
    path = "/api/chat",
    operation_id = "createChat",
    tag = "chats",
    request_body(content = CreateRequest, examples(
        ("direct" = (value = json!({ "participantIds": ["bob"] }))),
        ("group" = (value = json!({
            "participantIds": ["bob", "carol"],
            "type": "group",
            "title": "Friday",
            "metadata": { "project": 7 }
        }))),
    )),
    responses(
        (status = 201, description = "A new chat", body = Success<ChatAnswer>),
        (status = 200, description = "The direct chat that these two people have", body = Success<ChatAnswer>),
    ),
    extensions(("x-refusals" = json!(["group_full", "participant_not_found"]))),
)]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Json(body): Json<CreateRequest>,
) -> Result<Success<ChatAnswer>, ApiError> {
    let new = body.parse(caller.id.clone())?;
    if new.people() > state.participants.group_participants as usize {
        return Err(ApiError::GroupFull);
    }
    made(&state, &new).await
}

/// Makes the chat, or finds the one that must be the only one of its kind.
async fn made(state: &State, new: &NewChat) -> Result<Success<ChatAnswer>, ApiError> {
    match state.store.create_chat(new, state.participants.unknown_users).await? {
        CreateChat::Created(created) => {
            let chat = shown(state, created.id, &new.creator).await?;
            if let Some(head) = created.head {
                state.teller.tell_created(chat.clone(), head);
            }
            Ok(Success::made(created.new, ChatAnswer { chat: state.with_presence(chat).await }))
        }
        CreateChat::UnknownParticipant(user) => {
            Err(ApiError::ParticipantNotFound { user_id: user.to_string() })
        }
    }
}

impl CreateRequest {
    fn parse(self, creator: UserId) -> Result<NewChat, Invalid> {
        let named = self.participant_ids.unwrap_or_default();
        let participants = named
            .iter()
            .map(|id| UserId::parse(id).map_err(|invalid| invalid.in_field("participantIds")))
            .collect::<Result<_, _>>()?;
        let chat_type = self.chat_type.as_deref().map(ChatType::parse).transpose()?;
        let title = self.title.as_deref().map(Title::parse).transpose()?;
        let metadata = self.metadata.map(Metadata::parse).transpose()?;
        NewChat::parse(creator, participants, chat_type.unwrap_or_default(), title, metadata)
    }
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PurchaseRequest {
    #[schema(value_type = PurchaseRequestId)]
    purchase_request_id: String,
    #[schema(value_type = UserId)]
    seller_id: String,
}

/// `POST /api/chat/purchase-request`: the one chat of the caller, who buys, and the seller about this request: 201 the
/// first time, 200 after. A seller who calls is given the chat that exists: a seller cannot say who buys.
#[utoipa::path(
    post,
    path = "/api/chat/purchase-request",
    operation_id = "openPurchaseChat",
    tag = "chats",
    request_body(content = PurchaseRequest, example = json!({ "purchaseRequestId": "pr-2026-17", "sellerId": "bob" })),
    responses(
        (status = 201, description = "A new chat", body = Success<ChatAnswer>),
        (status = 200, description = "The chat that exists", body = Success<ChatAnswer>),
    ),
    extensions(("x-refusals" = json!(["chat_not_found", "participant_not_found"]))),
)]
pub(crate) async fn purchase_request(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Json(body): Json<PurchaseRequest>,
) -> Result<Success<ChatAnswer>, ApiError> {
    let request = PurchaseRequestId::parse(&body.purchase_request_id)?;
    let seller = UserId::parse(&body.seller_id).map_err(|invalid| invalid.in_field("sellerId"))?;
    if seller == caller.id {
        let found = state.store.purchase_chat(&request, &seller).await?;
        let chat = shown(&state, found.ok_or(ApiError::ChatNotFound)?, &seller).await?;
        return Ok(Success::ok(ChatAnswer { chat: state.with_presence(chat).await }));
    }
    made(&state, &NewChat::of_purchase_request(request, caller.id, seller)?).await
}

/// `GET /api/chat`: the caller's chats, the one with the newest message first; with `type=support`, all that there are for
/// one of the support pool.
#[utoipa::path(
    get,
    path = "/api/chat",
    operation_id = "listChats",
    tag = "chats",
    params(ListQuery),
    responses(
        (status = 200, description = "A page of chats", body = Success<ListAnswer>),
    ),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Query(query): Query<ListQuery>,
) -> Result<Success<ListAnswer>, ApiError> {
    let page = Page::parse(query.page.as_deref(), query.limit.as_deref(), DEFAULT_LIMIT)?;
    let filter = ChatFilter {
        chat_type: query.chat_type.as_deref().map(ChatType::parse).transpose()?,
        archived: query.archived.as_deref().map(flag).transpose()?,
    };
    let all_support =
        filter.chat_type == Some(ChatType::Support) && caller.role.is_in_support_pool();
    let (mut chats, pagination) = if all_support {
        state.store.support_chats(&caller.id, filter.archived, page).await?
    } else {
        state.store.chats(&caller.id, filter, page).await?
    };
    state.add_presence(chats.iter_mut().flat_map(|chat| &mut chat.participants)).await;
    Ok(Success::ok(ListAnswer { chats, pagination }))
}

fn flag(text: &str) -> Result<bool, Invalid> {
    text.parse().map_err(|_| Invalid::new("archived", "must be true or false"))
}

/// `GET /api/chat/:id/info`: one chat with everybody's unread counts.
#[utoipa::path(
    get,
    path = "/api/chat/{id}/info",
    operation_id = "getChat",
    tag = "chats",
    params(("id" = ChatId, Path, description = "The chat")),
    responses(
        (status = 200, description = "The chat, with `unreadCounts`", body = Success<ChatAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn info(
    Extract(state): Extract<State>,
    reader: Reader,
) -> Result<Success<ChatAnswer>, ApiError> {
    let chat = shown(&state, reader.chat, &reader.caller.id).await?;
    Ok(Success::ok(ChatAnswer { chat: state.with_presence(chat).await }))
}

#[derive(Serialize, ToSchema)]
#[schema(as = Archived)]
pub(crate) struct ArchiveAnswer {
    archived: bool,
    chat: Chat,
}

/// `PATCH /api/chat/:id/archive`: puts the chat away for the caller, or takes it back.
#[utoipa::path(
    patch,
    path = "/api/chat/{id}/archive",
    operation_id = "archiveChat",
    tag = "chats",
    params(("id" = ChatId, Path, description = "The chat")),
    responses(
        (status = 200, description = "What it is now", body = Success<ArchiveAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn archive(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
) -> Result<Success<ArchiveAnswer>, ApiError> {
    let archived = state.store.toggle_archived(chat, &caller.id, state.participants.unarchive);
    let archived = archived.await?.ok_or(ApiError::NotParticipant)?;
    let chat = shown(&state, chat, &caller.id).await?;
    Ok(Success::ok(ArchiveAnswer { archived, chat: state.with_presence(chat).await }))
}

/// `PUT /api/chat/:id/archive`: the same as `PATCH`. The source front end sends `PUT` where its document says `PATCH`.
#[deprecated = "for the source front end"]
#[utoipa::path(
    put,
    path = "/api/chat/{id}/archive",
    operation_id = "archiveChatByPut",
    tag = "chats",
    params(("id" = ChatId, Path, description = "The chat")),
    responses(
        (status = 200, description = "What it is now", body = Success<ArchiveAnswer>),
    ),
    extensions(("x-refusals" = json!(["not_participant", "chat_not_found"]))),
)]
pub(crate) async fn archive_by_put(
    state: Extract<State>,
    participant: Participant,
) -> Result<Success<ArchiveAnswer>, ApiError> {
    archive(state, participant).await
}

#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
pub(crate) struct StatsAnswer {
    #[serde(rename = "totalChats")]
    chats: u64,
    #[serde(rename = "totalMessages")]
    messages: u64,
    #[serde(rename = "totalUnread")]
    unread: u64,
}

/// `GET /api/chat/stats`: totals over the caller's chats.
#[utoipa::path(
    get,
    path = "/api/chat/stats",
    operation_id = "getStats",
    tag = "chats",
    responses(
        (status = 200, description = "The totals", body = Success<StatsAnswer>),
    ),
)]
pub(crate) async fn stats(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
) -> Result<Success<StatsAnswer>, ApiError> {
    let ChatStats { chats, messages, unread } = state.store.stats(&caller.id).await?;
    Ok(Success::ok(StatsAnswer { chats, messages, unread }))
}

/// A chat as `viewer` sees it now.
pub(super) async fn shown(state: &State, chat: ChatId, viewer: &UserId) -> Result<Chat, ApiError> {
    state.store.chat(chat, viewer).await?.ok_or(ApiError::ChatNotFound)
}
