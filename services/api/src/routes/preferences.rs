//! `/api/users/me/preferences`: what the caller wants of notifications.

use axum::extract::State as Extract;
use parley_domain::preferences::{Preferences, QuietHours, TimeOfDay, Zone};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::app::State;
use crate::envelope::Success;
use crate::error::ApiError;
use crate::extract::{Caller, Json};

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PutPreferences)]
pub(crate) struct PreferencesRequest {
    /// When the caller is not to be disturbed; left out or `null`: never.
    quiet_hours: Option<QuietHoursRequest>,
    /// Whether a notification may show what was said; it may by default.
    notification_previews: Option<bool>,
}

#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = PutQuietHours)]
struct QuietHoursRequest {
    /// By the clock in that time zone.
    #[schema(value_type = TimeOfDay)]
    from: String,
    /// Another time than `from`; an earlier one is on the next day.
    #[schema(value_type = TimeOfDay)]
    to: String,
    /// A name of the IANA database.
    #[schema(value_type = Zone)]
    time_zone: String,
}

impl PreferencesRequest {
    fn parse(self) -> Result<Preferences, ApiError> {
        let parse =
            |hours: QuietHoursRequest| QuietHours::parse(&hours.from, &hours.to, &hours.time_zone);
        Ok(Preferences {
            quiet_hours: self.quiet_hours.map(parse).transpose()?,
            notification_previews: self.notification_previews.unwrap_or(true),
        })
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = OnesPreferences)]
pub(crate) struct PreferencesAnswer {
    preferences: Preferences,
}

/// `GET /api/users/me/preferences`: what the caller wants of notifications; the defaults of one who has never said.
#[utoipa::path(
    get,
    path = "/api/users/me/preferences",
    operation_id = "getPreferences",
    tag = "users",
    responses(
        (status = 200, description = "The caller's preferences", body = Success<PreferencesAnswer>),
    ),
)]
pub(crate) async fn get(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
) -> Result<Success<PreferencesAnswer>, ApiError> {
    let preferences = state.store.preferences(&caller.id).await?;
    Ok(Success::ok(PreferencesAnswer { preferences }))
}

/// `PUT /api/users/me/preferences`: says it, in place of all that was said before.
#[utoipa::path(
    put,
    path = "/api/users/me/preferences",
    operation_id = "putPreferences",
    tag = "users",
    request_body(content = PreferencesRequest, example = json!({
        "quietHours": { "from": "22:00", "to": "07:00", "timeZone": "Europe/Berlin" },
        "notificationPreviews": false
    })),
    responses(
        (status = 200, description = "The preferences as they are now", body = Success<PreferencesAnswer>),
    ),
    extensions(("x-refusals" = json!(["unknown_time_zone", "quiet_hours_empty"]))),
)]
pub(crate) async fn put(
    Extract(state): Extract<State>,
    Caller(caller): Caller,
    Json(body): Json<PreferencesRequest>,
) -> Result<Success<PreferencesAnswer>, ApiError> {
    let preferences = body.parse()?;
    state.store.put_preferences(&caller.id, &preferences).await?;
    Ok(Success::ok(PreferencesAnswer { preferences }))
}
