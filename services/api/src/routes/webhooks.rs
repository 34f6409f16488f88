//! `/api/webhooks`: where the host application's servers are told what happens, for the host application and admins.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ids::WebhookId;
use parley_domain::time::Timestamp;
use parley_domain::webhook::{Description, EventFilter, EventKind, WebhookUrl};
use parley_outbound::Target;
use parley_outbound::webhook::Key;
use parley_store::{NewWebhook, WebhookChange, WebhookRecord};
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Json, WebhookManager, WebhookPath};

#[derive(Deserialize, ToSchema)]
pub(crate) struct CreateWebhook {
    #[schema(value_type = WebhookUrl)]
    url: String,
    #[schema(value_type = Option<Description>)]
    description: Option<String>,
    /// Which events; none, or left out: all of them, also those of later releases.
    #[serde(default)]
    #[schema(value_type = Vec<EventKind>, required = false, max_items = 10)]
    events: Vec<String>,
}

impl CreateWebhook {
    fn parse(&self) -> Result<NewWebhook, Invalid> {
        Ok(NewWebhook {
            url: WebhookUrl::parse(&self.url)?,
            description: self.description.as_deref().map(Description::parse).transpose()?,
            events: EventFilter::parse(&self.events)?,
        })
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct ChangeWebhook {
    /// Left out, it stays as it is.
    #[schema(value_type = Option<WebhookUrl>)]
    url: Option<String>,
    /// Left out, it stays as it is; an empty one takes it away.
    #[schema(max_length = 200)]
    description: Option<String>,
    /// Left out, they stay as they are; none: all of them.
    #[schema(value_type = Option<Vec<EventKind>>, max_items = 10)]
    events: Option<Vec<String>>,
    /// Switched on, it is as if it had never failed, and what waits is due now.
    enabled: Option<bool>,
}

impl ChangeWebhook {
    fn parse(&self) -> Result<WebhookChange, Invalid> {
        let parse = |text: &str| {
            let new = (!text.is_empty()).then(|| Description::parse(text));
            new.transpose()
        };
        Ok(WebhookChange {
            url: self.url.as_deref().map(WebhookUrl::parse).transpose()?,
            description: self.description.as_deref().map(parse).transpose()?,
            events: self.events.as_deref().map(EventFilter::parse).transpose()?,
            enabled: self.enabled,
        })
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = OneWebhook)]
pub(crate) struct WebhookAnswer {
    webhook: WebhookObject,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WebhookWithSecret)]
pub(crate) struct SecretAnswer {
    webhook: WebhookObject,
    /// What its deliveries are signed with. It is not shown again.
    #[schema(example = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=")]
    secret: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Webhooks)]
pub(crate) struct WebhooksAnswer {
    webhooks: Vec<WebhookObject>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Webhook)]
struct WebhookObject {
    #[serde(rename = "_id")]
    id: WebhookId,
    url: String,
    description: Option<String>,
    /// Which events it is told; none: all of them.
    events: Vec<EventKind>,
    enabled: bool,
    /// Since when it is switched off.
    disabled_at: Option<Timestamp>,
    /// Why: `asked`; `failing`, for too long; `gone`, by its own answer.
    disabled_reason: Option<String>,
    /// Since when every attempt has failed.
    failing_since: Option<Timestamp>,
    /// Until when deliveries are signed with the secret before the present one too.
    former_secret_until: Option<Timestamp>,
    /// Deliveries that wait.
    waiting: u64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl From<WebhookRecord> for WebhookObject {
    fn from(record: WebhookRecord) -> Self {
        let (disabled_at, disabled_reason) = record.disabled.unzip();
        Self {
            id: record.id,
            url: record.url,
            description: record.description,
            events: record.events.kinds().to_vec(),
            enabled: disabled_at.is_none(),
            disabled_at: disabled_at.map(Timestamp::new),
            disabled_reason,
            failing_since: record.failing_since.map(Timestamp::new),
            former_secret_until: record.former_until.map(Timestamp::new),
            waiting: record.waiting,
            created_at: record.created_at.into(),
            updated_at: record.updated_at.into(),
        }
    }
}

/// Refuses what no courier would call.
fn allowed(state: &State, url: &WebhookUrl) -> Result<(), Invalid> {
    let target = Target::parse(url.as_str(), &state.outbound);
    target.map(drop).map_err(|error| {
        let text = error.to_string();
        Invalid::new(
            "url",
            text.strip_prefix("the URL ")
                .map_or(format!("cannot be called: {text}"), str::to_owned),
        )
    })
}

fn shown(record: Option<WebhookRecord>) -> Result<Success<WebhookAnswer>, ApiError> {
    let record = record.ok_or(ApiError::WebhookNotFound)?;
    Ok(Success::ok(WebhookAnswer { webhook: record.into() }))
}

/// `POST /api/webhooks`: makes a webhook, and shows its secret, this once. It is told everything that happens from five
/// seconds later on.
#[utoipa::path(
    post,
    path = "/api/webhooks",
    operation_id = "createWebhook",
    tag = "webhooks",
    request_body(content = CreateWebhook, example = json!({ "url": "https://app.example/parley", "events": ["message.created"] })),
    responses(
        (status = 201, description = "The webhook and its secret", body = Success<SecretAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "too_many_webhooks"]))),
)]
pub(crate) async fn create(
    Extract(state): Extract<State>,
    _: WebhookManager,
    Json(body): Json<CreateWebhook>,
) -> Result<Success<SecretAnswer>, ApiError> {
    let new = body.parse()?;
    allowed(&state, &new.url)?;
    let secret = Key::make().secret();
    let made = state.store.create_webhook(&new, &secret, state.webhooks.most_webhooks).await?;
    let secret = secret.expose_secret().to_owned();
    let webhook = made.ok_or(ApiError::TooManyWebhooks)?.into();
    Ok(Success::made(true, SecretAnswer { webhook, secret }))
}

/// `GET /api/webhooks`: every webhook, the oldest first.
#[utoipa::path(
    get,
    path = "/api/webhooks",
    operation_id = "listWebhooks",
    tag = "webhooks",
    responses(
        (status = 200, description = "All webhooks", body = Success<WebhooksAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden"]))),
)]
pub(crate) async fn list(
    Extract(state): Extract<State>,
    _: WebhookManager,
) -> Result<Success<WebhooksAnswer>, ApiError> {
    let records = state.store.webhooks().await?;
    let webhooks = records.into_iter().map(WebhookObject::from).collect();
    Ok(Success::ok(WebhooksAnswer { webhooks }))
}

/// `GET /api/webhooks/:id`: one webhook.
#[utoipa::path(
    get,
    path = "/api/webhooks/{id}",
    operation_id = "getWebhook",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook", body = Success<WebhookAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
) -> Result<Success<WebhookAnswer>, ApiError> {
    shown(state.store.webhook(id).await?)
}

/// `PATCH /api/webhooks/:id`: changes a webhook. What is left out stays as it is. A webhook that is switched off is told nothing of what happens
/// meanwhile; what waits for it goes on waiting.
#[utoipa::path(
    patch,
    path = "/api/webhooks/{id}",
    operation_id = "changeWebhook",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    request_body(content = ChangeWebhook, example = json!({ "enabled": true })),
    responses(
        (status = 200, description = "The webhook as it is now", body = Success<WebhookAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn change(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
    Json(body): Json<ChangeWebhook>,
) -> Result<Success<WebhookAnswer>, ApiError> {
    let change = body.parse()?;
    if let Some(url) = &change.url {
        allowed(&state, url)?;
    }
    shown(state.store.change_webhook(id, &change).await?)
}

/// `DELETE /api/webhooks/:id`: removes a webhook, with everything that waits for it and with its log.
#[utoipa::path(
    delete,
    path = "/api/webhooks/{id}",
    operation_id = "deleteWebhook",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "It is gone; as it was", body = Success<WebhookAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn remove(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
) -> Result<Success<WebhookAnswer>, ApiError> {
    let record = state.store.webhook(id).await?;
    if !state.store.remove_webhook(id).await? {
        return Err(ApiError::WebhookNotFound);
    }
    shown(record)
}

/// `POST /api/webhooks/:id/secret`: gives a webhook another secret, and shows it, this once. The one before it signs too for
/// a day, so that a receiver changes without a gap.
#[utoipa::path(
    post,
    path = "/api/webhooks/{id}/secret",
    operation_id = "rotateWebhookSecret",
    tag = "webhooks",
    params(("id" = WebhookId, Path, description = "The webhook")),
    responses(
        (status = 200, description = "The webhook and its new secret", body = Success<SecretAnswer>),
    ),
    extensions(("x-refusals" = json!(["forbidden", "webhook_not_found"]))),
)]
pub(crate) async fn rotate(
    Extract(state): Extract<State>,
    _: WebhookManager,
    WebhookPath(id): WebhookPath,
) -> Result<Success<SecretAnswer>, ApiError> {
    let secret = Key::make().secret();
    let both = state.webhooks.both_secrets();
    let record = state.store.rotate_webhook_secret(id, &secret, both).await?;
    let secret = secret.expose_secret().to_owned();
    let webhook = record.ok_or(ApiError::WebhookNotFound)?.into();
    Ok(Success::ok(SecretAnswer { webhook, secret }))
}
