//! `/api/webhooks/:id/deliveries`: what became of what a webhook was told, and telling it again.

use axum::extract::State as Extract;
use chrono::{DateTime, Utc};
use parley_domain::Invalid;
use parley_domain::ids::{ChatId, DeliveryId, EventId, WebhookId};
use parley_domain::page::Page;
use parley_domain::time::Timestamp;
use parley_domain::webhook::EventKind;
use parley_store::{
    AttemptRecord, DeliveryQuery, DeliveryRecord, DeliveryState, ReplayRange, Replayed,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{DeliveryPath, Json, Query, WebhookManager, WebhookPath};

/// Deliveries of a page if nothing is said.
const DEFAULT_LIMIT: u32 = 50;
/// Of the year 9999.
const LAST_SECOND: i64 = 253_402_300_799;
/// Most deliveries of one replay.
const MOST_REPLAYED: u32 = 10_000;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct DeliveriesQuery {
    /// Only of this state.
    #[param(value_type = Option<DeliveryStateName>)]
    state: Option<String>,
    /// Only those before this one: the last of the page before.
    #[param(value_type = Option<DeliveryId>)]
    before: Option<String>,
    /// 50 if left out; more than 100 counts as 100.
    #[param(value_type = Option<u32>, minimum = 1)]
    limit: Option<String>,
}

/// `waiting`: it is tried, or will be; `delivered`: it was answered with a 2xx; `dead`: it was tried for too long.
#[derive(Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = DeliveryState)]
enum DeliveryStateName {
    Waiting,
    Delivered,
    Dead,
}

impl From<DeliveryState> for DeliveryStateName {
    fn from(state: DeliveryState) -> Self {
        match state {
            DeliveryState::Waiting => Self::Waiting,
            DeliveryState::Delivered => Self::Delivered,
            DeliveryState::Dead => Self::Dead,
        }
    }
}

impl DeliveriesQuery {
    fn parse(&self) -> Result<DeliveryQuery, Invalid> {
        let state = match self.state.as_deref() {
            None => None,
            Some("waiting") => Some(DeliveryState::Waiting),
            Some("delivered") => Some(DeliveryState::Delivered),
            Some("dead") => Some(DeliveryState::Dead),
            Some(_) => return Err(Invalid::new("state", "must be waiting, delivered or dead")),
        };
        let before = self.before.as_deref().map(DeliveryId::parse).transpose();
        Ok(DeliveryQuery {
            state,
            before: before.map_err(|invalid| invalid.in_field("before"))?,
            limit: Page::parse(None, self.limit.as_deref(), DEFAULT_LIMIT)?.limit,
        })
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct ReplayRequest {
    /// What happened at or after this,
    #[schema(value_type = String, format = DateTime)]
    from: DateTime<Utc>,
    /// and before this.
    #[schema(value_type = String, format = DateTime)]
    to: DateTime<Utc>,
    /// Also what was delivered; else only what was given up.
    #[serde(default)]
    delivered: bool,
    /// Only what comes after this one: the `last` of the answer before, to go on where that ended.
    after: Option<DeliveryId>,
}

impl ReplayRequest {
    /// Nothing happened before there were computers; and not every year that can be written can be asked for.
    fn range(&self) -> ReplayRange {
        let end = DateTime::from_timestamp(LAST_SECOND, 0).unwrap_or_default();
        let within = |at: DateTime<Utc>| at.clamp(DateTime::UNIX_EPOCH, end);
        let (from, to, delivered_too) = (within(self.from), within(self.to), self.delivered);
        let after = self.after;
        ReplayRange { from, to, delivered_too, after, most: MOST_REPLAYED }
    }
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Replay)]
pub(crate) struct ReplayAnswer {
    /// Deliveries that wait again.
    replayed: u64,
    /// The last of them; `null` if there are none.
    last: Option<DeliveryId>,
    /// There may be more of them: the same again with `after`, which is `last`, goes on.
    has_more: bool,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Deliveries)]
pub(crate) struct DeliveriesAnswer {
    /// The newest first.
    deliveries: Vec<DeliveryObject>,
    has_more: bool,
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneDelivery)]
pub(crate) struct DeliveryAnswer {
    delivery: DeliveryObject,
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryWithAttempts)]
pub(crate) struct AttemptsAnswer {
    delivery: DeliveryObject,
    /// The latest 100, the oldest of them first.
    #[schema(max_items = 100)]
    attempts: Vec<AttemptObject>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Delivery)]
struct DeliveryObject {
    #[serde(rename = "_id")]
    id: DeliveryId,
    /// The `webhook-id` that the receiver sees.
    event_id: EventId,
    #[serde(rename = "type")]
    kind: EventKind,
    chat_id: Option<ChatId>,
    occurred_at: Timestamp,
    state: DeliveryStateName,
    attempts: u32,
    /// When it was delivered or given up.
    settled_at: Option<Timestamp>,
    last_attempt: Option<AttemptObject>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeliveryAttempt)]
struct AttemptObject {
    attempt: u32,
    began_at: Timestamp,
    milliseconds: u32,
    /// The answer's status; `null` without an answer.
    status: Option<u16>,
    /// Why there was no answer, or why it did not count.
    error: Option<String>,
    /// How the answer began.
    answer: Option<String>,
}

impl From<AttemptRecord> for AttemptObject {
    fn from(record: AttemptRecord) -> Self {
        let AttemptRecord { attempt, began_at, millis, status, error, answer } = record;
        Self { attempt, began_at: began_at.into(), milliseconds: millis, status, error, answer }
    }
}

impl From<DeliveryRecord> for DeliveryObject {
    fn from(record: DeliveryRecord) -> Self {
        Self {
            id: record.id,
            event_id: record.event_id,
            kind: record.kind,
            chat_id: record.chat_id,
            occurred_at: record.occurred_at.into(),
            state: record.state.into(),
            attempts: record.attempts,
            settled_at: record.settled_at.map(Timestamp::new),
            last_attempt: record.last.map(AttemptObject::from),
        }
    }
}

/// `GET /api/webhooks/:id/deliveries`: a page of what a webhook was told, or is to be told.
#[utoipa::path(
    get,
    path = "/api/webhooks/{id}/deliveries",
    operation_id = "listDeliveries",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), DeliveriesQuery),
    responses(
        (status = 200, description = "A page of deliveries", body = Success<DeliveriesAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
    Query(query): Query<DeliveriesQuery>,
) -> Result<Success<DeliveriesAnswer>, ApiError> {
    let query = query.parse()?;
    state.store.webhook(id).await?.ok_or(ApiError::WebhookNotFound)?;
    let mut records =
        state.store.deliveries(id, &DeliveryQuery { limit: query.limit + 1, ..query }).await?;
    let has_more = records.len() > query.limit as usize;
    records.truncate(query.limit as usize);
    let deliveries = records.into_iter().map(DeliveryObject::from).collect();
    Ok(Success::ok(DeliveriesAnswer { deliveries, has_more }))
}

/// `GET /api/webhooks/:id/deliveries/:deliveryId`: one delivery with its attempts.
#[utoipa::path(
    get,
    path = "/api/webhooks/{id}/deliveries/{deliveryId}",
    operation_id = "getDelivery",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), ("deliveryId" = DeliveryId, Path, description = "The delivery")),
    responses(
        (status = 200, description = "The delivery", body = Success<AttemptsAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "delivery_not_found"]))),
)]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    _: WebhookManager,
    path: DeliveryPath,
) -> Result<Success<AttemptsAnswer>, ApiError> {
    let found = state.store.delivery(path.webhook, path.delivery).await?;
    let (record, attempts) = found.ok_or(ApiError::DeliveryNotFound)?;
    let attempts = attempts.into_iter().map(AttemptObject::from).collect();
    Ok(Success::ok(AttemptsAnswer { delivery: record.into(), attempts }))
}

/// `POST /api/webhooks/:id/deliveries/:deliveryId/replay`: has a delivery told again under its id. One that waits anyway goes on
/// waiting.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/deliveries/{deliveryId}/replay",
    operation_id = "replayDelivery",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook"), ("deliveryId" = DeliveryId, Path, description = "The delivery")),
    responses(
        (status = 200, description = "It waits", body = Success<DeliveryAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "delivery_not_found"]))),
)]
pub(crate) async fn replay(
    Extract(state): Extract<State>,
    _: WebhookManager,
    path: DeliveryPath,
) -> Result<Success<DeliveryAnswer>, ApiError> {
    let record = state.store.replay(path.webhook, path.delivery).await?;
    let delivery = record.ok_or(ApiError::DeliveryNotFound)?.into();
    Ok(Success::ok(DeliveryAnswer { delivery }))
}

/// `POST /api/webhooks/:id/replay`: has what was given up, or everything that happened in a time, told again: the oldest 10,000
/// after the last one of before, in their order and under their ids.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/replay",
    operation_id = "replayDeliveries",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    request_body(content = ReplayRequest, example = json!({ "from": "2026-05-29T12:00:00.000Z", "to": "2026-05-29T13:00:00.000Z" })),
    responses(
        (status = 200, description = "They wait", body = Success<ReplayAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found", "delivery_not_found"]))),
)]
pub(crate) async fn replay_range(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
    Json(body): Json<ReplayRequest>,
) -> Result<Success<ReplayAnswer>, ApiError> {
    let range = body.range();
    state.store.webhook(id).await?.ok_or(ApiError::WebhookNotFound)?;
    let replayed = state.store.replay_range(id, &range).await?;
    let Replayed { count, last, more } = replayed.ok_or(ApiError::DeliveryNotFound)?;
    Ok(Success::ok(ReplayAnswer { replayed: count, last, has_more: more }))
}

/// `POST /api/webhooks/:id/ping`: has a webhook told an event that says nothing, to see whether it listens.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/ping",
    operation_id = "pingWebhook",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 201, description = "The delivery, which waits", body = Success<DeliveryAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn ping(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
) -> Result<Success<DeliveryAnswer>, ApiError> {
    let record = state.store.ping_webhook(id).await?;
    let delivery = record.ok_or(ApiError::WebhookNotFound)?.into();
    Ok(Success::made(true, DeliveryAnswer { delivery }))
}
