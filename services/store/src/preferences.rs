//! Table `user_preferences`: what users want of notifications.

use parley_domain::ids::UserId;
use parley_domain::preferences::{Preferences, QuietHours, TimeOfDay, Zone};

use crate::metrics::Call;
use crate::{Store, StoreError};

const TABLE: &str = "user_preferences";

impl Store {
    /// What a user wants; the defaults of one who has never said.
    pub async fn preferences(&self, user: &UserId) -> Result<Preferences, StoreError> {
        let _timed = self.metrics.time(Call::Users);
        let row = sqlx::query_as!(
            PreferencesRow,
            "select quiet_from, quiet_to, quiet_zone, previews from user_preferences where user_id = $1",
            user.as_str(),
        )
        .fetch_optional(&self.pool)
        .await?;
        row.map_or_else(|| Ok(Preferences::default()), PreferencesRow::preferences)
    }

    /// Writes what a user wants, in place of all that they wanted before; the user is in the directory.
    pub async fn put_preferences(
        &self,
        user: &UserId,
        preferences: &Preferences,
    ) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Directory);
        let hours = preferences.quiet_hours.as_ref();
        let minutes = |time: TimeOfDay| i16::try_from(time.minutes()).unwrap_or_default();
        sqlx::query!(
            r#"
            insert into user_preferences (user_id, quiet_from, quiet_to, quiet_zone, previews)
            values ($1, $2, $3, $4, $5)
            on conflict (user_id) do update set
                quiet_from = excluded.quiet_from
                , quiet_to = excluded.quiet_to
                , quiet_zone = excluded.quiet_zone
                , previews = excluded.previews
                , updated_at = now()
            "#,
            user.as_str(),
            hours.map(|hours| minutes(hours.from())),
            hours.map(|hours| minutes(hours.to())),
            hours.map(|hours| hours.time_zone().name()),
            preferences.notification_previews,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

pub(crate) struct PreferencesRow {
    pub(crate) quiet_from: Option<i16>,
    pub(crate) quiet_to: Option<i16>,
    pub(crate) quiet_zone: Option<String>,
    pub(crate) previews: bool,
}

impl PreferencesRow {
    /// As a release reads it that does not know the time zone, which another one may have written: the hours by UTC.
    pub(crate) fn readable(mut self) -> Self {
        if let Some(zone) = self.quiet_zone.as_ref().filter(|zone| Zone::parse(zone).is_none()) {
            tracing::warn!(
                zone,
                "somebody's time zone is not known here: their quiet hours are taken by UTC"
            );
            self.quiet_zone = Some("UTC".to_owned());
        }
        self
    }

    pub(crate) fn preferences(self) -> Result<Preferences, StoreError> {
        let notification_previews = self.previews;
        let (Some(from), Some(to), Some(zone)) = (self.quiet_from, self.quiet_to, self.quiet_zone)
        else {
            return Ok(Preferences { quiet_hours: None, notification_previews });
        };
        let hours = QuietHours::new(time(from)?, time(to)?, known(&zone)?)
            .map_err(|error| StoreError::inconsistent(TABLE, error.to_string()))?;
        Ok(Preferences { quiet_hours: Some(hours), notification_previews })
    }
}

fn time(minutes: i16) -> Result<TimeOfDay, StoreError> {
    let time = u16::try_from(minutes).ok().and_then(TimeOfDay::of_minutes);
    time.ok_or_else(|| StoreError::inconsistent(TABLE, format!("no minute of a day: {minutes}")))
}

fn known(zone: &str) -> Result<Zone, StoreError> {
    Zone::parse(zone)
        .ok_or_else(|| StoreError::inconsistent(TABLE, format!("unknown time zone {zone}")))
}
