//! What a user wants of notifications, and when they are not to be disturbed.

use std::fmt;

use chrono::{DateTime, Days, MappedLocalTime, NaiveDate, NaiveTime, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use serde::{Serialize, Serializer};

use crate::Invalid;

/// Minutes of a day.
const MINUTES: u16 = 24 * 60;

/// What a user wants of notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Preferences {
    /// When they are not to be disturbed.
    pub quiet_hours: Option<QuietHours>,
    /// Whether a notification may show what was said.
    pub notification_previews: bool,
}

impl Default for Preferences {
    fn default() -> Self {
        Self { quiet_hours: None, notification_previews: true }
    }
}

/// Hours of every day, by the clock on the user's wall; they may reach over midnight.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct QuietHours {
    /// When they begin.
    from: TimeOfDay,
    /// When they end, on the same day or the next one.
    to: TimeOfDay,
    /// Where the clock hangs.
    time_zone: Zone,
}

/// Quiet hours that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum QuietHoursError {
    /// A time is none.
    #[error("{0}")]
    Invalid(Invalid),
    /// The time zone is not one of the IANA database.
    #[error("the time zone is not known")]
    UnknownTimeZone,
    /// They end when they begin: all day or never, nobody can say.
    #[error("the quiet hours end when they begin")]
    Empty,
}

impl QuietHours {
    /// Hours between two different times.
    pub fn new(from: TimeOfDay, to: TimeOfDay, time_zone: Zone) -> Result<Self, QuietHoursError> {
        if from == to {
            return Err(QuietHoursError::Empty);
        }
        Ok(Self { from, to, time_zone })
    }

    /// As a user writes them: `22:00`, `07:00`, `Europe/Berlin`.
    pub fn parse(from: &str, to: &str, time_zone: &str) -> Result<Self, QuietHoursError> {
        let time = |text, field| {
            let parsed = TimeOfDay::parse(text);
            parsed.map_err(|invalid| QuietHoursError::Invalid(invalid.in_field(field)))
        };
        let (from, to) = (time(from, "quietHours.from")?, time(to, "quietHours.to")?);
        let zone = Zone::parse(time_zone).ok_or(QuietHoursError::UnknownTimeZone)?;
        Self::new(from, to, zone)
    }

    /// When they begin.
    pub const fn from(&self) -> TimeOfDay {
        self.from
    }

    /// When they end.
    pub const fn to(&self) -> TimeOfDay {
        self.to
    }

    /// Where the clock hangs.
    pub const fn time_zone(&self) -> Zone {
        self.time_zone
    }

    /// The quiet hours that begin on this day of the calendar, as moments. Where the clock is set back, and shows a time
    /// twice, they begin at the first and end at the second; a time that is left out is the moment at which it is.
    fn of_day(&self, day: NaiveDate) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        let last = if self.from < self.to { day } else { day.checked_add_days(Days::new(1))? };
        let begin = self.moments(day, self.from)?.0;
        let end = self.moments(last, self.to)?.1;
        Some((begin, end))
    }

    /// The first and the last moment at which the clock shows this.
    fn moments(&self, day: NaiveDate, time: TimeOfDay) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
        // What a clock leaves out is at most a day, where a date line moves.
        for left_out in 0..=i64::from(MINUTES) {
            let local =
                day.and_time(time.naive()?).checked_add_signed(TimeDelta::minutes(left_out))?;
            match self.time_zone.0.from_local_datetime(&local) {
                MappedLocalTime::Single(one) => return Some((one.to_utc(), one.to_utc())),
                MappedLocalTime::Ambiguous(one, other) => {
                    let (one, other) = (one.to_utc(), other.to_utc());
                    return Some((one.min(other), one.max(other)));
                }
                MappedLocalTime::None => {}
            }
        }
        None
    }
}

/// Until when a user is not to be disturbed; `None` if they may be now.
pub fn quiet_until(preferences: &Preferences, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    let hours = preferences.quiet_hours.as_ref()?;
    let today = now.with_timezone(&hours.time_zone.0).date_naive();
    let first = today.checked_sub_days(Days::new(2))?;
    let mut until = None;
    // In their order: where hours meet those of the next day, because a clock was set back, the later end counts.
    for day in first.iter_days().take(5) {
        let Some((begin, end)) = hours.of_day(day) else { continue };
        let reached = until.unwrap_or(now);
        if begin <= reached && reached < end {
            until = Some(end);
        }
    }
    until
}

/// A time on the clock, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, pattern = r"^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")
)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Reads `22:00`.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let two = |text: &str| {
            let digits = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
            if digits { text.parse::<u16>().ok() } else { None }
        };
        let read = || {
            let (hours, minutes) = text.split_once(':')?;
            let (hours, minutes) = (two(hours)?, two(minutes)?);
            (hours < 24 && minutes < 60).then_some(Self(hours * 60 + minutes))
        };
        read().ok_or_else(|| Invalid::new("time", "must be a time as 22:00"))
    }

    /// By its minutes since the day began.
    pub fn of_minutes(minutes: u16) -> Option<Self> {
        (minutes < MINUTES).then_some(Self(minutes))
    }

    /// Minutes since the day began.
    pub const fn minutes(self) -> u16 {
        self.0
    }

    fn naive(self) -> Option<NaiveTime> {
        NaiveTime::from_hms_opt(u32::from(self.0 / 60), u32::from(self.0 % 60), 0)
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A time zone of the IANA database, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 64, example = "Europe/Berlin")
)]
pub struct Zone(Tz);

impl Zone {
    /// Finds a zone; `None` for a name that the database does not have.
    pub fn parse(name: &str) -> Option<Self> {
        name.parse().ok().map(Self)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        self.0.name()
    }
}

impl Serialize for Zone {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use chrono::{Offset, Timelike};
    use proptest::prelude::*;

    use super::*;

    fn quiet(from: &str, to: &str, zone: &str) -> Preferences {
        let quiet_hours = Some(QuietHours::parse(from, to, zone).unwrap());
        Preferences { quiet_hours, ..Preferences::default() }
    }

    fn at(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    /// Until when it is quiet at these times.
    fn check(preferences: &Preferences, cases: &[(&str, &str)]) {
        for (now, until) in cases {
            let expected = (!until.is_empty()).then(|| at(until));
            assert_eq!(quiet_until(preferences, at(now)), expected, "at {now}");
        }
    }

    #[test]
    fn nobody_is_quiet_who_has_not_said_so() {
        assert_eq!(quiet_until(&Preferences::default(), at("2026-11-30T03:00:00Z")), None);
        assert!(Preferences::default().notification_previews);
    }

    #[test]
    fn hours_of_a_day_begin_and_end_on_the_minute() {
        check(
            &quiet("13:00", "14:30", "Asia/Kolkata"),
            &[
                ("2026-11-30T07:29:59.999Z", ""),
                ("2026-11-30T07:30:00Z", "2026-11-30T09:00:00Z"),
                ("2026-11-30T08:59:59.999Z", "2026-11-30T09:00:00Z"),
                ("2026-11-30T09:00:00Z", ""),
            ],
        );
    }

    #[test]
    fn hours_may_reach_over_midnight() {
        check(
            &quiet("22:00", "07:00", "Europe/Berlin"),
            &[
                ("2026-11-30T20:59:59Z", ""),
                ("2026-11-30T21:00:00Z", "2026-12-01T06:00:00Z"),
                ("2026-11-30T23:30:00Z", "2026-12-01T06:00:00Z"),
                ("2026-12-01T05:59:59Z", "2026-12-01T06:00:00Z"),
                ("2026-12-01T06:00:00Z", ""),
            ],
        );
    }

    #[test]
    fn the_night_in_which_a_clock_is_set_ahead_is_an_hour_shorter() {
        check(
            &quiet("22:00", "07:00", "Europe/Berlin"),
            &[("2026-03-28T21:00:00Z", "2026-03-29T05:00:00Z"), ("2026-03-29T05:00:00Z", "")],
        );
        // 02:30 is left out: what would end then ends when the clock is set.
        check(
            &quiet("22:00", "02:30", "Europe/Berlin"),
            &[("2026-03-29T00:59:59Z", "2026-03-29T01:00:00Z"), ("2026-03-29T01:00:00Z", "")],
        );
        // What would begin then begins when the clock is set.
        check(
            &quiet("02:30", "04:00", "Europe/Berlin"),
            &[("2026-03-29T00:59:59Z", ""), ("2026-03-29T01:00:00Z", "2026-03-29T02:00:00Z")],
        );
        // What would begin and end then is not.
        check(
            &quiet("02:10", "02:50", "Europe/Berlin"),
            &[("2026-03-29T00:59:59Z", ""), ("2026-03-29T01:00:00Z", "")],
        );
    }

    #[test]
    fn the_night_in_which_a_clock_is_set_back_is_an_hour_longer() {
        check(
            &quiet("22:00", "07:00", "Europe/Berlin"),
            &[("2026-10-24T20:00:00Z", "2026-10-25T06:00:00Z"), ("2026-10-25T06:00:00Z", "")],
        );
        // 02:30 comes twice: it is quiet from the first on, or to the second.
        check(
            &quiet("22:00", "02:30", "Europe/Berlin"),
            &[("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"), ("2026-10-25T01:30:00Z", "")],
        );
        check(
            &quiet("02:30", "04:00", "Europe/Berlin"),
            &[("2026-10-25T00:29:59Z", ""), ("2026-10-25T00:30:00Z", "2026-10-25T03:00:00Z")],
        );
    }

    #[test]
    fn hours_that_meet_those_of_the_next_day_end_with_them() {
        // All day but for a quarter of an hour, which comes twice when the clock is set back, with quiet around it.
        check(
            &quiet("02:45", "02:30", "Europe/Berlin"),
            &[
                ("2026-10-24T12:00:00Z", "2026-10-26T01:30:00Z"),
                ("2026-10-23T12:00:00Z", "2026-10-24T00:30:00Z"),
                ("2026-10-24T00:31:00Z", ""),
            ],
        );
    }

    #[test]
    fn odd_zones_are_counted_by_their_own_clock() {
        // Half an hour is set ahead here.
        check(
            &quiet("23:00", "06:00", "Australia/Lord_Howe"),
            &[("2026-10-03T12:30:00Z", "2026-10-03T19:00:00Z")],
        );
        // A whole day was left out, when the date line moved.
        check(
            &quiet("22:00", "07:00", "Pacific/Apia"),
            &[("2011-12-30T09:00:00Z", "2011-12-30T17:00:00Z"), ("2011-12-30T17:00:00Z", "")],
        );
    }

    #[test]
    fn times_and_zones_are_read_as_they_are_written_here_and_not_otherwise() {
        for (from, to, zone) in [("00:00", "23:59", "UTC"), ("23:59", "00:00", "America/New_York")]
        {
            let hours = QuietHours::parse(from, to, zone).unwrap();
            let written = serde_json::to_value(&hours).unwrap();
            assert_eq!(written, serde_json::json!({ "from": from, "to": to, "timeZone": zone }));
        }
        for wrong in
            ["", "7:00", "24:00", "12:60", "12.00", "12:00:00", "+1:00", "-1:00", "１２:00"]
        {
            let parsed = QuietHours::parse(wrong, "07:00", "UTC").unwrap_err();
            assert!(matches!(parsed, QuietHoursError::Invalid(_)), "{wrong}");
        }
        for wrong in ["", "Berlin", "europe/berlin", "+01:00", "Europe/Berlin ", "Mars/Base"] {
            let parsed = QuietHours::parse("22:00", "07:00", wrong).unwrap_err();
            assert_eq!(parsed, QuietHoursError::UnknownTimeZone, "{wrong}");
        }
        assert_eq!(QuietHours::parse("07:00", "07:00", "UTC"), Err(QuietHoursError::Empty));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        /// Compared with somebody who looks at the clock on the wall: whenever it shows quiet hours, it is quiet; and on
        /// days on which nobody sets it, it is quiet only then, and to their end.
        #[test]
        fn quiet_is_what_the_clock_shows(
            zone in 0..chrono_tz::TZ_VARIANTS.len(),
            from in 0..MINUTES,
            length in 1..MINUTES,
            second in 946_684_800_i64..2_840_140_800,
        ) {
            let zone = chrono_tz::TZ_VARIANTS[zone];
            let to = (from + length) % MINUTES;
            let hours = QuietHours::new(TimeOfDay(from), TimeOfDay(to), Zone(zone)).unwrap();
            let preferences = Preferences { quiet_hours: Some(hours), ..Preferences::default() };
            let now = DateTime::from_timestamp(second, 0).unwrap();
            let shows = |at: DateTime<Utc>| {
                let local = at.with_timezone(&zone).time();
                let minute = u16::try_from(local.num_seconds_from_midnight() / 60).unwrap();
                (minute + MINUTES - from) % MINUTES < length
            };
            let until = quiet_until(&preferences, now);
            if shows(now) {
                prop_assert!(until.is_some());
            }
            let offset = |at: DateTime<Utc>| at.with_timezone(&zone).offset().fix();
            let days = (-3..=3).map(|days| offset(now + TimeDelta::days(days)));
            if days.into_iter().all(|one| one == offset(now)) {
                prop_assert_eq!(until.is_some(), shows(now));
                if let Some(until) = until {
                    prop_assert!(!shows(until) && shows(until - TimeDelta::seconds(1)));
                    prop_assert!(until - now <= TimeDelta::minutes(length.into()));
                }
            }
        }
    }
}
