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

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, Json, Participant, Query, Reader};

const DEFAULT_LIMIT: u32 = 20;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct CreateRequest {
    participant_ids: Option<Vec<String>>,
    #[serde(rename = "type")]
    chat_type: Option<String>,
    title: Option<String>,
    metadata: Option<Value>,
}

#[derive(Serialize)]
pub(crate) struct ChatAnswer {
    pub(super) chat: Chat,
}

#[derive(Deserialize)]
pub(crate) struct ListQuery {
    page: Option<String>,
    limit: Option<String>,
    #[serde(rename = "type")]
    chat_type: Option<String>,
    archived: Option<String>,
}

#[derive(Serialize)]
pub(crate) struct ListAnswer {
    chats: Vec<Chat>,
    pagination: Pagination,
}

/// `POST /api/chat`: 201 with a new chat, or 200 with the direct chat that these two people have.
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
            Ok(Success::made(created.new, ChatAnswer { chat }))
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

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct PurchaseRequest {
    purchase_request_id: String,
    seller_id: String,
}

/// `POST /api/chat/purchase-request`: the one chat of the caller, who buys, and the seller about this request: 201 the
/// first time, 200 after. A seller who calls is given the chat that exists: a seller cannot say who buys.
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
        return Ok(Success::ok(ChatAnswer { chat }));
    }
    made(&state, &NewChat::of_purchase_request(request, caller.id, seller)?).await
}

/// `GET /api/chat`: the caller's chats, the one with the newest message first; with `type=support`, all that there are for
/// one of the support pool.
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
    let (chats, pagination) = if all_support {
        state.store.support_chats(&caller.id, filter.archived, page).await?
    } else {
        state.store.chats(&caller.id, filter, page).await?
    };
    Ok(Success::ok(ListAnswer { chats, pagination }))
}

fn flag(text: &str) -> Result<bool, Invalid> {
    text.parse().map_err(|_| Invalid::new("archived", "must be true or false"))
}

/// `GET /api/chat/:id/info`: one chat with everybody's unread counts.
pub(crate) async fn info(
    Extract(state): Extract<State>,
    reader: Reader,
) -> Result<Success<ChatAnswer>, ApiError> {
    let chat = shown(&state, reader.chat, &reader.caller.id).await?;
    Ok(Success::ok(ChatAnswer { chat }))
}

#[derive(Serialize)]
pub(crate) struct ArchiveAnswer {
    archived: bool,
    chat: Chat,
}

/// `PATCH` and `PUT /api/chat/:id/archive`: puts the chat away for the caller, or takes it back. The source front end
/// sends `PUT` where its document says `PATCH`; both are served.
pub(crate) async fn archive(
    Extract(state): Extract<State>,
    Participant { caller, chat }: Participant,
) -> Result<Success<ArchiveAnswer>, ApiError> {
    let archived = state.store.toggle_archived(chat, &caller.id, state.participants.unarchive);
    let archived = archived.await?.ok_or(ApiError::NotParticipant)?;
    let chat = shown(&state, chat, &caller.id).await?;
    Ok(Success::ok(ArchiveAnswer { archived, chat }))
}

#[derive(Serialize)]
pub(crate) struct StatsAnswer {
    #[serde(rename = "totalChats")]
    chats: u64,
    #[serde(rename = "totalMessages")]
    messages: u64,
    #[serde(rename = "totalUnread")]
    unread: u64,
}

/// `GET /api/chat/stats`: totals over the caller's chats.
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
