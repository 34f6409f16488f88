//! `/api/chat/:id/changes`: what a client missed, for one that asks over REST.

use axum::extract::State as Extract;
use parley_domain::Invalid;
use parley_domain::ask::{Missed, MissedEvent, Position};
use parley_domain::version::{Epoch, Version};
use parley_store::CatchUp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Query, Reader};

#[derive(Deserialize)]
pub(crate) struct ChangesQuery {
    since: Option<String>,
    epoch: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChangesAnswer {
    /// As a Socket.IO client hears them: `["name", { … }]`.
    events: Vec<Box<RawValue>>,
    /// The `since` that goes on from here.
    version: Version,
    epoch: Epoch,
    has_more: bool,
    /// Nothing is told, since it would be too much or of another history: reload, and go on from `version`.
    resync: bool,
}

/// `GET /api/chat/:id/changes`: a page of what happened after a version. A later change of the same message or
/// participant stands for the earlier ones.
pub(crate) async fn list(
    Extract(state): Extract<State>,
    reader: Reader,
    Query(query): Query<ChangesQuery>,
) -> Result<Success<ChangesAnswer>, ApiError> {
    let position = query.parse()?;
    let missed = state.store.catch_up(reader.chat, position).await?;
    let answer = match missed.map(CatchUp::into_missed).ok_or(ApiError::ChatNotFound)? {
        Missed::Events(page) => ChangesAnswer {
            events: page.events.into_iter().map(raw).collect::<Result<_, _>>()?,
            version: page.up_to,
            epoch: page.epoch,
            has_more: page.up_to < page.version,
            resync: false,
        },
        Missed::Resync { version, epoch } => {
            ChangesAnswer { events: Vec::new(), version, epoch, has_more: false, resync: true }
        }
    };
    Ok(Success::ok(answer))
}

fn raw(event: MissedEvent) -> Result<Box<RawValue>, ApiError> {
    RawValue::from_string(event.event).map_err(|error| {
        tracing::error!(%error, "an event is no JSON");
        ApiError::Internal
    })
}

impl ChangesQuery {
    fn parse(&self) -> Result<Position, Invalid> {
        let since = self.since.as_deref().unwrap_or_default();
        let since = since.parse().map_err(|invalid: Invalid| invalid.in_field("since"))?;
        let epoch = self.epoch.as_deref().map(str::parse).transpose()?;
        Ok(Position { since, epoch })
    }
}
